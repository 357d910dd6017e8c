"""A finished search -> a table for the terminal, CSV, and a JSON document."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from intsnn.exploration.files import AXES
from intsnn.report.words import markdown_table, readable
from intsnn.shares import percent
from mdcompress.search.outcome import Outcome, Point, PricedDesign
from mdcompress.search.result import Beaten, SearchResult, StudentFigures

_NETWORK_AXES = ("weight_bits", "membrane_bits", "time_steps")  # those of the student, which stand beside it
_CHIP_AXES = tuple(axis for axis in AXES if axis not in _NETWORK_AXES)
_FIGURES = ("energy uJ", "latency us", "area mm2")
_ROWS = 20


def result_table(found: SearchResult) -> str:
    """The Pareto set, the uniform starts beside what beats them, and how the trials ended."""
    shown = found.pareto[:_ROWS]
    axes = [axis for axis in _CHIP_AXES if len({getattr(one.design.point, axis) for one in found.pareto}) > 1]
    head = ("trial", "T", "weight bits", "membrane bits", *axes, "accuracy", *_FIGURES)
    table = markdown_table(head, (_row(found, point, axes) for point in shown))
    return "\n\n".join([table, *filter(None, [_beaten_table(found.beaten)]), _in_words(found)])


def csv_text(found: SearchResult) -> str:
    """A row for each design of each trial, and one for a trial without any."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("trial", "start", "time_steps", "weight_bits", "membrane_bits", "bits", *_CHIP_AXES)
    writer.writerow(
        (*head, "accuracy", "energy_pj", "latency_ns", "area_um2", "pareto", "recipe", "hardware", "reason")
    )
    best = set(found.pareto)
    for trial, one in found.outcomes.items():
        name, _ = found.starts.get(trial, ("", "mixed"))
        student = (trial, name, *_student_cells(found.students[trial]))
        for design in one.designs:
            point = Point(trial, design)
            files = _files(found, point) if point in best else ("", "")
            figures = (f"{value:.10g}" for value in (design.energy_pj, design.latency_ns, design.area_um2))
            chip = (_text(getattr(design.point, axis)) for axis in _CHIP_AXES)
            is_best = "yes" if point in best else "no"
            writer.writerow((*student, *chip, f"{design.accuracy:.6g}", *figures, is_best, *files, one.reason))
        if not one.designs:
            accuracy = "" if one.accuracy is None else f"{one.accuracy:.6g}"
            writer.writerow((*student, *("" for _ in _CHIP_AXES), accuracy, "", "", "", "no", "", "", one.reason))
    return out.getvalue()


def json_text(found: SearchResult) -> str:
    """The Pareto set, the uniform starts and the trials as one JSON document."""
    document = {
        "schema": "mdcompress.search/1",
        "recipe": found.recipe,
        "hardware": found.hardware,
        "costs": list(found.costs),
        "samples": found.samples,
        "float_accuracy": found.float_accuracy,
        "least_accuracy": found.least,
        "running": found.running,
        "trials": [
            {
                "trial": trial,
                "start": found.starts.get(trial, (None, None))[0],
                **asdict(found.students[trial]),
                "accuracy": one.accuracy,
                "samples": one.samples,
                "reason": one.reason,
                "designs": len(one.designs),
            }
            for trial, one in found.outcomes.items()
        ],
        "pareto": [
            {"trial": point.trial, **asdict(point.design), **_named_files(found, point)} for point in found.pareto
        ],
        "uniform": [_beaten_document(one) for one in found.beaten],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def trial_in_words(number: int, student: StudentFigures, found: Outcome) -> str:
    """One trial in a line, as it ends."""
    means = (("weight", student.weight), ("membrane", student.membrane))
    bits = "".join(f", {mean:.2f}-bit {part}s" for part, mean in means if mean is not None)
    what = f"trial {number}: T={student.time_steps}{bits}"
    if found.reason or found.accuracy is None:
        return f"{what}: {found.reason}"
    least = min(found.designs, key=lambda design: design.energy_pj)
    return f"{what}: {percent(found.accuracy)}, {readable(least.energy_pj * 1e-6)} uJ"


def _row(found: SearchResult, point: Point, axes: Sequence[str]) -> tuple[str, ...]:
    student = found.students[point.trial]
    chip = (_text(getattr(point.design.point, axis)) for axis in axes)
    bits = (_mean(student.weight), _mean(student.membrane))
    return (str(point.trial), str(student.time_steps), *bits, *chip, *_design_cells(point.design))


def _design_cells(design: PricedDesign) -> tuple[str, ...]:
    return (
        percent(design.accuracy),
        readable(design.energy_pj * 1e-6),
        readable(design.latency_ns * 1e-3),
        readable(design.area_um2 * 1e-6),
    )


def _beaten_table(beaten: Sequence[Beaten]) -> str:
    """Of each uniform start the design of the least first cost, and the point that dominates it."""
    head = ("uniform start", "accuracy", *_FIGURES, "found trial", "accuracy", *_FIGURES, "of its designs beaten")
    rows = []
    for one in beaten:
        first, by = one.designs[0], one.by[0]
        found = ("-",) * 5 if by is None else (str(by.trial), *_design_cells(by.design))
        count = f"{sum(point is not None for point in one.by)} of {len(one.by)}"
        rows.append((one.name, *_design_cells(first), *found, count))
    return markdown_table(head, rows) if rows else ""


def _in_words(found: SearchResult) -> str:
    ended = Counter("compared" if one.is_compared else "not" for one in found.outcomes.values())
    lines = [
        f"{len(found.pareto)} points are dominated by no other, in accuracy, {', '.join(found.costs)}: "
        f"{len({point.trial for point in found.pareto})} students on {len(found.hardware_numbers)} designs.",
        f"{len(found.outcomes)} trials have ended; {ended['not']} students are not compared (less accurate than "
        f"{percent(found.least)}, or impossible). The float network has {percent(found.float_accuracy)} on the "
        f"{found.samples} validation samples.",
    ]
    if len(found.pareto) > _ROWS:
        lines.append(f"The {_ROWS} with the least {found.costs[0]} are shown; the CSV has all.")
    if found.running:
        lines.append(f"Other processes are at {found.running} more; the last to end writes all.")
    return "\n".join(f"- {line}" for line in lines)


def _student_cells(student: StudentFigures) -> tuple[str, ...]:
    bits = " ".join(f"{name.replace(' ', ':')}={value:g}" for name, value in student.bits.items())
    return (str(student.time_steps), _mean(student.weight), _mean(student.membrane), bits)


def _files(found: SearchResult, point: Point) -> tuple[str, str]:
    return f"recipes/{found.recipe_name(point.trial)}.yaml", f"hardware/{found.hardware_name(point.design.point)}.yaml"


def _named_files(found: SearchResult, point: Point) -> Mapping[str, str]:
    recipe, hardware = _files(found, point)
    return {"recipe": recipe, "description": hardware}


def _beaten_document(one: Beaten) -> Mapping[str, object]:
    return {
        "start": one.name,
        "trial": one.trial,
        "is_beaten": one.is_beaten,
        "designs": [
            {**asdict(design), "beaten_by": None if by is None else {"trial": by.trial, **asdict(by.design)}}
            for design, by in zip(one.designs, one.by, strict=True)
        ],
    }


def _mean(bits: float | None) -> str:
    return "-" if bits is None else f"{bits:.2f}"


def _text(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)

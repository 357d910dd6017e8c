"""An exploration -> CSV and Markdown, and a CSV of measured accuracies -> what an exploration asks for each design."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from intsnn.errors import InvalidFileError, MissingFileError, Problem, reading
from intsnn.exploration.design_space import DesignPoint
from intsnn.exploration.exploration import Accuracy, Exploration, Judgement
from intsnn.exploration.pricing import Design
from intsnn.report.words import markdown_table, readable
from intsnn.shares import percent

_REASONS = 4  # reasons for leaving designs out that a table lists
_NONE = "none"  # an axis without a value, as the command line spells it
AXES = tuple(field.name for field in fields(DesignPoint))
FIGURES = (
    "energy_pj",
    "latency_ns",
    "inference_time_ns",
    "area_um2",
    "edap_pj_ns_um2",
    "accuracy",
    "exact",
    "pareto",
    "energy_dominated_by",
    "energy_share",
    "energy_why",
    "area_dominated_by",
    "area_share",
    "area_why",
    "infeasible",
)


def csv_text(exploration: Exploration) -> str:
    """Every design and every infeasible one, one row each; an empty field where there is no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*AXES, *FIGURES))
    for design in exploration.designs:
        writer.writerow((*_values(design.point), *_figures(design), ""))
    for one in exploration.infeasible:
        writer.writerow((*_values(one.point), *("",) * (len(FIGURES) - 1), one.reason))
    return out.getvalue()


def differing_axes(points: Sequence[DesignPoint]) -> tuple[str, ...]:
    """The axes along which designs differ."""
    return tuple(axis for axis in AXES if len({getattr(point, axis) for point in points}) > 1)


def design_name(point: DesignPoint, axes: Sequence[str]) -> str:
    """A design by those of its axes: `crossbar 64, adc_bits 6`."""
    return ", ".join(f"{axis} {_value(point, axis)}" for axis in axes)


def pareto_table(exploration: Exploration, *, rows: int = 20) -> str:
    """The Pareto set by energy, at most `rows`, with the axes that differ; then what was left out, and why."""
    shown = exploration.pareto[:rows]
    axes = differing_axes([design.point for design in exploration.designs])
    figures = ("energy uJ", _time_head(exploration), "area mm2", "accuracy", "energy is mostly", "area is mostly")
    rows_shown = (
        (str(number), *(_value(one.point, axis) for axis in axes), *_cells(one)) for number, one in enumerate(shown, 1)
    )
    table = markdown_table(("no", *axes, *figures), rows_shown)
    best = len(exploration.pareto)
    tail = [f"{best} of {_count(len(exploration.designs))} {'is' if best == 1 else 'are'} dominated by no other."]
    if len(exploration.pareto) > rows:
        tail.append(f"The {rows} with the least energy are shown; the CSV has all.")
    if len(exploration.designs) == 1 and not exploration.infeasible:
        tail.append("Only one design was given: options such as `--crossbar 32,64,128` give others to hold it against.")
    tail += _left_out(exploration)
    coarse = sum(not design.point.exact for design in exploration.designs)
    if coarse and exploration.judgement is None:
        tail.append(
            f"{_count(coarse)} {'has' if coarse == 1 else 'have'} converters too coarse for exact sums: they are "
            "compared only if their accuracy is known."
        )
    tail += [*_accuracies_in_words(exploration), *_turns_in_words(exploration)]
    if any(str(design.point.array_budget).endswith("mm2") for design in exploration.designs):
        tail.append("A budget in mm2 is the area of the arrays alone: tiles, buffers, lanes and wires come on top.")
    return "\n".join([table, "", *(f"- {text}" for text in (*tail, *exploration.notes))])


def has_batches(exploration: Exploration) -> bool:
    """Whether inferences of a design share loads of weights: then the time per inference is compared."""
    return any(design.batch > 1 for design in exploration.designs)


def _time_head(exploration: Exploration) -> str:
    return "time per inference us" if has_batches(exploration) else "latency us"


def _turns_in_words(exploration: Exploration) -> list[str]:
    """How times of a batch are compared, and when cells are worn out, where layers take turns on the arrays."""
    batches = max(design.batch for design in exploration.designs)
    lines = []
    if has_batches(exploration):
        lines.append(
            f"Where layers take turns, {batches:,} inferences share each load of weights: the answers come after "
            f"{batches:,} times the time per inference, which is compared."
        )
    worn = [design.worn_out_after for design in exploration.designs if design.worn_out_after is not None]
    if worn:
        least, most = min(one[0] for one in worn), max(one[1] for one in worn)
        lines.append(
            f"{_count(len(worn))} {'reloads' if len(worn) == 1 else 'reload'} weights: cells are worn out after "
            f"{readable(least)} to {readable(most)} inferences."
        )
    return lines


def _accuracies_in_words(exploration: Exploration) -> list[str]:
    """With which others a design was compared, and how many were not."""
    unknown = sum(design.accuracy is None for design in exploration.designs)
    if exploration.judgement is not None:
        return _judged_in_words(exploration, exploration.judgement)
    if not exploration.accuracies_given:
        return ["No accuracy is given: designs are compared with those of the same weight bits, membrane bits and T."]
    if not unknown:
        return []
    return [f"{_count(unknown)} without an accuracy in the table: only designs that have one are compared."]


def _judged_in_words(exploration: Exploration, how: Judgement) -> list[str]:
    """On what designs were judged, and what the cheapest accurate one saves against the cheapest exact one."""
    figure = "accuracy" if how.labelled else "agreement with the exact network"
    chips = f"{how.chips} chip{'' if how.chips == 1 else 's'}"
    lines = [
        f"Judged by {figure} on {how.samples} samples, {chips} of `{how.analog}`: {how.runs} kinds of arrays and "
        f"converters were run. The exact network has {percent(how.exact)}; designs below {percent(how.least)} are not "
        "compared.",
    ]
    exact = [one for one in exploration.designs if one.point.exact]
    if exploration.pareto and exact:
        cheapest, lossless = exploration.pareto[0], min(exact, key=lambda one: one.energy_pj)
        lines.append(
            f"Least energy: {readable(cheapest.energy_pj * 1e-6)} uJ at {percent(cheapest.accuracy)}, "
            f"{readable(lossless.energy_pj / cheapest.energy_pj)} times less than the "
            f"{readable(lossless.energy_pj * 1e-6)} uJ of the best with lossless converters."
        )
    return lines


def read_accuracies(path: Path) -> Accuracy:
    """Accuracies measured elsewhere: a CSV with a column `accuracy` in [0, 1] and columns named like axes.

    A design has the accuracy of the row whose axes all equal its own; None where there is none, or where the design's
    converters are too coarse and the file has no column `adc_bits`.

    Raises:
        MissingFileError: there is no such file.
        InvalidFileError: a column is unknown, an accuracy is no number in [0, 1], or two rows are for one design.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file", hints=["give a CSV with accuracies"])
    with reading(path, "a table of accuracies"):
        return _accuracies(path)


def _accuracies(path: Path) -> Accuracy:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = tuple(reader.fieldnames or ())
            rows = list(enumerate(reader, start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        problem = Problem(str(path), 0, 0, "", f"must be comma-separated text in UTF-8 ({error})", "save it as CSV")
        raise InvalidFileError(f"{path} is not a valid table of accuracies", [problem]) from error
    axes = tuple(column for column in columns if column in AXES)
    problems = _column_problems(path, columns)
    table: dict[tuple[str, ...], float] = {}
    for line, row in rows if not problems else ():
        problems += _row_problems(path, line, row, axes, table)
    if problems:
        raise InvalidFileError(f"{path} is not a valid table of accuracies", problems)
    return _Accuracies(axes, table)


class _Accuracies:
    """A design -> its accuracy."""

    def __init__(self, axes: Sequence[str], table: Mapping[tuple[str, ...], float]) -> None:
        self._axes, self._table = axes, table

    def __call__(self, point: DesignPoint) -> float | None:
        if not point.exact and "adc_bits" not in self._axes:
            return None  # measured on the exact integers, which this design does not compute
        return self._table.get(tuple(_text(getattr(point, axis)) for axis in self._axes))


def _column_problems(path: Path, columns: Sequence[str]) -> list[Problem]:
    known = (*AXES, "accuracy")
    found = [
        Problem(str(path), 1, 1, column, "unknown column", f"columns: {', '.join(known)}")
        for column in columns
        if column not in known
    ]
    found += [
        Problem(str(path), 1, 1, column, "the column must be there once")
        for column in dict.fromkeys(columns)
        if columns.count(column) > 1
    ]
    if "accuracy" not in columns:
        found.append(Problem(str(path), 1, 1, "accuracy", "the column must be there", f"columns: {', '.join(known)}"))
    return found


def _row_problems(
    path: Path, line: int, row: Mapping[str, str | None], axes: Sequence[str], table: dict[tuple[str, ...], float]
) -> list[Problem]:
    """Put one row into the table; what is wrong with it."""
    if None in row or None in row.values():
        return [Problem(str(path), line, 1, "", f"the row must have {len(axes) + 1} fields, one for each column")]
    key = tuple(_plain(row[axis]) for axis in axes)
    try:
        accuracy = float(row["accuracy"] or "")
    except ValueError:
        accuracy = -1.0
    if not 0 <= accuracy <= 1:
        return [Problem(str(path), line, 1, "accuracy", f"must lie in [0, 1] (got {row['accuracy']!r})")]
    if key in table:
        return [Problem(str(path), line, 1, ", ".join(axes), "is the second row for these values")]
    table[key] = accuracy
    return []


def _plain(text: str | None) -> str:
    """`4`, `4.0` and ` 4 ` alike; `none`, as the option spells it, and an empty field alike."""
    stripped = (text or "").strip()
    if stripped == _NONE:
        return ""
    try:
        return f"{float(stripped):g}"
    except ValueError:
        return stripped


def _text(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def _value(point: DesignPoint, axis: str) -> str:
    return _text(getattr(point, axis)) or _NONE


def _values(point: DesignPoint) -> list[str]:
    return [_text(getattr(point, axis)) for axis in AXES]


def _figures(design: Design) -> list[str]:
    times = (design.latency_ns, design.inference_time_ns)
    numbers = (design.energy_pj, *times, design.area_um2, design.edap_pj_ns_um2)
    shares = (design.energy_in, design.area_in)
    return [
        *(f"{number:.10g}" for number in numbers),
        "" if design.accuracy is None else f"{design.accuracy:.6g}",
        "yes" if design.point.exact else "no",
        "yes" if design.pareto else "no",
        *(word for one in shares for word in (one.component, f"{one.share:.4f}", one.why)),
    ]


def _cells(design: Design) -> list[str]:
    return [
        readable(design.energy_pj * 1e-6),
        readable(design.inference_time_ns * 1e-3),
        readable(design.area_um2 * 1e-6),
        percent(design.accuracy),
        f"{design.energy_in.component} {percent(design.energy_in.share, 1)} ({design.energy_in.why})",
        f"{design.area_in.component} {percent(design.area_in.share, 1)}",
    ]


def _left_out(exploration: Exploration) -> list[str]:
    """The commonest reasons why there are no figures, each with the number of designs."""
    found = Counter(one.reason for one in exploration.infeasible)
    lines = [f"{_count(count)} left out: {reason}." for reason, count in found.most_common(_REASONS)]
    rest = found.total() - sum(count for _, count in found.most_common(_REASONS))
    return [*lines, f"{rest} more left out; the CSV says why."] if rest else lines


def _count(designs: int) -> str:
    return f"{designs} design{'' if designs == 1 else 's'}"

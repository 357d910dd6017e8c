"""A comparison of runs -> its columns in words, and one page with a table and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intsnn.estimation.report import TOTALS
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, share, tag
from intsnn.report.html.page import Part, document
from mdcompress.pipeline.pages.blocks import DASH, style
from mdcompress.pipeline.pages.charts import scatter_chart
from mdcompress.pipeline.pages.comparison import COMPARED_TOTALS, ComparedRun, Comparison
from mdcompress.pipeline.report import byte_count, percent

_BESIDE = 6  # runs that have room beside each other on a wide screen
_DRAWN = ("energy_pj", "latency_ns", "area_um2", "edap_pj_ns_um2")
_LABELS = {kind.key: kind.label for kind in TOTALS}


def comparison_columns(comparison: Comparison) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Heads and rows of the table, as the command line and the page have it."""
    heads = (
        "run", "network", "T", "weight bits", "membrane bits", "teacher", "test accuracy", "test samples",
        "membrane mismatch", "spike rate", "size", "smaller than float32", "hardware",
        *(_LABELS[key] for key in COMPARED_TOTALS),
    )  # fmt: skip
    return heads, [_row(run) for run in comparison.runs]


def comparison_page(comparison: Comparison) -> str:
    """The page; the same runs give the same text."""
    names = [run.run for run in comparison.runs]
    top = tag(
        "header", tag("p", "Comparison of runs", class_="kind"), tag("h1", ", ".join(names)),
        tag("p", _introduction(comparison)),
    )  # fmt: skip
    part = Part(top, (_table_section(comparison), *_pictures(comparison)))
    footer = "Written by mdcompress compare. The same figures stand in comparison.csv and comparison.json."
    return document(f"Comparison: {', '.join(names)}", (part,), footer=footer, style=style())


def _row(run: ComparedRun) -> tuple[str, ...]:
    return (
        run.run,
        run.network or "not quantized",
        str(run.time_steps),
        run.weight_bits,
        run.membrane_bits,
        percent(run.teacher_accuracy),
        percent(run.test_accuracy),
        DASH if run.test_samples is None else f"{run.test_samples:,}",
        DASH if run.membrane_mismatch is None else f"{run.membrane_mismatch:.4f}",
        percent(run.spike_rate, 1),
        DASH if run.parameter_bytes is None else byte_count(run.parameter_bytes),
        DASH if run.ratio_to_float32 is None else f"{run.ratio_to_float32:.1f} x",
        run.hardware or "not priced",
        *(run.in_words(key) for key in COMPARED_TOTALS),
    )


def _introduction(comparison: Comparison) -> str:
    samples = next((run.test_samples for run in comparison.runs if run.test_samples is not None), None)
    scored = (
        "" if samples is None else f", scored on the same {samples:,} test samples: one is {100 / samples:.2f} points"
    )
    return f"Data: {comparison.data}{scored}."


def _table_section(comparison: Comparison) -> Section:
    heads, rows = comparison_columns(comparison)
    words = "A dash: not measured. Membrane mismatch: with the teacher, squared thresholds, mean over layers."
    beside = (rows[start : start + _BESIDE] for start in range(0, len(rows), _BESIDE))
    tables = (_turned(heads, chosen) for chosen in beside)
    return Section("figures", "Figures", (*tables, tag("p", words)))


def _turned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A column for each run: there are more figures than runs."""
    names = [row[0] for row in rows]
    lines = ([head, *(row[index] for row in rows)] for index, head in enumerate(heads) if index)
    return table(["", *names], lines)


def _pictures(comparison: Comparison) -> list[Section]:
    hardware = [figure_ for key in _DRAWN if (figure_ := _bars(comparison.runs, key)) is not None]
    against = _accuracy_against_energy(comparison.runs)
    sections = []
    if against is not None:
        sections.append(Section("accuracy", "Accuracy against energy", (against,)))
    if hardware:
        sections.append(Section("hardware", "Hardware", tuple(hardware)))
    return sections


def _bars(runs: Sequence[ComparedRun], key: str) -> Html | None:
    amounts = {run.run: amount for run in runs if (amount := run.total(key)) is not None}
    if len(amounts) < 2:
        return None
    most = max(amounts.values()) or 1.0
    rows = (_bar(run, key, amounts[run.run] / most) for run in runs if run.run in amounts)
    words = ", ".join(f"{run.run} {run.in_words(key)}" for run in runs if run.run in amounts)
    numbers = table(("run", _LABELS[key]), ((run.run, run.in_words(key)) for run in runs))
    return figure(_LABELS[key], tag("div", *rows, class_="rows"), alt=f"Bars: {words}.", numbers=numbers)


def _bar(run: ComparedRun, key: str, part: float) -> Html:
    drawn = tag("svg", tag("rect", x="0%", width=share(part), class_="after"), class_="bar")
    value = tag("span", run.in_words(key), class_="value")
    return tag("div", tag("span", run.run, class_="name"), drawn, value, class_="row")


def _accuracy_against_energy(runs: Sequence[ComparedRun]) -> Html | None:
    points: Mapping[str, tuple[float, float]] = {
        run.run: (run.energy_pj * 1e-6, 100 * run.test_accuracy)
        for run in runs
        if run.energy_pj is not None and run.test_accuracy is not None
    }
    if len(points) < 2:
        return None
    heads = ("run", "energy per inference, uJ", "test accuracy, %")
    rows = ((name, f"{energy:.4g}", f"{accuracy:.2f}") for name, (energy, accuracy) in points.items())
    return figure(
        "Test accuracy against energy per inference",
        scatter_chart(points, x_label="energy per inference, uJ", y_label="test accuracy, %"),
        alt=", ".join(f"{name}: {accuracy:.2f} % at {energy:.4g} uJ" for name, (energy, accuracy) in points.items()),
        numbers=table(heads, rows),
    )

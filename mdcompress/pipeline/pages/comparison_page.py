"""A comparison of runs -> its columns in words, and one page with a table and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

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
    names = ", ".join(run.run for run in comparison.runs)
    footer = "Written by mdcompress compare. The same figures stand in comparison.csv and comparison.json."
    return _page(comparison, "Comparison of runs", names, title=f"Comparison: {names}", footer=footer)


def students_page(comparison: Comparison, name: str) -> str:
    """The page of run `name` with a student for each T, which are the runs compared; the same runs give the same text.

    It stands beside their folders, and leads to the page of each.
    """
    footer = "Written by mdcompress run from the folders of the students, of which each has a page of its own."
    links = [
        tag("a", f"T = {run.time_steps}", href=f"{run.run.rpartition('/')[2]}/report.html") for run in comparison.runs
    ]
    beside = tag("p", "The page of each student: ", *(part for link in links for part in (link, " ")))
    title = f"{name}: a student for each T"
    return _page(comparison, "One student for each T", name, title=title, footer=footer, beside=(beside,))


def _page(
    comparison: Comparison, kind: str, heading: str, *, title: str, footer: str, beside: Sequence[Html] = ()
) -> str:
    introduction = tag("p", _introduction(comparison))
    top = tag("header", tag("p", kind, class_="kind"), tag("h1", heading), introduction, *beside)
    part = Part(top, (_table_section(comparison), *_pictures(comparison)))
    return document(title, (part,), footer=footer, style=style())


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
    runs = comparison.runs
    accuracies = {run: run.test_accuracy for run in runs}
    sizes = {run: run.parameter_bytes for run in runs}
    bars = {
        ("accuracy", "Accuracy"): [
            _bars("Test accuracy", accuracies, lambda run: percent(run.test_accuracy), most=1.0)
        ],
        ("sizes", "Sizes"): [_bars("Weights and constants", sizes, lambda run: byte_count(run.parameter_bytes or 0))],
        ("hardware", "Hardware"): [
            _bars(_LABELS[key], {run: run.total(key) for run in runs}, partial(_in_words, key)) for key in _DRAWN
        ],
    }
    bars["accuracy", "Accuracy"].append(_accuracy_against_energy(runs))
    drawn = {name: [each for each in figures if each is not None] for name, figures in bars.items()}
    return [Section(anchor, heading, tuple(figures)) for (anchor, heading), figures in drawn.items() if figures]


def _in_words(key: str, run: ComparedRun) -> str:
    return run.in_words(key)


def _bars(
    label: str,
    amounts: Mapping[ComparedRun, float | None],
    in_words: Callable[[ComparedRun], str],
    *,
    most: float | None = None,
) -> Html | None:
    """A bar for each run that has the amount, as long as its part of the largest, or of `most`."""
    found = {run: amount for run, amount in amounts.items() if amount is not None}
    if len(found) < 2:
        return None
    longest = most or max(found.values()) or 1.0
    rows = (_bar(run.run, in_words(run), amount / longest) for run, amount in found.items())
    words = ", ".join(f"{run.run} {in_words(run)}" for run in found)
    numbers = table(("run", label), ((run.run, in_words(run)) for run in found))
    return figure(label, tag("div", *rows, class_="rows"), alt=f"Bars: {words}.", numbers=numbers)


def _bar(name: str, words: str, part: float) -> Html:
    drawn = tag("svg", tag("rect", x="0%", width=share(part), class_="after"), class_="bar")
    return tag("div", tag("span", name, class_="name"), drawn, tag("span", words, class_="value"), class_="row")


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

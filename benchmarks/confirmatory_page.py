"""Plan, trials and results of the confirmatory experiment -> docs/results/confirmatory.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from benchmarks.confirmatory_analysis import (
    FEW_BITS,
    FOUR_BITS,
    Cell,
    Difference,
    Rows,
    over_samples_too,
)
from benchmarks.confirmatory_design import (
    CALIBRATED,
    SETTINGS,
    TRAINED,
)
from benchmarks.confirmatory_page_of_plan import Told, convergence, longer, plan_and_deviations, question, trials
from benchmarks.confirmatory_words import NEXT
from benchmarks.experiment_statistics import Interval, holm, paired_interval, spread
from benchmarks.experiment_store import Result
from mdcompress.pipeline.report import table

PRIMARY, MEMBRANES_ADD = ("+ both", "QAT"), ("+ both", "+ logits")
LEVEL = 0.05


def page(told: Told, *, command: str) -> str:
    """The whole page."""
    rows = Rows(told.rows)
    machines = "; ".join(dict.fromkeys(row.machine for row in told.rows))
    parts = [
        "# What membranes and logits add: a confirmatory experiment",
        f"`{command}` writes this page from the store and the plan ({machines or 'nothing is run yet'}). "
        f"{_completeness(told)}",
        "## What is certain",
        _certain(rows),
        "## The question",
        question(told),
        "## Plan and deviations",
        plan_and_deviations(told),
        "## Teachers",
        convergence(told),
        "## Trials",
        trials(told),
        longer(told),
        "## Differences over all data sets",
        _pooled(rows),
        "## Every setting, every difference",
        _every_cell(rows),
        "## Accuracy",
        _accuracies(rows),
        "## Membrane mismatch with the teacher",
        _mismatches(rows),
        "## Exactness",
        _exactness(rows),
        "## What could be tried next",
        NEXT,
        "## Every seed",
        _every_seed(rows),
    ]
    return "\n\n".join(parts)


def _completeness(told: Told) -> str:
    unplanned = [f"**{name} has no plan yet.**" for name in told.data_sets if name not in told.plans]
    missing = f"**{told.missing} networks of the plans are not done yet.**" if told.missing else ""
    done = "Each plan is done." if told.plans and not told.missing else missing
    return " ".join([done, *unplanned]).strip()


# ---------------------------------------------------------------------- what is certain


def _certain(rows: Rows) -> str:
    """The primary difference, then what else is shown, and what is not."""
    cells = rows.where(FEW_BITS)
    primary = rows.difference(*PRIMARY, cells)
    if len(primary.clusters) < 2:
        return "Nothing yet: fewer than two clusters are done."
    corrected = _by_pair(rows.differences(cells))
    shown, open_ = list[str](), list[str]()
    for pair, p in corrected.items():
        each = rows.difference(*pair, cells)
        what = " (what membranes add to logits)" if pair == MEMBRANES_ADD else ""
        line = f"- `{_name(each)}`{what}: {_sentence(each)}, {_p(p)} after correction"
        if pair != PRIMARY:
            (shown if p <= LEVEL else open_).append(line)
    trained = rows.difference("QAT", CALIBRATED, cells)
    exact = [row.exactness for row in rows.rows if row.exactness is not None]
    differing = sum(each.differing > 0 for each in exact)
    told = [
        f"**At 2 bits and ternary, {_name(primary)} is {_sentence(primary)}; sign-flip p = {_p(primary.sign_flip)}.** "
        f"{_verdict(primary)}",
        "Shown:",
        "\n".join(
            [
                f"- Training on labels is worth its time: {_name(trained)}: {_sentence(trained)}.",
                f"- Few bits cost accuracy: QAT beside its float teacher {_under_teacher(rows, cells, 'QAT')}.",
                *shown,
                f"- Of {len(exact)} exported students {differing} differ from their graph in onnxruntime anywhere.",
            ]
        ),
    ]
    if open_:
        told += ["Not shown, after Holm's correction of the six differences:", "\n".join(open_)]
    return "\n\n".join(told)


def _verdict(primary: Difference) -> str:
    """What the interval of the primary difference allows to say."""
    interval = primary.interval
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    if low > 0 or high < 0:
        return f"The interval excludes 0 ({low:+.2f} to {high:+.2f} points)."
    return (
        f"The interval includes 0 ({low:+.2f} to {high:+.2f} points): that distilling on both helps is not shown, nor "
        "that it does not."
    )


def _sentence(difference: Difference) -> str:
    interval = difference.interval
    return (
        f"{interval.mean:+.2f} ± {interval.half_width:.2f} points ({interval.pairs} clusters), p = {_p(difference.p)}"
    )


def _under_teacher(rows: Rows, cells: Sequence[Cell], variant: str) -> str:
    values = []
    for cluster, teacher in rows.teachers.items():
        own = [rows.at(cell, variant, cluster.seed) for cell in cells if cell.data == cluster.data]
        done = [row.accuracy for row in own if row is not None]
        if own and len(done) == len(own):
            values.append(statistics.fmean(done) - teacher.accuracy)
    interval = paired_interval(values)
    return f"{interval.mean:+.2f} ± {interval.half_width:.2f} points"


# ---------------------------------------------------------------------- results


def _pooled(rows: Rows) -> str:
    lines = []
    families = (("2bit, ternary", rows.where(FEW_BITS)), ("4bit_all", rows.where(FOUR_BITS)), ("all", rows.cells))
    for family, cells in families:
        differences = rows.differences(cells)
        corrected = _by_pair(differences)
        for each in differences:
            if len(each.clusters) > 1:
                pair = (each.first, each.second)
                lines.append([family, _name(each), *_figures(each, corrected[pair]), str(_widened(rows, each, cells))])
    header = ["settings", "difference", "points (clusters)", "p", "Holm", "sign-flip p", "test samples drawn too"]
    return (
        "Clusters of data set and seed; both scenarios together. Holm corrects the six of each block. The last column "
        f"takes the test samples as drawn as well as the seeds.\n\n{table(header, lines, numbers=header[2:])}"
    )


def _every_cell(rows: Rows) -> str:
    """Clusters are seeds here; corrected are all cells together."""
    found = [(cell, each) for cell in rows.cells for each in rows.differences([cell]) if len(each.clusters) > 1]
    corrected = holm([each.p for _, each in found])
    lines = [
        [cell.data, cell.scenario, cell.setting, _name(each), str(each.interval), _p(each.p), _p(p)]
        for (cell, each), p in zip(found, corrected, strict=True)
    ]
    header = ["data", "scenario", "setting", "difference", "points (seeds)", "p", "Holm"]
    outside = sum(abs(each.interval.mean) > each.interval.half_width for _, each in found)
    told = (
        f"{len(found)} differences; {outside} intervals exclude 0, where chance alone gives {LEVEL * len(found):.1f}; "
        f"{sum(p <= LEVEL for p in corrected)} do after Holm's correction for all of them."
    )
    return f"{told}\n\n{table(header, lines, numbers=header[4:])}"


def _accuracies(rows: Rows) -> str:
    lines = []
    for cell in rows.cells:
        teachers = [row.accuracy for cluster, row in rows.teachers.items() if cluster.data == cell.data]
        own = (spread(_all(rows, cell, variant, _test)) for variant in (CALIBRATED, *TRAINED))
        lines.append([cell.data, cell.scenario, cell.setting, spread(teachers), *own])
    header = ["data", "scenario", "setting", "teacher", CALIBRATED, *TRAINED]
    return f"Mean ± standard deviation over the seeds.\n\n{table(header, lines, numbers=header[3:])}"


def _mismatches(rows: Rows) -> str:
    lines = []
    for cell in rows.cells:
        own = (_all(rows, cell, variant, _mismatch) for variant in (CALIBRATED, *TRAINED))
        means = (f"{statistics.fmean(values):.4f}" if values else "-" for values in own)
        lines.append([cell.data, cell.scenario, cell.setting, *means])
    header = ["data", "scenario", "setting", CALIBRATED, *TRAINED]
    told = (
        "mean ((v_s - v_t) / threshold)² of potentials before reset on validation samples, mean over layers and seeds: "
        "whether the membrane loss does what it says."
    )
    return f"{told}\n\n{table(header, lines, numbers=header[3:])}"


def _exactness(rows: Rows) -> str:
    lines = []
    for data in dict.fromkeys(cell.data for cell in rows.cells):
        for setting in SETTINGS:
            seen = [
                row.exactness
                for cell in rows.cells
                if (cell.data, cell.setting) == (data, setting)
                for variant in (CALIBRATED, *TRAINED)
                for row in rows.of(cell, variant).values()
                if row.exactness is not None
            ]
            samples = ", ".join(f"{count:,}" for count in sorted({each.samples for each in seen}))
            sums = (sum(e.values for e in seen), sum(e.differing for e in seen), sum(e.silent for e in seen))
            lines.append([data, setting, str(len(seen)), samples, *(f"{each:,}" for each in sums)])
    header = [
        "data",
        "setting",
        "students",
        "test samples each",
        "values compared",
        "differing batches",
        "silent layers",
    ]
    told = (
        "Every spike, membrane and output of every student beside its exported graph in onnxruntime on so many test "
        "samples, and in the interpreter on the first of them (at most 256). Accuracies are those of the exported "
        "graphs on all."
    )
    return f"{told}\n\n{table(header, lines, numbers=header[2:])}"


def _every_seed(rows: Rows) -> str:
    variants = (CALIBRATED, *TRAINED)
    lines = []
    for cell in rows.cells:
        for cluster, teacher in rows.teachers.items():
            if cluster.data == cell.data:
                own = (rows.at(cell, variant, cluster.seed) for variant in variants)
                figures = ("-" if row is None else f"{row.accuracy:.2f}" for row in own)
                seed = str(cluster.seed)
                lines.append([cell.data, cell.scenario, cell.setting, seed, f"{teacher.accuracy:.2f}", *figures])
    header = ["data", "scenario", "setting", "seed", "teacher", *variants]
    return table(header, lines, numbers=header[3:])


# ---------------------------------------------------------------------- figures


def _name(difference: Difference) -> str:
    return f"{difference.first} − {difference.second}"


def _by_pair(differences: Sequence[Difference]) -> dict[tuple[str, str], float]:
    """Holm's p-values; a difference of fewer than two clusters has 1."""
    p_values = [each.p if len(each.clusters) > 1 else 1.0 for each in differences]
    pairs = [(each.first, each.second) for each in differences]
    return dict(zip(pairs, holm(p_values), strict=True))


def _figures(difference: Difference, corrected: float) -> tuple[str, ...]:
    return str(difference.interval), _p(difference.p), _p(corrected), _p(difference.sign_flip)


def _widened(rows: Rows, difference: Difference, cells: Sequence[Cell]) -> Interval:
    names = dict.fromkeys(cluster.data for cluster in difference.clusters)
    return over_samples_too([rows.answers(difference, name, cells) for name in names])


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 1e-3 else f"{value:.0e}"


def _all(rows: Rows, cell: Cell, variant: str, value: Callable[[Result], float]) -> list[float]:
    return [value(row) for row in rows.of(cell, variant).values()]


def _test(row: Result) -> float:
    return row.accuracy


def _mismatch(row: Result) -> float:
    return statistics.fmean(layer.membrane_after for layer in (row.layers or {}).values())

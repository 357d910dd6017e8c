"""Plan, trials and results of the confirmatory experiment -> docs/results/confirmatory.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.confirmatory_analysis import (
    FEW_BITS,
    FOUR_BITS,
    PAIRS,
    Cell,
    Difference,
    Rows,
    over_samples_too,
)
from benchmarks.confirmatory_design import (
    CALIBRATED,
    SCENARIOS,
    SETTINGS,
    SETTINGS_OF,
    TRAINED,
    TUNING_SEEDS,
    DataSet,
    candidates,
)
from benchmarks.confirmatory_plan import Plan
from benchmarks.confirmatory_tuning import ENOUGH, KEPT, Chosen, Epochs, converged, gain
from benchmarks.experiment_statistics import Interval, holm, paired_interval, spread
from benchmarks.experiment_store import Result
from mdcompress.pipeline.report import table

PRIMARY, MEMBRANES_ADD = ("+ both", "QAT"), ("+ both", "+ logits")


@dataclass(frozen=True)
class Told:
    """All that the page is made of, by data set.

    longer: accuracies after twice the epochs, of each of the trials' searches. rows: of the plans; missing: how many of
    them are not there.
    """

    plans: Mapping[str, Plan]
    data_sets: Mapping[str, DataSet]
    epochs: Mapping[str, Sequence[Epochs]]
    trials: Mapping[str, Sequence[Chosen]]
    longer: Mapping[str, Sequence[tuple[float, ...]]]
    rows: Sequence[Result]
    missing: int


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
        _question(told),
        "## Plan and deviations",
        _plan(told),
        "## Teachers",
        _convergence(told),
        "## Trials",
        _trials(told),
        _longer(told),
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
        "## Every seed",
        _every_seed(rows),
    ]
    return "\n\n".join(parts)


def _completeness(told: Told) -> str:
    unplanned = [f"**{name} has no plan yet.**" for name in told.data_sets if name not in told.plans]
    missing = f"**{told.missing} networks of the plans are not done yet.**" if told.missing else ""
    done = "All of the plans is done." if told.plans and not told.missing else missing
    return " ".join([done, *unplanned]).strip()


# ---------------------------------------------------------------------- what is certain


def _certain(rows: Rows) -> str:
    """The primary difference, then what its interval, the secondary ones and calibration allow to say."""
    cells = rows.where(FEW_BITS)
    primary = rows.difference(*PRIMARY, cells)
    if len(primary.clusters) < 2:
        return "Nothing yet: fewer than two clusters are done."
    corrected = _by_pair(rows.differences(cells))
    told = [
        f"- **{_name(primary)} at 2 bits and ternary: {_sentence(primary)}** (primary; sign-flip p = "
        f"{_p(primary.sign_flip)}). {_verdict(primary.interval, primary.p)}",
    ]
    for pair in PAIRS:
        if pair == PRIMARY:
            continue
        each, p = rows.difference(*pair, cells), corrected[pair]
        what = " (what membranes add to logits)" if pair == MEMBRANES_ADD else ""
        told.append(f"- {_name(each)}{what}: {_sentence(each)}, corrected {_p(p)}. {_verdict(each.interval, p)}")
    gained = rows.difference("QAT", CALIBRATED, cells)
    told.append(f"- Training on labels beside calibration alone ({_name(gained)}): {_sentence(gained)}.")
    lost = _under_teacher(rows, cells, "QAT")
    told.append(f"- QAT stands beside its teacher at {lost} points (2 bits and ternary).")
    exact = [row.exactness for row in rows.rows if row.exactness is not None]
    told.append(
        f"- Of {len(exact)} exported students {sum(each.differing > 0 for each in exact)} differ from their graph in "
        "onnxruntime anywhere."
    )
    return "\n".join(told)


def _verdict(interval: Interval, p: float) -> str:
    if abs(interval.mean) <= interval.half_width:
        return "The interval includes 0: nothing is shown, and a true difference beyond the interval is unlikely."
    if p > 1 - 0.95:
        return "The interval excludes 0, but not after the correction: nothing is shown."
    return "The interval excludes 0."


def _sentence(difference: Difference) -> str:
    return f"{difference.interval} clusters, p = {_p(difference.p)}"


def _under_teacher(rows: Rows, cells: Sequence[Cell], variant: str) -> str:
    values = []
    for cluster, teacher in rows.teachers.items():
        own = [rows.at(cell, variant, cluster.seed) for cell in cells if cell.data == cluster.data]
        done = [row.accuracy for row in own if row is not None]
        if own and len(done) == len(own):
            values.append(statistics.fmean(done) - teacher.accuracy)
    return str(paired_interval(values))


# ---------------------------------------------------------------------- how


def _question(told: Told) -> str:
    samples = [
        [name, *(f"{getattr(data.samples, part):,}" for part in ("same", "less", "validation", "tuning"))]
        for name, data in told.data_sets.items()
    ]
    header = ["data", "training: teacher, students `same`", "students `less`", "validation", "tuning"]
    return f"{_QUESTION}\n\n{table(header, samples, numbers=header[1:])}\n\n{_SETTINGS}"


_QUESTION = """\
Does a quantized student gain from its float teacher's answers (`+ logits`), from its membrane potentials
(`+ membrane`), or from both, over training on labels alone (`QAT`)? And do membranes add anything to logits? An earlier
page ([what distillation is worth](distillation.md)) could not tell: its teachers stopped early, its variants had
unequal numbers of trials, and its scenario was chosen after another one had shown nothing. Here teachers are trained
until more epochs gain nothing, every variant has as many trials, two scenarios stand side by side, and plan, seeds and
analysis were fixed in git before a test sample was read.

`less`: the student is trained on a part of its teacher's samples. `same`: on all of them, for as many optimizer steps
(64). `calibration only` is the student before any training; it is a reference and has no trial."""

_SETTINGS = """\
Test parts: N-MNIST 300 recordings (the file's 100, and 200 of its training part), MNIST 2,500 of the file's 10,000
images. The splits are new ones; but MNIST's test part and 100 of N-MNIST's recordings are those that earlier
experiments read too, as there are no others. Frames and images have half the resolution (17 x 17 and 14 x 14), so that
hundreds of networks fit into hours of one core: accuracies are not comparable with those of other pages.

`2bit` and `ternary`: so many bits for the weights of every layer, first and last included, with 2- and 4-bit membranes;
`4bit_all`: 4 bits for weights of every layer, membranes and multipliers of batch norms. Networks are small ones
(`benchmarks/confirmatory_networks.py`), T = 4. Accuracies in percent of the test part, read once by the exported graph;
intervals are 95 %."""

_DEVIATIONS = """\
**Deviations: none.**

**Cut for time**: CIFAR-10 and Tiny-ImageNet, whose networks take minutes each on this machine. The membrane distance is
the mean square alone, of potentials before reset; candidates were tuned in `less` and hold in `same` too."""


def _plan(told: Told) -> str:
    if not told.plans:
        return "Not fixed yet."
    chosen = [
        [name, search, ", ".join(SETTINGS_OF[search]), variant, " ".join(changes)]
        for name, plan in told.plans.items()
        for search, variants in plan.chosen.items()
        for variant, changes in variants.items()
    ]
    fixed = [
        [
            name, f"`{plan.digest}`", f"{plan.seeds[0]} to {plan.seeds[-1]}", str(plan.teacher_epochs),
            *(str(plan.student_epochs[scenario]) for scenario in SCENARIOS), *_rows_of(told, plan),
        ]
        for name, plan in told.plans.items()
    ]  # fmt: skip
    analysis = "\n".join(f"- {line}" for line in next(iter(told.plans.values())).analysis)
    header = [
        "data", "digest of its plan", "seeds", "teacher epochs", *(f"student epochs `{each}`" for each in SCENARIOS),
        "rows", "of another plan",
    ]  # fmt: skip
    return (
        "`docs/results/confirmatory_plan_<data>.json` was written by `plan` from the trials below and committed before "
        "`run`, which refuses another; every row of the store names the digest of its plan.\n\n"
        f"{table(header, fixed, numbers=header[3:])}\n\n{analysis}\n\n"
        f"{table(['data', 'search', 'settings', 'variant', 'chosen'], chosen)}\n\n{_DEVIATIONS}"
    )


def _rows_of(told: Told, plan: Plan) -> tuple[str, str]:
    """How many of the data set there are, and how many name another plan."""
    own = [row for row in told.rows if row.group.rpartition("_")[0] == plan.data]
    return str(len(own)), str(sum(row.plan != plan.digest for row in own))


def _convergence(told: Told) -> str:
    rows = []
    for name, made in told.epochs.items():
        done = converged(made)
        for now, twice in zip(made, [*made[1:], None], strict=True):
            gained = "-" if twice is None else f"{gain(now, twice):+.2f}"
            means = (statistics.fmean(each) for each in (now.validation, now.tuning, now.score))
            chosen = "chosen" if now.epochs == done else ""
            rows.append([name, str(now.epochs), *(f"{mean:.2f}" for mean in means), gained, chosen])
    header = ["data", "epochs", "validation, %", "tuning samples, %", "both, %", "twice the epochs gain, points", ""]
    seeds = ", ".join(map(str, TUNING_SEEDS))
    return (
        f"Float networks of the tuning seeds ({seeds}), means. Validation chose the epoch; the samples for tuning "
        f"chose nothing. Chosen is the fewest epochs of which twice as many gain less than {ENOUGH} points on both "
        f"together.\n\n{table(header, rows, numbers=header[1:6])}"
    )


def _trials(told: Told) -> str:
    rows = [
        [
            name, made.search, made.variant, " ".join(trial.candidate), str(len(trial.scores)), f"{trial.mean:.2f}",
            "chosen" if trial is made.best else "",
        ]
        for name, searches in told.trials.items()
        for made in searches
        for trial in made.trials
    ]  # fmt: skip
    header = ["data", "search", "variant", "candidate", "seeds", "accuracy, %", ""]
    counts = ", ".join(str(len(candidates(variant))) for variant in TRAINED)
    return (
        f"{counts} candidates of {', '.join(TRAINED)}, fixed beforehand (`benchmarks/confirmatory_design.py`), on seed "
        f"{TUNING_SEEDS[0]}; the better 1 in {KEPT} on {' and '.join(map(str, TUNING_SEEDS[1:]))} too; chosen is the "
        "best mean of the three. Accuracy is on the samples for tuning. `few` is tuned on 2bit and holds for ternary "
        f"too, `four` on 4bit_all.\n\n{table(header, rows, numbers=header[4:6])}"
    )


def _longer(told: Told) -> str:
    """Whether students were done after their epochs."""
    rows = [
        [name, made.search, made.variant, f"{made.best.mean:.2f}", spread(scores), str(paired_interval(gains))]
        for name, searches in told.trials.items()
        for made, scores in zip(searches, told.longer[name], strict=True)
        if (gains := [b - a for a, b in zip(made.best.scores, scores, strict=False)])
    ]
    header = ["data", "search", "variant", "chosen, %", "for twice the epochs, %", "gain, points (seeds)"]
    every = [gain for name in told.trials for gain in _gains(told, name)]
    mean = f"Over all of them: {paired_interval(every)} points." if len(every) > 1 else "Not measured yet."
    return (
        "Whether students are done, too: what was chosen, trained for twice the epochs (`longer`; the best of the "
        f"trials is favoured by having been chosen on these samples). {mean}\n\n"
        f"{table(header, rows, numbers=header[3:])}"
    )


def _gains(told: Told, name: str) -> list[float]:
    pairs = zip(told.trials[name], told.longer[name], strict=True)
    return [b - a for made, scores in pairs for a, b in zip(made.best.scores, scores, strict=False)]


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
        f"{len(found)} differences; {outside} intervals exclude 0, where chance alone gives {0.05 * len(found):.1f}; "
        f"{sum(p <= 0.05 for p in corrected)} do after Holm's correction for all of them."
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
        "samples, and on the first 256 also in the interpreter. Accuracies are those of the exported graphs on all."
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
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _all(rows: Rows, cell: Cell, variant: str, value: Callable[[Result], float]) -> list[float]:
    return [value(row) for row in rows.of(cell, variant).values()]


def _test(row: Result) -> float:
    return row.accuracy


def _mismatch(row: Result) -> float:
    return statistics.fmean(layer.membrane_after for layer in (row.layers or {}).values())

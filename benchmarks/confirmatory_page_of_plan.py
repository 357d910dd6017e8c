"""Data, plan and trials of the confirmatory experiment -> the first half of its page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.confirmatory_design import SCENARIOS, SETTINGS_OF, TRAINED, TUNING_SEEDS, DataSet, candidates
from benchmarks.confirmatory_plan import Plan
from benchmarks.confirmatory_tuning import ENOUGH, KEPT, Chosen, Epochs, converged, gain
from benchmarks.confirmatory_words import DEVIATIONS, QUESTION, SETTINGS
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from mdcompress.pipeline.report import table


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


def question(told: Told) -> str:
    """What is asked, of which samples, at which settings."""
    samples = [
        [name, *(f"{getattr(data.samples, part):,}" for part in ("same", "less", "validation", "tuning"))]
        for name, data in told.data_sets.items()
    ]
    header = ["data", "training: teacher, students `same`", "students `less`", "validation", "tuning"]
    return f"{QUESTION}\n\n{table(header, samples, numbers=header[1:])}\n\n{SETTINGS}"


def plan_and_deviations(told: Told) -> str:
    """What each plan fixed, which rows name it, what was done otherwise, and what was cut."""
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
        f"{table(['data', 'search', 'settings', 'variant', 'chosen'], chosen)}\n\n{DEVIATIONS}"
    )


def _rows_of(told: Told, plan: Plan) -> tuple[str, str]:
    """How many of the data set there are, and how many name another plan."""
    own = [row for row in told.rows if row.group.rpartition("_")[0] == plan.data]
    return str(len(own)), str(sum(row.plan != plan.digest for row in own))


def convergence(told: Told) -> str:
    """Teachers of more and more epochs."""
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
        f"chose nothing. Chosen is the fewest epochs beside which no more of those tried gain {ENOUGH} points on "
        f"both together.\n\n{table(header, rows, numbers=header[1:6])}"
    )


def trials(told: Told) -> str:
    """Every candidate of every variant."""
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


def longer(told: Told) -> str:
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

"""Results of tuning seeds -> how long teachers train, and the candidate of each variant.

Neither reads the test part. Every variant has the same candidates in number and the same rungs: all of them on the
first seed, the better half on the others; chosen is the best mean over all seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.confirmatory_design import (
    SEARCHES,
    TRAINED,
    TUNED_ON,
    TUNING_SEEDS,
    DataSet,
    Search,
    Trained,
    candidates,
    convergence_task,
    longer_task,
    tuning_task,
)
from benchmarks.distillation_variants import Changes
from benchmarks.experiment_runs import Unit, units_of
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import Task, key_of

Found = Mapping[str, Result]

ENOUGH = 0.3  # points: a teacher is done when more epochs, twice as many at least, gain less on unseen samples
KEPT = 2  # a rung leaves one candidate in so many


# ---------------------------------------------------------------------- teachers


@dataclass(frozen=True)
class Epochs:
    """Teachers of so many epochs, in percent: validation chose the epoch, `tuning` are samples that chose nothing.

    score: of both together, by seed.
    """

    epochs: int
    validation: tuple[float, ...]
    tuning: tuple[float, ...]
    score: tuple[float, ...]


def convergence_units(data: DataSet) -> tuple[Unit, ...]:
    """A teacher of each number of epochs for each tuning seed."""
    return units_of([convergence_task(data, epochs) for epochs in data.teacher_epochs], TUNING_SEEDS)


def convergence(data: DataSet, found: Found) -> tuple[Epochs, ...]:
    """The numbers of epochs of which every seed is there."""
    made, samples = [], (data.samples.validation, data.samples.tuning)
    for epochs in data.teacher_epochs:
        task = convergence_task(data, epochs)
        rows = [found[key] for seed in TUNING_SEEDS if (key := key_of(task, seed)) in found]
        if len(rows) < len(TUNING_SEEDS):
            break
        first, second = (tuple(value(row) for row in rows) for value in (_validation, _last))
        score = tuple((samples[0] * a + samples[1] * b) / sum(samples) for a, b in zip(first, second, strict=True))
        made.append(Epochs(epochs, first, second, score))
    return tuple(made)


def converged(made: Sequence[Epochs]) -> int | None:
    """The fewest epochs beside which no more of those tried gain ENOUGH, twice as many least; None: there are none."""
    return next(
        (
            now.epochs
            for place, now in enumerate(made[:-1], start=1)
            if all(gain(now, more) < ENOUGH for more in made[place:])
        ),
        None,
    )


def gain(now: Epochs, more: Epochs) -> float:
    """Points that more epochs gain."""
    return statistics.fmean(more.score) - statistics.fmean(now.score)


def _validation(row: Result) -> float:
    return row.chosen_by


def _last(row: Result) -> float:
    return row.accuracy


# ---------------------------------------------------------------------- candidates


@dataclass(frozen=True)
class Trial:
    """A candidate and its accuracy on samples for tuning in percent, seed by seed."""

    candidate: Changes
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds that it was given."""
        return statistics.fmean(self.scores)


@dataclass(frozen=True)
class Chosen:
    """A finished search of one variant."""

    search: Search
    variant: Trained
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The best mean of those that had every seed; of equals the first."""
        return max((each for each in self.trials if len(each.scores) == len(TUNING_SEEDS)), key=lambda each: each.mean)


def next_units(data: DataSet, teacher_epochs: int, found: Found) -> tuple[Unit, ...]:
    """What the rungs that can be climbed now still need; empty: every search is done."""
    first, *others = TUNING_SEEDS
    begin: list[Task] = []
    go_on: list[Task] = []
    for search in SEARCHES:
        for variant in TRAINED:
            tasks = {each: _task(data, search, variant, each, teacher_epochs) for each in candidates(variant)}
            rung = _rung(data, search, variant, teacher_epochs, found)
            if rung is None:
                begin += tasks.values()
            elif _trials(data, search, variant, teacher_epochs, found) is None:
                go_on += [tasks[each] for each in rung]
    return (*units_of(begin, (first,)), *units_of(go_on, others))


def choices(data: DataSet, teacher_epochs: int, found: Found) -> tuple[Chosen, ...]:
    """The searches that are done."""
    return tuple(
        Chosen(search, variant, trials)
        for search in SEARCHES
        for variant in TRAINED
        if (trials := _trials(data, search, variant, teacher_epochs, found)) is not None
    )


def longer_units(data: DataSet, teacher_epochs: int, made: Sequence[Chosen]) -> tuple[Unit, ...]:
    """What was chosen, for twice the epochs on every tuning seed."""
    return units_of([_longer(data, each, teacher_epochs) for each in made], TUNING_SEEDS)


def longer(data: DataSet, teacher_epochs: int, made: Chosen, found: Found) -> tuple[float, ...]:
    """Accuracy on the samples for tuning after twice the epochs, of the seeds that are done."""
    task = _longer(data, made, teacher_epochs)
    return tuple(found[key].accuracy for seed in TUNING_SEEDS if (key := key_of(task, seed)) in found)


def _longer(data: DataSet, made: Chosen, teacher_epochs: int) -> Task:
    setting, candidate = TUNED_ON[made.search], made.best.candidate
    return longer_task(data, setting, made.variant, candidate, teacher_epochs=teacher_epochs)


def _trials(
    data: DataSet, search: Search, variant: Trained, teacher_epochs: int, found: Found
) -> tuple[Trial, ...] | None:
    """All candidates, those of the second rung with every seed; None while a result is missing."""
    rung = _rung(data, search, variant, teacher_epochs, found)
    if rung is None:
        return None
    trials = []
    for each in candidates(variant):
        seeds = TUNING_SEEDS if each in rung else TUNING_SEEDS[:1]
        task = _task(data, search, variant, each, teacher_epochs)
        scores = tuple(found[key].accuracy for seed in seeds if (key := key_of(task, seed)) in found)
        if len(scores) < len(seeds):
            return None
        trials.append(Trial(each, scores))
    return tuple(trials)


def _rung(
    data: DataSet, search: Search, variant: Trained, teacher_epochs: int, found: Found
) -> tuple[Changes, ...] | None:
    """The candidates that the first seed leaves; None while one of its results is missing."""
    tried = candidates(variant)
    keys = [key_of(_task(data, search, variant, each, teacher_epochs), TUNING_SEEDS[0]) for each in tried]
    if any(key not in found for key in keys):
        return None
    scored = {each: found[key].accuracy for each, key in zip(tried, keys, strict=True)}
    best = sorted(tried, key=lambda each: -scored[each])[: len(tried) // KEPT]  # stable: of equals the first
    return tuple(each for each in tried if each in best)


def _task(data: DataSet, search: Search, variant: Trained, candidate: Changes, teacher_epochs: int) -> Task:
    return tuning_task(data, TUNED_ON[search], variant, candidate, teacher_epochs=teacher_epochs)

"""Why membranes add little to answers, and whether another way of comparing them adds more; resumable.

    python -m benchmarks membrane_ideas run --store STORE --data-folder FOLDER
    python -m benchmarks membrane_ideas page --store STORE > docs/results/membrane_ideas.md

(from the checkout, with OMP_NUM_THREADS=1; STORE: docs/results/membrane_ideas.jsonl.) The confirmatory experiment could
not show that membranes add to logits at 2 bits. The plan, fixed before a student of an idea was trained:

- Data, networks, teachers and epochs of the confirmatory experiment (`confirmatory_design.py`), scenario `less`,
  MNIST and N-MNIST. Accuracies are of samples for tuning; no test part is read.
- Each of eight ideas is logits of weight 4 and membranes in another way. Beside it stands logits alone, and for the
  idea of fewer steps logits alone at those. Each has four candidates: two rates, and two weights of what is tried.
- Search: 2 bits, seeds 2000 and 2001. Of each way the candidate with the highest mean is taken, on each data set.
- Comparison: what was taken, 2 bits and ternary, fresh seeds 1000 to 1004. A cluster is a data set and a seed, its
  value the mean over both settings of the difference to logits alone. The eight ideas are corrected by Holm.
"""

from __future__ import annotations

import itertools
import shlex
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.confirmatory_design import DATA_SETS, DataSet, Setting, tuning_task
from benchmarks.distillation_variants import LOGITS_WEIGHT, MEMBRANE_WEIGHT, NO_MEMBRANE, Changes
from benchmarks.experiment_comparisons import Comparison, compared_by_cluster
from benchmarks.experiment_runs import Unit, experiment_parser, origin, place_of, run_units, stored
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import Task, Workplace, key_of
from mdcompress.pipeline.report import table

EXPERIMENT = "membrane_ideas"
TEACHER_EPOCHS = 160  # those of the confirmatory experiment
RATES = (3e-3, 1e-2)
SEARCHED: Setting = "2bit"
COMPARED: tuple[Setting, ...] = ("2bit", "ternary")
SEARCH_SEEDS, SEEDS = (2000, 2001), (1000, 1001, 1002, 1003, 1004)
SIGNIFICANT = 0.05
LAST_LAYER = "neuron3"  # of the experiment's networks

TWO_STEPS = "distill.time_steps=[2]"
ALONE, ALONE_AT_2 = "logits alone", "logits alone, T = 2"


@dataclass(frozen=True)
class Way:
    """A way to train: what is changed in all of its candidates, the changes of which each has one, and its reference.

    Attributes:
        common: changes of every candidate.
        tried: one of these in each candidate.
        beside: the way without membranes; None: it is one.
    """

    common: Changes
    tried: Changes
    beside: str | None = ALONE


def _weights(low: float, high: float) -> Changes:
    return f"{MEMBRANE_WEIGHT}{low:g}", f"{MEMBRANE_WEIGHT}{high:g}"


_LOGITS = f"{LOGITS_WEIGHT}4"
WAYS: Mapping[str, Way] = {
    ALONE: Way((NO_MEMBRANE,), (f"{LOGITS_WEIGHT}1", f"{LOGITS_WEIGHT}4"), beside=None),
    "each potential (mse), heavier": Way((_LOGITS,), _weights(3, 30)),
    "distributions (emd)": Way((_LOGITS, "distill.membrane.distance=emd"), _weights(1, 10)),
    "distributions (moments)": Way((_LOGITS, "distill.membrane.distance=moments"), _weights(1, 10)),
    "closeness to the threshold (firing)": Way((_LOGITS, "distill.membrane.distance=firing"), _weights(1, 10)),
    "last layer alone": Way((_LOGITS, f"distill.membrane.match={LAST_LAYER}"), _weights(1, 10)),
    "first half of the epochs": Way((_LOGITS, "distill.membrane.epochs=8"), _weights(1, 10)),
    "potentials after reset": Way((_LOGITS, "distill.membrane.potential=after_reset"), _weights(1, 10)),
    ALONE_AT_2: Way((NO_MEMBRANE, TWO_STEPS), (f"{LOGITS_WEIGHT}1", f"{LOGITS_WEIGHT}4"), beside=None),
    "each potential (mse), T = 2 of a teacher of 4": Way((_LOGITS, TWO_STEPS), _weights(1, 10), beside=ALONE_AT_2),
}
IDEAS = tuple(name for name, way in WAYS.items() if way.beside is not None)


def candidates(way: Way) -> tuple[Changes, ...]:
    """Every rate with everything that is tried."""
    pairs = itertools.product(RATES, way.tried)
    return tuple((f"train.optimizer.lr={rate:g}", *way.common, tried) for rate, tried in pairs)


def _task(data: DataSet, setting: Setting, name: str, candidate: Changes, *, part: str) -> Task:
    task = tuning_task(data, setting, "+ both", candidate, teacher_epochs=TEACHER_EPOCHS)
    variant = f"{name}: {' '.join(candidate)}" if part == "search" else name
    return replace(task, experiment=f"{EXPERIMENT}, {part}", variant=variant)


def searched() -> tuple[Unit, ...]:
    """The students of the search."""
    return tuple(
        Unit(data.name, seed, tuple(task for _, _, task in _search_tasks(data)))
        for seed in SEARCH_SEEDS
        for data in DATA_SETS.values()
    )


def _search_tasks(data: DataSet) -> Iterator[tuple[str, Changes, Task]]:
    for name, way in WAYS.items():
        for candidate in candidates(way):
            yield name, candidate, _task(data, SEARCHED, name, candidate, part="search")


@dataclass(frozen=True)
class Found:
    """A candidate of a way on a data set, and its accuracies by seed."""

    data: str
    name: str
    candidate: Changes
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """In percent."""
        return statistics.fmean(self.accuracies)


def search_results(results: Mapping[str, Result]) -> tuple[Found, ...]:
    """Every candidate that has a result."""
    found = []
    for data in DATA_SETS.values():
        for name, candidate, task in _search_tasks(data):
            rows = [results[key] for seed in SEARCH_SEEDS if (key := key_of(task, seed)) in results]
            if rows:
                found.append(Found(data.name, name, candidate, tuple(row.accuracy for row in rows)))
    return tuple(found)


def taken(found: Sequence[Found]) -> dict[tuple[str, str], Found]:
    """(data set, way) -> its candidate of the highest mean; of equal ones the first."""
    best: dict[tuple[str, str], Found] = {}
    for each in found:
        known = best.get((each.data, each.name))
        if known is None or each.mean > known.mean:
            best[each.data, each.name] = each
    return best


def compared(found: Sequence[Found]) -> tuple[Unit, ...]:
    """The students of the comparison; none before the search is done."""
    if sum(len(each.accuracies) for each in found) < sum(len(unit.tasks) for unit in searched()):
        return ()
    best = taken(found)
    return tuple(
        Unit(
            data.name,
            seed,
            tuple(
                _task(data, setting, name, best[data.name, name].candidate, part="comparison")
                for setting in COMPARED
                for name in WAYS
            ),
        )
        for seed in SEEDS
        for data in DATA_SETS.values()
    )


def comparisons(rows: Sequence[Result]) -> tuple[Comparison, ...]:
    """Every idea beside logits alone."""
    beside = {name: way.beside for name, way in WAYS.items() if way.beside is not None}
    return compared_by_cluster(rows, beside, COMPARED)


def page(found: Sequence[Found], rows: Sequence[Result], *, missing: int, command: str) -> str:
    """The whole page: what the search found, the comparison; `missing` students are planned and not done."""
    return "\n\n".join(
        [
            "# Why membranes add little to answers: eight ideas",
            origin(rows, missing=missing, command=command),
            _HEAD,
            _verdict(comparisons(rows)),
            "## Beside logits alone, on fresh seeds",
            _differences(comparisons(rows)),
            _accuracies(rows),
            "## The search",
            _searches(found),
        ]
    )


_HEAD = """\
The [confirmatory experiment](confirmatory.md) could not show that membranes add to logits at 2 bits. Here are eight
other ways to compare them, with the same data, networks, teachers and epochs (MNIST and N-MNIST at half the resolution,
students on 200 samples, 64 optimizer steps), each with as many trials as logits alone: two rates, two weights.
Accuracies are of samples for tuning (1,000 and 200), which neither a training nor the choice of an epoch sees; no test
part is read. Plan and correction stand in `benchmarks/membrane_ideas.py`, which was committed before a student was
trained."""


def _verdict(found: Sequence[Comparison]) -> str:
    """Which ideas add to logits, by the plan."""
    shown = [each for each in found if each.corrected < SIGNIFICANT and each.mean > 0]
    if shown:
        named = ", ".join(f"{each.variant} ({paired_interval(each.differences)} points)" for each in shown)
        return f"**After correction for {len(IDEAS)} these add to logits: {named}.**"
    return f"**After correction for {len(IDEAS)} no idea is shown to add to logits.**"


def _differences(found: Sequence[Comparison]) -> str:
    ordered = sorted(found, key=lambda each: -each.mean)
    lines = [[each.variant, str(paired_interval(each.differences)), f"{each.corrected:.3f}"] for each in ordered]
    header = ["logits and membranes", "points beside logits alone", "p, corrected"]
    told = "A cluster is a data set and a seed; its value is the mean over 2 bits and ternary weights. ± is 95 %."
    return f"{told}\n\n{table(header, lines, numbers=header[1:])}"


def _accuracies(rows: Sequence[Result]) -> str:
    cells = list(dict.fromkeys((row.group, row.setting) for row in rows))
    lines = [
        [name, *(spread([row.accuracy for row in rows if (row.variant, row.group, row.setting) == (name, *cell)])
                 for cell in cells)]
        for name in WAYS
    ]  # fmt: skip
    header = ["training", *(f"{_data(group)}, {setting}" for group, setting in cells)]
    return table(header, lines, numbers=header[1:])


def _searches(found: Sequence[Found]) -> str:
    best = taken(found)
    lines = [
        [
            each.data,
            each.name,
            " ".join(each.candidate),
            spread(each.accuracies),
            "taken" if each == best[each.data, each.name] else "",
        ]
        for each in found
    ]
    told = f"At 2 bits, {len(SEARCH_SEEDS)} seeds; of equal candidates the first is taken."
    header = ["data", "training", "changes", "accuracy, %", ""]
    return f"{told}\n\n{table(header, lines, numbers=header[3:4])}"


def _data(group: str) -> str:
    return group.partition("_")[0]


def _rows(place: Workplace) -> tuple[tuple[Found, ...], list[Result], int]:
    """What the search found, the results of the comparison, and how many students are missing."""
    found = search_results(place.store.results())
    units = compared(found)
    rows, missing = stored(units, place)
    _, unsearched = stored(searched(), place)
    planned = len(COMPARED) * len(WAYS) * len(SEEDS) * len(DATA_SETS)
    return found, rows, missing if units else unsearched + planned


def main() -> None:
    """Run or print."""
    options = experiment_parser(__doc__, store="runs/experiments/membrane_ideas.jsonl").parse_args()
    place = place_of(options)
    match options.mode:
        case "run":
            run_units(searched(), place, processes=options.processes)
            run_units(compared(search_results(place.store.results())), place, processes=options.processes)
        case "page":
            found, rows, missing = _rows(place)
            command = f"python -m benchmarks membrane_ideas {shlex.join(sys.argv[1:])}"
            sys.stdout.write(page(found, rows, missing=missing, command=command) + "\n")


if __name__ == "__main__":
    main()

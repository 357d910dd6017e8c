"""What spikes that cost something in training save: energy against accuracy, `distill.sparsity`; resumable.

    python -m benchmarks sparsity_energy run --store docs/results/sparsity.jsonl --data-folder FOLDER
    python -m benchmarks sparsity_energy page --store docs/results/sparsity.jsonl > docs/results/sparsity.md

(from the checkout, with OMP_NUM_THREADS=1.) The plan, fixed before a test accuracy of its seeds was read:

- Students at 4 bits under their float teacher, from labels and answers alone (`membrane: null`: the teacher's membranes
  have the teacher's spikes), all parts trained, best epoch by the total loss on validation.
- `sparsity: {weight: w, target: 0}`, w = 3, 10, 30, 100: so much costs a spike per neuron and step. Without it
  there are two: the recipe's learning rate, and that of the students with it, 2e-3. Beside them stands the one of the
  two with the higher mean accuracy on validation.
- Chosen is, on validation, the largest w whose mean accuracy over the seeds is at most 0.3 points lower. Test accuracy
  and cost of that one, and of the one without, are the result; the curve of all w is shown.
- Costs are those of the exported integers on the test samples: synaptic operations, and energy on three shipped
  descriptions. `rram_64x64_65nm` and `sram_digital`, which convert or sum every column whatever is active, as they are
  and with idle arrays that are not read; `sram_event_driven`, which reads rows with a spike alone.
- The bar, for each of these costs: on two of three data sets (digits, N-MNIST, CIFAR-10) at least 25 % less in the
  mean over the seeds, and a mean test accuracy at most 0.3 points lower.
- Digits and N-MNIST seeds 1 to 5, CIFAR-10 seeds 1 to 3. Digits and seed 0 of N-MNIST had been tried before the plan
  had these seeds and its third description; their test accuracies were seen.
- Added when those were done, and before a test accuracy of it was read: `cifar10_same`, seeds 1 to 5. The students of
  `cifar10` have a twentieth of their teacher's samples, and a network without room (8 channels). Those of
  `cifar10_same` have all samples of their teacher, and 16 channels. One was tried on samples for tuning of seed 100:
  w = 30 took 39 % of the spikes and no accuracy.
- Added after seeds 4 and 5 of that, and before a test accuracy of it was read: `per: operations`, w = 10, 30, 100, on
  every data set. A spike costs what it causes, so that those of the last layer, which cause few operations, stay. It
  was tried on the samples for tuning of seed 100. Choice and bar are for each way of counting by itself.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.experiment_costs import ENERGIES, OPERATIONS, RATE
from benchmarks.experiment_runs import Unit, exactness, experiment_parser, origin, run_or_print, units_of
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import Task, group_of
from intsnn.shares import percent_change
from mdcompress.pipeline.report import table
from mdcompress.recipe import load_recipe
from mdcompress.recipe.distilling import RateOf

RECIPES = (
    "4bit",
    "benchmarks/recipes/nmnist_4bit.yaml",
    "benchmarks/recipes/cifar10_4bit.yaml",
    "benchmarks/recipes/cifar10_same_4bit.yaml",
)
SEEDS = {"digits": (1, 2, 3, 4, 5), "nmnist": (1, 2, 3, 4, 5), "cifar10": (1, 2, 3), "cifar10_same": (1, 2, 3, 4, 5)}
OTHER_SEEDS = (1, 2, 3)  # of a data set that is not named here
WEIGHTS: Mapping[RateOf, tuple[int, ...]] = {"network": (3, 10, 30, 100), "operations": (10, 30, 100)}
RATE_OF_ALL = "train.optimizer.lr=2e-3"
COMMON = (
    "distill.membrane=null", "distill.weights=train", "distill.best=loss", "train.batch_norm.freeze_after=null",
)  # fmt: skip
EXPERIMENT = "sparsity"
WITHOUT = ("without, the recipe's rate", "without, rate 2e-3")
ALLOWED = 0.3  # points of accuracy, of validation for the choice and of test for the bar
LEAST = 25.0  # percent that a cost must fall
COSTS = (OPERATIONS, *ENERGIES)

By = Mapping[str, Sequence[Result]]  # variant -> its results by seed


def tasks_of(recipe: str) -> tuple[Task, ...]:
    """The students without a price, those with one; a rate that is the recipe's own already stands once."""
    own_rate = load_recipe(recipe).train.optimizer.lr == 2e-3
    plain: list[tuple[str, tuple[str, ...]]] = [(WITHOUT[1], (*COMMON, RATE_OF_ALL))]
    if not own_rate:
        plain.insert(0, (WITHOUT[0], COMMON))
    priced = [
        (
            _priced(per, weight),
            (*COMMON, RATE_OF_ALL, f"distill.sparsity={{weight: {weight}, target: 0{_spelled(per)}}}"),
        )
        for per, weights in WEIGHTS.items()
        for weight in weights
    ]
    return tuple(
        Task("student", EXPERIMENT, recipe, variant, changes, costs=(OPERATIONS, RATE, *ENERGIES))
        for variant, changes in [*plain, *priced]
    )


def page(rows: Sequence[Result], *, missing: int, command: str) -> str:
    """The whole page; `missing` students are planned and not done."""
    groups = list(dict.fromkeys(row.group for row in rows))
    pairs = {
        (group, per): _chosen_pair(found, per)
        for group in groups
        for found in [_by_variant(rows, group)]
        for per in WEIGHTS
        if any(_priced(per, weight) in found for weight in WEIGHTS[per])
    }
    return "\n\n".join(
        [
            "# What a price on spikes saves",
            origin(rows, missing=missing, command=command),
            _HEAD,
            "## At equal accuracy",
            _chosen(pairs),
            "## The bar",
            _bar(pairs),
            *(part for group in groups for part in (f"## {group}", _curve(_by_variant(rows, group)))),
            "## Exactness",
            exactness(rows),
        ]
    )


_HEAD = """\
Students at 4/4/8 bits of `distill.sparsity: {weight: w, target: 0}`: labels, answers, and w times the spikes per neuron
and step, or with `per: operations` w times the share of synaptic operations that is done
([training](../training.md#fewer-spikes)). Beside them the same training without. Membranes are not compared,
all parts are trained, the epoch is that of the lowest total loss on validation that is not less accurate than the
calibrated student by more than chance. Plan, choice and bar stand in `benchmarks/sparsity_energy.py`, which was
committed before a test accuracy of these seeds was read: the largest w whose mean accuracy on validation is at most 0.3
points lower than without, for each way of counting. Costs are of the exported integers on the test samples: means over
the seeds, ± standard deviation; of accuracies' differences the 95 % interval (Student's t).

Students of `nmnist` and `cifar10` have a part of their teacher's samples (200 of 500, 1,000 of 20,000) and networks of
4 and 8 channels. Those of `cifar10_same` have all 10,000 samples of their teacher, 16 x 16 pixels and 16 channels; it
was added to the plan when the others were done.

`rram_64x64_65nm` converts every column of an array, and `sram_digital` sums it in a tree, whether one row is active or
all are; with idle arrays skipped, unless no row is. `sram_event_driven` reads the rows that have a spike, one after
another. What no description saves is what happens for every neuron in every step, spikes or not (requantization,
update, membrane), and the first layer, whose input is the sample."""


def baseline(found: By) -> str:
    """The variant without a price of the higher mean accuracy on validation."""
    return max((each for each in WITHOUT if each in found), key=lambda variant: _validation(found[variant]))


def chosen(found: By, per: RateOf) -> str:
    """The largest price whose mean accuracy on validation is at most ALLOWED points below; the baseline, where none."""
    plain = baseline(found)
    least = _validation(found[plain]) - ALLOWED - 1e-9  # shares differ by a rounding error
    fits = [variant for weight in WEIGHTS[per] if (variant := _priced(per, weight)) in found]
    fits = [variant for variant in fits if _validation(found[variant]) >= least]
    return fits[-1] if fits else plain


@dataclass(frozen=True)
class ChosenPair:
    """A data set's chosen student beside the one without a price, seed by seed."""

    name: str
    beside: str
    results: Sequence[tuple[Result, Result]]

    @property
    def differences(self) -> Sequence[float]:
        """Points of test accuracy, of each seed."""
        return [after.accuracy - before.accuracy for before, after in self.results]

    def change(self, cost: str) -> float:
        """Of a cost, in percent: mean over the seeds."""
        return 100 * statistics.fmean(_cost(after, cost) / _cost(before, cost) - 1 for before, after in self.results)

    def clears(self, cost: str) -> bool:
        """Whether the cost falls far enough at equal accuracy."""
        return self.change(cost) <= -LEAST and statistics.fmean(self.differences) >= -ALLOWED - 1e-9


def _chosen_pair(found: By, per: RateOf) -> ChosenPair:
    plain, best = baseline(found), chosen(found, per)
    return ChosenPair(best, plain, _paired(found[plain], found[best]))


def _chosen(pairs: Mapping[tuple[str, RateOf], ChosenPair]) -> str:
    """A row for each data set and way of counting: accuracy beside that without, and how much less each cost is."""
    rows = []
    for (group, _), pair in pairs.items():
        changes = (percent_change(1 + pair.change(name) / 100) for name in COSTS)
        rows.append([group, pair.name, pair.beside, str(paired_interval(pair.differences)), *changes])
    header = ["data", "chosen", "beside", "test accuracy, points", *COSTS]
    return table(header, rows, numbers=header[3:])


def _bar(pairs: Mapping[tuple[str, RateOf], ChosenPair]) -> str:
    """Of each cost and way of counting, the data sets on which it falls far enough at equal accuracy."""
    rows = []
    for per, name in itertools.product(WEIGHTS, COSTS):
        cleared = [group for (group, counted), pair in pairs.items() if counted == per and pair.clears(name)]
        data = {group.partition("_")[0] for group in cleared}
        rows.append([per, name, ", ".join(cleared) or "none", "yes" if len(data) >= 2 else "no"])
    header = [
        "per",
        "cost",
        f"at least {LEAST:.0f} % less, test accuracy at most {ALLOWED} points lower",
        "two data sets",
    ]
    return table(header, rows, numbers=[])


def _curve(found: By) -> str:
    rows = [
        [
            variant,
            spread([row.chosen_by for row in results]),
            spread([row.accuracy for row in results]),
            spread([_cost(row, RATE) for row in results], digits=1),
            f"{statistics.fmean(_cost(row, OPERATIONS) for row in results):,.0f}",
            *(spread([_cost(row, name) for row in results], digits=4) for name in ENERGIES),
        ]
        for variant, results in found.items()
    ]
    energies = [f"{name}, uJ" for name in ENERGIES]
    header = ["student", "validation, %", "test, %", RATE, OPERATIONS, *energies]
    return table(header, rows, numbers=header[1:])


def _by_variant(rows: Sequence[Result], group: str) -> dict[str, list[Result]]:
    order = [*WITHOUT, *(_priced(per, weight) for per, weights in WEIGHTS.items() for weight in weights)]
    mine = [row for row in rows if row.group == group]
    found = {variant: [row for row in mine if row.variant == variant] for variant in order}
    return {variant: results for variant, results in found.items() if results}


def _priced(per: RateOf, weight: int) -> str:
    return f"w = {weight}" if per == "network" else f"per {per}, w = {weight}"


def _spelled(per: RateOf) -> str:
    return "" if per == "network" else f", per: {per}"


def _validation(results: Sequence[Result]) -> float:
    return statistics.fmean(row.chosen_by for row in results)


def _paired(one: Sequence[Result], other: Sequence[Result]) -> list[tuple[Result, Result]]:
    beside = {row.seed: row for row in other}
    return [(row, beside[row.seed]) for row in one if row.seed in beside]


def _cost(row: Result, name: str) -> float:
    assert row.costs is not None
    return row.costs[name]


def planned(recipes: Sequence[str], seeds: Sequence[int]) -> tuple[Unit, ...]:
    """Every student of the page, done or not; the first seed of every data set first. No seeds: those of the plan."""
    units = [
        unit
        for recipe in recipes
        for unit in units_of(tasks_of(recipe), seeds or SEEDS.get(group_of(load_recipe(recipe)), OTHER_SEEDS))
    ]
    return tuple(sorted(units, key=lambda unit: unit.seed))


def main() -> None:
    """Run or print."""
    parser = experiment_parser(__doc__, store="runs/experiments/sparsity.jsonl")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="paths, or names of shipped recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help=f"default: {SEEDS}")
    options = parser.parse_args()
    run_or_print(planned(options.recipes, options.seeds), options, page, name="sparsity_energy")


if __name__ == "__main__":
    main()

"""Which part of the distillation helps? Calibration only, QAT, + logits, + membrane, + both; resumable, one command.

    python -m benchmarks distillation_ablation tune --data-folder FOLDER --processes 2
    python -m benchmarks distillation_ablation run --data-folder FOLDER --processes 2
    python -m benchmarks distillation_ablation page > docs/results/distillation.md

(from the checkout, with OMP_NUM_THREADS=1). Each result is a line of the store, written when it is known; a command
that was stopped or killed is given again and goes on, within a training too. `tune` chooses learning rate, loss
weights, temperature and distance on samples of the training part that no training sees, under seeds of their own; `run`
takes what it chose, and refuses to begin where a search is not done; `--searches` without a name is without any, at the
recipes' own values. `--set` changes every recipe, for example
`--set distill.membrane.align=mean`; other changes are other results. So are those of other code in the modules that
define networks and data; code of mdcompress is not told apart: after a change of it give another --store and --work.

All variants of a recipe have the same epochs and schedule, the same teacher and the same start. A learning rate is that
which is best for QAT at 4 bits and more; at fewer each variant has its own. Each data set has a search of its own, but
for Tiny-ImageNet, which takes CIFAR-10's. Teachers are trained on more samples than students (`*_teacher` in
experiment_data.py). The control trains the float teacher on with a student's samples, epochs and optimizer. Validation
chooses the epoch; the test part is read once, by the exported graph in onnxruntime.

Sizes and time, one thread, 2 shared x86-64 cores, no GPU. Core minutes: teacher, control and 4 x 5 students of one
seed, all that is measured of them included.

    data              training samples   channels  epochs,           minutes   seeds
                      teacher   student            teacher, student  a seed
    MNIST             20,000    1,000    4         6,  8             5           3
    N-MNIST           500       200      4         40, 24            5           5
    CIFAR-10          20,000    1,000    8         12, 16            20         3
    Tiny-ImageNet-32  20,000    1,000    8         12, 16            20         3

`tune`: 26 candidates x 2 seeds, 40 core minutes on CIFAR-10 and 15 on MNIST; x 6 seeds, 30 on N-MNIST. Tiny-ImageNet
takes what was chosen on CIFAR-10.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.distillation_page import page
from benchmarks.distillation_variants import (
    FIELDS,
    Changes,
    Choice,
    Decision,
    Tuned,
    ablation_tasks,
    choice_of,
    decisions,
    stage,
    tuning_tasks,
)
from benchmarks.experiment_runs import Unit, add_place_options, place_of, run_units, stored, units_of
from benchmarks.experiment_students import Workplace, group_of
from mdcompress.errors import RunError
from mdcompress.recipe import load_recipe

RECIPES = Path("benchmarks/recipes")
SETTINGS = ("8bit", "4bit", "2bit", "ternary")
SEEDS = {"mnist": 3, "nmnist": 5, "cifar10": 3, "tiny_imagenet": 3}  # seeds 0, 1, …
# data set -> the one whose search chooses for it
SEARCHES = {"mnist": "mnist", "nmnist": "nmnist", "cifar10": "cifar10", "tiny_imagenet": "cifar10"}
TUNED_MANY_BITS, TUNED_FEW_BITS = "4bit", "2bit"
OTHER_SEEDS = 3  # of a data set that is not named here
TUNING_SEEDS = {"nmnist": 6}  # seeds 100, 101, …: N-MNIST has few samples to tune on, and its students cost seconds
OTHER_TUNING_SEEDS = 2


@dataclass(frozen=True)
class Plan:
    """What is compared, and what is tuned on.

    recipes: of the comparison. seeds: of every data set; empty: SEEDS. tuned: the searches by name. searches: data set
    -> the search that chooses for it. changes: of every recipe.
    """

    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    tuned: Mapping[str, Tuned]
    searches: Mapping[str, str]
    changes: Changes

    def seeds_of(self, group: str) -> tuple[int, ...]:
        """The seeds of a data set."""
        return self.seeds or tuple(range(SEEDS.get(group, OTHER_SEEDS)))


def tuned_on(group: str) -> Tuned:
    """The search on a data set, which has a loader …_tuning."""
    many, few = (str(RECIPES / f"{group}_{setting}.yaml") for setting in (TUNED_MANY_BITS, TUNED_FEW_BITS))
    seeds = tuple(100 + number for number in range(TUNING_SEEDS.get(group, OTHER_TUNING_SEEDS)))
    return Tuned((many,), (few,), seeds)


def tune(plan: Plan, place: Workplace, *, processes: int) -> None:
    """Do each search field by field: each needs what was chosen before."""
    for name, tuned in plan.tuned.items():
        for number, field in enumerate(FIELDS):
            chosen = choice_of(decided(plan, place, name)[:number])
            tasks = tuning_tasks(stage(field, chosen), chosen, tuned, plan.changes)
            units = units_of([task for each in tasks.values() for task in each], tuned.seeds)
            run_units(units, place, processes=processes)
            sys.stderr.write(f"{name}, {field}: chosen {' '.join(decided(plan, place, name)[number].chosen)}\n")


def compare(plan: Plan, place: Workplace, *, processes: int) -> None:
    """Train and measure every network of the tables that is not there yet, the first seed of all data sets first.

    Raises:
        RunError: a search of the plan is not done, so that students would have the recipes' own values unsaid.
    """
    undone = {name: len(FIELDS) - len(decided(plan, place, name)) for name in plan.tuned}
    missing = [f"{name} ({count} of {len(FIELDS)} stages)" for name, count in undone.items() if count]
    if missing:
        raise RunError(
            f"every search must be done before students are trained with what it chose (missing: {', '.join(missing)})",
            hints=[
                "do them: `tune`",
                "or leave them out and take the recipes' own values: `--searches` without a name",
            ],
        )
    run_units(sorted(planned(plan, place), key=lambda unit: unit.seed), place, processes=processes)


def decided(plan: Plan, place: Workplace, search: str) -> tuple[Decision, ...]:
    """What the store's results of a search decide."""
    return decisions(plan.tuned[search], place.store.results(), more=plan.changes)


def planned(plan: Plan, place: Workplace) -> tuple[Unit, ...]:
    """Every network of the tables, done or not."""
    chosen = {name: choice_of(decided(plan, place, name)) for name in plan.tuned}
    groups: dict[str, list[str]] = {}
    for recipe in plan.recipes:
        groups.setdefault(group_of(load_recipe(recipe, changes=plan.changes)), []).append(recipe)
    return tuple(
        unit
        for group, recipes in groups.items()
        for unit in units_of(
            ablation_tasks(recipes, chosen.get(plan.searches.get(group, ""), Choice()), plan.changes),
            plan.seeds_of(group),
        )
    )


def print_page(plan: Plan, place: Workplace, command: str) -> None:
    """The page of what is there."""
    rows, missing = stored(planned(plan, place), place)
    made = {name: decided(plan, place, name) for name in plan.tuned}
    sys.stdout.write(page(rows, made, missing=missing, command=command) + "\n")


def main() -> None:
    """Tune, run or print."""
    options = _options()
    plan = Plan(
        tuple(options.recipes), tuple(options.seeds), {name: tuned_on(name) for name in options.searches}, SEARCHES,
        tuple(options.changes),
    )  # fmt: skip
    place = place_of(options)
    match options.mode:
        case "tune":
            tune(plan, place, processes=options.processes)
        case "run":
            compare(plan, place, processes=options.processes)
        case "page":
            print_page(plan, place, command=f"python -m benchmarks distillation_ablation {shlex.join(sys.argv[1:])}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("tune", "run", "page"))
    every = [str(RECIPES / f"{group}_{setting}.yaml") for group in SEEDS for setting in SETTINGS]
    parser.add_argument("--recipes", nargs="+", default=every, help="paths, or names of shipped recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help=f"default: as many as {SEEDS}")
    searches = list(dict.fromkeys(SEARCHES[group] for group in SEEDS))
    parser.add_argument("--searches", nargs="*", default=searches, choices=searches, help="data sets that are tuned on")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a change of every recipe")
    add_place_options(parser, store="runs/experiments/distillation.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    main()

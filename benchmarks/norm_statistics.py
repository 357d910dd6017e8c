"""What measuring batch-norm statistics anew before each validation is worth: one training, scored both ways.

    python -m benchmarks norm_statistics --data-folder FOLDER > docs/results/norm_statistics.md

(from the checkout.) `train.batch_norm.remeasure` changes nothing that a training computes from one step to the next, so
two trainings that differ in it alone have the same weights after every epoch; what is scored differs. Float networks
that `distillation_ablation tune` has trained in the same --work folder are used again. The test part is not read.
"""

from __future__ import annotations

import argparse
import copy
import shlex
import sys
from collections.abc import Sequence

import torch
from torch import nn

import mdcompress as md
from benchmarks.distillation_ablation import RECIPES
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_store import machine
from benchmarks.experiment_students import Workplace, calibrated, opened, setting_of
from mdcompress.data import DataSplits
from mdcompress.pipeline.report import table
from mdcompress.recipe import NormStatisticsSpec, Recipe
from mdcompress.student import Student
from mdcompress.training import EpochRecord, Event

RECIPES_SCORED = tuple(str(RECIPES / f"cifar10_{setting}.yaml") for setting in ("4bit", "2bit", "ternary"))
CHANGES = ("distill.epochs=16", "train.optimizer.lr=2e-4")  # of all of them
SEED = 100
DEFAULT = NormStatisticsSpec().remeasure


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    command = f"python -m benchmarks norm_statistics {shlex.join(sys.argv[1:])}"
    print(f"{_HEAD.format(command=command, machine=machine('cpu'), changes=', '.join(CHANGES), seed=SEED)}\n")
    print(scored(RECIPES_SCORED, CHANGES, place_of(options)))


_HEAD = """\
# Running averages of batch norms, and statistics measured anew

`{command}` prints this page ({machine}). Students of CIFAR-10 (JPEG q75), recipes
`benchmarks/recipes/cifar10_*.yaml` with {changes}, seed {seed}: validation accuracy in percent after each epoch of one
training, with the running averages in the batch norms (`train.batch_norm: {{remeasure: 0}}`) and with mean and variance
measured anew over the epoch's last 8 batches (the default). Losses of all epochs are equal in both, as the command
asserts."""


def scored(paths: Sequence[str], changes: Sequence[str], place: Workplace) -> str:
    """A table: a row for each epoch, two columns for each recipe. All have the same data and float network."""
    group = opened(paths, SEED, place, changes)
    recipes, splits, teacher = group.recipes, group.splits, group.teacher
    columns: dict[str, list[EpochRecord]] = {}
    for recipe in recipes.values():
        start = calibrated(recipe, teacher, splits, place)
        running, measured = (trained(start, teacher, recipe, splits, batches) for batches in (0, DEFAULT))
        assert [each.losses for each in running] == [each.losses for each in measured], "one training, scored twice"
        columns |= {f"{setting_of(recipe)}, running": running, f"{setting_of(recipe)}, measured": measured}
    header = ["epoch", *columns]
    rows = [
        [str(epochs[0].epoch), *(f"{100 * each.validation_accuracy:.1f}" for each in epochs)]
        for epochs in zip(*columns.values(), strict=True)
    ]
    return table(header, rows, numbers=header)


def trained(start: Student, teacher: nn.Module, recipe: Recipe, splits: DataSplits, batches: int) -> list[EpochRecord]:
    """The epochs of a training of a copy of `start`, with statistics measured anew over so many batches."""
    records: list[EpochRecord] = []

    def progress(event: Event) -> None:
        if isinstance(event, EpochRecord) and event.epoch:
            records.append(event)

    settings = recipe.train.model_copy(update={"batch_norm": NormStatisticsSpec(remeasure=batches)})
    md.distill(
        copy.deepcopy(start), teacher=teacher, train=splits.train, validate=splits.validation, spec=recipe.distill,
        settings=settings, seed=recipe.seed, progress=progress,
    )  # fmt: skip
    return records


if __name__ == "__main__":
    main()

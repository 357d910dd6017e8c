"""What measuring batch-norm statistics anew before each validation is worth: one training, scored both ways.

    python -m benchmarks.norm_statistics --data-folder FOLDER > docs/results/norm_statistics.md

(from the checkout.) `train.batch_norm.remeasure` changes nothing that a training computes from one step to the next, so
two trainings that differ in it alone have the same weights after every epoch; what is scored differs. Float networks
that `distillation_ablation tune` has trained in the same --work folder are used again. The test part is not read.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import torch

import mdcompress as md
from benchmarks.distillation_ablation import RECIPES
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_store import machine
from benchmarks.experiment_students import Workplace, calibrated, load_splits, teacher_network
from mdcompress.console import table
from mdcompress.recipe import NormStatisticsSpec
from mdcompress.training import EpochRecord

SETTINGS = ("4bit", "2bit", "ternary")
SEED = 100
DEFAULT = NormStatisticsSpec().remeasure


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = place_of(options)
    found = {(setting, batches): scores(setting, batches, place) for setting in SETTINGS for batches in (0, DEFAULT)}
    epochs = len(found[SETTINGS[0], 0])
    header = ["epoch", *(f"{setting}, {how}" for setting in SETTINGS for how in ("running", "measured"))]
    rows = [
        [str(epoch + 1), *(f"{100 * each[epoch].validation_accuracy:.1f}" for each in found.values())]
        for epoch in range(epochs)
    ]
    for setting in SETTINGS:
        trained, other = (found[setting, batches] for batches in (0, DEFAULT))
        assert [each.losses for each in trained] == [each.losses for each in other], "one training, scored twice"
    command = f"python -m benchmarks.norm_statistics {shlex.join(sys.argv[1:])}"
    print(
        f"{_HEAD.format(command=command, machine=machine('cpu'), seed=SEED)}\n\n{table(header, rows, numbers=header)}"
    )


_HEAD = """\
# Running averages of batch norms, and statistics measured anew

`{command}` prints this page ({machine}). Students of CIFAR-10 (JPEG q75), recipes
`benchmarks/recipes/cifar10_*.yaml`, seed {seed}: validation accuracy in percent after each epoch of one training, with
the running averages in the batch norms (`train.batch_norm: {{remeasure: 0}}`) and with mean and variance measured anew
over the epoch's last 8 batches (the default). Losses of all epochs are equal in both, as the command asserts."""


def scores(setting: str, batches: int, place: Workplace) -> list[EpochRecord]:
    """The epochs of a training."""
    changes = [f"seed={SEED}", f"train.batch_norm.remeasure={batches}"]
    recipe = md.load_recipe(f"{RECIPES}/cifar10_{setting}.yaml", changes=changes)
    default = md.load_recipe(f"{RECIPES}/cifar10_{setting}.yaml", changes=changes[:1])
    splits, teacher = load_splits(recipe, place, input_steps=None), teacher_network(default, place, input_steps=None)
    student, records = calibrated(recipe, teacher, splits, place), []

    def progress(event: object) -> None:
        if isinstance(event, EpochRecord):
            records.append(event)

    md.distill(
        student, teacher=teacher, train=splits.train, validate=splits.validation, spec=recipe.distill,
        settings=recipe.train, seed=recipe.seed, progress=progress,
    )  # fmt: skip
    return records


if __name__ == "__main__":
    main()

"""What an error far below the threshold shall count when calibration looks for the range of a stored membrane.

    python -m benchmarks.membrane_range --data-folder FOLDER >> docs/results/calibration.md

(from the checkout.) Students of the experiments' recipes, calibrated and not trained, beside their float networks, for
several factors in the place of `mdcompress.calibration`'s own. Validation samples are compared; the test part is
not read. Float networks that `distillation_ablation tune` has trained in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from unittest.mock import patch

import torch

import mdcompress as md
from benchmarks.calibration_options import Case, logits_divergence
from benchmarks.distillation_ablation import RECIPES, SETTINGS
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_students import Workplace, calibrated, load_splits, teacher_network
from mdcompress.console import table
from mdcompress.mismatch import measure_mismatch

GROUPS = ("mnist", "nmnist", "cifar10")
FACTORS = (0.0, 0.01, 0.03, 0.1)
SEEDS = (100, 101)


def main() -> None:
    """Print two tables: the divergence of the logits, and the mismatch of the membranes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    place = place_of(options)
    torch.set_num_threads(options.processes)
    divergences, mismatches = [], []
    for group in options.groups:
        for setting in SETTINGS:
            found = [list(measured(f"{RECIPES}/{group}_{setting}.yaml", seed, place)) for seed in SEEDS]
            columns = list(zip(*found, strict=True))
            divergences.append(
                [group, setting, *(f"{1e3 * statistics.fmean(kl for kl, _ in each):.2f}" for each in columns)]
            )
            mismatches.append([group, setting, *(f"{statistics.fmean(m for _, m in each):.3f}" for each in columns)])
    header = ["data", "setting", *map(str, FACTORS)]
    print(f"KL of the mean answers, in thousandths of a nat:\n\n{table(header, divergences, numbers=header[2:])}\n")
    print(f"Mean ((v_s - v_t) / threshold)²:\n\n{table(header, mismatches, numbers=header[2:])}")


def measured(path: str, seed: int, place: Workplace) -> Iterator[tuple[float, float]]:
    """(KL of the logits, mean mismatch of the membranes) for each factor."""
    recipe = md.load_recipe(path, changes=[f"seed={seed}"])
    splits, teacher = load_splits(recipe, place, input_steps=None), teacher_network(recipe, place, input_steps=None)
    validation = list(splits.validation)
    graph = md.trace(teacher, validation[0][0][:, :2])
    for factor in FACTORS:
        with patch("mdcompress.calibration._FAR_BELOW", factor):
            student = calibrated(recipe, teacher, splits, place)
        layers = measure_mismatch(student, teacher, graph, validation, time_steps=recipe.student_time_steps)
        divergence = logits_divergence(student, Case(teacher, [], validation), graph)
        yield divergence, statistics.fmean(layer.membrane for layer in layers.values())


if __name__ == "__main__":
    main()

"""What an error far below the threshold shall count when calibration looks for the range of a stored membrane.

    python -m benchmarks membrane_range --data-folder FOLDER >> docs/results/calibration.md

(from the checkout.) Students of the experiments' recipes, calibrated and not trained, beside their float networks, for
several factors in the place of calibration's own. Validation samples are compared; the test part is not read. Float
networks that `distillation_ablation tune` has trained in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from unittest.mock import patch

import torch

import mdcompress as md
from benchmarks.calibration_options import Case, distances
from benchmarks.distillation_ablation import RECIPES, SETTINGS
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_students import (
    Workplace,
    calibrated,
    group_of,
    opened,
    setting_of,
)
from mdcompress.pipeline.report import table
from mdcompress.recipe import load_recipe

GROUPS = ("mnist", "nmnist", "cifar10")
FACTORS = (0.0, 0.01, 0.03, 0.1)
SEEDS = (100, 101)


def main() -> None:
    """Print two tables: the divergence of the logits, and the mismatch of the membranes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(options.processes)
    recipes = [[str(RECIPES / f"{group}_{setting}.yaml") for setting in SETTINGS] for group in options.groups]
    print(compared(recipes, SEEDS, place_of(options)))


def compared(recipes: Sequence[Sequence[str]], seeds: Sequence[int], place: Workplace) -> str:
    """The two tables: a row for each recipe, a column for each factor. Recipes of a group have the same data."""
    divergences, mismatches = [], []
    for group in recipes:
        of_seeds = [measured(group, seed, place) for seed in seeds]
        for path in group:
            recipe, columns = load_recipe(path), list(zip(*(found[path] for found in of_seeds), strict=True))
            names = [group_of(recipe), setting_of(recipe)]
            divergences.append([*names, *(f"{1e3 * statistics.fmean(kl for kl, _ in each):.2f}" for each in columns)])
            mismatches.append([*names, *(f"{statistics.fmean(m for _, m in each):.3f}" for each in columns)])
    header = ["data", "setting", *map(str, FACTORS)]
    return (
        f"KL of the mean answers, in thousandths of a nat:\n\n{table(header, divergences, numbers=header[2:])}\n\n"
        f"Mean ((v_s - v_t) / threshold)²:\n\n{table(header, mismatches, numbers=header[2:])}"
    )


def measured(paths: Sequence[str], seed: int, place: Workplace) -> dict[str, list[tuple[float, float]]]:
    """Recipe -> (KL of the logits, mean mismatch of the membranes) for each factor."""
    group = opened(paths, seed, place)
    splits, teacher = group.splits, group.teacher
    validation = list(splits.validation)
    graph = md.trace(teacher, validation[0][0][:, :2])
    case = Case(teacher, [], validation)
    found: dict[str, list[tuple[float, float]]] = {}
    for path, recipe in group.recipes.items():
        found[path] = []
        for factor in FACTORS:
            with patch("mdcompress.calibration.ranges._FAR_BELOW", factor):
                student = calibrated(recipe, teacher, splits, place)
            found[path].append(distances(student, case, graph, time_steps=recipe.student_time_steps))
    return found


if __name__ == "__main__":
    main()

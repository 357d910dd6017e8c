"""Accuracy, mismatch and exactness on the embedded digits, for shipped recipes and several seeds; a Markdown page.

    python -m benchmarks digits_accuracy --seeds 0 1 2 > docs/results/digits.md

For each seed one float teacher is trained; every recipe's student is calibrated on training samples, distilled, and
verified on the whole test split. Validation chooses the epoch; the test split is read once, at the end.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

import mdcompress as md
from mdcompress import zoo
from mdcompress.data import DataSplits, calibration, load_data
from mdcompress.evaluation import evaluate
from mdcompress.evaluation.mismatch import mean_membrane, measure_mismatch
from mdcompress.recipe import Recipe, load_recipe

TRAINED = ("distill.weights=train",)
STUDENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # name -> recipe, changes
    "8bit": ("8bit", ()),
    "4bit": ("4bit", ()),
    "2bit": ("2bit", ()),
    "ternary": ("ternary", ()),
    "8bit, weights trained": ("8bit", TRAINED),
    "4bit, weights trained": ("4bit", TRAINED),
}


@dataclass(frozen=True)
class Row:
    """One student of one seed: accuracies in percent, distillation time in seconds, parity, and membrane mismatch.

    mismatch: mean over layers of ((v_s - v_t)/threshold)^2 before reset on the test split, before and after.
    """

    student: str
    seed: int
    teacher: float
    calibrated: float
    distilled: float
    seconds: float
    values: int
    differences: bool
    silent: int
    mismatch: tuple[float, float]


def teacher_of(seed: int, recipe: Recipe, splits: DataSplits) -> tuple[torch.nn.Module, float]:
    """A trained float network and the seconds it took."""
    torch.manual_seed(seed)
    network, start = zoo.digits_snn(), time.perf_counter()
    md.train_network(
        network, train=splits.train, validate=splits.validation, spec=recipe.teacher, settings=recipe.train, seed=seed
    )
    return network, time.perf_counter() - start


def measure(name: str, seed: int, teacher: torch.nn.Module, splits: DataSplits) -> Row:
    """Calibrate, distil and verify one student."""
    shipped, changes = STUDENTS[name]
    recipe = load_recipe(shipped, changes=[*changes, f"seed={seed}"])
    batches = [x for x, _ in calibration(splits, recipe.data.calibration_samples, seed=seed)]
    student = md.compress(teacher, batches[0][:, :2], recipe, batches)
    before = mismatch_of(student, teacher, splits)
    calibrated, start = evaluate(student, splits.test).accuracy, time.perf_counter()
    md.distill(
        student, teacher=teacher, train=splits.train, validate=splits.validation, spec=recipe.distill,
        settings=recipe.train, seed=seed,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    report = md.verify(student, torch.cat([x for x, _ in splits.test], dim=1))
    floating, distilled = (100 * evaluate(network, splits.test).accuracy for network in (teacher, student))
    return Row(
        name, seed, floating, 100 * calibrated, distilled, seconds, report.values, not report.equal, len(report.silent),
        (before, mismatch_of(student, teacher, splits)),
    )  # fmt: skip


def mismatch_of(student: md.Student, teacher: torch.nn.Module, splits: DataSplits) -> float:
    """Mean over the layers."""
    batches = list(splits.test)
    layers = measure_mismatch(student, teacher, student.graph, batches, time_steps=batches[0][0].shape[0])
    return mean_membrane(layers)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds: list[int] = parser.parse_args().seeds
    rows: list[Row] = []
    teacher_seconds: list[float] = []
    for seed in seeds:
        recipe = load_recipe("4bit")
        splits = load_data(recipe.data, seed=seed)
        teacher, seconds = teacher_of(seed, recipe, splits)
        teacher_seconds.append(seconds)
        for name in STUDENTS:
            rows.append(measure(name, seed, teacher, splits))
            print(rows[-1], file=sys.stderr)
    print(page(seeds, rows, teacher_seconds))


def page(seeds: list[int], rows: list[Row], teacher_seconds: list[float]) -> str:
    """The results as Markdown."""
    lines = [
        "# Embedded digits: accuracy of the shipped recipes",
        "",
        f"`python -m benchmarks digits_accuracy --seeds {' '.join(map(str, seeds))}`, "
        f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}. Network `digits_snn`, T = 4; 1,079 training, 359 validation and 359 test images.",
        "One test image is 0.28 points. Mean ± standard deviation over the seeds; every student is compared on the "
        "whole test split with the interpreter and onnxruntime.",
        "",
        f"Float teacher: {spread([row.teacher for row in rows if row.student == next(iter(STUDENTS))])} %, "
        f"trained in {spread(teacher_seconds)} s.",
        "",
        "Membrane mismatch with the teacher: mean over layers of ((v_s - v_t) / threshold)² before reset, on the "
        "test images, before and after distillation. The epoch is chosen on validation images. `weights trained`: with "
        f"`{TRAINED[0]}`, all else as the recipe has it.",
        "",
        "| student | calibrated only, % | distilled, % | distilled - teacher, points | mismatch before | after "
        "| distillation, s | values compared | differences | silent layers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in STUDENTS:
        mine = [row for row in rows if row.student == name]
        gaps = [row.distilled - row.teacher for row in mine]
        lines.append(
            f"| {name} | {spread([row.calibrated for row in mine])} | {spread([row.distilled for row in mine])} "
            f"| {spread(gaps)} "
            + "".join(f"| {spread([row.mismatch[when] for row in mine], places=4)} " for when in range(2))
            + f"| {spread([row.seconds for row in mine])} "
            f"| {sum(row.values for row in mine):,} | {sum(row.differences for row in mine)} "
            f"| {sum(row.silent for row in mine)} |"
        )
    lines += ["", "| student | seed | teacher, % | calibrated, % | distilled, % |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.student} | {row.seed} | {row.teacher:.2f} | {row.calibrated:.2f} | {row.distilled:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def spread(values: list[float], *, places: int = 2) -> str:
    """Mean ± sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{places}f} ± {deviation:.{places}f}"


if __name__ == "__main__":
    main()

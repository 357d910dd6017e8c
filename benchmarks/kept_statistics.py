"""Whether students should keep the float network's batch-norm statistics, or have measured ones.

    python -m benchmarks kept_statistics --data-folder FOLDER --units digits:1,2,3 nmnist:1,2,3,4,5 cifar10:1

(from the checkout.) Students are calibrated and not trained; validation samples are compared, the test part is not
read. Float networks that another experiment has trained in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import mdcompress as md
from benchmarks.calibration_options import Case, logits_divergence
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_students import Workplace, calibrated, opened
from mdcompress.data import calibration
from mdcompress.evaluation.mismatch import mean_membrane, measure_mismatch
from mdcompress.pipeline.report import table

OPTIONS = {
    "default": "calibrate={statistics: recompute}",
    "`statistics: keep`": "calibrate={statistics: keep}",
    "rounding only": "calibrate={weights: nearest, offsets: keep, statistics: keep}",
}
BITS = ("8bit", "4bit")
DIGITS = "digits"  # its recipes are the shipped ones


@dataclass(frozen=True)
class Found:
    """Of one student: mean mismatch of its membranes over the layers, KL of its logits in nats."""

    mismatch: float
    divergence: float


def measured(data: str, bits: str, seed: int, change: str, place: Workplace) -> Found:
    """One calibrated student beside its float network."""
    path = bits if data == DIGITS else f"benchmarks/recipes/{data}_{bits}.yaml"
    case = opened([path], seed, place, [change])
    recipe, network = case.recipes[path], case.teacher
    samples = [x for x, _ in calibration(case.splits, recipe.data.calibration_samples, seed=seed)]
    student, graph = calibrated(recipe, network, case.splits, place), md.trace(network, samples[0][:, :2])
    validation = list(case.splits.validation)
    mismatch = measure_mismatch(student, network, graph, validation, time_steps=recipe.student_time_steps)
    return Found(mean_membrane(mismatch), logits_divergence(student, Case(network, samples, validation), graph))


def page(rows: dict[tuple[str, str], dict[str, list[Found]]]) -> str:
    """A row for each data set and recipe: means over the seeds."""
    lines = [
        [
            data,
            bits,
            str(len(found["default"])),
            *(f"{statistics.fmean(each.mismatch for each in found[option]):.4f}" for option in OPTIONS),
            *(f"{1e3 * statistics.fmean(each.divergence for each in found[option]):.2f}" for option in OPTIONS),
        ]
        for (data, bits), found in rows.items()
    ]
    header = ["data", "recipe", "seeds", *OPTIONS, *(f"KL, {option}" for option in OPTIONS)]
    return table(header, lines, numbers=header[2:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", nargs="+", default=["digits:1,2,3"], help="DATA:SEED,SEED,… each")
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    place = place_of(options)
    rows: dict[tuple[str, str], dict[str, list[Found]]] = {}
    for unit in options.units:
        data, _, seeds = unit.partition(":")
        for bits in BITS:
            rows[data, bits] = {
                option: [measured(data, bits, int(seed), change, place) for seed in seeds.split(",")]
                for option, change in OPTIONS.items()
            }
    print(page(rows))


if __name__ == "__main__":
    main()

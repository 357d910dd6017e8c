"""Whether students should keep the float network's batch-norm statistics, or have measured ones.

    python -m benchmarks kept_statistics --data-folder FOLDER --units digits:1,2,3 nmnist:1,2,3,4,5 cifar10:1

(from the checkout.) Students are calibrated and not trained; validation samples are compared, the test part is not
read. Float networks that another experiment has trained in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence

import mdcompress as md
from benchmarks.calibration_options import Case, distances
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_students import Workplace, calibrated, opened
from mdcompress.pipeline.report import table
from mdcompress.recipe import CalibrateSpec

OPTIONS = {
    "default": CalibrateSpec(),
    "`statistics: keep`": CalibrateSpec(statistics="keep"),
    "rounding only": CalibrateSpec(weights="nearest", offsets="keep", statistics="keep"),
}
BITS = ("8bit", "4bit")
DIGITS = "digits"  # its recipes are the shipped ones


Distances = tuple[float, float]  # KL of the logits in nats, mean mismatch of the membranes over the layers


def measured(data: str, seed: int, place: Workplace) -> dict[str, dict[str, Distances]]:
    """Bits -> option -> distances of the calibrated student from its float network."""
    paths = {bits: bits if data == DIGITS else f"benchmarks/recipes/{data}_{bits}.yaml" for bits in BITS}
    group = opened(tuple(paths.values()), seed, place)
    case = Case(group.teacher, [], list(group.splits.validation))
    graph = md.trace(group.teacher, case.validation[0][0][:, :2])
    found: dict[str, dict[str, Distances]] = {}
    for bits, path in paths.items():
        found[bits] = {}
        for option, spec in OPTIONS.items():
            recipe = group.recipes[path].model_copy(update={"calibrate": spec})
            student = calibrated(recipe, group.teacher, group.splits, place)
            found[bits][option] = distances(student, case, graph, time_steps=recipe.student_time_steps)
    return found


def page(rows: Mapping[tuple[str, str], Sequence[Mapping[str, Distances]]]) -> str:
    """A row for each data set and recipe, of which there is a mapping for each seed: means over the seeds."""
    lines = []
    for (data, bits), seeds in rows.items():
        means = {
            option: [statistics.fmean(each) for each in zip(*(one[option] for one in seeds), strict=True)]
            for option in OPTIONS
        }
        mismatches = (f"{mismatch:.4f}" for _, mismatch in means.values())
        lines.append([data, bits, str(len(seeds)), *mismatches, *(f"{1e3 * kl:.2f}" for kl, _ in means.values())])
    header = ["data", "recipe", "seeds", *OPTIONS, *(f"KL, {option}" for option in OPTIONS)]
    return table(header, lines, numbers=header[2:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", nargs="+", default=["digits:1,2,3"], help="DATA:SEED,SEED,… each")
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    place = place_of(options)
    rows: dict[tuple[str, str], list[Mapping[str, Distances]]] = {}
    for unit in options.units:
        data, _, seeds = unit.partition(":")
        for seed in map(int, seeds.split(",")):
            for bits, found in measured(data, seed, place).items():
                rows.setdefault((data, bits), []).append(found)
    print(page(rows))


if __name__ == "__main__":
    main()

"""Where the distance between a student's membranes and its teacher's lies: in steps whose spikes it changes, or not.

    python -m benchmarks membrane_distance --data-folder FOLDER >> docs/results/membrane_ideas.md

(from the checkout.) Students of 2 bits of the confirmatory experiment, calibrated and then trained on labels, logits
and membranes; validation samples, seeds of the search. Float networks in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

import mdcompress as md
from benchmarks.confirmatory_design import DATA_SETS, tuning_task
from benchmarks.distillation_variants import Changes
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_students import Workplace, calibrated, load_splits, teacher_network
from benchmarks.membrane_ideas import SEARCH_SEEDS, SEARCHED, TEACHER_EPOCHS
from mdcompress.data import DataSplits
from mdcompress.losses import firing_neurons, layer_threshold
from mdcompress.pipeline.report import table
from mdcompress.recipe import Recipe
from mdcompress.student import Student
from mdcompress.student.observation import observe

TRAINING: Changes = ("train.optimizer.lr=3e-3", "distill.logits.weight=4", "distill.membrane.weight=1")
STATES = ("calibrated", "trained")


@dataclass(frozen=True)
class Place:
    """Of one layer: the mean square of the difference d = (h_s - h_t)/theta, and which part of it lies where.

    same: in steps in which both fire, or neither does. below: where the teacher's potential is more than a threshold
    under zero. near: where it is less than a threshold away from the threshold. *_share: of all steps. All but the
    first in percent.
    """

    distance: float
    same: float
    same_share: float
    below: float
    below_share: float
    near: float
    near_share: float


def place_of_distance(student: Tensor, teacher: Tensor, same: Tensor) -> Place:
    """Potentials in thresholds, and whether the spikes are the same, all of one shape."""
    squares = (student - teacher).square()

    def part(where: Tensor) -> tuple[float, float]:
        return 100 * float((squares * where).sum() / squares.sum()), 100 * float(where.float().mean())

    return Place(float(squares.mean()), *part(same), *part(teacher < -1), *part((teacher - 1).abs() < 1))


def places(student: Student, teacher: nn.Module, splits: DataSplits) -> Mapping[str, Place]:
    """Of each layer, on validation samples."""
    x = torch.cat([x for x, _ in splits.validation], dim=1)
    graph = md.trace(teacher, x[:, :2])
    with torch.no_grad():
        own, theirs = observe(student.eval(), student.graph, x), observe(teacher, graph, x)
    found = {}
    for name in firing_neurons(graph):
        threshold = layer_threshold(graph, name)
        potentials = own.potentials[name] / threshold, theirs.potentials[name] / threshold
        found[name] = place_of_distance(*potentials, own.spikes[name] == theirs.spikes[name])
    return found


def measured(recipe: Recipe, place: Workplace) -> Iterator[tuple[str, str, Place]]:
    """(state of the student, layer, where its distance lies)."""
    splits, teacher = load_splits(recipe, place, input_steps=None), teacher_network(recipe, place, input_steps=None)
    student = calibrated(recipe, teacher, splits, place)
    for state in STATES:
        if state == "trained":
            md.distill(
                student, teacher=teacher, train=splits.train, validate=splits.validation, spec=recipe.distill,
                settings=recipe.train, seed=recipe.seed,
            )  # fmt: skip
        for layer, found in places(student, teacher, splits).items():
            yield state, layer, found


def page(rows: Mapping[tuple[str, str, str], Sequence[Place]]) -> str:
    """A row for each data set, state and layer: means over the seeds."""
    lines = []
    for (data, state, layer), seeds in rows.items():
        distance, *parts = (statistics.fmean(getattr(each, field.name) for each in seeds) for field in fields(Place))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        lines.append([data, state, layer, f"{distance:.3f}", *(f"{part:.0f} in {share:.0f}" for part, share in pairs)])
    header = ["data", "student", "layer", "distance, θ²", "same spikes, %", "far below, %", "near the threshold, %"]
    return f"## Where the distance lies\n\n{_HEAD}\n\n{table(header, lines, numbers=header[3:])}"


_HEAD = f"""\
Squares of (h_s − h_t)/θ on validation samples, 2 bits, means over seeds {" and ".join(map(str, SEARCH_SEEDS))}: so many
percent of the sum in so many percent of the steps. *Same spikes*: both fire in the step, or neither does; *far
below*: the teacher's potential is more than a threshold under zero; *near*: it is less than a threshold away from the
threshold. *Trained*: `{" ".join(TRAINING)}`,
the most accurate epoch (0 is the calibrated student)."""


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    place = place_of(parser.parse_args())
    rows: dict[tuple[str, str, str], list[Place]] = {}
    for data in DATA_SETS.values():
        task = tuning_task(data, SEARCHED, "+ both", TRAINING, teacher_epochs=TEACHER_EPOCHS)
        for seed in SEARCH_SEEDS:
            for state, layer, found in measured(task.of_seed(seed), place):
                rows.setdefault((data.name, state, layer), []).append(found)
    print("\n" + page(rows))


if __name__ == "__main__":
    main()

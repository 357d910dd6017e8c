"""How much of a student's membrane mismatch comes from rounding its stored membranes, and from nothing else.

    python -m benchmarks membrane_rounding --data-folder FOLDER >> docs/results/calibration.md

(from the checkout.) Beside each calibrated student of the experiments' recipes stands its float network with the same
stored words: after each step a membrane is rounded and clipped to them, v <- s_v clip(floor(v / s_v + 1/2)), and all
else (weights, norms, leak, input) is float. What that network differs from the float one is left when weights are
exact; it is no floor, since parameters that are trained with the rounding can make up for it. Validation samples are
compared; the test part is not read.
Float networks that `distillation_ablation run` has trained in the same --work folder are used again.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

import mdcompress as md
from benchmarks.distillation_ablation import RECIPES, SEEDS, SETTINGS
from benchmarks.experiment_runs import add_place_options, place_of
from benchmarks.experiment_statistics import spread
from benchmarks.experiment_students import (
    Workplace,
    calibrated,
    group_of,
    opened,
    setting_of,
)
from mdcompress.data import Batch
from mdcompress.evaluation.mismatch import mean_membrane, measure_mismatch
from mdcompress.graph import SnnGraph
from mdcompress.losses import firing_neurons, layer_threshold, membrane_mismatch
from mdcompress.pipeline.report import table
from mdcompress.recipe import load_recipe
from mdcompress.student import Student
from mdcompress.student.observation import observe
from mdcompress.zoo import LIF


class RoundedNeuron(LIF):
    """A LIF whose stored membrane is rounded to `step` and clipped to `bits`; `potentials` [T, N, ...] before reset."""

    def __init__(self, neuron: LIF, *, step: float, bits: int) -> None:
        nn.Module.__init__(self)
        self._set(neuron.threshold, neuron.reset, neuron.reset_value, neuron.surrogate)
        self.tau, self.decay, self.input_gain, self.drive = neuron.tau, neuron.decay, neuron.input_gain, neuron.drive
        self._step, self._half, self._seen = step, 2 ** (bits - 1), list[Tensor]()
        self.potentials = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        """Currents [T, N, ...] to spikes."""
        self._seen.clear()
        spikes = super().forward(x)
        self.potentials = torch.stack(self._seen)
        return spikes

    def _after_reset(self, h: Tensor, s: Tensor) -> Tensor:
        self._seen.append(h)
        v = super()._after_reset(h, s)
        return self._step * torch.floor(v / self._step + 0.5).clamp(-self._half, self._half - 1)


def with_words_of(student: Student, network: nn.Module, graph: SnnGraph) -> tuple[nn.Module, dict[str, RoundedNeuron]]:
    """A copy of the float network with the stored words of the student's membranes, and its neurons by name."""
    own, units = copy.deepcopy(network), student.stream_units()
    neurons: dict[str, RoundedNeuron] = {}
    for name in firing_neurons(graph):
        place, bits = graph.node(name).module, student.neuron(name).policy.bit_width
        step = float(student.fine_scale(name, units).detach()) * 2.0 ** student.neuron(name).guard_bits
        neuron = own.get_submodule(place)
        assert isinstance(neuron, LIF)  # the experiments' networks have no other
        neurons[name] = RoundedNeuron(neuron, step=step, bits=bits)
        own.set_submodule(place, neurons[name])
    return own, neurons


@torch.no_grad()
def rounding_mismatch(student: Student, network: nn.Module, graph: SnnGraph, batches: Iterable[Batch]) -> float:
    """mean ((v_r - v_t) / threshold)^2 before reset, of the float network with the student's words beside itself.

    Mean over the layers, as `MismatchReport` has it for a student.
    """
    own, neurons = with_words_of(student, network, graph)
    sums, samples = dict.fromkeys(neurons, 0.0), 0
    for x, _ in batches:
        target = observe(network, graph, x).potentials
        own(x)
        for name, neuron in neurons.items():
            threshold = layer_threshold(graph, name)
            sums[name] += float(membrane_mismatch(neuron.potentials, target[name], threshold=threshold)) * x.shape[1]
        samples += x.shape[1]
    return statistics.fmean(total / samples for total in sums.values())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    add_place_options(parser, store="runs/experiments/unused.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(options.processes)
    recipes = {group: [str(RECIPES / f"{group}_{setting}.yaml") for setting in SETTINGS] for group in options.groups}
    print(compared(recipes, SEEDS, place_of(options)))


def compared(recipes: Mapping[str, Sequence[str]], seeds: Mapping[str, int], place: Workplace) -> str:
    """A row for each recipe; recipes of a group have the same data."""
    rows = []
    for group, paths in recipes.items():
        of_seeds = [measured(paths, seed, place) for seed in range(seeds[group])]
        for path in paths:
            recipe = load_recipe(path)
            students, roundings = zip(*(found[path] for found in of_seeds), strict=True)
            rows.append([group_of(recipe), setting_of(recipe), spread(students, digits=4), spread(roundings, digits=4)])
    header = ["data", "setting", "calibrated student", "float, membranes rounded"]
    return table(header, rows, numbers=header[2:])


def measured(paths: Sequence[str], seed: int, place: Workplace) -> dict[str, tuple[float, float]]:
    """Recipe -> mismatch of the calibrated student, and of the float network with its words."""
    group = opened(paths, seed, place)
    splits, teacher = group.splits, group.teacher
    batches = list(splits.validation.first(group.recipes[paths[0]].data.calibration_samples, seed=seed))
    graph, found = md.trace(teacher, batches[0][0][:, :2]), {}
    for path, recipe in group.recipes.items():
        student = calibrated(recipe, teacher, splits, place)
        layers = measure_mismatch(student, teacher, graph, batches, time_steps=recipe.student_time_steps)
        mismatch = mean_membrane(layers)
        found[path] = (mismatch, rounding_mismatch(student, teacher, graph, batches))
    return found


if __name__ == "__main__":
    main()

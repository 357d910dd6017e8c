"""A student, its teacher and samples -> how far apart their membranes and firing rates are, layer by layer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from mdcompress.data.inputs import on_device
from mdcompress.errors import DataError
from mdcompress.graph import SnnGraph
from mdcompress.losses import firing_neurons, layer_threshold, membrane_mismatch
from mdcompress.modes import evaluating
from mdcompress.student import Student
from mdcompress.student.observation import observe

MISMATCH_SCHEMA = "mdcompress.mismatch/1"

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LayerMismatch:
    """One neuron layer over all samples and the student's steps.

    membrane: mean ((v_s - v_t) / theta)^2 of potentials before reset. teacher_rate, student_rate: spikes per neuron and
    step. rate_difference: mean over samples and neurons of |r_s - r_t|, r the mean of a neuron's spikes over the steps.
    """

    membrane: float
    teacher_rate: float
    student_rate: float
    rate_difference: float


@dataclass(frozen=True)
class MismatchReport:
    """The layers of a student before and after its distillation, by neuron name, on `samples` samples of T steps."""

    time_steps: int
    samples: int
    before: Mapping[str, LayerMismatch]
    after: Mapping[str, LayerMismatch]

    @property
    def membrane_before(self) -> float:
        """Mean over layers."""
        return mean_membrane(self.before)

    @property
    def membrane_after(self) -> float:
        """Mean over layers."""
        return mean_membrane(self.after)

    def to_json(self) -> str:
        """All figures; membranes in squared thresholds, rates in spikes per neuron and step."""
        layers = [
            {"neuron": name, "before": asdict(before), "after": asdict(self.after[name])}
            for name, before in self.before.items()
        ]
        head = {"schema": MISMATCH_SCHEMA, "time_steps": self.time_steps, "samples": self.samples}
        means = {"membrane_before": self.membrane_before, "membrane_after": self.membrane_after}
        return json.dumps({**head, **means, "layers": layers}, indent=2, allow_nan=False) + "\n"


def measure_mismatch(
    student: Student, teacher: nn.Module, graph: SnnGraph, batches: Iterable[Batch], *, time_steps: int
) -> dict[str, LayerMismatch]:
    """What the student's firing layers do beside the teacher's, both in evaluation mode.

    Args:
        student: calibrated or distilled.
        teacher: the float network.
        graph: the teacher's trace; it is the student's, but for names.
        batches: (x [T, N, ...], y [N]); y has no part in it.
        time_steps: both run on the first so many steps.

    Raises:
        DataError: there is no batch.
    """
    graph = graph.named_as(student.graph)
    sums: dict[str, Tensor] = {}
    samples = 0
    device = student.input.scale.device
    with evaluating(student), evaluating(teacher), torch.no_grad():
        for x, _ in batches:
            x = on_device(x[:time_steps], device)
            seen, target = observe(student, student.graph, x), observe(teacher, graph, x)
            samples += x.shape[1]
            for name in firing_neurons(student.graph):
                spikes, wanted = seen.spikes[name].double(), target.spikes[name].double()
                potentials, goal = seen.potentials[name].double(), target.potentials[name].double()
                membrane = membrane_mismatch(potentials, goal, threshold=layer_threshold(student.graph, name))
                difference = (spikes.mean(0) - wanted.mean(0)).abs().mean()
                figures = torch.stack([membrane, wanted.mean(), spikes.mean(), difference]).cpu()
                sums[name] = sums.get(name, 0.0) + figures * x.shape[1]
    if samples == 0:
        raise DataError("a mismatch needs at least one batch (got none)", hints=["look at the data's split"])
    return {name: LayerMismatch(*(total / samples).tolist()) for name, total in sums.items()}


def mean_membrane(layers: Mapping[str, LayerMismatch]) -> float:
    """The membranes' mismatch, mean over the layers, which count alike."""
    return math.fsum(layer.membrane for layer in layers.values()) / len(layers)

"""Synaptic operations of a spike: by hand, and beside those that the mapping on arrays counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from intsnn.hardware import load_hardware
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import map_graph
from mdcompress.compression import compress
from mdcompress.graph import operations_per_spike
from mdcompress.student.lowering import lower
from mdcompress.tracing import trace
from mdcompress.zoo import LIF


class Folded(nn.Module):
    """Layers on folded time between neurons that see it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.first, self.neuron, self.rest = nn.Conv2d(1, 4, 3, padding=1), LIF(), nn.Sequential(*layers)
        self.last, self.head = LIF(), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        def over_time(layer: nn.Module, y: Tensor) -> Tensor:
            z: Tensor = layer(y.flatten(0, 1)).unflatten(0, x.shape[:2])
            return z

        spikes = self.last(over_time(self.rest, self.neuron(over_time(self.first, x))))
        y: Tensor = self.head(spikes.flatten(2)).mean(0)
        return y


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding=1), 8 * 9),
        (lambda: nn.Conv2d(4, 8, 3, padding=1, stride=2), 8 * 9 / 4),  # a quarter of the windows
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), 2 * 9),
        (lambda: nn.ConvTranspose2d(4, 8, 2, stride=2), 8 * 4),
        (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 8, 3, padding=1)), 8 * 9),  # in one window of the pool
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5)), 5),
    ],
)
def test_a_spike_causes_as_many_operations_as_weights_that_it_meets(
    make: Callable[[], nn.Module], expected: float
) -> None:
    network, x = Folded(make()), torch.rand(2, 2, 1, 6, 6)
    network(x)
    found = operations_per_spike(trace(network.eval(), x))
    assert found["neuron"] == pytest.approx(expected)
    assert found["last"] == 3


class Branched(nn.Module):
    """A neuron that two layers read, and one whose spikes are the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.neuron = nn.Linear(6, 10), LIF()
        self.one, self.two, self.answer = nn.Linear(10, 4), nn.Linear(10, 4), LIF()

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(self.first(x))
        y: Tensor = self.answer(self.one(spikes) + self.two(spikes)).mean(0)
        return y


def test_a_spike_that_two_layers_read_causes_the_operations_of_both_and_one_of_the_answer_none() -> None:
    assert operations_per_spike(trace(Branched(), torch.rand(2, 2, 6))) == {"neuron": 8.0, "answer": 0.0}


def test_all_spikes_together_cause_the_operations_of_the_mapped_layers() -> None:
    """Every synapse but the first reads spikes; without a pool each of them meets weights of its own."""
    x = torch.rand(2, 4, 1, 6, 6)
    network = Folded(nn.Conv2d(4, 8, 3, padding=1, stride=2))
    network(x)
    student = compress(network, x, "4bit", [x])
    caused = operations_per_spike(student.graph)
    whole = math.fsum(count * math.prod(student.graph.node(name).shape) for name, count in caused.items())
    hardware = load_hardware("rram_64x64_65nm")
    assert isinstance(hardware, HardwareSpec)
    layers = map_graph(lower(student), hardware).layers
    assert whole == sum(layer.synaptic_operations for layer in layers[1:])

"""A firing rate -> what each weight layer reads on average, from the distribution of the values it reads.

Every neuron fires with probability `rate` in every step, independently of all others; inputs of one bit are active
with the same probability, wider ones uniform over their range. Pools and sums follow from the distribution of what they
read, without the effect of pool padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray, IntType
from intsnn.errors import HardwareError
from intsnn.graph import (
    IntAdd,
    IntFlatten,
    IntGraph,
    IntInput,
    IntNeuron,
    IntNode,
    IntPool,
    IntReshape,
    IntSlice,
    IntTranspose,
    Synapse,
)
from intsnn.occupancy import input_uses

FloatArray = npt.NDArray[np.float64]


def expected_counts(graph: IntGraph, *, rate: float, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """By weight layer, [4]: active inputs, row activations, row pulses, input sum of one sample and step.

    Raises:
        HardwareError: a layer reads currents, which no rate describes.
    """
    values = _distributions(graph, rate)
    found = {}
    for synapse in graph.synapses:
        read = graph.node(synapse.inputs[0])
        found[synapse.name] = _expected_counts(synapse, read, values[read.name], widths[read.name])
    return found


@dataclass(frozen=True)
class _Distribution:
    """Probabilities of the integers low, low + 1, …, the same for every element of a tensor."""

    low: int
    probabilities: FloatArray

    @property
    def values(self) -> IntArray:
        return self.low + np.arange(len(self.probabilities), dtype=np.int64)

    def mean(self, of: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> float:
        return float(self.probabilities @ of)

    def plus(self, other: _Distribution) -> _Distribution:
        return _Distribution(self.low + other.low, np.convolve(self.probabilities, other.probabilities))

    def largest_of(self, count: int) -> _Distribution:
        below = np.concatenate([[0.0], np.cumsum(self.probabilities)]) ** count
        return _Distribution(self.low, np.diff(below))


def _distributions(graph: IntGraph, rate: float) -> dict[str, _Distribution | None]:
    """The assumed distribution of every tensor; None for accumulators and currents, which no rate describes."""
    found: dict[str, _Distribution | None] = {}
    spike = _Distribution(0, np.array([1 - rate, rate]))
    for node in graph:
        match node:
            case IntInput():
                word = IntType(node.bit_width, node.signed)
                uniform = np.full(word.high - word.low + 1, 2.0**-node.bit_width)
                found[node.name] = spike if (word.low, word.high) == (0, 1) else _Distribution(word.low, uniform)
            case IntNeuron(spike="binary", output="spikes"):
                found[node.name] = spike
            case IntPool():
                found[node.name] = _pooled(node, found[node.inputs[0]])
            case IntAdd():
                found[node.name] = _sum([found[name] for name in node.inputs])
            case IntFlatten() | IntReshape() | IntTranspose() | IntSlice():
                found[node.name] = found[node.inputs[0]]
            case _:
                found[node.name] = None
    return found


def _pooled(node: IntPool, x: _Distribution | None) -> _Distribution | None:
    count = math.prod(node.kernel)
    if x is None:
        return None
    return x.largest_of(count) if node.mode == "max" else _sum([x] * count)


def _sum(parts: list[_Distribution | None]) -> _Distribution | None:
    total = _Distribution(0, np.ones(1))
    for part in parts:
        if part is None:
            return None
        total = total.plus(part)
    return total


def _expected_counts(node: Synapse, read: IntNode, x: _Distribution | None, width: int) -> FloatArray:
    """[4]: what _measured_counts would give on average, for one sample and step."""
    if x is None:
        raise HardwareError(
            f"node {node.name!r} reads {read.name!r}, whose values no firing rate describes",
            hints=["measure the activity on data instead of assuming a rate"],
        )
    size = math.prod(read.shape)
    uses = int(np.broadcast_to(input_uses(node, read.shape), read.shape).sum())
    pulses = sum(((x.values >> bit) & 1 for bit in range(width)), start=np.zeros_like(x.values))
    active = x.mean(x.values != 0)
    return np.array([active * size, active * uses, x.mean(pulses) * uses, x.mean(x.values) * size])

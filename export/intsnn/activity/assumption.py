"""A firing rate -> what each synapse and matrix product reads on average, from the distribution of its values.

Every neuron fires with probability `rate` in every step, independently of all others; one that counts up to L spikes
has L chances of rate / L each. Inputs of one bit are active with the same probability, wider ones uniform over their
range. Pools, sums and products follow from the distribution of what they read, without the effect of pool padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity.occupancy import input_uses
from intsnn.arithmetic import IntArray, IntType
from intsnn.errors import HardwareError
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Synapse,
)

_MOST_PRODUCTS = 1 << 20  # of a convolution term by term

FloatArray = npt.NDArray[np.float64]


def expected_counts(graph: IntGraph, *, rate: float, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """Of one sample and step, by synapse, [4]: active inputs, row activations, row pulses, input sum.

    And by matrix product, [3]: active values of the left and of the right operand, active pairs. `widths`: bits of what
    each synapse reads, by its name.

    Raises:
        HardwareError: a layer reads currents, which no rate describes.
    """
    values = _distributions(graph, rate)
    found = {}
    for synapse in graph.all_synapses:
        read = graph.node(synapse.inputs[0])
        x = _spikes(read, rate) if isinstance(read, IntNeuron) else _known(synapse, read.name, values)
        found[synapse.name] = _expected_counts(synapse, read, x, widths[synapse.name])
    for node in graph.of_type(IntMatMul):
        found[node.name] = _expected_pairs(graph, node, [_known(node, name, values) for name in node.inputs])
    return found


def operand_sizes(graph: IntGraph, node: IntMatMul) -> tuple[int, int]:
    """Values of the left and of the right operand."""
    left, right = (math.prod(graph.node(name).shape) for name in node.inputs)
    return left, right


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

    @property
    def active(self) -> float:
        """Probability of a value that is not 0."""
        return self.mean(self.values != 0)

    def plus(self, other: _Distribution) -> _Distribution:
        return _Distribution(self.low + other.low, np.convolve(self.probabilities, other.probabilities))

    def times(self, other: _Distribution) -> _Distribution:
        products = np.multiply.outer(self.values, other.values).ravel()
        chances = np.multiply.outer(self.probabilities, other.probabilities).ravel()
        low = int(products.min())
        return _Distribution(low, np.bincount(products - low, weights=chances).astype(np.float64))

    def inverted(self) -> _Distribution:
        """Of 1 - x."""
        return _Distribution(2 - self.low - len(self.probabilities), self.probabilities[::-1])

    def sum_of(self, count: int) -> _Distribution:
        """By repeated doubling; beyond a million products the convolution goes through its Fourier transform."""
        total, power = None, self._trimmed()
        while True:
            if count % 2:
                total = power if total is None else total._convolved(power)
            count //= 2
            if count == 0:
                assert total is not None
                return total
            power = power._convolved(power)

    def _convolved(self, other: _Distribution) -> _Distribution:
        sizes = len(self.probabilities), len(other.probabilities)
        if sizes[0] * sizes[1] <= _MOST_PRODUCTS:
            return self.plus(other)
        size = sum(sizes) - 1
        both = np.fft.rfft(self.probabilities, size) * np.fft.rfft(other.probabilities, size)
        return _Distribution(self.low + other.low, np.maximum(np.fft.irfft(both, size), 0.0))

    def _trimmed(self) -> _Distribution:
        """Without values at the ends that never occur."""
        (there,) = np.nonzero(self.probabilities)
        return _Distribution(self.low + int(there[0]), self.probabilities[there[0] : there[-1] + 1])

    def largest_of(self, count: int) -> _Distribution:
        below = np.concatenate([[0.0], np.cumsum(self.probabilities)]) ** count
        return _Distribution(self.low, np.diff(below))


def _distributions(graph: IntGraph, rate: float) -> dict[str, _Distribution | None]:
    """The assumed distribution of every tensor; None for accumulators and currents, which no rate describes."""
    found: dict[str, _Distribution | None] = {}
    for node in graph:
        match node:
            case IntInput():
                found[node.name] = _inputs(node, rate)
            case IntNeuron(output="spikes"):
                found[node.name] = _spikes(node, rate)
            case IntNeuron() | IntRequant() | IntConv() | IntConvTranspose() | IntLinear():
                found[node.name] = None
            case IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntMatMul() | IntSum() | IntReadout():
                found[node.name] = _combined(graph, node, [found[name] for name in node.inputs])
            case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
                found[node.name] = found[node.inputs[0]]
            case _:
                assert_never(node)
    return found


def _inputs(node: IntInput, rate: float) -> _Distribution:
    word = IntType(node.bit_width, node.signed)
    if (word.low, word.high) == (0, 1):
        return _Distribution(0, np.array([1 - rate, rate]))
    return _Distribution(word.low, np.full(word.high - word.low + 1, 2.0**-node.bit_width))


def _spikes(node: IntNeuron, rate: float) -> _Distribution:
    """Binomial: L = max_spikes chances of rate / L each."""
    chance = rate / node.max_spikes
    return _Distribution(0, np.array([1 - chance, chance])).sum_of(node.max_spikes)


def _combined(
    graph: IntGraph,
    node: IntPool | IntAdd | IntConcat | IntMultiply | IntMatMul | IntSum | IntReadout,
    inputs: list[_Distribution | None],
) -> _Distribution | None:
    """What a node makes of values; None where it reads anything else."""
    read = [x for x in inputs if x is not None]
    if len(read) < len(inputs):
        return None
    x, shapes = read[0], [graph.node(name).shape for name in node.inputs]
    match node:
        case IntPool(mode="max"):
            return x.largest_of(math.prod(node.kernel))
        case IntPool():
            return x.sum_of(math.prod(node.kernel))
        case IntSum():
            return x.sum_of(shapes[0][node.axis])
        case IntAdd():
            return reduce(_Distribution.plus, read)
        case IntConcat():
            return _mixed(read, [shape[0] for shape in shapes])
        case IntMultiply():
            return (x.inverted() if node.mode == "inhibit" else x).times(read[1])
        case IntMatMul():
            return x.times(read[1]).sum_of(shapes[0][-1])
        case IntReadout():
            return x
        case _:
            assert_never(node)


def _mixed(parts: list[_Distribution], channels: list[int]) -> _Distribution:
    """Of a value of one of the parts, each with its share of the channels."""
    low = min(part.low for part in parts)
    chances = np.zeros(max(part.low + len(part.probabilities) for part in parts) - low)
    for part, number in zip(parts, channels, strict=True):
        chances[part.low - low :][: len(part.probabilities)] += part.probabilities * (number / sum(channels))
    return _Distribution(low, chances)


def _known(node: IntNode, read: str, values: Mapping[str, _Distribution | None]) -> _Distribution:
    x = values[read]
    if x is None:
        raise HardwareError(
            f"node {node.name!r} reads {read!r}, whose values no firing rate describes",
            hints=["measure the activity on data instead of assuming a rate"],
        )
    return x


def _expected_pairs(graph: IntGraph, node: IntMatMul, operands: list[_Distribution]) -> FloatArray:
    """[3]: active values of both operands, and pairs of which neither is 0."""
    (left, right), sizes = operands, operand_sizes(graph, node)
    pairs = math.prod(node.shape) * graph.node(node.inputs[0]).shape[-1]
    return np.array([left.active * sizes[0], right.active * sizes[1], left.active * right.active * pairs])


def _expected_counts(node: Synapse, read: IntNode, x: _Distribution, width: int) -> FloatArray:
    """[4]: what is measured, on average over the assumed values, for one sample and step."""
    size = math.prod(read.shape)
    uses = int(np.broadcast_to(input_uses(node, read.shape), read.shape).sum())
    pulses = sum(((x.values >> bit) & 1 for bit in range(width)), start=np.zeros_like(x.values))
    return np.array([x.active * size, x.active * uses, x.mean(pulses) * uses, x.mean(x.values) * size])

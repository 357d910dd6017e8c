"""The true size of an integer graph: every number at the bits it has, not at those of the word a program keeps it in.

weights     count * bits of the layer; three values (1.58 bits) take 2
constants   of requantization and neuron: count * bits of the smallest word that holds them all; a zero takes none
state       what lives from step to step: membranes and synaptic states at their bits, spikes that a late reset or a
            recurrence still needs, the readout's running sums at the width that their proof gives

`compression_of` holds it against the same numbers in 32-bit floats and in 8-bit integers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, word_bits
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
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
)
from intsnn.graph.bounds import bounds

Purpose = Literal["weights", "constants", "state"]
Holds = Literal["weight", "constant", "shift", "membrane", "sum", "spikes"]
Form = Literal["float32", "int8", "deployed"]
_PURPOSES: Mapping[Holds, Purpose] = {
    "weight": "weights", "constant": "constants", "shift": "constants",
    "membrane": "state", "sum": "state", "spikes": "state",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Numbers of one width that one node stores.

    holds: what they are; synaptic states are membranes too, a sum is a readout's, a shift has no counterpart in floats.
    width: bits of each; of three values 1.58, which take 2.
    """

    node: str
    holds: Holds
    count: int
    width: float

    @property
    def purpose(self) -> Purpose:
        """What they serve."""
        return _PURPOSES[self.holds]

    @property
    def bits(self) -> int:
        """Of all together."""
        return self.count * math.ceil(self.width)

    def bits_in(self, form: Form) -> int:
        """Of all together where the network is of that form (`Compression`)."""
        if form == "deployed" or self.holds == "spikes":
            return self.bits
        if form == "float32":
            return 0 if self.holds == "shift" else self.count * 32
        return self.count * 8 if self.holds in ("weight", "membrane") else self.bits


@dataclass(frozen=True)
class Footprint:
    """All that a graph stores."""

    parts: tuple[Part, ...]

    def bits(self, purpose: Purpose | None = None) -> int:
        """Bits of one purpose; of all together without one."""
        return sum(part.bits for part in self.parts if purpose in (None, part.purpose))

    def counts(self, holds: Holds) -> Mapping[float, int]:
        """Bits of a number -> how many such numbers there are, the fewest bits first."""
        found: Counter[float] = Counter()
        for part in self.parts:
            if part.holds == holds:
                found[part.width] += part.count
        return dict(sorted(found.items()))

    @property
    def bytes(self) -> float:
        """All together, in bytes of 8 bits; not rounded."""
        return self.bits() / 8


@dataclass(frozen=True)
class Size:
    """What a network takes in one form, in bytes; not rounded."""

    weights: float
    constants: float
    state: float

    @property
    def parameters(self) -> float:
        """What is stored for good: weights and constants."""
        return self.weights + self.constants


@dataclass(frozen=True)
class Compression:
    """A network's size as it is deployed, beside the same network in 32-bit floats and in 8-bit integers.

    float32: each weight, constant, membrane and sum has 32 bits, and there are no shifts. int8: each weight and
    membrane has 8 bits, all else is as deployed. deployed: every number at its own bits, weights packed. Spikes
    kept have their own bits in each.
    weights, membranes: bits of a number -> how many there are.
    """

    float32: Size
    int8: Size
    deployed: Size
    weights: Mapping[float, int]
    membranes: Mapping[float, int]

    def size(self, form: Form) -> Size:
        """The size in that form."""
        match form:
            case "float32":
                return self.float32
            case "int8":
                return self.int8
            case "deployed":
                return self.deployed
            case _:
                assert_never(form)

    def ratio(self, form: Form) -> float:
        """How many times fewer bytes the deployed parameters take than those in `form`."""
        return self.size(form).parameters / self.deployed.parameters

    def state_ratio(self, form: Form) -> float:
        """The same of the state: membranes and all else that lives from step to step."""
        return self.size(form).state / self.deployed.state


def compression_of(graph: IntGraph) -> Compression:
    """What a legal graph takes, beside the same network in floats and in 8-bit integers."""
    found = footprint_of(graph)
    float32, int8, deployed = (_size(found, form) for form in get_args(Form))
    return Compression(float32, int8, deployed, found.counts("weight"), found.counts("membrane"))


def footprint_of(graph: IntGraph) -> Footprint:
    """What a legal graph stores, node by node."""
    proved = bounds(graph)
    return Footprint(tuple(part for node in graph for part in _parts(node, proved[node.name]) if part.bits))


def _size(found: Footprint, form: Form) -> Size:
    bits: Counter[Purpose] = Counter()
    for part in found.parts:
        bits[part.purpose] += part.bits_in(form)
    return Size(bits["weights"] / 8, bits["constants"] / 8, bits["state"] / 8)


def _parts(node: IntNode, output: Bounds) -> Iterator[Part]:
    match node:
        case IntConv() | IntConvTranspose() | IntLinear():
            yield Part(node.name, "weight", node.weight.size, node.bit_width)
        case IntRequant():
            yield from _constants(node.name, [node.multiplier, node.bias])
            yield from _shifts(node.name, [node.shift])
        case IntRecurrentNeuron():
            yield Part(node.name, "weight", node.recurrent_weight.size, node.recurrent_bit_width)
            yield from _neuron_parts(node)
            yield from _shifts(node.name, [node.recurrent_shift])
        case IntNeuron():
            yield from _neuron_parts(node)
        case IntReadout(mode="sum" | "max"):
            yield Part(node.name, "sum", math.prod(node.shape), word_bits(output))
        case IntInput() | IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntMatMul() | IntSum() | IntReadout():
            return
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return
        case _:
            assert_never(node)


def _neuron_parts(node: IntNeuron) -> Iterator[Part]:
    yield from _constants(node.name, [getattr(node, name) for name in node.arrays if name != "recurrent_weight"])
    yield from _constants(node.name, [np.array([node.initial])])
    yield from _shifts(node.name, [node.guard_bits, node.synapse_shift])
    neurons = math.prod(node.shape)
    yield Part(node.name, "membrane", neurons * (2 if node.has_synapse else 1), node.bit_width)
    if node.timing != "same_step" or node.is_recurrent:
        yield Part(node.name, "spikes", neurons, word_bits(Bounds(0, node.max_spikes)))


def _constants(node: str, arrays: Iterable[IntArray]) -> Iterator[Part]:
    """Each array in the smallest word that holds all of it; nothing where all are 0."""
    for values in arrays:
        if values.any():
            yield Part(node, "constant", values.size, word_bits(Bounds(int(values.min()), int(values.max()))))


def _shifts(node: str, numbers: Iterable[int]) -> Iterator[Part]:
    for number in numbers:
        if number:
            yield Part(node, "shift", 1, number.bit_length())

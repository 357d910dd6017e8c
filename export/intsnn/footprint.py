"""The true size of an integer graph: every number at the bits it has, not at those of the word a program keeps it in.

weights     count * bits of the layer; three values (1.58 bits) take 2
constants   of requantization and neuron: count * bits of the smallest word that holds them all; a zero takes none
state       what lives from step to step: membranes and synaptic states at their bits, spikes that a late reset or a
            recurrence still needs, the readout's running sums at the width that their proof gives
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

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


@dataclass(frozen=True)
class Part:
    """What one node stores for one purpose, in bits."""

    node: str
    purpose: Purpose
    bits: int


@dataclass(frozen=True)
class Footprint:
    """All that a graph stores."""

    parts: tuple[Part, ...]

    def bits(self, purpose: Purpose | None = None) -> int:
        """Bits of one purpose; of all together without one."""
        return sum(part.bits for part in self.parts if purpose in (None, part.purpose))

    @property
    def bytes(self) -> float:
        """All together, in bytes of 8 bits; not rounded."""
        return self.bits() / 8


def footprint_of(graph: IntGraph) -> Footprint:
    """What a legal graph stores, node by node."""
    proved = bounds(graph)
    return Footprint(tuple(part for node in graph for part in _parts(node, proved[node.name]) if part.bits))


def _parts(node: IntNode, output: Bounds) -> Iterator[Part]:
    match node:
        case IntConv() | IntConvTranspose() | IntLinear():
            yield Part(node.name, "weights", _weight_bits(node.weight, node.bit_width))
        case IntRequant():
            yield Part(node.name, "constants", _bits(node.multiplier) + _bits(node.bias) + node.shift.bit_length())
        case IntRecurrentNeuron():
            yield Part(node.name, "weights", _weight_bits(node.recurrent_weight, node.recurrent_bit_width))
            yield from _neuron_parts(node)
        case IntNeuron():
            yield from _neuron_parts(node)
        case IntReadout(mode="sum" | "max"):
            yield Part(node.name, "state", math.prod(node.shape) * word_bits(output))
        case IntInput() | IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntMatMul() | IntSum() | IntReadout():
            return
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return
        case _:
            assert_never(node)


def _neuron_parts(node: IntNeuron) -> Iterator[Part]:
    yield Part(node.name, "constants", _neuron_constants(node))
    yield Part(node.name, "state", math.prod(node.shape) * _state_bits(node))


def _weight_bits(weight: IntArray, bit_width: float) -> int:
    return weight.size * math.ceil(bit_width)


def _neuron_constants(node: IntNeuron) -> int:
    arrays = [getattr(node, name) for name in node.arrays if name != "recurrent_weight"]
    numbers = [node.guard_bits, node.synapse_shift, node.initial]
    if isinstance(node, IntRecurrentNeuron):
        numbers.append(node.recurrent_shift)
    return sum(map(_bits, arrays)) + sum(_bits(np.array([number])) for number in numbers)


def _state_bits(node: IntNeuron) -> int:
    """Bits of one neuron's state."""
    keeps_spikes = node.timing != "same_step" or node.is_recurrent
    spikes = word_bits(Bounds(0, node.max_spikes)) if keeps_spikes else 0
    return node.bit_width * (2 if node.has_synapse else 1) + spikes


def _bits(values: IntArray) -> int:
    """Bits of an array in the smallest word that holds all of it; nothing where all are 0."""
    if not values.any():
        return 0
    return values.size * word_bits(Bounds(int(values.min()), int(values.max())))

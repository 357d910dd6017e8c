"""A node of the graph -> the additions, comparisons and products that one of its elements takes in a step.

Words are as wide as the proved bounds say. Options of a neuron (FORMAT.md, "Neuron"), with n = ceil(log2(max_spikes +
1)) bits of a spike count; what differs between channels is taken from the channel that needs the most:

    leak D*v, D_s*i     one addition, and one more for each signed digit of the decay beyond the first; 0 for D = 0
    drives c, c_s       one addition each, where one is not 0;  recurrent current: one addition
    soft reset rho*s    n additions (binary: the one subtraction), in the same step or late;  hard: a selection, wiring
    levels              x - theta + level, then n comparisons and n subtractions (division bit by bit); one comparison
                        more to round, and one to clip where max_spikes + 1 is no power of two
    floor of potential  one comparison;  double rearm: one comparison and one subtraction
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType, joined, tree_bits, word_bits
from intsnn.graph import IntMatMul, IntMultiply, IntNeuron, IntRequant
from intsnn.hardware.catalogue import Item

_SPIKE = Bounds(0, 1)


@dataclass(frozen=True)
class Operation:
    """An item that a digital node runs `per_element` times for each element and step.

    word: bits of its operands. by: bits of the other operand, where that has a width of its own (a product).
    """

    item: Item
    per_element: int
    word: float
    by: float | None = None

    @property
    def bits(self) -> float:
        """The width it is priced at: the word, or the geometric mean of a product's two."""
        return self.word if self.by is None else math.sqrt(self.word * self.by)


def neuron_operations(node: IntNeuron, current: Bounds) -> tuple[Operation, ...]:
    """Additions, comparisons and one register of an update; `current` is all that reaches it, recurrent or not."""
    width = word_bits(_potential(node, current))
    counts = (
        (Item.NEURON_ADD, _additions(node)),
        (Item.NEURON_COMPARE, _comparisons(node)),
        (Item.NEURON_STORE, 1),
    )
    return tuple(Operation(item, count, width) for item, count in counts)


def in_memory(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """A neuron's additions and comparisons as operations of its membrane's memory; those of other nodes as they are.

    The pipeline register of a lane is gone: a word never leaves its memory.
    """
    if all(operation.item is not Item.NEURON_STORE for operation in operations):
        return operations
    worked = [one for one in operations if one.item is not Item.NEURON_STORE]
    number = sum(one.per_element for one in worked)
    return (Operation(Item.MEMBRANE_OPERATION, number, max(one.word for one in worked)),)


def spike_bits(node: IntNeuron) -> int:
    """Bits of what a neuron fires in a step: 1 where spikes are binary."""
    return node.max_spikes.bit_length()


def signed_digits(value: int) -> int:
    """Non-zero digits of the non-adjacent form, the fewest powers of two that add up to the value: 7 = 8 - 1 has 2."""
    return (value ^ (3 * value)).bit_count()


def requant_operations(node: IntRequant, accumulator: Bounds) -> tuple[Operation, ...]:
    """One product unless every M is a power of two, one addition unless every B is 0; over all steps."""
    operations = []
    if not all(abs(m).bit_count() <= 1 for m in node.multiplier.ravel().tolist()):
        product = Operation(Item.REQUANTIZE_MULTIPLY, 1, word_bits(accumulator), by=word_bits(hull(node.multiplier)))
        operations.append(product)
    if node.bias.any():
        reach = accumulator.magnitude * int(np.abs(node.multiplier).max()) + int(np.abs(node.bias).max())
        operations.append(Operation(Item.REQUANTIZE_ADD, 1, word_bits(Bounds(-reach, reach))))
    return tuple(operations)


def gate_operations(node: IntMultiply, left: Bounds, right: Bounds) -> tuple[Operation, ...]:
    """One product; to inhibit, the left spike is inverted, which is part of the gate."""
    return (_product(_SPIKE if node.mode == "inhibit" else left, right, times=1),)


def matrix_product_operations(node: IntMatMul, left: Bounds, right: Bounds, *, terms: int) -> tuple[Operation, ...]:
    """For each element `terms` products and the tree of terms - 1 additions that sums them."""
    ends = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    width = tree_bits(terms, word_bits(Bounds(min(ends), max(ends))))
    return (_product(left, right, times=terms), Operation(Item.PRODUCT_ADD, terms - 1, width))


def hull(values: IntArray) -> Bounds:
    """From the smallest to the largest."""
    return Bounds(int(values.min()), int(values.max()))


def _product(left: Bounds, right: Bounds, *, times: int) -> Operation:
    """A spike takes or leaves each bit of the other word: an AND a bit. Two wider words need a multiplier."""
    for one, other in ((left, right), (right, left)):
        if one.low >= 0 and one.high <= 1:
            return Operation(Item.PRODUCT_AND, times * word_bits(other), 1)
    return Operation(Item.PRODUCT_MULTIPLY, times, word_bits(left), by=word_bits(right))


def _potential(node: IntNeuron, current: Bounds) -> Bounds:
    """What the sums of an update stay in, before the reset of the same step."""
    parts = [_decayed(node, node.leak), current, hull(node.drive)]
    if node.has_synapse:
        parts += [_decayed(node, node.synapse_leak), hull(node.synapse_drive)]
    if node.timing == "after_leak":
        taken = hull(node.soft_amount)
        parts.append(Bounds(min(0, -taken.high * node.max_spikes), max(0, -taken.low * node.max_spikes)))
    return joined(*parts)


def _decayed(node: IntNeuron, leak: IntArray) -> Bounds:
    stored, largest = IntType(node.bit_width, signed=True), int(leak.max())
    return Bounds(largest * stored.low, largest * stored.high)


def _additions(node: IntNeuron) -> int:
    adds = _decay_additions(node.leak) + bool(node.drive.any()) + node.is_recurrent
    if node.has_synapse:
        adds += _decay_additions(node.synapse_leak) + bool(node.synapse_drive.any())
    if node.reset == "soft":
        adds += spike_bits(node)
    if node.spike != "binary":
        adds += 1 + spike_bits(node)
    return adds + (node.rearm == "double")


def _decay_additions(leak: IntArray) -> int:
    """Of D*v to a sum: powers of two are wiring, so the digits beyond the first, and the sum itself."""
    return max(0, max(signed_digits(one) for one in leak.tolist()) - 1) + bool(leak.any())


def _comparisons(node: IntNeuron) -> int:
    extra = (node.floor != "none") + (node.rearm == "double")
    if node.spike == "binary":
        return 1 + extra
    clipped = (node.max_spikes + 1).bit_count() > 1
    return spike_bits(node) + clipped + (node.spike == "round") + extra

"""What a synapse adds up: its window, its weights input by input, the bounds of its sums, its accumulators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType
from intsnn.emission.context import Context
from intsnn.emission.memory import rounded_up
from intsnn.emission.stages import Stage
from intsnn.emission.storage import Store
from intsnn.emission.targets import Target
from intsnn.emission.windows import Axis, axes_of_convolution
from intsnn.graph import IntConvTranspose, IntLinear, Synapse

_NARROW = (("int8", IntType(8, signed=True)), ("int16", IntType(16, signed=True)), ("int32", IntType(32, signed=True)))
_SMALL_BLOCK = 64  # output channels; twice as many where registers and the first cache have room
_REPEATED = 8  # the largest count for which adding a row several times beats a product
_FEWEST = 8  # additions between two widenings, below which a wider accumulator is faster


@dataclass(frozen=True)
class Sums:
    """One synapse over one tensor.

    name: of its C functions. axes: of the window. weight: [K, Ci, Co/G], K the places of the kernel. interval: what the
    sums are proved to lie in. read: what the values are proved to lie in. part: the node it belongs to.
    """

    name: str
    part: str
    axes: tuple[Axis, ...]
    weight: IntArray
    groups: int
    interval: Bounds
    source: Store
    read: Bounds

    @property
    def repeats(self) -> int:
        """The largest count, where values are small counts that are listed as often as they say; else 0."""
        return self.read.high if not self.source.is_bits and self.read.low >= 0 and self.read.high <= _REPEATED else 0

    @property
    def has_values(self) -> bool:
        """Whether a row is multiplied by a value."""
        return not self.source.is_bits and not self.repeats

    @property
    def most(self) -> int:
        """The largest size of a value that is read."""
        return self.read.magnitude

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.groups * int(self.weight.shape[2])

    @property
    def element(self) -> str:
        """The C type of a sum."""
        return "int16" if IntType(16, signed=True).holds(self.interval.low, self.interval.high) else "int32"

    def element_for(self, target: Target) -> str:
        """The C type that the sums are given in: a register's on a microcontroller."""
        return self.element if target.has_lists else "int32"

    @property
    def shared(self) -> Axis | None:
        """The axis whose output places several threads share; None: they share the blocks of output channels.

        Never the last axis: its places are summed several at a time.
        """
        return next((axis for axis in self.axes[:-1] if axis.outputs > 1), None)

    @property
    def places(self) -> int:
        """Output places."""
        return math.prod(axis.outputs for axis in self.axes)

    def blocks(self, size: int) -> int:
        """Blocks of `size` output channels; the last may be shorter."""
        return -(-self.outputs // size)


def sums_of(name: str, part: str, node: Synapse, source: Store, interval: Bounds, read: Bounds) -> Sums:
    """A synapse that reads a tensor; a linear layer over a flattened map is a convolution as large as the map."""
    interval = Bounds(min(interval.low, 0), max(interval.high, 0))
    if isinstance(node, IntLinear):
        if source.order == "last" and len(source.shape) > 1:
            sizes, names = source.shape[1:], ("d", "h", "w")[-len(source.shape[1:]) :]
            axes = tuple(Axis(n, size, 1, size, 1, 0, 1) for n, size in zip(names, sizes, strict=True))
            weight = node.weight.reshape(len(node.weight), source.shape[0], -1).transpose(2, 1, 0)
            return Sums(name, part, axes, weight, 1, interval, source, read)
        rows = (Axis("w", source.rows, source.rows, 1, 1, 0, 1),)
        return Sums(name, part, rows, node.weight.T[None], 1, interval, source, read)
    axes = axes_of_convolution(node, source.shape)
    return Sums(name, part, axes, _by_input(node), node.groups, interval, source, read)


def _by_input(node: Synapse) -> IntArray:
    """[K, Ci, Co/G] of a convolution."""
    weight = node.weight
    if isinstance(node, IntConvTranspose):
        return weight.reshape(*weight.shape[:2], -1).transpose(2, 0, 1)
    per_out = weight.shape[0] // node.groups
    grouped = weight.reshape(node.groups, per_out, weight.shape[1], -1)
    return grouped.transpose(3, 0, 2, 1).reshape(grouped.shape[3], -1, per_out)


def accumulator(sums: Sums) -> tuple[str, int]:
    """The element that rows are added in, and after how many it may overflow; 0: never."""
    largest, factor = int(np.abs(sums.weight).max(initial=1)), 1 if not sums.has_values else sums.most
    for element, word in _NARROW:
        if sums.has_values and (element == "int8" or factor > word.high):
            continue
        if word.holds(sums.interval.low, sums.interval.high):
            return element, 0
        additions = word.high // max(1, largest * factor)
        if additions >= _FEWEST:
            return element, additions
    return "int32", 0


def ask_for_sums(context: Context, stage: Stage, sums: Sums, size: int) -> None:
    """Ask for the memory of the sums of a block of `size` channels; of every block, where threads share the blocks."""
    blocks = 1 if sums.shared else sums.blocks(size)
    context.ask(stage, f"sums_{sums.name}", sums.element, sums.places * size * blocks)


def sums_pointer(context: Context, sums: Sums, size: int, *, const: bool, step: str = "t") -> str:
    """The C of a pointer to the sums of a block, [places, size], at a step."""
    pointer = context.scratch_pointer(f"sums_{sums.name}", const=const, step=step)
    return pointer if sums.shared else f"({pointer} + block * {sums.places * size})"


def block_size(target: Target, sums: Sequence[Sums]) -> int:
    """Output channels that are summed at a time: whole words of bits where there are several blocks."""
    outputs = sums[0].outputs
    whole = any(each.groups > 1 for each in sums)
    if not target.has_lists:
        return outputs if whole or outputs <= _SMALL_BLOCK else _SMALL_BLOCK
    if whole:
        return rounded_up(outputs, 16)
    wide = all(accumulator(each)[0] != "int32" and each.source.inner <= 256 for each in sums)
    largest = 2 * _SMALL_BLOCK if wide else _SMALL_BLOCK
    if outputs <= largest:
        return rounded_up(outputs, 16)
    return largest if outputs % largest == 0 or outputs > 512 else _SMALL_BLOCK

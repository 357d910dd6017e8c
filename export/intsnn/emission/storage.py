"""How each tensor of a graph lies in memory: the order of its axes, its element type, and its bytes a step.

A tensor of one step is `rows` rows of `inner` values. With the channels last a row is a place of the map and holds its
channels; with the channels first (row-major, as in FORMAT.md) a row runs along the last axis. Binary values are bits in
words, a row at a time, little end first, zeros behind the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from intsnn.arithmetic import Bounds, IntType
from intsnn.emission.text import row_major
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
    Shape,
)
from intsnn.graph.bounds import ChannelBounds, TensorRole, carries

Order = Literal["first", "last"]
Element = Literal["bit", "uint8", "int8", "int16", "int32"]
_WORDS: tuple[tuple[Element, IntType], ...] = (
    ("uint8", IntType(8, signed=False)),
    ("int8", IntType(8, signed=True)),
    ("int16", IntType(16, signed=True)),
    ("int32", IntType(32, signed=True)),
)
ELEMENT_BYTES: Mapping[Element, int] = {"uint8": 1, "int8": 1, "int16": 2, "int32": 4}


@dataclass(frozen=True)
class Store:
    """One tensor of one step: its per-sample shape, the order of its axes, its element type."""

    shape: Shape
    order: Order
    element: Element
    word_bits: int

    @property
    def inner(self) -> int:
        """Values of a row."""
        return self.shape[0] if self.order == "last" else self.shape[-1]

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return math.prod(self.shape) // self.inner

    @property
    def is_bits(self) -> bool:
        """Whether the values are bits in words."""
        return self.element == "bit"

    @property
    def words(self) -> int:
        """Words of a row of bits."""
        return -(-self.inner // self.word_bits)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.words * self.word_bits // 8 if self.is_bits else self.inner * ELEMENT_BYTES[self.element]

    @property
    def held(self) -> tuple[str, int]:
        """What a step is an array of, words or the element, and how many."""
        return ("word", self.rows * self.words) if self.is_bits else (self.element, self.rows * self.inner)

    @property
    def step_bytes(self) -> int:
        """Bytes of a step."""
        return self.rows * self.row_bytes

    @property
    def channel_is_inner(self) -> bool:
        """Whether a row holds one value of each channel; else a row belongs to one channel."""
        return self.order == "last" or len(self.shape) == 1

    def place(self, index: tuple[str, ...]) -> tuple[str, str]:
        """The row and the place within it of one value, as C, from the C of its index in the per-sample shape."""
        if self.order == "last":
            return row_major(index[1:], self.shape[1:]), index[0]
        return row_major(index[:-1], self.shape[:-1]), index[-1]


def element_for(interval: Bounds) -> Element:
    """The narrowest element that holds an interval."""
    return next(name for name, word in _WORDS if word.holds(interval.low, interval.high))


def membrane_element(bit_width: int) -> Element:
    """The element of a stored membrane of N bits."""
    return "int8" if bit_width <= 8 else "int16"


def stores(graph: IntGraph, proved: Mapping[str, ChannelBounds], word_bits: int) -> dict[str, Store]:
    """Where each tensor lies, by node name; the readout writes none."""
    roles, found = carries(graph), dict[str, Store]()
    for node in graph.nodes[:-1]:
        interval = proved[node.name].hull
        binary = roles[node.name] is TensorRole.VALUES and interval.low >= 0 and interval.high <= 1
        element: Element = "bit" if binary else element_for(interval)
        found[node.name] = Store(node.shape, _order(graph, node, found), element, word_bits)
    return found


def _order(graph: IntGraph, node: IntNode, found: Mapping[str, Store]) -> Order:
    """Of what a node writes: as it makes it, or as its first reader likes it."""
    if len(node.shape) == 1:
        return "last"
    match node:
        case IntConv() | IntConvTranspose() | IntPool() | IntRecurrentNeuron():  # on a map it is a convolution too
            return "last"
        case IntLinear() | IntMatMul():
            return "first"
        case IntRequant() | IntNeuron() | IntAdd() | IntMultiply() | IntSum():
            return found[node.inputs[0]].order
        case IntInput() | IntConcat() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return _liked(graph, node.name)
        case IntReadout():
            return "first"
        case _:
            assert_never(node)


def _liked(graph: IntGraph, name: str) -> Order:
    """What the first reader that has a wish wants; channels last where none has."""
    for reader in graph.readers(name):
        match reader:
            case IntConv() | IntConvTranspose() | IntPool() | IntRecurrentNeuron() | IntFlatten():
                return "last"
            case IntLinear() | IntMatMul():
                return "first"
            case IntRequant() | IntNeuron() | IntAdd() | IntMultiply() | IntSum():
                return _liked(graph, reader.name)
            case IntInput() | IntConcat() | IntTranspose() | IntReshape() | IntSlice() | IntReadout():
                continue
            case _:
                assert_never(reader)
    return "last"

"""A broken rule of an integer graph, and the check that an array stays within limits, which many rules are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from intsnn.arithmetic import Bounds, IntArray
from intsnn.graph import IntNode
from intsnn.weight_bits import TERNARY_BITS


@dataclass(frozen=True)
class Violation:
    """One broken rule: which node, what must hold and was seen, what to do."""

    node: str
    message: str
    hint: str


def outside(node: IntNode, name: str, limit: Bounds, hint: str) -> Iterator[Violation]:
    """A violation where an array of a node has values beyond the limit."""
    values: IntArray = getattr(node, name)
    for value in (int(values.min()), int(values.max())):
        if not limit.low <= value <= limit.high:
            yield Violation(node.name, f"{name} must lie in [{limit.low}, {limit.high}] (got {value})", hint)
            return


def outside_weight_word(node: IntNode, name: str, bit_width: float) -> Iterator[Violation]:
    """1 bit: -1 or 1; 1.58 bit: -1, 0 or 1; b bit: [-2^(b-1), 2^(b-1) - 1]."""
    half = 1 if bit_width < 2 else 2 ** (int(bit_width) - 1)
    limit = Bounds(-1, 1) if bit_width < 2 else Bounds(-half, half - 1)
    yield from outside(node, name, limit, "quantize the weights again, or raise the bit width")
    if bit_width == 1 and bool((getattr(node, name) == 0).any()):
        yield Violation(
            node.name, f"1-bit values of {name} must be -1 or 1 (got 0)", f"use {TERNARY_BITS} bit for ternary"
        )

"""Places in one block of memory for tensors that live for a part of a step: who is dead gives its place away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # a cache line, and the widest vector
STEP_ALIGNMENT = 8  # the widest word: the next step of a tensor begins where one may


@dataclass(frozen=True)
class Lifetime:
    """A tensor, its bytes, and the first and last stage that need it."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """The offset of each tensor by name, and the bytes of the block."""

    offsets: dict[str, int]
    size: int


def placed(tensors: Sequence[Lifetime], *, alignment: int = ALIGNMENT) -> Layout:
    """First fit, the largest first: no two tensors that live at one time share a byte."""
    offsets: dict[str, int] = {}
    taken: list[tuple[int, int, Lifetime]] = []
    for tensor in sorted(tensors, key=lambda each: (-each.size, each.first, each.name)):
        start = 0
        for low, high, other in sorted(taken, key=lambda each: each[0]):
            meets = tensor.first <= other.last and other.first <= tensor.last
            if meets and low < start + tensor.size and start < high:
                start = rounded_up(high, alignment)
        offsets[tensor.name] = start
        taken.append((start, start + tensor.size, tensor))
    size = max((high for _, high, _ in taken), default=0)
    return Layout(offsets, rounded_up(size, alignment))


def rounded_up(size: int, multiple: int) -> int:
    """The smallest multiple that is no less."""
    return -(-size // multiple) * multiple

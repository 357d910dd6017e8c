"""The integer arithmetic the hardware has: ranges, floor shifts, saturation. Numbers in, numbers out; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

ACCUMULATOR_LIMIT = 2**30  # int32 with one bit left for the +2^30 offset that turns Div into a floor shift (FORMAT.md)


@dataclass(frozen=True)
class IntType:
    """An integer range by bit width: signed [-2^(b-1), 2^(b-1) - 1], unsigned [0, 2^b - 1]."""

    bit_width: int
    signed: bool

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(2 ** (self.bit_width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return int(2 ** (self.bit_width - 1) - 1) if self.signed else int(2**self.bit_width - 1)

    def holds(self, low: int, high: int) -> bool:
        """Whether every value of [low, high] fits."""
        return self.low <= low and high <= self.high


@dataclass(frozen=True)
class Bounds:
    """A proved interval [low, high] of the integers that one tensor can hold."""

    low: int
    high: int

    @property
    def magnitude(self) -> int:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))


def shift_floor(x: IntArray, shift: int) -> IntArray:
    """`x >> shift`: floor division by 2^shift (arithmetic shift), for negative x too: -1 >> 1 = -1."""
    return np.right_shift(x, shift)


def divide_half_even(x: IntArray, divisor: IntArray) -> IntArray:
    """x / divisor rounded to the nearest integer, a tie to the even one; x >= 0, divisor >= 1."""
    quotient = x // divisor
    twice = 2 * (x - quotient * divisor)
    rounded: IntArray = quotient + (twice > divisor) + (twice == divisor) * (quotient % 2)
    return rounded


def saturate(x: IntArray, bit_width: int) -> IntArray:
    """Clip to a signed word of `bit_width` bits: max(-2^(N-1), min(x, 2^(N-1) - 1))."""
    word = IntType(bit_width, signed=True)
    return np.clip(x, word.low, word.high)


def word_bits(interval: Bounds) -> int:
    """Bits of the smallest word that holds the interval: unsigned where low >= 0, else two's complement; at least 1."""
    if interval.low >= 0:
        return max(1, interval.high.bit_length())
    return max(interval.high.bit_length(), (-interval.low - 1).bit_length()) + 1


def joined(*intervals: Bounds) -> Bounds:
    """The interval of a sum of one value from each."""
    return Bounds(sum(part.low for part in intervals), sum(part.high for part in intervals))


def tree_bits(rows: int, cell_bits: int) -> float:
    """Mean width of the rows - 1 adders of a tree, by their results: level l gives cell bits + l + 1 (l from 0)."""
    bits, adders, words, level = 0, 0, rows, 0
    while words > 1:
        pairs = words // 2
        bits, adders = bits + pairs * (cell_bits + level + 1), adders + pairs
        words, level = words - pairs, level + 1
    return bits / adders if adders else float(cell_bits + 1)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value that a caller gave is a real number; True and False are none."""
    return isinstance(value, int | float) and type(value) is not bool

"""An interval of integers -> the bits of the word that holds it."""

from __future__ import annotations

from intsnn.arithmetic import Bounds


def word_bits(interval: Bounds) -> int:
    """Bits of the smallest word that holds the interval: unsigned where low >= 0, else two's complement; at least 1."""
    if interval.low >= 0:
        return max(1, interval.high.bit_length())
    return max(interval.high.bit_length(), (-interval.low - 1).bit_length()) + 1


def joined(*intervals: Bounds) -> Bounds:
    """The interval of a sum of one value from each."""
    return Bounds(sum(part.low for part in intervals), sum(part.high for part in intervals))

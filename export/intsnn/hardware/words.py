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


def tree_bits(rows: int, cell_bits: int) -> float:
    """Mean width of the rows - 1 adders of a tree: level l adds words of cell bits + l, pair by pair (l from 0)."""
    bits, adders, words, level = 0, 0, rows, 0
    while words > 1:
        pairs = words // 2
        bits, adders = bits + pairs * (cell_bits + level), adders + pairs
        words, level = words - pairs, level + 1
    return bits / adders if adders else float(cell_bits)

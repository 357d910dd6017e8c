"""Integers of up to 64 samples as bit planes: bit n of a word belongs to sample n, so one operation serves all samples.

A tensor [T, N, *shape] of integers in a word of B bits is planes [B, T, *shape] of uint64:

    x[t, n, ...] = sum_b 2^b ((planes[b, t, ...] >> n) & 1)            the top plane counts -2^(B-1) where x is signed

"Any of these is not 0" is then an OR of words, and counting is counting ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import Bounds, IntArray, word_bits

SAMPLES = 64  # in a word
_BLOCK = 1 << 16  # values of one sample packed at a time: what a cache holds

Words = npt.NDArray[np.uint64]
Pack = Callable[[npt.NDArray[np.uint8], int], Words]  # one bit of values [T, N, *shape] as words [T, *shape]


@dataclass(frozen=True)
class Word:
    """Bits of the values of a tensor, and whether they are two's complement."""

    bits: int
    signed: bool

    @classmethod
    def holding(cls, interval: Bounds) -> Word:
        """The smallest word of a proved interval."""
        return cls(word_bits(interval), interval.low < 0)


@dataclass(frozen=True, eq=False)
class Planes:
    """A tensor of one word as bit planes [B, T, *shape]; the bits of samples that there are not are 0."""

    words: Words
    signed: bool

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """What each plane counts, [B]."""
        counts = np.array([2.0**bit for bit in range(len(self.words))])
        if self.signed:
            counts[-1] = -counts[-1]
        return counts

    @property
    def binary(self) -> bool:
        """Whether the values are 0 and 1."""
        return len(self.words) == 1 and not self.signed

    @property
    def active(self) -> Words:
        """Where x is not 0, [T, *shape]."""
        return self.words[0] if len(self.words) == 1 else reduced_or(self.words, axis=0)

    def to(self, word: Word) -> Planes:
        """The same values in another word that holds them: by sign or by zeros; planes that repeat the sign go."""
        more = word.bits - len(self.words)
        if more <= 0:
            return Planes(self.words[: word.bits], word.signed)
        top = self.words[-1:] if self.signed else np.zeros_like(self.words[-1:])
        return Planes(np.concatenate([self.words, *itertools.repeat(top, more)]), word.signed)

    def previous_step(self) -> Planes:
        """What was there one step before: nothing in the first."""
        before = np.zeros_like(self.words)
        before[:, 1:] = self.words[:, :-1]
        return Planes(before, self.signed)


def packed(x: npt.NDArray[np.integer], word: Word, *, pack: Pack) -> Planes:
    """Values [T, N, *shape] of at most 64 samples, all in the word."""
    if word.bits <= 8:
        low = x.astype(np.uint8, copy=False)  # modulo 256: the low bits stay, of negative values too
        planes = [pack(low, bit) for bit in range(word.bits)]
    else:
        planes = [pack(((x >> bit) & 1).astype(np.uint8), 0) for bit in range(word.bits)]
    return Planes(np.stack(planes), word.signed)


def unpacked(planes: Planes, samples: int) -> IntArray:
    """The values of the first samples, [T, N, *shape]."""
    places = np.arange(samples, dtype=np.uint64).reshape(-1, *(1 for _ in planes.words.shape[2:]))
    x = np.zeros((planes.words.shape[1], samples, *planes.words.shape[2:]), dtype=np.int64)
    for bit, words in enumerate(planes.words):
        is_sign = planes.signed and bit == len(planes.words) - 1
        x += ((words[:, None] >> places) & np.uint64(1)).astype(np.int64) * (-(2**bit) if is_sign else 2**bit)
    return x


def count_ones(words: Words) -> IntArray:
    """Ones in each word."""
    counted = np.bitwise_count(words) if hasattr(np, "bitwise_count") else _counted_by_halves(words)  # NumPy 2 has it
    ones: IntArray = counted.astype(np.int64)
    return ones


def reduced_or(words: Words, *, axis: int) -> Words:
    """Words of one axis, OR."""
    found: Words = np.bitwise_or.reduce(words, axis=axis)
    return found


def joined_or(words: Words, size: int, *, axis: int) -> Words:
    """`size` neighbours along an axis, OR; the last of them are fewer where the axis does not divide."""
    if size == 1:
        return words
    length = words.shape[axis]
    whole, (before, after) = length - length % size, (words.shape[:axis], words.shape[axis + 1 :])
    place = (slice(None),) * axis
    blocks = reduced_or(words[(*place, slice(whole))].reshape(*before, -1, size, *after), axis=axis + 1)
    if whole == length:
        return blocks
    rest = reduced_or(words[(*place, slice(whole, None))], axis=axis)
    return np.concatenate([blocks, np.expand_dims(rest, axis)], axis=axis)


def added(terms: Sequence[Planes], word: Word) -> Planes:
    """The sum of tensors, in a word that holds it: an adder of each bit of the word."""
    total = reduce(lambda left, right: _sum(left, right, word.bits), (_addend(term, word) for term in terms))
    return Planes(np.stack(total), word.signed).to(word)


def added_along(x: Planes, axis: int, word: Word) -> Planes:
    """The sum along an axis of the shape, which stays with size 1: halves are added until one is left."""
    words, place = x.to(word).words, (slice(None),) * (2 + axis)
    while (length := words.shape[2 + axis]) > 1:
        half = length // 2
        parts = (slice(half), slice(half, 2 * half), slice(2 * half, None))
        low, high, rest = (words[(*place, part)] for part in parts)
        words = np.concatenate([np.stack(_sum(list(low), list(high), word.bits)), rest], axis=2 + axis)
    return Planes(words, word.signed)


def _addend(x: Planes, word: Word) -> list[Words]:
    """The planes of a term: all of the word where signs matter, else those that are not 0 throughout."""
    return list(x.to(word).words) if word.signed else list(x.words)


def _sum(left: list[Words], right: list[Words], bits: int) -> list[Words]:
    """A sum modulo 2^bits, plane by plane with a carry; planes that are missing are 0."""
    total: list[Words] = []
    carry: list[Words] = []
    for bit in range(bits):
        match [*left[bit : bit + 1], *right[bit : bit + 1], *carry]:
            case [a, b, c]:
                differ = a ^ b
                total.append(differ ^ c)
                carry = [(a & b) | (differ & c)]
            case [a, b]:
                total.append(a ^ b)
                carry = [a & b]
            case [a]:
                total.append(a)
                carry = []
            case _:
                break
    return total


def pack_bits(x: npt.NDArray[np.uint8]) -> Words:
    """0 and 1, [T, N, *shape] -> words [T, *shape]: each eighth of the samples fills one byte."""
    steps, samples, *shape = x.shape
    rows = x.reshape(steps, samples, -1)
    parts = np.zeros((8, steps, rows.shape[2]), np.uint8)
    together = max(1, _BLOCK // max(1, rows.shape[2]))
    for start, eighth in itertools.product(range(0, steps, together), range(math.ceil(samples / 8))):
        byte, steps_here = parts[eighth, start : start + together], slice(start, start + together)
        for sample in reversed(range(8 * eighth, min(8 * eighth + 8, samples))):
            byte += byte
            byte |= rows[steps_here, sample]
    words = np.stack(list(parts), axis=-1).view("<u8").astype(np.uint64, copy=False)
    return words.reshape(steps, *shape)


def _counted_by_halves(words: Words) -> Words:
    """Ones in pairs of bits, then in fours, bytes and so on, in place of the bits."""
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        low, up = np.uint64(mask), np.uint64(shift)
        words = (words & low) + ((words >> up) & low)
    return (words * np.uint64(0x0101010101010101)) >> np.uint64(56)

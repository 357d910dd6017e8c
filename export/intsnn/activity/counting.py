"""The counts of a synapse's bit planes: by NumPy, or by C compiled for this machine (counting.c) for long measurements.

Both give the same integers. The C is fixed, so a machine compiles it once.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from intsnn.activity.occupancy import Cut, count_occupancy, input_uses, mapped, sharing, windows
from intsnn.activity.planes import Words, back_in_order, count_ones, in_memory_order, pack_bits
from intsnn.arithmetic import IntArray
from intsnn.graph import Synapse

_WORTH_ASKING = 10**7  # values: NumPy counts 2e9 a second, so that below it a compiler is not looked for
_WORTH_COMPILING = 10**9  # values: the C compiler needs half a second


@dataclass(frozen=True)
class PlaneCounts:
    """Of planes [B, T, ...]: ones and ones times uses [B, T], occupancies [cuts, 3, T] over all planes."""

    ones: IntArray
    used: IntArray
    occupied: npt.NDArray[np.int64] | npt.NDArray[np.float64]


class Counting(Protocol):
    """Packs values into bit planes and counts them. Several threads may count at once."""

    def pack(self, x: npt.NDArray[np.uint8], bit: int) -> Words:
        """One bit of values [T, N, *shape] of at most 64 samples as words [T, *shape]."""

    def count(self, node: Synapse, words: Words, cuts: Sequence[Cut]) -> PlaneCounts:
        """Count what a synapse reads, planes [B, T, *input shape]."""


class NumpyCounting:
    """By NumPy."""

    def pack(self, x: npt.NDArray[np.uint8], bit: int) -> Words:
        """One bit of values [T, N, *shape] as words [T, *shape]."""
        return pack_bits((x >> np.uint8(bit) if bit else x) & np.uint8(1))

    def count(self, node: Synapse, words: Words, cuts: Sequence[Cut]) -> PlaneCounts:
        """Count what a synapse reads."""
        ones = count_ones(words)
        used = ones * input_uses(node, words.shape[2:])
        sums = [each.reshape(*words.shape[:2], -1).sum(axis=2) for each in (ones, used)]
        return PlaneCounts(sums[0], sums[1], count_occupancy(node, words, cuts=cuts))


class CompiledCounting:
    """By counting.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._pack, self._count = library.pack, library.count
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._pack.argtypes, self._pack.restype = [pointer, number, number, number, pointer], None
        self._count.argtypes, self._count.restype = [pointer, pointer, pointer, number, pointer, pointer], None
        self._layers: dict[tuple[Synapse, tuple[int, ...], tuple[Cut, ...]], _Layer] = {}
        self._scratch = threading.local()

    def pack(self, x: npt.NDArray[np.uint8], bit: int) -> Words:
        """One bit of values [T, N, *shape] as words [T, *shape]."""
        order = in_memory_order(x)
        values = np.ascontiguousarray(x.transpose(order))
        steps, samples, *shape = values.shape
        words = np.empty((steps, *shape), np.uint64)
        for one, packed in zip(values, words, strict=True):
            self._pack(one.ctypes.data, samples, math.prod(shape), bit, packed.ctypes.data)
        return back_in_order(words, order)

    def count(self, node: Synapse, words: Words, cuts: Sequence[Cut]) -> PlaneCounts:
        """Count what a synapse reads."""
        key = (node, words.shape[2:], tuple(cuts))
        if key not in self._layers:
            self._layers[key] = _Layer(*key)
        layer = self._layers[key]
        scratch = self._room(layer.scratch)
        counts = np.empty((*words.shape[:2], 2 + 3 * len(cuts)), np.int64)
        for plane, found in zip(words, counts, strict=True):
            for step, numbers in zip(np.ascontiguousarray(mapped(node, plane)), found, strict=True):
                self._count(step.ctypes.data, *layer.arguments, scratch.ctypes.data, numbers.ctypes.data)
        occupied = counts[:, :, 2:].sum(axis=0).reshape(words.shape[1], len(cuts), 3)
        return PlaneCounts(counts[:, :, 0], counts[:, :, 1], occupied[:, layer.order].transpose(1, 2, 0))

    def _room(self, size: int) -> Words:
        """Memory of this thread's own to work in."""
        room: Words | None = getattr(self._scratch, "room", None)
        if room is None or len(room) < size:
            self._scratch.room = room = np.empty(size, np.uint64)
        return room


class _Geometry(ctypes.Structure):
    """`struct layer`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("groups", "channels", "pixels", "outputs", "kernel")),
        *((name, ctypes.c_void_p) for name in ("uses", "runs", "starts")),
    ]


class _Layer:
    """One synapse and its cuts as the C has them.

    order: the place of each cut as it was given, in the order of the C. scratch: words of memory to work in.
    """

    def __init__(self, node: Synapse, shape: tuple[int, ...], cuts: tuple[Cut, ...]) -> None:
        pixels = shape[1:] if node.kernel else (math.prod(shape[:-1]),)
        groups, channels, kernel = sharing(node)
        self._kept = _Reads.of(node, pixels)
        uses, runs, starts = self._kept.uses, self._kept.runs, self._kept.starts
        geometry = _Geometry(
            groups, channels, math.prod(pixels), self._kept.outputs, kernel,
            *(array.ctypes.data for array in (uses, runs, starts)),
        )  # fmt: skip
        keys = [(cut.mapping, cut.groups, cut.rows) for cut in cuts]
        ordered = sorted(range(len(cuts)), key=keys.__getitem__)
        self.order = np.argsort(ordered)
        table, self.scratch = _table([cuts[place] for place in ordered], groups, channels, self._kept, kernel)
        self._memory = (geometry, table)
        self.arguments = (ctypes.addressof(geometry), table.ctypes.data, len(cuts))


@dataclass(frozen=True, eq=False)
class _Reads:
    """Which pixels each output reads: uses [X], and runs [., 5]; those of kernel position k begin at starts[k]."""

    outputs: int
    uses: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]

    @classmethod
    def of(cls, node: Synapse, pixels: tuple[int, ...]) -> _Reads:
        """From the windows over a map that holds its own places, from 1 on: 0 is padding."""
        places = np.arange(1, math.prod(pixels) + 1, dtype=np.uint64).reshape(pixels)
        read = [window.ravel().astype(np.int64) - 1 for window in windows(node, places)]
        inside = [np.flatnonzero(window >= 0) for window in read]
        runs = [list(_runs(outputs, window[outputs])) for outputs, window in zip(inside, read, strict=True)]
        uses = np.bincount(np.concatenate([w[w >= 0] for w in read]), minlength=math.prod(pixels)).astype(np.int64)
        flat = [number for position in runs for run in position for number in run]
        starts = np.cumsum([0, *map(len, runs)], dtype=np.int32)
        return cls(len(read[0]), uses, np.array(flat, dtype=np.int32), starts)


def _runs(outputs: IntArray, pixels: IntArray) -> Iterator[tuple[int, int, int, int, int]]:
    """Stretches of reads with equal steps: first output, first pixel, length, step of the output, of the pixel."""
    steps = np.stack([np.diff(outputs), np.diff(pixels)])
    start = 0
    while start < len(outputs):
        end = start + 1
        if end < len(outputs):
            step = steps[:, start]
            differs = np.flatnonzero((steps[:, start:] != step[:, None]).any(axis=0))
            end = start + 1 + (int(differs[0]) if len(differs) else steps.shape[1] - start)
            yield int(outputs[start]), int(pixels[start]), end - start, int(step[0]), int(step[1])
        else:
            yield int(outputs[start]), int(pixels[start]), 1, 1, 1
        start = end


def _table(
    cuts: Sequence[Cut], groups: int, channels: int, reads: _Reads, kernel: int
) -> tuple[npt.NDArray[np.int64], int]:
    """`struct cut` of each, [cuts, 5], and the words of scratch memory."""
    rows: list[tuple[int, int, int, int, int]] = []
    place = 2 * reads.outputs
    for index, cut in enumerate(cuts):
        unrolled = cut.mapping == "im2col"
        bases = (
            known
            for known in reversed(range(index))
            if (cuts[known].mapping, cuts[known].groups) == (cut.mapping, cut.groups)
            and cut.rows % cuts[known].rows == 0
        )
        rows.append((int(unrolled), cut.rows, cut.groups, next(bases, -1), place))
        blocks = math.ceil(groups / cut.groups) * math.ceil(channels * (kernel if unrolled else 1) / cut.rows)
        place += blocks * (reads.outputs if unrolled else len(reads.uses))
    return np.array(rows, dtype=np.int64).reshape(-1, 5), place


def counting_for(values: int) -> Counting:
    """What counts so many values the soonest: C that is compiled already, or worth it; else NumPy."""
    if values < _WORTH_ASKING:
        return NumpyCounting()
    from intsnn.compiling.cache import load_library, shared_library, stored_library
    from intsnn.compiling.compiler import Compiler, host_flags, usable_compiler

    compiler = usable_compiler()
    if not isinstance(compiler, Compiler):
        return NumpyCounting()  # whoever opened the session has said that there is none
    stored = stored_library(_source(), compiler=compiler, flags=host_flags(compiler))
    if stored is None and values < _WORTH_COMPILING:
        return NumpyCounting()
    return CompiledCounting(load_library(stored or shared_library(_source(), compiler=compiler)))


@cache
def _source() -> str:
    return Path(__file__).with_name("counting.c").read_text(encoding="utf-8")

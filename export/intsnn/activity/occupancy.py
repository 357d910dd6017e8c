"""Spikes that a synapse reads -> how many reads of an array, and of a PE, see an active row: exact counts.

A read is one output position and one input bit, of one sample. Rows are cut as the mapping cuts them (`Cut`);
x_{p,k,c} is the bit that kernel position k and input channel c bring at position p, j a block of rows, and an array
read counts once for each group that shares the array:

    kernel_split   arrays = sum_{p,k,j} [any c in j of x]     pes = sum_{p,j} [any k, c in j]     outputs = sum_p [any]
    im2col         arrays = pes = sum_{p,j} [any (c, k) in j of x]                                outputs = sum_p [any]

Padding is no active row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity.planes import Words, count_ones, joined_or, reduced_or
from intsnn.arithmetic import IntArray
from intsnn.graph import IntConv, IntConvTranspose, IntLinear, Shape, Synapse
from intsnn.graph.windows import mirrored_padding, spread, weight_rows

USUAL_SIZES = (16, 32, 64, 128, 256)  # sides of the square arrays whose cuts every measurement counts
USUAL_COLUMNS = (1, 2, 4, 8)  # columns of a weight; they matter where groups share an array

FloatArray = npt.NDArray[np.float64]
Steps = tuple[float, ...]


@dataclass(frozen=True)
class Cut:
    """How the rows of one group are cut: `rows` of a full block, and how many groups share an array (1: none)."""

    mapping: Literal["kernel_split", "im2col"]
    rows: int
    groups: int


@dataclass(frozen=True)
class Occupancy:
    """Reads with an active row under one cut, in each step (equations above), mean per sample."""

    cut: Cut
    arrays: Steps
    pes: Steps
    outputs: Steps


def usual_cuts(node: Synapse) -> tuple[Cut, ...]:
    """The cuts of a layer on arrays of the usual sizes, each once."""
    groups, per_group, kernel = sharing(node)
    outputs = weight_rows(node).shape[1]
    heights: list[tuple[Literal["kernel_split", "im2col"], int]] = [("kernel_split", per_group)]
    if kernel > 1:  # a kernel of one position lies the same way under both mappings
        heights.append(("im2col", per_group * kernel))
    found: dict[Cut, None] = {}
    for (mapping, height), size, columns in itertools.product(heights, USUAL_SIZES, USUAL_COLUMNS):
        together = max(1, min(groups, size // height, size // (outputs * columns)))
        found[Cut(mapping, min(height, size), together)] = None
    return tuple(found)


def count_occupancy(node: Synapse, planes: Words, *, cuts: Sequence[Cut]) -> FloatArray:
    """Arrays, PEs and outputs of each cut, [cuts, 3, T], over all samples and bits of planes [B, T, *input shape]."""
    counts = np.zeros((len(cuts), 3, planes.shape[1]))
    for plane in planes:
        for index, found in enumerate(_counts(node, mapped(node, plane), cuts)):
            counts[index] += found
    return counts


def mapped(node: Synapse, plane: Words) -> Words:
    """[T, *input shape] -> [T, G, Ci/G, *axes]; of a linear layer the axes before the last are one axis of places."""
    if node.kernel:
        groups, per_group, _ = sharing(node)
        return plane.reshape(len(plane), groups, per_group, *plane.shape[2:])
    return plane.reshape(len(plane), -1, plane.shape[-1]).swapaxes(1, 2)[:, None]


def input_uses(node: Synapse, shape: Shape) -> IntArray:
    """How many windows read each input, broadcast over the input's shape: 1 for a linear layer."""
    match node:
        case IntLinear():
            return np.ones((1,) * len(shape), dtype=np.int64)
        case IntConv():
            along = _uses_along
        case IntConvTranspose():
            along = _transposed_uses_along
        case _:
            assert_never(node)
    per_axis = [
        along(shape[1 + axis], node.shape[1 + axis], (node.kernel[axis], node.stride[axis], node.dilation[axis]), pad)
        for axis, pad in enumerate(node.padding)
    ]
    uses: IntArray = reduce(np.multiply.outer, per_axis)
    return np.expand_dims(uses, 0)


def _uses_along(size: int, outputs: int, window: tuple[int, int, int], padding: int) -> IntArray:
    """Along one axis: the number of pairs (output o, kernel position k) with o*stride + k*dilation - padding = i."""
    kernel, stride, dilation = window
    reads = np.add.outer(np.arange(outputs) * stride, np.arange(kernel) * dilation).ravel() - padding
    return np.bincount(reads[(reads >= 0) & (reads < size)], minlength=size).astype(np.int64)


def _transposed_uses_along(size: int, outputs: int, window: tuple[int, int, int], padding: int) -> IntArray:
    """Along one axis: the number of kernel positions k whose output i*stride + k*dilation - padding exists."""
    kernel, stride, dilation = window
    written = np.add.outer(np.arange(size) * stride, np.arange(kernel) * dilation) - padding
    found: IntArray = ((written >= 0) & (written < outputs)).sum(axis=1)
    return found


def sharing(node: Synapse) -> tuple[int, int, int]:
    """Groups G, input channels of a group, kernel positions K."""
    groups, _, rows = weight_rows(node).shape
    kernel = math.prod(node.kernel)
    return groups, rows // kernel, kernel


def _counts(node: Synapse, plane: Words, cuts: Sequence[Cut]) -> Iterator[FloatArray]:
    """For each cut arrays, pes, outputs, [3, T], of one bit plane [T, G, Ci/G, *axes]."""
    blocks: dict[tuple[str, int], Words] = {}
    for mapping in sorted({cut.mapping for cut in cuts}):
        for size, found in _row_blocks(node, plane, [cut.rows for cut in cuts if cut.mapping == mapping], mapping):
            blocks[mapping, size] = found
    uses = input_uses(node, plane.shape[2:])[0] if node.kernel else np.ones((), np.int64)
    for cut in cuts:
        shared, weights = _packed(blocks[cut.mapping, cut.rows], cut.groups)
        if cut.mapping == "im2col":
            reads, seen = _weighted(shared, weights), shared
            yield np.stack([reads, reads, _weighted(_any_block(seen), weights)])
        else:
            reads, seen = _weighted(shared, weights, uses), _any_in_window(node, shared)
            yield np.stack([reads, _weighted(seen, weights), _weighted(_any_block(seen), weights)])


def _row_blocks(node: Synapse, plane: Words, sizes: Iterable[int], mapping: str) -> Iterator[tuple[int, Words]]:
    """For each block size [T, G, ceil(R / size), ...]; a size is built from one that divides it."""
    made: dict[int, Words] = {}
    for size in sorted(set(sizes)):
        base = max((known for known in made if size % known == 0), default=0)
        if base:
            made[size] = joined_or(made[base], size // base, axis=2)
        else:
            made[size] = joined_or(plane, size, axis=2) if mapping == "kernel_split" else _unfolded(node, plane, size)
        yield size, made[size]


def _packed(blocks: Words, groups: int) -> tuple[Words, IntArray]:
    """Groups that share an array joined: [T, packs, N_r, ...], and the groups of each pack."""
    starts = np.arange(0, blocks.shape[1], groups)
    weights = np.diff(np.append(starts, blocks.shape[1]))
    return joined_or(blocks, groups, axis=1), weights


def _any_block(active: Words) -> Words:
    """[T, packs, N_r, ...] -> [T, packs, 1, ...]: whether any block of rows is active."""
    return np.expand_dims(reduced_or(active, axis=2), 2)


def _weighted(active: Words, weights: IntArray, uses: IntArray | None = None) -> FloatArray:
    """Sum over [packs, N_r, *axes] of the active samples * groups of the pack (* uses of the pixel), [T]."""
    ones = count_ones(active).sum(axis=2)  # [T, packs, *axes]
    if uses is not None:
        ones = ones * uses
    by_pack = ones.reshape(*ones.shape[:2], -1).sum(axis=2)
    total: FloatArray = (by_pack @ weights).astype(np.float64)
    return total


def _any_in_window(node: Synapse, active: Words) -> Words:
    """[..., *axes] -> [..., *outputs]: whether any kernel position reads an active pixel."""
    found, *others = windows(node, active)
    found = found.copy()
    for window in others:
        found |= window
    return found


def _unfolded(node: Synapse, plane: Words, size: int) -> Words:
    """[T, G, C, *axes] -> blocks of `size` of the rows c*K + k of each output, [T, G, ceil(C*K / size), *outputs].

    Rows and blocks come together again after lcm(size, K) rows, so that a row serves all such stretches at once.
    """
    reads = list(windows(node, plane))
    channels, kernel = plane.shape[2], len(reads)
    stretch = math.lcm(size, kernel)
    in_stretch, stretches = stretch // kernel, math.ceil(channels * kernel / stretch)
    blocks = np.zeros((*plane.shape[:2], stretches, stretch // size, *reads[0].shape[3:]), np.uint64)
    for channel, (position, window) in itertools.product(range(min(in_stretch, channels)), enumerate(reads)):
        read = window[:, :, channel::in_stretch]
        blocks[:, :, : read.shape[2], (channel * kernel + position) // size] |= read
    joined = blocks.reshape(*plane.shape[:2], -1, *blocks.shape[4:])
    return joined[:, :, : math.ceil(channels * kernel / size)]


def windows(node: Synapse, x: Words) -> Iterator[Words]:
    """For each kernel position, what it reads at every output position: [..., *outputs]."""
    match node:
        case IntLinear():
            yield x
            return
        case IntConv():
            strides, padding = node.stride, [(pad, pad) for pad in node.padding]
        case IntConvTranspose():
            x, strides, padding = spread(x, node.stride), (1,) * len(node.stride), mirrored_padding(node)
        case _:
            assert_never(node)
    padded = np.pad(x, [(0, 0)] * (x.ndim - len(padding)) + padding)
    leading = (slice(None),) * (x.ndim - len(padding))
    for position in np.ndindex(*node.kernel):
        places = (
            slice(k * dilation, k * dilation + (size - 1) * stride + 1, stride)
            for k, dilation, stride, size in zip(position, node.dilation, strides, node.shape[1:], strict=True)
        )
        yield padded[(*leading, *places)]

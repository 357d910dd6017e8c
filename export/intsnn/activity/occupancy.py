"""Spikes that a synapse reads -> how many reads of an array, and of a PE, see an active row: exact counts.

A read is one output position and one input bit. Rows are cut as the mapping cuts them (`Cut`); x_{p,k,c} is the bit
that kernel position k and input channel c bring at position p, j a block of rows, and an array read counts once for
each group that shares the array:

    kernel_split   arrays = sum_{p,k,j} [any c in j of x]     pes = sum_{p,j} [any k, c in j]     outputs = sum_p [any]
    im2col         arrays = pes = sum_{p,j} [any (c, k) in j of x]                                outputs = sum_p [any]

Padding is no active row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.graph import IntConv, IntConvTranspose, IntLinear, Shape, Synapse
from intsnn.graph.windows import mirrored_padding, spread, weight_rows

USUAL_SIZES = (16, 32, 64, 128, 256)  # sides of the square arrays whose cuts every measurement counts
USUAL_COLUMNS = (1, 2, 4, 8)  # columns of a weight; they matter where groups share an array
_CHUNK = 1 << 25  # booleans unfolded at a time, so that memory stays bounded

BoolArray = npt.NDArray[np.bool_]
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


def count_occupancy(node: Synapse, x: IntArray, *, bits: int, cuts: Sequence[Cut]) -> FloatArray:
    """Arrays, PEs and outputs of each cut, [cuts, 3, T], summed over the batch of x [T, N, *input shape]."""
    frames = x if node.kernel else x.reshape(len(x), -1, x.shape[-1], 1, 1)
    groups, per_group, kernel = sharing(node)
    uses = input_uses(node, frames.shape[2:])
    size = max(1, _CHUNK // max(1, kernel * int(np.prod(frames.shape[2:]))))
    counts = np.zeros((len(cuts), 3, len(x)))
    for step, start, bit in itertools.product(range(len(x)), range(0, frames.shape[1], size), range(bits)):
        plane = ((frames[step, start : start + size] >> bit) & 1).astype(np.bool_)
        plane = plane.reshape(len(plane), groups, per_group, *plane.shape[2:])
        for index, found in enumerate(_counts(node, plane, uses, cuts)):
            counts[index, :, step] += found
    return counts


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


def _counts(node: Synapse, plane: BoolArray, uses: IntArray, cuts: Sequence[Cut]) -> Iterator[tuple[float, ...]]:
    """For each cut (arrays, pes, outputs) of one bit plane [B, G, Ci/G, *axes]."""
    blocks: dict[tuple[str, int], BoolArray] = {}
    for mapping in sorted({cut.mapping for cut in cuts}):
        rows = plane if mapping == "kernel_split" else _unfolded(node, plane)
        for size, found in _row_blocks(rows, sorted({cut.rows for cut in cuts if cut.mapping == mapping})):
            blocks[mapping, size] = found
    for cut in cuts:
        shared, weights = _packed(blocks[cut.mapping, cut.rows], cut.groups)
        if cut.mapping == "im2col":
            reads = _weighted(shared, weights)
            yield reads, reads, _weighted(_any_block(shared), weights)
        else:
            seen = _any_in_window(node, shared)
            yield _weighted(shared, weights, uses), _weighted(seen, weights), _weighted(_any_block(seen), weights)


def _row_blocks(rows: BoolArray, sizes: Sequence[int]) -> Iterator[tuple[int, BoolArray]]:
    """[B, G, R, ...] -> for each block size [B, G, ceil(R / size), ...]; a size is built from one that divides it."""
    made: dict[int, BoolArray] = {1: rows}
    for size in sizes:
        base = max(known for known in made if size % known == 0)
        starts = np.arange(0, made[base].shape[2], size // base)
        made[size] = np.logical_or.reduceat(made[base], starts, axis=2) if size > base else made[base]
        yield size, made[size]


def _packed(blocks: BoolArray, groups: int) -> tuple[BoolArray, IntArray]:
    """Groups that share an array joined: [B, packs, N_r, ...], and the groups of each pack."""
    starts = np.arange(0, blocks.shape[1], groups)
    weights = np.diff(np.append(starts, blocks.shape[1]))
    return (np.logical_or.reduceat(blocks, starts, axis=1) if groups > 1 else blocks), weights


def _any_block(active: BoolArray) -> BoolArray:
    """[B, packs, N_r, ...] -> [B, packs, 1, ...]: whether any block of rows is active."""
    return np.logical_or.reduce(active, axis=2, keepdims=True)


def _weighted(active: BoolArray, weights: IntArray, uses: IntArray | None = None) -> float:
    """Sum over [B, packs, N_r, *axes] of active * groups of the pack (* uses of the pixel)."""
    per_pixel = np.tensordot(active.sum(axis=(0, 2)), weights, axes=(0, 0))
    return float(per_pixel.sum() if uses is None else (per_pixel * uses[0]).sum())


def _any_in_window(node: Synapse, active: BoolArray) -> BoolArray:
    """[..., *axes] -> [..., *outputs]: whether any kernel position reads an active pixel."""
    windows = _windows(node, active)
    found = next(windows).copy()
    for window in windows:
        found |= window
    return found


def _unfolded(node: Synapse, plane: BoolArray) -> BoolArray:
    """[B, G, C, *axes] -> [B, G, C*K, *outputs], channel by channel, kernel positions inside."""
    stacked = np.stack(list(_windows(node, plane)), axis=3)
    return stacked.reshape(*stacked.shape[:2], -1, *stacked.shape[4:])


def _windows(node: Synapse, x: BoolArray) -> Iterator[BoolArray]:
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

"""The sums of synapses and pools, exact: what each output position reads, times the weights, put in its place.

Windows have 1 to 3 axes. B is any batch, steps included. The pieces are public because analog arrays make the same
sums in another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, assert_never

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from intsnn.arithmetic import IntArray
from intsnn.graph.nodes import IntConv, IntConvTranspose, IntLinear, IntPool, Sizes, Synapse

_EXACT_IN_FLOAT64 = 2**53  # every integer up to here is a float64, so a float64 product of integers is exact

NumberT = TypeVar("NumberT", bound=np.generic)
Accumulate = Callable[[Synapse, IntArray], IntArray]  # a synapse and x [T, N, ...] -> acc [T, N, *node.shape]


def exact_sums(node: Synapse, x: IntArray) -> IntArray:
    """acc = sum q_w * s of a synapse: x [T, N, *input shape] -> [T, N, *node.shape]."""
    read, weight = patches(node, x.reshape(-1, *x.shape[2:])), weight_rows(node)
    sums = [
        matrix_product(read[:, :, group].reshape(*read.shape[:2], -1), weight[group].T) for group in range(len(weight))
    ]
    return placed(node, np.stack(sums, axis=2)).reshape(*x.shape[:2], *node.shape)


def matrix_product(left: IntArray, right: IntArray) -> IntArray:
    """Integer matrix product through float64 BLAS where that is provably exact, else in int64."""
    terms = int(np.abs(right).sum(axis=-2).max(initial=0))
    if int(np.abs(left).max(initial=0)) * terms >= _EXACT_IN_FLOAT64:
        return left @ right
    return np.rint(left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64)


def patches(node: Synapse, x: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """What each output position reads: x [B, *input shape] -> [B, P, G, Ci/G, K], K the positions of the kernel.

    patches[b, p, g, c, k] = x[b, g*Ci/G + c, y*stride + k*dilation - padding] at p = y, 0 in the padding. A linear
    layer has G = K = 1, and a position for each index of the axes before the last. A transposed convolution reads x
    with stride - 1 zeros between its values, with stride 1 (FORMAT.md, "Windows").
    """
    match node:
        case IntLinear():
            return x.reshape(len(x), -1, 1, x.shape[-1], 1)
        case IntConv():
            padded, stride = _padded(x, [(size, size) for size in node.padding], 0), node.stride
        case IntConvTranspose():
            padded, stride = _padded(spread(x, node.stride), mirrored_padding(node), 0), (1,) * len(node.stride)
        case _:
            assert_never(node)
    rank = len(stride)
    windows = np.moveaxis(_windows(padded, node.kernel, stride, node.dilation), 1, 1 + rank)
    positions = math.prod(windows.shape[1 : 1 + rank])
    return windows.reshape(len(x), positions, node.groups, -1, math.prod(node.kernel))


def placed(node: Synapse, sums: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """Sums [B, P, G, Co/G] as the layer's output [B, *node.shape]."""
    match node:
        case IntLinear():
            return sums.reshape(len(sums), *node.shape)
        case IntConv() | IntConvTranspose():
            return sums.reshape(*sums.shape[:2], -1).swapaxes(1, 2).reshape(len(sums), *node.shape)
        case _:
            assert_never(node)


def weight_rows(node: Synapse) -> IntArray:
    """The weight that multiplies the patches: [G, Co/G, Ci/G * K]."""
    match node:
        case IntLinear() | IntConv():
            weight = node.weight
        case IntConvTranspose():
            weight = mirrored(node.weight, node.groups)
        case _:
            assert_never(node)
    return weight.reshape(node.groups, weight.shape[0] // node.groups, -1)


def multiplications(node: Synapse) -> int:
    """Products of one step of one sample, where every output reads its whole window."""
    return math.prod(node.shape) * int(weight_rows(node).shape[2])


def mirrored(weight: IntArray, groups: int) -> IntArray:
    """The weight of the convolution that a transposed one is: [Ci, Co/groups, *kernel] -> [Co, Ci/groups, *kernel].

    The channel axes change places within each group and the kernel is reversed; done twice it gives the first again.
    """
    first, second, *kernel = weight.shape
    split = weight.reshape(groups, first // groups, second, *kernel).swapaxes(1, 2)
    joined = split.reshape(groups * second, first // groups, *kernel)
    return np.flip(joined, axis=tuple(range(2, joined.ndim)))


def mirrored_padding(node: IntConvTranspose) -> list[tuple[int, int]]:
    """The padding of that convolution. Before: dilation*(kernel - 1) - padding; after: the output padding more."""
    before = [d * (k - 1) - p for d, k, p in zip(node.dilation, node.kernel, node.padding, strict=True)]
    return [(size, size + extra) for size, extra in zip(before, node.output_padding, strict=True)]


def spread(x: npt.NDArray[NumberT], stride: Sizes) -> npt.NDArray[NumberT]:
    """[..., *axes] -> [..., *((size - 1)*stride + 1)]: stride - 1 zeros between the values of the last axes."""
    rank = len(stride)
    sizes = ((size - 1) * step + 1 for size, step in zip(x.shape[-rank:], stride, strict=True))
    wider = np.zeros((*x.shape[:-rank], *sizes), dtype=x.dtype)
    leading = (slice(None),) * (x.ndim - rank)
    wider[(*leading, *(slice(None, None, step) for step in stride))] = x
    return wider


def pool(node: IntPool, x: IntArray) -> IntArray:
    """The sum or the maximum over each window of x [B, C, *axes]; padding adds nothing."""
    rank = len(node.kernel)
    value = 0 if node.mode == "sum" else int(np.iinfo(np.int64).min)
    padded = _padded(x, [(size, size) for size in node.padding], value)
    windows, inside = _windows(padded, node.kernel, node.stride, (1,) * rank), tuple(range(-rank, 0))
    pooled: IntArray = windows.sum(axis=inside) if node.mode == "sum" else windows.max(axis=inside)
    return pooled


def _padded(x: npt.NDArray[NumberT], padding: list[tuple[int, int]], value: int) -> npt.NDArray[NumberT]:
    return np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)


def _windows(x: npt.NDArray[NumberT], kernel: Sizes, stride: Sizes, dilation: Sizes) -> npt.NDArray[NumberT]:
    """[B, C, *axes] -> [B, C, *outputs, *kernel], a view."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = (slice(None, None, step) for step in (*stride, *dilation))
    return view[(slice(None), slice(None), *steps)]

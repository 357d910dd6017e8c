"""The reference: evaluates an integer graph in int64 NumPy, bit-exact, membranes included.

Every line is one line of FORMAT.md. It is written to be read, not to be fast; onnxruntime is the fast one. The sums of
weight layers come from a function that the caller may replace (analog arrays do); all else stays this exact code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from intsnn.arithmetic import IntArray, IntType, saturate, shift_floor
from intsnn.errors import GraphError, InputError
from intsnn.graph import (
    IntAdd,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    Pair,
    Synapse,
)

_EXACT_IN_FLOAT64 = 2**53  # every integer up to here is a float64, so a float64 product of integers is exact


NumberT = TypeVar("NumberT", bound=np.generic)
Accumulate = Callable[[Synapse, IntArray], IntArray]  # a weight layer and x [T, N, ...] -> acc [T, N, *node.shape]


@dataclass(frozen=True)
class Trace:
    """What a run saw. Arrays are int64.

    output: [N, K] (or [T, N, K]); spikes and membranes: by neuron name, [T, N, *shape]. A membrane is the stored
    value v after the reset.
    """

    output: IntArray
    spikes: Mapping[str, IntArray]
    membranes: Mapping[str, IntArray]


@dataclass(frozen=True)
class Evaluation:
    """One node with the tensors it read and wrote, all [T, N, ...]."""

    node: IntNode
    inputs: tuple[IntArray, ...]
    output: IntArray
    membrane: IntArray | None


def exact_sums(node: Synapse, x: IntArray) -> IntArray:
    """acc = sum q_w * s of a weight layer: x [T, N, *input shape] -> [T, N, *node.shape]."""
    folded = x.reshape(-1, *x.shape[2:])
    read = patches(node, folded)
    weight = node.weight.reshape(read.shape[2], -1, read.shape[3] * read.shape[4])
    sums = [
        _matrix_product(read[:, :, group].reshape(*read.shape[:2], -1), weight[group].T) for group in range(len(weight))
    ]
    return placed(node, np.stack(sums, axis=2)).reshape(*x.shape[:2], *node.shape)


def run(graph: IntGraph, x: npt.ArrayLike, *, accumulate: Accumulate = exact_sums) -> Trace:
    """Run the graph on integer input x [T, N, *input shape] and keep every spike and membrane."""
    spikes: dict[str, IntArray] = {}
    membranes: dict[str, IntArray] = {}
    output = np.zeros(0, dtype=np.int64)
    for step in evaluate(graph, x, accumulate=accumulate):
        if step.membrane is not None:
            spikes[step.node.name], membranes[step.node.name] = step.output, step.membrane
        output = step.output
    return Trace(output, spikes, membranes)


def evaluate(graph: IntGraph, x: npt.ArrayLike, *, accumulate: Accumulate = exact_sums) -> Iterator[Evaluation]:
    """Run the graph node by node; a tensor is freed after its last reader. `accumulate` makes a weight layer's sums."""
    values: dict[str, IntArray] = {}
    last_reader = {name: node.name for node in graph for name in node.inputs}
    for node in graph:
        inputs = tuple(values[name] for name in node.inputs)
        if isinstance(node, IntInput):
            inputs = (checked_input(graph, x),)
        if isinstance(node, Synapse):
            output, membrane = accumulate(node, inputs[0]), None
        else:
            output, membrane = _evaluate_node(node, inputs)
        values[node.name] = output
        yield Evaluation(node, inputs, output, membrane)
        for name in set(node.inputs):
            if last_reader[name] == node.name:
                del values[name]


def patches(node: Synapse, x: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """What each output position reads: x [B, *input shape] -> [B, P, G, Ci/G, K], K = kh*kw.

    patches[b, p, g, c, (i, j)] = x[b, g*Ci/G + c, y*stride + i*dilation - padding, ...] at p = (y, ...), 0 in the
    padding. A linear layer has G = K = 1, and a position for each index of the axes before the last.
    """
    if isinstance(node, IntLinear):
        return x.reshape(len(x), -1, 1, x.shape[-1], 1)
    kernel = (node.weight.shape[2], node.weight.shape[3])
    windows = _windows(_padded(x, node.padding, 0), kernel, node.stride, node.dilation)
    positions = windows.shape[2] * windows.shape[3]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), positions, node.groups, -1, kernel[0] * kernel[1])


def placed(node: Synapse, sums: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """Sums [B, P, G, Co/G] as the layer's output [B, *node.shape]."""
    if isinstance(node, IntLinear):
        return sums.reshape(len(sums), *node.shape)
    return sums.reshape(*sums.shape[:2], -1).swapaxes(1, 2).reshape(len(sums), *node.shape)


def checked_input(graph: IntGraph, x: npt.ArrayLike) -> IntArray:
    """X as int64 [T, N, *shape], after shape, type and range are checked."""
    array, node = np.asarray(x), graph.input
    if array.ndim != 2 + len(node.shape) or array.shape[2:] != node.shape or 0 in array.shape:
        expected = ", ".join(["T", "N", *map(str, node.shape)])
        raise InputError(
            f"the input must have shape [{expected}] (got {list(array.shape)})",
            hints=["put time first, then the batch: x of one sample and one step is x[None, None]"],
        )
    if array.dtype.kind not in "iub":
        raise InputError(
            f"the input of an integer graph must be integers (got {array.dtype})",
            hints=[f"divide real values by the input scale {node.scale!r} and round; a student does it for you"],
        )
    word = IntType(node.bit_width, node.signed)
    if int(array.min()) < word.low or int(array.max()) > word.high:
        raise InputError(
            f"the input must lie in [{word.low}, {word.high}] (got [{array.min()}, {array.max()}])",
            hints=["clip it, or quantize the network with more input bits"],
        )
    return array.astype(np.int64)


def _evaluate_node(node: IntNode, inputs: tuple[IntArray, ...]) -> tuple[IntArray, IntArray | None]:
    match node:
        case IntInput() | IntFlatten():
            return inputs[0].reshape(*inputs[0].shape[:2], *node.shape), None
        case IntRequant():
            return _requantize(node, inputs[0]), None
        case IntNeuron():
            return _integrate_and_fire(node, inputs[0])
        case IntPool():
            return _folded(inputs[0], lambda x: _pool(node, x)), None
        case IntAdd():
            return np.sum(np.stack(inputs), axis=0), None
        case IntReadout():
            return (inputs[0].sum(axis=0) if node.mode == "sum" else inputs[0]), None
        case _:
            raise GraphError(f"node {node.name!r}: the interpreter knows no {type(node).__name__}")


def _folded(x: IntArray, operation: Callable[[IntArray], IntArray]) -> IntArray:
    """Apply an operation without memory to all steps at once: [T, N, ...] -> [T*N, ...] -> [T, N, ...]."""
    result = operation(x.reshape(-1, *x.shape[2:]))
    return result.reshape(*x.shape[:2], *result.shape[1:])


def _matrix_product(left: IntArray, right: IntArray) -> IntArray:
    """Integer matrix product through float64 BLAS where that is provably exact, else in int64."""
    bound = int(np.abs(left).max(initial=0)) * int(np.abs(right).sum(axis=0).max(initial=0))
    if bound >= _EXACT_IN_FLOAT64:
        return left @ right
    return np.rint(left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64)


def _padded(x: npt.NDArray[NumberT], padding: Pair, value: int) -> npt.NDArray[NumberT]:
    (vertical, horizontal) = padding
    return np.pad(x, ((0, 0), (0, 0), (vertical,) * 2, (horizontal,) * 2), constant_values=value)


def _windows(x: npt.NDArray[NumberT], kernel: Pair, stride: Pair, dilation: Pair) -> npt.NDArray[NumberT]:
    """[B, C, H, W] -> [B, C, Ho, Wo, kh, kw], a view."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, reach, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _pool(node: IntPool, x: IntArray) -> IntArray:
    padding_value = 0 if node.mode == "sum" else int(np.iinfo(np.int64).min)
    windows = _windows(_padded(x, node.padding, padding_value), node.kernel, node.stride, (1, 1))
    pooled: IntArray = windows.sum(axis=(4, 5)) if node.mode == "sum" else windows.max(axis=(4, 5))
    return pooled


def _per_channel(values: IntArray, shape: tuple[int, ...]) -> IntArray:
    """[C] or [1] -> an array that broadcasts over [..., *shape]; C is the first axis of (C, H, W), the only of (C,)."""
    return values.reshape(-1, *(1 for _ in shape[1:]))


def _requantize(node: IntRequant, acc: IntArray) -> IntArray:
    multiplier, bias = _per_channel(node.multiplier, node.shape), _per_channel(node.bias, node.shape)
    return shift_floor(acc * multiplier + bias, node.shift)


def _integrate_and_fire(node: IntNeuron, current: IntArray) -> tuple[IntArray, IntArray]:
    drive, threshold, reset_value, soft_amount = (
        _per_channel(values, node.shape) for values in (node.drive, node.threshold, node.reset_value, node.soft_amount)
    )
    v = np.full(current.shape[1:], node.initial, dtype=np.int64)
    spikes, membranes = np.empty_like(current), np.empty_like(current)
    for t, j in enumerate(current):
        x = node.leak * v + j + drive
        s = (x >= threshold).astype(np.int64)
        if node.reset == "hard":
            x = np.where(s == 1, reset_value, x)
        elif node.reset == "soft":
            x = x - soft_amount * s
        v = saturate(shift_floor(x, node.guard_bits), node.bit_width)
        spikes[t], membranes[t] = s, v
    return spikes, membranes

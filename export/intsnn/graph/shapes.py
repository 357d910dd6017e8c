"""The per-sample shape each node of an integer graph writes, from the shapes it reads."""

from __future__ import annotations

import math
from typing import assert_never

from intsnn.errors import GraphError
from intsnn.graph.nodes import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Rearrangement,
    Shape,
    Sizes,
)


def output_shape(node: IntNode, inputs: tuple[Shape, ...]) -> Shape:
    """The per-sample shape a node writes; GraphError where it cannot read tensors of these shapes."""
    match node:
        case IntInput():
            return node.shape
        case IntConv():
            return _conv_shape(node, inputs[0])
        case IntConvTranspose():
            return _conv_transpose_shape(node, inputs[0])
        case IntLinear():
            _require(inputs[0][-1] == node.weight.shape[1], node, f"a weight [O, {inputs[0][-1]}]", node.weight.shape)
            return (*inputs[0][:-1], int(node.weight.shape[0]))
        case IntPool():
            _require(len(inputs[0]) == 1 + len(node.kernel), node, f"an input {_map(node.kernel)}", inputs[0])
            return (inputs[0][0], *_window_counts(node, inputs[0], node.kernel, (1,) * len(node.kernel)))
        case IntAdd():
            _require(len(set(inputs)) == 1, node, "inputs of one shape", *inputs)
            return inputs[0]
        case IntConcat():
            _require(
                len({shape[1:] for shape in inputs}) == 1, node, "inputs that differ in the channels only", *inputs
            )
            return (sum(shape[0] for shape in inputs), *inputs[0][1:])
        case IntMultiply():
            return _broadcast_shape(node, *inputs)
        case IntMatMul():
            return _product_shape(node, *inputs)
        case IntSum():
            _require(node.axis < len(inputs[0]), node, f"an input with an axis {node.axis}", inputs[0])
            return (*inputs[0][: node.axis], 1, *inputs[0][node.axis + 1 :])
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return _rearranged_shape(node, inputs[0])
        case IntRequant() | IntNeuron() | IntReadout():
            return inputs[0]
        case _:
            assert_never(node)


def _rearranged_shape(node: Rearrangement, shape: Shape) -> Shape:
    match node:
        case IntTranspose():
            expected = f"a permutation of the {len(shape)} axes of its input"
            _require(sorted(node.permutation) == list(range(len(shape))), node, expected, node.permutation)
            return tuple(shape[axis] for axis in node.permutation)
        case IntReshape():
            _require(math.prod(shape) == math.prod(node.shape), node, f"{math.prod(shape)} values", node.shape)
            return node.shape
        case IntSlice():
            fits = node.axis < len(shape) and node.start < node.stop <= shape[node.axis]
            places = f"start < stop within axis {node.axis} of its input {shape}"
            _require(fits, node, places, (node.start, node.stop))
            return (*shape[: node.axis], node.stop - node.start, *shape[node.axis + 1 :])
        case IntFlatten():
            return (math.prod(shape),)
        case _:
            assert_never(node)


def _conv_shape(node: IntConv, shape: Shape) -> Shape:
    _require(len(shape) == 1 + len(node.kernel), node, f"an input {_map(node.kernel)}", shape)
    out_channels, per_group = (int(size) for size in node.weight.shape[:2])
    expected = f"Ci/groups = {shape[0]}/{node.groups} input channels and Co a multiple of the groups"
    fits = per_group * node.groups == shape[0] and out_channels % node.groups == 0
    _require(fits, node, f"a weight with {expected}", node.weight.shape)
    return (out_channels, *_window_counts(node, shape, node.kernel, node.dilation))


def _conv_transpose_shape(node: IntConvTranspose, shape: Shape) -> Shape:
    """(size - 1)*stride - 2*padding + dilation*(kernel - 1) + output_padding + 1, for each axis."""
    _require(len(shape) == 1 + len(node.kernel), node, f"an input {_map(node.kernel)}", shape)
    fits = node.weight.shape[0] == shape[0] and shape[0] % node.groups == 0
    expected = f"a weight with Ci = {shape[0]} input channels, a multiple of the {node.groups} groups"
    _require(fits, node, expected, node.weight.shape)
    geometry = zip(shape[1:], node.kernel, node.stride, node.padding, node.dilation, node.output_padding, strict=True)
    sizes = [(size - 1) * s - 2 * p + d * (k - 1) + extra + 1 for size, k, s, p, d, extra in geometry]
    _require(min(sizes) >= 1, node, "an input that leaves something after its padding", shape)
    return (int(node.weight.shape[1]) * node.groups, *sizes)


def _window_counts(node: IntConv | IntPool, shape: Shape, kernel: Sizes, dilation: Sizes) -> Sizes:
    """floor((size + 2*padding - dilation*(kernel - 1) - 1) / stride) + 1, for each axis."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    room = [size + 2 * p - r for size, p, r in zip(shape[1:], node.padding, reach, strict=True)]
    _require(min(room) >= 0, node, f"an input that holds its window of {'x'.join(map(str, reach))}", shape)
    return tuple(free // stride + 1 for free, stride in zip(room, node.stride, strict=True))


def _broadcast_shape(node: IntMultiply, left: Shape, right: Shape) -> Shape:
    fits = len(left) == len(right) and all(a == b or 1 in (a, b) for a, b in zip(left, right, strict=False))
    _require(fits, node, "inputs of one shape, or of size 1 where they differ", left, right)
    return tuple(max(a, b) for a, b in zip(left, right, strict=True))


def _product_shape(node: IntMatMul, left: Shape, right: Shape) -> Shape:
    fits = len(left) == len(right) >= 2 and left[:-2] == right[:-2] and left[-1] == right[-2]
    _require(fits, node, "inputs (..., n, d) and (..., d, m) with equal leading axes", left, right)
    return (*left[:-1], right[-1])


def _map(kernel: Sizes) -> str:
    return {1: "(C, L)", 2: "(C, H, W)", 3: "(C, D, H, W)"}[len(kernel)]


def _require(holds: bool, node: IntNode, expected: str, *seen: Shape) -> None:
    if not holds:
        raise GraphError(f"node {node.name!r} must have {expected} (got {', '.join(map(str, seen))})")

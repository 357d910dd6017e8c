"""Convolution, its transpose and pooling as ONNX nodes, for windows of 1 to 3 axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from intsnn.graph import IntConv, IntConvTranspose, IntPool
from intsnn.graph.windows import mirrored, mirrored_padding
from intsnn.onnx.weights import weight_zero_point
from intsnn.onnx.writer import OnnxWriter, Tensor


def emit_conv(writer: OnnxWriter, node: IntConv, x: Tensor) -> None:
    """ConvInteger on uint8."""
    operand, x_zero_point = writer.unsigned(node, x)
    zero = weight_zero_point(node.bit_width)
    weight = writer.weight(f"{node.name}/weight", node.weight, node.bit_width)
    writer.node(
        "ConvInteger",
        [operand, weight, *writer.zero_points(x_zero_point, zero)],
        f"{node.name}/output",
        name=node.name,
        kernel_shape=list(node.kernel),
        strides=list(node.stride),
        pads=[*node.padding, *node.padding],
        dilations=list(node.dilation),
        group=node.groups,
    )


def emit_conv_transpose(writer: OnnxWriter, node: IntConvTranspose, x: Tensor) -> None:
    """Zeros between the values of x, then ConvInteger with the mirrored kernel: ONNX has no integer ConvTranspose."""
    operand, x_zero_point = writer.unsigned(node, x)
    zero = weight_zero_point(node.bit_width)
    weight = writer.weight(f"{node.name}/weight", mirrored(node.weight, node.groups), node.bit_width)
    padding = mirrored_padding(node)
    writer.node(
        "ConvInteger",
        [_spread(writer, node, operand, x_zero_point), weight, *writer.zero_points(x_zero_point, zero)],
        f"{node.name}/output",
        name=node.name,
        kernel_shape=list(node.kernel),
        strides=[1] * len(node.stride),
        pads=[*(before for before, _ in padding), *(after for _, after in padding)],
        dilations=list(node.dilation),
        group=node.groups,
    )


def _spread(writer: OnnxWriter, node: IntConvTranspose, x: str, zero_point: int) -> str:
    """[B, C, L] -> [B, C, (L - 1)*stride + 1]: L places of (value, stride - 1 zeros), without the last zeros."""
    if all(step == 1 for step in node.stride):
        return x
    sizes, rank = _input_sizes(node), len(node.stride)
    channels = int(node.weight.shape[0])
    apart = writer.vector(-1, channels, *(size for length in sizes for size in (length, 1)))
    x = writer.node("Reshape", [x, apart], f"{node.name}/apart")
    after = [extra for step in node.stride for extra in (0, step - 1)]
    pads = writer.vector(*([0] * (2 + 2 * rank)), 0, 0, *after)
    x = writer.node("Pad", [x, pads, writer.scalar(zero_point, TensorProto.UINT8)], f"{node.name}/spread")
    steps = zip(sizes, node.stride, strict=True)
    x = writer.node(
        "Reshape",
        [x, writer.vector(-1, channels, *(length * step for length, step in steps))],
        f"{node.name}/joined",
    )
    ends = ((length - 1) * step + 1 for length, step in zip(sizes, node.stride, strict=True))
    limits = [writer.vector(*([0] * rank)), writer.vector(*ends), writer.vector(*range(2, 2 + rank))]
    return writer.node("Slice", [x, *limits], f"{node.name}/trimmed")


def _input_sizes(node: IntConvTranspose) -> list[int]:
    """The axes of the map it reads, from those it writes: exact, since the stride leaves no rest."""
    geometry = zip(
        node.shape[1:], node.kernel, node.stride, node.padding, node.dilation, node.output_padding, strict=True
    )
    return [(size + 2 * p - d * (k - 1) - extra - 1) // s + 1 for size, k, s, p, d, extra in geometry]


def emit_pool(writer: OnnxWriter, node: IntPool, x: Tensor, output: Tensor) -> None:
    """A sum of bytes is a depthwise ConvInteger with ones; anything else Max or Add of strided slices."""
    if node.mode == "max" or x.element == TensorProto.INT32:
        _emit_pool_by_slices(writer, node, x, output)
        return
    pads, window = [*node.padding, *node.padding], {"kernel_shape": list(node.kernel), "strides": list(node.stride)}
    operand, x_zero_point = writer.unsigned(node, x)
    channels = node.shape[0]
    ones = writer.array(f"{node.name}/ones", np.ones((channels, 1, *node.kernel)), TensorProto.UINT8)
    sums = Tensor(f"{node.name}/sum" if output.element != TensorProto.INT32 else output.name, TensorProto.INT32)
    inputs = [operand, ones, *writer.zero_points(x_zero_point, 0)]
    writer.node("ConvInteger", inputs, sums.name, name=node.name, pads=pads, group=channels, **window)
    writer.cast(sums, output.element, output.name)


def _emit_pool_by_slices(writer: OnnxWriter, node: IntPool, x: Tensor, output: Tensor) -> None:
    """A window as Max or Add of strided slices, one axis after the other.

    Not MaxPool: onnxruntime has none for int32, and ONNX's reference evaluator pads it with NaN, integers too.
    """
    pooled = x.name
    if any(node.padding):
        pads = writer.array(f"{node.name}/pads", [0, 0, *node.padding, 0, 0, *node.padding], TensorProto.INT64)
        lowest = 0 if node.mode == "sum" else int(np.iinfo(helper.tensor_dtype_to_np_dtype(x.element)).min)
        pooled = writer.node("Pad", [x.name, pads, writer.scalar(lowest, x.element)], f"{node.name}/padded")
    for axis in range(len(node.kernel)):
        pooled = _combined(writer, node, _slices(writer, node, pooled, axis), f"{node.name}/window{axis}")
    writer.node("Cast", [pooled], output.name, name=node.name, to=output.element)


def _slices(writer: OnnxWriter, node: IntPool, x: str, axis: int) -> list[str]:
    """For each place of the window along one axis, the values that stand there: x[place :: stride]."""
    count, stride, slices = node.shape[1 + axis], node.stride[axis], []
    for place in range(node.kernel[axis]):
        limits = (place, place + (count - 1) * stride + 1, 2 + axis, stride)
        names = [writer.vector(value) for value in limits]
        slices.append(writer.node("Slice", [x, *names], f"{node.name}/slice{axis}_{place}"))
    return slices


def _combined(writer: OnnxWriter, node: IntPool, parts: Sequence[str], output: str) -> str:
    if node.mode == "max":
        return writer.node("Max", parts, output)
    return chained_sum(writer, parts, output)


def chained_sum(writer: OnnxWriter, parts: Sequence[str], output: str) -> str:
    """parts[0] + parts[1] + ...: Add by Add, since ONNX's Sum takes floats only in onnxruntime."""
    total = parts[0]
    for position, part in enumerate(parts[1:], start=1):
        name = output if position == len(parts) - 1 else f"{output}{position}"
        total = writer.node("Add", [total, part], name)
    return total

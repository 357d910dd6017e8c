"""Each node of an integer graph as ONNX nodes: standard integer operators, one call of a local function per layer.

Between layers a tensor is folded: [T*N, ...]. It is stored as uint8 or int8 where its bounds allow and it carries
values, else as int32. Operands of ConvInteger and MatMulInteger are uint8 on both sides with scalar zero points:
the only mix that is exact on every processor and version (FORMAT.md, "ONNX").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from intsnn.arithmetic import Bounds, IntArray
from intsnn.graph import (
    IntAdd,
    IntConv,
    IntFlatten,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    Synapse,
)
from intsnn.onnx_functions import DOMAIN, LIF_ATTRIBUTES, RESET_PARAMETER, lif_name, lif_step_name
from intsnn.tensors import Carries

Form = Literal["sequence", "step"]
INPUT, OUTPUT, TIME_STEPS = "x", "logits", "time_steps"  # names of tensors that belong to no node
_SIGNED_OFFSET = 128  # int8 -> uint8: x + 128 with zero point 128
_UINT8_RANGE, _INT8_RANGE = Bounds(0, 255), Bounds(-128, 127)
_NUMPY_TYPES: dict[int, type[np.integer]] = {
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
}


@dataclass(frozen=True)
class Tensor:
    """An ONNX tensor: its name and element type (a TensorProto constant)."""

    name: str
    element: int


@dataclass
class OnnxWriter:
    """Collects ONNX nodes and initializers, in order. `sequence` has a time axis, `step` is one step of it."""

    form: Form
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Append a standard operator; its name is `name` if given, else the output's."""
        attributes.setdefault("name", output)
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def array(self, name: str, values: npt.ArrayLike, element: int) -> str:
        """Append an initializer."""
        array = np.asarray(values).astype(_NUMPY_TYPES[element])
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def scalar(self, value: int, element: int) -> str:
        """A scalar constant, shared by all that use it: `/uint8/128`."""
        return self.array(f"/{_NUMPY_TYPES[element].__name__}/{value}", value, element)

    def cast(self, tensor: Tensor, element: int, output: str) -> str:
        """The tensor as another element type; itself where it already is."""
        if tensor.element == element:
            return tensor.name
        return self.node("Cast", [tensor.name], output, to=element)

    def unsigned(self, node: IntNode, tensor: Tensor) -> tuple[str, int]:
        """The tensor as uint8 and its zero point: int8 becomes x + 128 with zero point 128."""
        if tensor.element == TensorProto.UINT8:
            return tensor.name, 0
        wide = self.cast(tensor, TensorProto.INT32, f"{node.name}/wide")
        offset = self.scalar(_SIGNED_OFFSET, TensorProto.INT32)
        raised = self.node("Add", [wide, offset], f"{node.name}/raised")
        return self.node("Cast", [raised], f"{node.name}/unsigned", to=TensorProto.UINT8), _SIGNED_OFFSET


def element_type(carried: Carries, interval: Bounds) -> int:
    """How a tensor is stored: uint8 or int8 for values within, int32 for everything else."""
    if carried is Carries.VALUES and _within(interval, _UINT8_RANGE):
        return int(TensorProto.UINT8)
    if carried is Carries.VALUES and _within(interval, _INT8_RANGE):
        return int(TensorProto.INT8)
    return int(TensorProto.INT32)


def _within(inner: Bounds, outer: Bounds) -> bool:
    return outer.low <= inner.low and inner.high <= outer.high


def weight_zero_point(bit_width: float) -> int:
    """Offset-binary weights: stored w + 2^(b-1), b rounded up (1 bit: 1, ternary: 2, 8 bit: 128)."""
    return int(2 ** (math.ceil(bit_width) - 1))


def stored_weight(node: Synapse) -> IntArray:
    """The weight as the file holds it: offset-binary; a linear layer's transposed to [I, O]."""
    weight = node.weight if isinstance(node, IntConv) else node.weight.T
    return weight + weight_zero_point(node.bit_width)


def emit(writer: OnnxWriter, node: IntNode, inputs: Sequence[Tensor], element: int) -> Tensor:
    """Append the ONNX nodes of one node; `element` is how its output is stored."""
    output = Tensor(f"{node.name}/output", element)
    match node:
        case IntInput() | IntFlatten():
            source = INPUT if isinstance(node, IntInput) else inputs[0].name
            writer.node("Reshape", [source, _folded_shape(writer, node)], output.name, name=node.name)
        case IntConv():
            _emit_conv(writer, node, inputs[0])
        case IntLinear():
            _emit_linear(writer, node, inputs[0])
        case IntRequant():
            _emit_requant(writer, node, inputs[0])
        case IntNeuron():
            _emit_neuron(writer, node, inputs[0])
        case IntPool():
            _emit_pool(writer, node, inputs[0], output)
        case IntAdd():
            _emit_add(writer, node, inputs, output)
        case IntReadout():
            _emit_readout(writer, node, inputs[0])
        case _:
            raise AssertionError(f"{type(node).__name__} passed check()")
    return output


def _folded_shape(writer: OnnxWriter, node: IntNode) -> str:
    return writer.array(f"{node.name}/folded_shape", [-1, *node.shape], TensorProto.INT64)


def _sequence(writer: OnnxWriter, node: IntNode, folded: str) -> str:
    """[T*N, ...] -> [T, N, ...]."""
    sample = writer.array(f"{node.name}/sample_shape", [-1, *node.shape], TensorProto.INT64)
    shape = writer.node("Concat", [TIME_STEPS, sample], f"{node.name}/sequence_shape", axis=0)
    return writer.node("Reshape", [folded, shape], f"{node.name}/sequence")


def _zero_points(writer: OnnxWriter, x_zero_point: int, weight_zero: int) -> list[str]:
    # both explicit: an empty x_zero_point crashes onnxruntime up to 1.21
    return [writer.scalar(value, TensorProto.UINT8) for value in (x_zero_point, weight_zero)]


def _emit_conv(writer: OnnxWriter, node: IntConv, x: Tensor) -> None:
    operand, x_zero_point = writer.unsigned(node, x)
    weight = writer.array(f"{node.name}/weight", stored_weight(node), TensorProto.UINT8)
    writer.node(
        "ConvInteger",
        [operand, weight, *_zero_points(writer, x_zero_point, weight_zero_point(node.bit_width))],
        f"{node.name}/output",
        name=node.name,
        kernel_shape=list(node.weight.shape[2:]),
        strides=list(node.stride),
        pads=[*node.padding, *node.padding],
        dilations=list(node.dilation),
        group=node.groups,
    )


def _emit_linear(writer: OnnxWriter, node: IntLinear, x: Tensor) -> None:
    weight = writer.array(f"{node.name}/weight", stored_weight(node), TensorProto.UINT8)
    zero = weight_zero_point(node.bit_width)
    if x.element != TensorProto.INT32:
        operand, x_zero_point = writer.unsigned(node, x)
        zero_points = _zero_points(writer, x_zero_point, zero)
        writer.node("MatMulInteger", [operand, weight, *zero_points], f"{node.name}/output", name=node.name)
        return
    wide = writer.node("Cast", [weight], f"{node.name}/wide_weight", to=TensorProto.INT32)
    zero_point = writer.scalar(zero, TensorProto.INT32)
    signed = writer.node("Sub", [wide, zero_point], f"{node.name}/signed_weight")
    writer.node("MatMul", [x.name, signed], f"{node.name}/output", name=node.name)


def _per_channel(writer: OnnxWriter, node: IntNode, name: str) -> str:
    """[C] or [1] as an initializer [C, 1, 1] that broadcasts over the per-sample shape."""
    values: IntArray = getattr(node, name)
    return writer.array(f"{node.name}/{name}", values.reshape(-1, *(1 for _ in node.shape[1:])), TensorProto.INT32)


def _emit_requant(writer: OnnxWriter, node: IntRequant, x: Tensor) -> None:
    wide = writer.cast(x, TensorProto.INT32, f"{node.name}/wide")
    inputs = [wide, _per_channel(writer, node, "multiplier"), _per_channel(writer, node, "bias")]
    writer.node("Requant", inputs, f"{node.name}/output", name=node.name, domain=DOMAIN, shift=node.shift)


def _emit_neuron(writer: OnnxWriter, node: IntNeuron, current: Tensor) -> None:
    names = ("drive", "threshold", *RESET_PARAMETER[node.reset])
    parameters = [_per_channel(writer, node, name) for name in names]
    spikes = f"{node.name}.spikes"
    match writer.form:
        case "sequence":
            inputs = [_sequence(writer, node, current.name), *parameters]
            outputs, function = [spikes, f"{node.name}.membrane"], lif_name(node.reset, len(node.shape))
        case "step":
            inputs = [f"{node.name}.state", current.name, *parameters]
            outputs, function = [spikes, f"{node.name}.next_state"], lif_step_name(node.reset)
        case _:
            assert_never(writer.form)
    scalars = {name: getattr(node, name) for name in LIF_ATTRIBUTES}
    writer.nodes.append(helper.make_node(function, inputs, outputs, name=node.name, domain=DOMAIN, **scalars))
    writer.node("Reshape", [spikes, _folded_shape(writer, node)], f"{node.name}/output")


def _emit_pool(writer: OnnxWriter, node: IntPool, x: Tensor, output: Tensor) -> None:
    if node.mode == "max" or x.element == TensorProto.INT32:
        _emit_pool_by_slices(writer, node, x, output)
        return
    pads, window = [*node.padding, *node.padding], {"kernel_shape": list(node.kernel), "strides": list(node.stride)}
    operand, x_zero_point = writer.unsigned(node, x)
    channels = node.shape[0]
    ones = writer.array(f"{node.name}/ones", np.ones((channels, 1, *node.kernel)), TensorProto.UINT8)
    sums = Tensor(f"{node.name}/sum" if output.element != TensorProto.INT32 else output.name, TensorProto.INT32)
    inputs = [operand, ones, *_zero_points(writer, x_zero_point, 0)]
    writer.node("ConvInteger", inputs, sums.name, name=node.name, pads=pads, group=channels, **window)
    writer.cast(sums, output.element, output.name)


def _emit_pool_by_slices(writer: OnnxWriter, node: IntPool, x: Tensor, output: Tensor) -> None:
    """A window as Max or Add of strided slices, rows then columns.

    Not MaxPool: onnxruntime has none for int32, and ONNX's reference evaluator pads it with NaN, integers too.
    """
    padded = x.name
    if any(node.padding):
        pads = writer.array(f"{node.name}/pads", [0, 0, *node.padding, 0, 0, *node.padding], TensorProto.INT64)
        lowest = 0 if node.mode == "sum" else int(np.iinfo(helper.tensor_dtype_to_np_dtype(x.element)).min)
        padded = writer.node("Pad", [x.name, pads, writer.scalar(lowest, x.element)], f"{node.name}/padded")
    rows = _slices(writer, node, padded, 0)
    pooled = _combined(writer, node, rows, f"{node.name}/rows")
    columns = _slices(writer, node, pooled, 1)
    total = _combined(writer, node, columns, f"{node.name}/window")
    writer.node("Cast", [total], output.name, name=node.name, to=output.element)


def _slices(writer: OnnxWriter, node: IntPool, x: str, axis: int) -> list[str]:
    """For each place of the window along one axis, the values that stand there: x[place :: stride]."""
    count, stride, slices = node.shape[1 + axis], node.stride[axis], []
    for place in range(node.kernel[axis]):
        limits = (place, place + (count - 1) * stride + 1, 2 + axis, stride)
        names = [writer.array(f"/range/{value}", [value], TensorProto.INT64) for value in limits]
        slices.append(writer.node("Slice", [x, *names], f"{node.name}/slice{axis}_{place}"))
    return slices


def _combined(writer: OnnxWriter, node: IntPool, parts: Sequence[str], output: str) -> str:
    if node.mode == "max":
        return writer.node("Max", parts, output)
    return _chained_sum(writer, parts, output)


def _chained_sum(writer: OnnxWriter, parts: Sequence[str], output: str) -> str:
    """parts[0] + parts[1] + ...: Add by Add, since ONNX's Sum takes floats only in onnxruntime."""
    total = parts[0]
    for position, part in enumerate(parts[1:], start=1):
        name = output if position == len(parts) - 1 else f"{output}{position}"
        total = writer.node("Add", [total, part], name)
    return total


def _emit_add(writer: OnnxWriter, node: IntAdd, inputs: Sequence[Tensor], output: Tensor) -> None:
    """Int32 throughout: onnxruntime 1.20 adds no bytes."""
    wide = [writer.cast(x, TensorProto.INT32, f"{node.name}/wide{place}") for place, x in enumerate(inputs)]
    total = Tensor(output.name if output.element == TensorProto.INT32 else f"{node.name}/sum", TensorProto.INT32)
    _chained_sum(writer, wide, total.name)
    writer.nodes[-1].name = node.name
    writer.cast(total, output.element, output.name)


def _emit_readout(writer: OnnxWriter, node: IntReadout, x: Tensor) -> None:
    wide = writer.cast(x, TensorProto.INT32, f"{node.name}/wide")
    if writer.form == "step":
        writer.node("Identity", [wide], OUTPUT, name=node.name)
        return
    sequence = _sequence(writer, node, wide)
    if node.mode == "steps":
        writer.node("Identity", [sequence], OUTPUT, name=node.name)
        return
    time_axis = writer.array("/axis/time", [0], TensorProto.INT64)
    writer.node("ReduceSum", [sequence, time_axis], OUTPUT, name=node.name, keepdims=0)

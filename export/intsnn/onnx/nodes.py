"""Each node of an integer graph as ONNX nodes: standard integer operators, one call of a local function per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from onnx import TensorProto, helper

from intsnn.graph import (
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
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Rearrangement,
)
from intsnn.onnx.functions import DOMAIN
from intsnn.onnx.neuron import NeuronVariant
from intsnn.onnx.weights import weight_zero_point
from intsnn.onnx.windows import chained_sum, emit_conv, emit_conv_transpose, emit_pool
from intsnn.onnx.writer import INPUT, OUTPUT, OnnxWriter, Tensor


def emit(writer: OnnxWriter, node: IntNode, inputs: Sequence[Tensor], element: int) -> Tensor:
    """Append the ONNX nodes of one node; `element` is how its output is stored."""
    output = Tensor(f"{node.name}/output", element)
    match node:
        case IntInput():
            writer.node("Reshape", [INPUT, writer.folded_shape(node)], output.name, name=node.name)
        case IntConv():
            emit_conv(writer, node, inputs[0])
        case IntConvTranspose():
            emit_conv_transpose(writer, node, inputs[0])
        case IntLinear():
            _emit_linear(writer, node, inputs[0])
        case IntRequant():
            _emit_requant(writer, node, inputs[0])
        case IntNeuron():
            _emit_neuron(writer, node, inputs[0])
        case IntPool():
            emit_pool(writer, node, inputs[0], output)
        case IntAdd():
            _emit_in_int32(writer, node, inputs, output, lambda wide, name: chained_sum(writer, wide, name))
        case IntMultiply():
            _emit_in_int32(writer, node, inputs, output, lambda wide, name: _product(writer, node, wide, name))
        case IntSum():
            axis = writer.vector(1 + node.axis)
            _emit_in_int32(
                writer, node, inputs, output, lambda wide, name: writer.node("ReduceSum", [*wide, axis], name)
            )
        case IntMatMul():
            _emit_matmul(writer, node, inputs, output)
        case IntReadout():
            _emit_readout(writer, node, inputs[0])
        case IntConcat():
            same = [writer.cast(part, output.element, f"{node.name}/same{place}") for place, part in enumerate(inputs)]
            writer.node("Concat", same, output.name, name=node.name, axis=1)
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            _emit_rearrangement(writer, node, inputs[0].name, output)
        case _:
            assert_never(node)
    return output


def _emit_rearrangement(writer: OnnxWriter, node: Rearrangement, x: str, output: Tensor) -> None:
    """A node that moves values: they stay as they are stored."""
    match node:
        case IntFlatten() | IntReshape():
            writer.node("Reshape", [x, writer.folded_shape(node)], output.name, name=node.name)
        case IntTranspose():
            order = [0, *(1 + axis for axis in node.permutation)]
            writer.node("Transpose", [x], output.name, name=node.name, perm=order)
        case IntSlice():
            limits = [writer.vector(value) for value in (node.start, node.stop, 1 + node.axis)]
            x = writer.node("Slice", [x, *limits], f"{node.name}/sliced")
            writer.node("Cast", [x], output.name, name=node.name, to=output.element)
        case _:
            assert_never(node)


def _emit_linear(writer: OnnxWriter, node: IntLinear, x: Tensor) -> None:
    zero = weight_zero_point(node.bit_width)
    weight = writer.weight(f"{node.name}/weight", node.weight.T, node.bit_width)
    if x.element != TensorProto.INT32:
        operand, x_zero_point = writer.unsigned(node, x)
        zero_points = writer.zero_points(x_zero_point, zero)
        writer.node("MatMulInteger", [operand, weight, *zero_points], f"{node.name}/output", name=node.name)
        return
    wide = writer.node("Cast", [weight], f"{node.name}/wide_weight", to=TensorProto.INT32)
    zero_point = writer.scalar(zero, TensorProto.INT32)
    signed = writer.node("Sub", [wide, zero_point], f"{node.name}/signed_weight")
    writer.node("MatMul", [x.name, signed], f"{node.name}/output", name=node.name)


def _emit_matmul(writer: OnnxWriter, node: IntMatMul, inputs: Sequence[Tensor], output: Tensor) -> None:
    """MatMulInteger on bytes, MatMul on int32 where either operand is wider."""
    sums = Tensor(output.name if output.element == TensorProto.INT32 else f"{node.name}/sum", TensorProto.INT32)
    if any(x.element == TensorProto.INT32 for x in inputs):
        wide = [writer.cast(x, TensorProto.INT32, f"{node.name}/wide{place}") for place, x in enumerate(inputs)]
        writer.node("MatMul", wide, sums.name, name=node.name)
    else:
        operands, zero_points = zip(
            *(writer.unsigned(node, x, place=str(place)) for place, x in enumerate(inputs)), strict=True
        )
        zeros = writer.zero_points(*zero_points)
        writer.node("MatMulInteger", [*operands, *zeros], sums.name, name=node.name)
    writer.cast(sums, output.element, output.name)


def _emit_requant(writer: OnnxWriter, node: IntRequant, x: Tensor) -> None:
    wide = writer.cast(x, TensorProto.INT32, f"{node.name}/wide")
    per_step = node.multiplier.ndim == 2 or node.bias.ndim == 2
    unfold = per_step and writer.form == "sequence"
    accumulator = writer.sequence(node, wide) if unfold else wide
    inputs = [accumulator, writer.per_step(node, "multiplier"), writer.per_step(node, "bias")]
    current = f"{node.name}/steps" if unfold else f"{node.name}/output"
    call = helper.make_node("Requant", inputs, [current], name=node.name, domain=DOMAIN, shift=node.shift)
    writer.nodes.append(call)
    if unfold:
        writer.node("Reshape", [current, writer.folded_shape(node)], f"{node.name}/output")


def _emit_neuron(writer: OnnxWriter, node: IntNeuron, current: Tensor) -> None:
    variant = NeuronVariant.of(node)
    parameters = [_parameter(writer, node, name) for name in variant.parameters]
    written = [f"{node.name}.potential"] if node.output == "potential" else []
    match writer.form:
        case "sequence":
            inputs = [writer.sequence(node, current.name), *parameters]
            outputs, function = [f"{node.name}.spikes", f"{node.name}.membrane"], variant.sequence_name
        case "step":
            inputs = [*(state_name(node, state) for state in variant.states), current.name, *parameters]
            following = [next_state_name(node, state) for state in variant.states if state != "last_spikes"]
            outputs, function = [f"{node.name}.spikes", *following], variant.step_name
        case _:
            assert_never(writer.form)
    scalars = {name: _scalar(node, name) for name in variant.attributes}
    call = helper.make_node(function, inputs, [*outputs, *written], name=node.name, domain=DOMAIN, **scalars)
    writer.nodes.append(call)
    result = written[0] if written else outputs[0]
    writer.node("Reshape", [result, writer.folded_shape(node)], f"{node.name}/output")


_STATE_NAMES = {  # of a neuron's states in the streaming model: as input, as output of the step
    "membrane": ("state", "next_state"),
    "synapse": ("synapse", "next_synapse"),
    "last_spikes": ("last_spikes", "spikes"),
}


def state_name(node: IntNeuron, state: str) -> str:
    """What a state of a neuron is called as an input of the streaming model: `<neuron>.state` is the membrane."""
    return f"{node.name}.{_STATE_NAMES[state][0]}"


def next_state_name(node: IntNeuron, state: str) -> str:
    """What a state for the next step is called as an output; the last spikes are simply `<neuron>.spikes`."""
    return f"{node.name}.{_STATE_NAMES[state][1]}"


def _scalar(node: IntNeuron, name: str) -> int:
    if name == "recurrent_zero_point" and isinstance(node, IntRecurrentNeuron):
        return weight_zero_point(node.recurrent_bit_width)
    return int(getattr(node, name))


def _parameter(writer: OnnxWriter, node: IntNeuron, name: str) -> str:
    if name == "recurrent_weight" and isinstance(node, IntRecurrentNeuron):
        return _recurrent_weight(writer, node)
    return writer.channel_array(node, name)


def _recurrent_weight(writer: OnnxWriter, node: IntRecurrentNeuron) -> str:
    weight = node.recurrent_weight.T if node.recurrent_weight.ndim == 2 else node.recurrent_weight
    return writer.weight(f"{node.name}/recurrent_weight", weight, node.recurrent_bit_width)


def _emit_in_int32(
    writer: OnnxWriter,
    node: IntNode,
    inputs: Sequence[Tensor],
    output: Tensor,
    compute: Callable[[list[str], str], str],
) -> None:
    """Int32 throughout: onnxruntime 1.20 adds no bytes. The last ONNX node of `compute` gets the layer's name."""
    wide = [writer.cast(x, TensorProto.INT32, f"{node.name}/wide{place}") for place, x in enumerate(inputs)]
    total = Tensor(output.name if output.element == TensorProto.INT32 else f"{node.name}/sum", TensorProto.INT32)
    compute(wide, total.name)
    writer.nodes[-1].name = node.name
    writer.cast(total, output.element, output.name)


def _product(writer: OnnxWriter, node: IntMultiply, factors: list[str], output: str) -> str:
    left, right = factors
    if node.mode == "inhibit":
        left = writer.node("Sub", [writer.scalar(1, TensorProto.INT32), left], f"{node.name}/allowed")
    return writer.node("Mul", [left, right], output)


def _emit_readout(writer: OnnxWriter, node: IntReadout, x: Tensor) -> None:
    wide = writer.cast(x, TensorProto.INT32, f"{node.name}/wide")
    if writer.form == "step":
        writer.node("Identity", [wide], OUTPUT, name=node.name)
        return
    steps = writer.sequence(node, wide)
    match node.mode:
        case "steps":
            writer.node("Identity", [steps], OUTPUT, name=node.name)
        case "sum":
            writer.node("ReduceSum", [steps, writer.vector(0)], OUTPUT, name=node.name, keepdims=0)
        case "max":
            writer.node("ReduceMax", [steps, writer.vector(0)], OUTPUT, name=node.name, keepdims=0)
        case "last":
            last = writer.scalar(-1, TensorProto.INT64)
            writer.node("Gather", [steps, last], OUTPUT, name=node.name, axis=0)
        case _:
            assert_never(node.mode)

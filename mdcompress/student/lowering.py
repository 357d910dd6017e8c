"""lower(student) -> IntGraph: the only place where torch becomes NumPy.

Every constant comes from the same methods that evaluation calls, so the graph is the student, not a copy of its ideas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from intsnn.arithmetic import IntArray
from intsnn.checking.stages import check
from intsnn.errors import GraphError
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
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
)
from intsnn.weight_bits import TERNARY_BITS
from mdcompress._version import __version__
from mdcompress.errors import CalibrationError
from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    Carries,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    NeuronModel,
    PoolSpec,
    ReadoutSpec,
    RecurrentSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SnnNode,
    SumSpec,
    SynapseSpec,
    TensorShape,
    TransposeSpec,
)
from mdcompress.layers.activation import MEMBRANE_BITS
from mdcompress.layers.requant import RequantConstants
from mdcompress.layers.sums import exchanged
from mdcompress.layers.synapse import QuantSynapse, SynapseIntegers
from mdcompress.student.student import Student

_UNUSED = np.zeros(1, dtype=np.int64)  # what FORMAT.md asks of a parameter that the reset kind does not use


def lower(student: Student) -> IntGraph:
    """The integer graph of a calibrated student, checked. The student is not changed.

    Args:
        student: calibrated.

    Returns:
        The graph: what the student computes in evaluation mode, integer for integer (export/FORMAT.md).

    Raises:
        GraphError: an overflow cannot be excluded.
        CalibrationError: the student is not calibrated.
    """
    with torch.no_grad():
        streams = student.stream_units()
        tensors: dict[str, str] = {}
        nodes: list[IntNode] = []
        for node in student.graph:
            written = [*_lowered(student, node, tensors, streams)]
            nodes.extend(written)
            if written or node.inputs:
                tensors[node.name] = written[-1].name if written else tensors[node.inputs[0]]
    graph = IntGraph(tuple(nodes), {"producer": f"mdcompress {__version__}"})
    check(graph)
    return graph


def _lowered(student: Student, node: SnnNode, tensors: dict[str, str], streams: dict[str, Tensor]) -> Iterator[IntNode]:
    inputs = tuple(tensors[name] for name in node.inputs if name in tensors)
    name, shape = node.name, node.shape
    match node.spec:
        case InputSpec():
            word = student.input.word()
            yield IntInput(name, (), shape, word.bit_width, word.signed, float(student.input.scale))
        case SynapseSpec() as spec:
            yield from _lowered_synapse(student, node, spec, inputs, streams)
        case NeuronModel():
            yield _lowered_neuron(student, node, inputs, streams)
        case RecurrentSpec():
            pass  # part of its neuron
        case AffineSpec():
            units = [student.real_unit(tensor, streams) for tensor in (node.inputs[0], name)]
            constants = student.affine(name).integers(*units)
            yield _requant(name, inputs, shape, constants, float(units[1]))
        case ActivationSpec():
            yield _lowered_activation_quantizer(student, node, inputs, streams)
        case ScaleSpec():
            pass  # a reader's unit holds the factor
        case PoolSpec(mode, kernel, stride, padding):
            yield IntPool(name, inputs, shape, "max" if mode == "max" else "sum", kernel, stride, padding)
        case MultiplySpec(mode):
            yield IntMultiply(name, inputs, shape, mode)
        case SumSpec(axis):
            yield IntSum(name, inputs, shape, axis)
        case TransposeSpec(permutation):
            yield IntTranspose(name, inputs, shape, permutation)
        case SliceSpec(axis, start, stop):
            yield IntSlice(name, inputs, shape, axis, start, stop)
        case AddSpec():
            yield IntAdd(name, inputs, shape)
        case ConcatSpec():
            yield IntConcat(name, inputs, shape)
        case MatMulSpec():
            yield IntMatMul(name, inputs, shape)
        case FlattenSpec():
            yield IntFlatten(name, inputs, shape)
        case ReshapeSpec():
            yield IntReshape(name, inputs, shape)
        case ReadoutSpec(mode):
            yield IntReadout(name, inputs, shape, "sum" if mode == "mean" else mode, student.readout_scale())
        case _:
            assert_never(node.spec)


def _lowered_synapse(
    student: Student, node: SnnNode, spec: SynapseSpec, inputs: tuple[str, ...], streams: dict[str, Tensor]
) -> Iterator[IntNode]:
    layer = student.synapse(node.name)
    unit = student.current_unit(node.name, streams)
    integers = layer.integers(student.input_scale(node.inputs[0], streams), unit)
    _check_multiplier(node.name, layer, integers)
    bits = float(layer.weight_policy.bit_width)
    yield _weight_node(node.name, inputs, node.shape, spec, integers.weight, bits)
    requant = _without_offset(student, node.inputs[0], integers, streams)
    yield _requant(f"{node.name}.requant", (node.name,), node.shape, requant, float(unit))


def _weight_node(
    name: str, inputs: tuple[str, ...], shape: TensorShape, spec: SynapseSpec, weight: Tensor, bits: float
) -> IntNode:
    """The sums of a synapse; weight [Co, Ci/groups, *kernel] or [O, I]."""
    if spec.operator == "linear":
        return IntLinear(name, inputs, shape, _array(weight), bits)
    stride, padding, rest = spec.stride, spec.padding, (spec.dilation, spec.groups)
    if spec.is_transposed:
        own = _array(exchanged(weight, spec.groups))
        return IntConvTranspose(name, inputs, shape, own, bits, stride, padding, spec.output_padding, *rest)
    return IntConv(name, inputs, shape, _array(weight), bits, stride, padding, *rest)


def _check_multiplier(name: str, layer: QuantSynapse, integers: SynapseIntegers) -> None:
    """GraphError where a layer's sums are so large that no multiplier but 0 is left."""
    weight, bits = _array(integers.weight), float(layer.weight_policy.bit_width)
    if weight.any() and not _array(integers.requant.multiplier).any() and bool(layer.gain().any()):
        reach = int(abs(weight).reshape(len(weight), -1).sum(axis=1).max()) * layer.largest_input
        raise GraphError(
            f"layer {name!r} must leave room for its multiplier: its sums reach {reach}, and |acc|*|M| < 2^30 "
            "makes every M, and with it every current, 0",
            hints=[f"lower the bits of its weights ({bits:g}) or of its input, or split the layer"],
        )


def _lowered_activation_quantizer(
    student: Student, node: SnnNode, inputs: tuple[str, ...], streams: dict[str, Tensor]
) -> IntNeuron:
    """A neuron without memory that counts levels from -2^(b-1) upwards."""
    unit = student.current_unit(node.inputs[0], streams)
    integers = student.activation_quantizer(node.name).integers(unit)
    return IntNeuron(
        node.name,
        inputs,
        node.shape,
        leak=np.zeros(1, dtype=np.int64),
        drive=np.array([integers.offset * integers.level]),
        threshold=np.array([integers.level]),
        reset="none",
        reset_value=_UNUSED,
        soft_amount=_UNUSED,
        guard_bits=0,
        bit_width=MEMBRANE_BITS,
        initial=0,
        scale=float(unit),
        spike="round",
        max_spikes=integers.largest,
        level=np.array([integers.level]),
    )


def _without_offset(
    student: Student, source: str, integers: SynapseIntegers, streams: dict[str, Tensor]
) -> RequantConstants:
    """The constants of a synapse. Where it reads counts q + o of an activation quantizer, B is o*M*sum(q_w) less."""
    requant, activation_quantizer = integers.requant, student.value_units[source].activation_quantizer
    if activation_quantizer is None:
        return requant
    offset = student.activation_quantizer(activation_quantizer).offset
    surplus = offset * integers.weight.double().flatten(1).sum(1)
    return replace(requant, bias=requant.bias - requant.multiplier * surplus)


def _requant(
    name: str, inputs: tuple[str, ...], shape: TensorShape, constants: RequantConstants, unit: float
) -> IntRequant:
    multiplier, bias = _array(constants.multiplier), _array(constants.bias)
    return IntRequant(name, inputs, shape, multiplier, bias, constants.shift, unit)


def _lowered_neuron(student: Student, node: SnnNode, inputs: tuple[str, ...], streams: dict[str, Tensor]) -> IntNeuron:
    fine_scale = student.fine_scale(node.name, streams)
    integers = student.neuron(node.name).integers(fine_scale)
    hard, soft, floored = integers.reset == "hard", integers.reset == "soft", integers.floor != "none"
    counts = integers.spike != "binary" or integers.rearm == "double"
    neuron = IntNeuron(
        node.name,
        inputs,
        node.shape,
        leak=_array(integers.leak),
        drive=_array(integers.drive),
        threshold=_array(integers.threshold),
        reset=integers.reset,
        reset_value=_array(integers.reset_value) if hard else _UNUSED,
        soft_amount=_array(integers.soft_amount) if soft else _UNUSED,
        guard_bits=integers.guard_bits,
        bit_width=integers.bit_width,
        initial=int(integers.initial),
        scale=float(fine_scale) * 2.0**integers.guard_bits,
        spike=integers.spike,
        max_spikes=integers.max_spikes,
        level=_array(integers.level) if counts else _UNUSED,
        timing=integers.timing,
        floor=integers.floor,
        floor_value=_array(integers.floor_value) if floored else _UNUSED,
        rearm=integers.rearm,
        synapse_leak=_UNUSED if integers.synapse_leak is None else _array(integers.synapse_leak),
        synapse_drive=_array(integers.synapse_drive),
        synapse_shift=integers.synapse_shift,
        output="spikes" if node.carries is Carries.SPIKES else "potential",
    )
    return neuron if len(node.inputs) == 1 else _with_recurrence(student, neuron, node.inputs[1], streams)


def _with_recurrence(student: Student, neuron: IntNeuron, name: str, streams: dict[str, Tensor]) -> IntRecurrentNeuron:
    """The neuron with the recurrent weights of node `name`. One weight per neuron is the diagonal of a matrix."""
    layer = student.synapse(name)
    integers = layer.integers(1.0, student.current_unit(name, streams))
    _check_multiplier(name, layer, integers)
    weight, bits, groups = _array(integers.weight), float(layer.weight_policy.bit_width), layer.spec.groups
    if weight.ndim == 2 and groups > 1:
        weight, bits, groups = np.diag(weight[:, 0]), max(bits, TERNARY_BITS), 1  # 1 bit has no 0
    return IntRecurrentNeuron(
        **vars(neuron),
        recurrent_weight=weight,
        recurrent_bit_width=bits,
        recurrent_groups=groups,
        recurrent_multiplier=_array(integers.requant.multiplier),
        recurrent_bias=_array(integers.requant.bias),
        recurrent_shift=integers.requant.shift,
    )


def _array(values: Tensor | float) -> IntArray:
    """Integers carried in float, as int64, a number as an array of one."""
    array = np.atleast_1d(torch.as_tensor(values, dtype=torch.float64).detach().cpu().numpy())
    integers: IntArray = np.rint(array).astype(np.int64)
    if not np.array_equal(integers, array):
        raise CalibrationError(
            "every constant of a layer must be an integer that int64 holds "
            f"(got {array.flat[int(np.argmax(integers != array))]:g})",
            hints=["a scale or a weight of the student is far too large or too small: quantize again"],
        )
    return integers

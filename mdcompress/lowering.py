"""lower(student) -> IntGraph: the only place where torch becomes NumPy.

Every constant comes from the same methods that evaluation calls, so the graph is the student, not a copy of its ideas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from intsnn.arithmetic import IntArray
from intsnn.checking import check
from intsnn.errors import GraphError
from intsnn.graph import (
    IntAdd,
    IntConv,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
)
from mdcompress._version import __version__
from mdcompress.graph import NodeKind, PoolSpec, ReadoutSpec, SnnNode, SynapseSpec
from mdcompress.student import Student

_UNUSED = np.zeros(1, dtype=np.int64)  # what FORMAT.md asks of a parameter that the reset kind does not use


def lower(student: Student) -> IntGraph:
    """The integer graph of a calibrated student, checked. The student is not changed.

    Errors: GraphError where an overflow cannot be excluded; CalibrationError before calibration.
    """
    with torch.no_grad():
        streams = student.stream_units()
        tensors: dict[str, str] = {}
        nodes: list[IntNode] = []
        for node in student.graph:
            nodes.extend(_lowered(student, node, tensors, streams))
            tensors[node.name] = nodes[-1].name
    graph = IntGraph(tuple(nodes), {"producer": f"mdcompress {__version__}"})
    check(graph)
    return graph


def _lowered(student: Student, node: SnnNode, tensors: dict[str, str], streams: dict[str, Tensor]) -> Iterator[IntNode]:
    inputs, shape, spec = tuple(tensors[name] for name in node.inputs), node.shape, node.spec
    match node.kind:
        case NodeKind.INPUT:
            word = student.input.word()
            yield IntInput(node.name, (), shape, word.bit_width, word.signed, float(student.input.scale))
        case NodeKind.SYNAPSE:
            yield from _lowered_synapse(student, node, inputs, streams)
        case NodeKind.NEURON:
            yield _lowered_neuron(student, node, inputs, streams)
        case NodeKind.POOL:
            assert isinstance(spec, PoolSpec)
            windows = (spec.kernel, spec.stride, spec.padding)
            yield IntPool(node.name, inputs, shape, "max" if spec.mode == "max" else "sum", *windows)
        case NodeKind.ADD:
            yield IntAdd(node.name, inputs, shape)
        case NodeKind.FLATTEN:
            yield IntFlatten(node.name, inputs, shape)
        case NodeKind.READOUT:
            assert isinstance(spec, ReadoutSpec)
            mode: Literal["sum", "steps"] = "steps" if spec.mode == "steps" else "sum"
            yield IntReadout(node.name, inputs, shape, mode, student.readout_scale())


def _lowered_synapse(
    student: Student, node: SnnNode, inputs: tuple[str, ...], streams: dict[str, Tensor]
) -> Iterator[IntNode]:
    spec, layer = node.spec, student.synapse(node.name)
    assert isinstance(spec, SynapseSpec)
    unit = student.current_unit(node.name, streams)
    integers = layer.integers(student.input_scale(node.inputs[0]), unit)
    weight, bits = _array(integers.weight), float(layer.weight_policy.bit_width)
    if weight.any() and not _array(integers.requant.multiplier).any() and bool(layer.gain().any()):
        reach = int(abs(weight).reshape(len(weight), -1).sum(axis=1).max()) * layer.largest_input
        raise GraphError(
            f"layer {node.name!r} must leave room for its multiplier: its sums reach {reach}, and |acc|*|M| < 2^30 "
            "makes every M, and with it every current, 0",
            hints=[f"lower the bits of its weights ({bits:g}) or of its input, or split the layer"],
        )
    if spec.operator == "linear":
        yield IntLinear(node.name, inputs, node.shape, weight, bits)
    else:
        geometry = (spec.stride, spec.padding, spec.dilation, spec.groups)
        yield IntConv(node.name, inputs, node.shape, weight, bits, *geometry)
    constants = integers.requant
    name = f"{node.name}.requant"
    multiplier, bias = _array(constants.multiplier), _array(constants.bias)
    yield IntRequant(name, (node.name,), node.shape, multiplier, bias, constants.shift, float(unit))


def _lowered_neuron(student: Student, node: SnnNode, inputs: tuple[str, ...], streams: dict[str, Tensor]) -> IntNeuron:
    lsb = student.neuron_lsb(node.name, streams)
    integers = student.neuron(node.name).integers(lsb)
    return IntNeuron(
        node.name,
        inputs,
        node.shape,
        leak=np.array([integers.leak], dtype=np.int64),
        drive=_array(integers.drive),
        threshold=_array(integers.threshold),
        reset=integers.reset,
        reset_value=_array(integers.reset_value) if integers.reset == "hard" else _UNUSED,
        soft_amount=_array(integers.soft_amount) if integers.reset == "soft" else _UNUSED,
        guard_bits=integers.guard_bits,
        bit_width=integers.bit_width,
        initial=integers.initial,
        scale=float(lsb) * 2.0**integers.guard_bits,
    )


def _array(values: Tensor) -> IntArray:
    """Integers carried in float, as int64."""
    array = values.detach().cpu().double().numpy()
    integers: IntArray = np.rint(array).astype(np.int64)
    assert np.array_equal(integers, array), "a layer carried a value that is not an integer"
    return integers

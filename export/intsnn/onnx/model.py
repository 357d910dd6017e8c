"""An integer graph as an ONNX model of integer operators: over a sequence, or one step with the states in and out.

FORMAT.md, "ONNX", has the mapping. Building checks the graph first: an illegal one gives no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from intsnn.checking.stages import check
from intsnn.graph import FORMAT_VERSION, IntGraph
from intsnn.graph.bounds import bounds, carries
from intsnn.onnx.functions import DOMAIN, OPSET, requant_function
from intsnn.onnx.metadata import model_metadata, node_metadata
from intsnn.onnx.neuron import NeuronVariant, sequence_function, step_function
from intsnn.onnx.nodes import emit, next_state_name, state_name
from intsnn.onnx.weights import unpack_function
from intsnn.onnx.writer import INPUT, OUTPUT, STEP, TIME_STEPS, Form, OnnxWriter, Tensor, element_type

IR_VERSION = 10  # the first with metadata_props on nodes; onnx's own default is newer than onnxruntime reads
PRODUCER = "mdcompress"


def build_model(
    graph: IntGraph, *, outputs: Literal["logits", "all"] = "logits", version: int = FORMAT_VERSION
) -> ModelProto:
    """The graph as an ONNX model over a sequence: opset 21, IR 10, standard operators (FORMAT.md, "ONNX").

    Args:
        graph: legal.
        outputs: `logits`, or `all`: every neuron's `<name>.spikes` (uint8) and `<name>.membrane` (int32), [T, N, ...],
            too. The nodes are the same ones.
        version: of the format; 1 keeps every weight in a byte of its own, for tools that know no UINT4.

    Returns:
        The model: input `x` [T, N, ...] uint8 or int8, output `logits` int32.

    Raises:
        GraphError: the graph breaks a rule of FORMAT.md.
    """
    writer = _written(graph, "sequence", version)
    steps = [_time_axis(graph)] if graph.output.mode == "steps" else []
    declared = [_declare(OUTPUT, TensorProto.INT32, *steps, "N", *graph.output.shape)]
    if outputs == "all":
        declared += neuron_outputs(graph)
    x = _declare(INPUT, _input_element(graph), _time_axis(graph), "N", *graph.input.shape)
    variants = {variant.sequence_name: variant for variant in map(NeuronVariant.of, graph.neurons)}
    return _model(graph, writer, [x], declared, [sequence_function(variants[name]) for name in sorted(variants)])


def build_streaming_model(graph: IntGraph) -> ModelProto:
    """The ONNX model of one step. `logits` are that step's: sum, maximum and last are the caller's.

    The first states are the neurons' `initial`, an attribute of their nodes, and 0 for `.synapse` and `.last_spikes`.
    A graph that fixes T also takes the index of the `step`, from 0.
    """
    writer = _written(graph, "step", FORMAT_VERSION)
    inputs = [_declare(INPUT, _input_element(graph), "N", *graph.input.shape)]
    if graph.time_steps is not None:
        inputs.append(_declare(STEP, TensorProto.INT64))
    outputs = [_declare(OUTPUT, TensorProto.INT32, "N", *graph.output.shape)]
    variants = {variant.step_name: variant for variant in map(NeuronVariant.of, graph.neurons)}
    for node in graph.neurons:
        outputs.append(_declare(f"{node.name}.spikes", TensorProto.UINT8, "N", *node.shape))
        for state, element in NeuronVariant.of(node).states.items():
            inputs.append(_declare(state_name(node, state), element, "N", *node.shape))
            if state != "last_spikes":
                outputs.append(_declare(next_state_name(node, state), element, "N", *node.shape))
    return _model(graph, writer, inputs, outputs, [step_function(variants[name]) for name in sorted(variants)])


def neuron_outputs(graph: IntGraph) -> list[ValueInfoProto]:
    """Declarations of every neuron's spikes and membrane as model outputs, in graph order."""
    return [
        _declare(f"{node.name}.{quantity}", element, _time_axis(graph), "N", *node.shape)
        for node in graph.neurons
        for quantity, element in (("spikes", TensorProto.UINT8), ("membrane", TensorProto.INT32))
    ]


def _time_axis(graph: IntGraph) -> str | int:
    """T, any number of steps, unless the graph fixes it."""
    return "T" if graph.time_steps is None else graph.time_steps


def _written(graph: IntGraph, form: Form, version: int) -> OnnxWriter:
    """Every node's ONNX nodes and initializers, metadata on the ONNX node that carries the layer's name."""
    check(graph)
    proved, kinds, writer = bounds(graph), carries(graph), OnnxWriter(form, version)
    if form == "sequence":
        writer.node("Shape", [INPUT], TIME_STEPS, start=0, end=1)
    tensors: dict[str, Tensor] = {}
    for node in graph:
        first, element = len(writer.nodes), element_type(kinds[node.name], proved[node.name])
        tensors[node.name] = emit(writer, node, [tensors[name] for name in node.inputs], element)
        carrier = next(proto for proto in writer.nodes[first:] if proto.name == node.name)
        _set_metadata(carrier, node_metadata(node, proved[node.name]))
    return writer


def _set_metadata(proto: NodeProto, values: Mapping[str, str]) -> None:
    for key, text in values.items():
        proto.metadata_props.add(key=key, value=text)


def _input_element(graph: IntGraph) -> int:
    return int(TensorProto.INT8 if graph.input.signed else TensorProto.UINT8)


def _declare(name: str, element: int, *shape: str | int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element, list(shape))


def _model(
    graph: IntGraph,
    writer: OnnxWriter,
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    neurons: list[FunctionProto],
) -> ModelProto:
    body = helper.make_graph(writer.nodes, PRODUCER, inputs, outputs, list(writer.initializers.values()))
    model = helper.make_model(
        body,
        functions=[requant_function(), *neurons, *map(unpack_function, sorted(writer.unpacked))],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    helper.set_model_props(model, model_metadata(graph, version=writer.version))
    return model

"""model.onnx: bit-exact in onnxruntime and in ONNX's reference, integer throughout."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from intsnn.arithmetic import IntArray
from intsnn.errors import InputError
from intsnn.execution.interpreter import Trace, run
from intsnn.execution.parity import compare, require_equal
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntGraph,
    IntInput,
    IntLinear,
    IntMultiply,
    IntNeuron,
    IntPool,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
)
from intsnn.graph.bounds import TensorRole, bounds, carries
from intsnn.onnx.file import build_model, build_streaming_model, write_onnx
from intsnn.onnx.runtime import open_session, run_onnx
from tests.support.hand_made_graphs import norm_per_step_graph, wide_hand_made_graphs
from tests.support.intgraphs import GraphBuilder, dense_graph, graph_inputs, random_input, residual_graph
from tests.support.streaming import run_streaming
from tests.support.wide_graphs import any_graphs

INTEGER_TYPES = {
    TensorProto.UINT4, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32,
}  # fmt: skip


def test_onnxruntime_is_the_one_that_ci_asked_for() -> None:
    """CI runs this file a second time, with the oldest release that is declared."""
    assert onnxruntime.__version__ == os.environ.get("MDCOMPRESS_ONNXRUNTIME", onnxruntime.__version__)


def _graphs() -> list[IntGraph]:
    return [dense_graph(), residual_graph(), _wide_counts_graph(), _signed_graph(), *wide_hand_made_graphs().values()]


def _wide_counts_graph() -> IntGraph:
    """Sums of the input up to 1020 and 2040, which fit no byte, into a linear layer."""
    build = GraphBuilder(np.random.default_rng(0))
    pooled = build.pool(build.input((2, 4, 4)), "sum")
    x = build.linear(build.flatten(build.add(pooled, pooled)), 8, bit_width=8)
    build.readout(build.neuron(build.requant(x), bit_width=8, leak=3))
    return build.graph()


def _signed_graph() -> IntGraph:
    """A signed input through padding, maximum and sum."""
    build = GraphBuilder(np.random.default_rng(1))
    x = build.input((2, 6, 6), signed=True)
    x = build.requant(build.conv(build.pool(x, "max", kernel=(3, 3), stride=(1, 1), padding=(1, 1)), 4))
    x = build.pool(build.pool(x, "sum", padding=(1, 1)), "max", kernel=(3, 2), stride=(1, 2), padding=(1, 1))
    build.readout(build.flatten(build.neuron(x, driven=True)), mode="steps")
    return build.graph()


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", _graphs())
def test_hand_made_graphs_are_bit_exact_in_onnxruntime_and_fire(graph: IntGraph) -> None:
    x = random_input(graph, time_steps=graph.time_steps or 6)
    report = compare(run(graph, x), run_onnx(graph, x))
    require_equal(report)
    assert report.spikes > 0 and not report.silent


@settings(max_examples=80, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_drawn_graphs_are_bit_exact_in_onnxruntime(data: st.DataObject, graph: IntGraph) -> None:
    x = data.draw(graph_inputs(graph))
    require_equal(compare(run(graph, x), run_onnx(graph, x)))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_drawn_graphs_are_bit_exact_in_the_onnx_reference(data: st.DataObject, graph: IntGraph) -> None:
    x = data.draw(graph_inputs(graph))
    require_equal(compare(run(graph, x), _reference(graph, x), names=("interpreter", "ONNX reference")))


@pytest.mark.parametrize("graph", _graphs())
def test_hand_made_graphs_are_bit_exact_in_the_onnx_reference(graph: IntGraph) -> None:
    x = random_input(graph, time_steps=4, samples=2)
    require_equal(compare(run(graph, x), _reference(graph, x), names=("interpreter", "ONNX reference")))


def _reference(graph: IntGraph, x: IntArray) -> Trace:
    model = build_model(graph, outputs="all")
    feeds = {"x": x.astype(np.int8 if graph.input.signed else np.uint8)}
    values = dict(zip([o.name for o in model.graph.output], ReferenceEvaluator(model).run(None, feeds), strict=True))
    spikes = {node.name: values[f"{node.name}.spikes"] for node in graph.neurons}
    assert all(array.dtype == np.uint8 for array in spikes.values())
    return Trace(values["logits"], spikes, {node.name: values[f"{node.name}.membrane"] for node in graph.neurons})


def test_drawn_graphs_use_every_feature_and_fire() -> None:
    features: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None, derandomize=True, database=None)
    @given(graph=any_graphs())
    def collect(graph: IntGraph) -> None:
        trace = run(graph, random_input(graph, time_steps=graph.time_steps or 4, samples=1))
        features["spikes"] += sum(int(spikes.sum()) for spikes in trace.spikes.values())
        features.update(_features(graph))

    collect()
    wanted = {"spikes", "signed", "soft", "hard", "none", "driven", "leak", "leak per channel", "initial"}
    wanted |= {f"readout {mode}" for mode in ("sum", "steps", "last", "max")} | {"fixed T"}
    wanted |= {f"{kind} {bits}" for kind in ("conv", "conv_transpose", "linear") for bits in (1, 1.58, 2, 3, 4, 8)}
    wanted |= {f"{kind} of {rank} axes" for kind in ("conv", "conv_transpose", "pool") for rank in (1, 2, 3)}
    wanted |= {"groups", "stride", "padding", "dilation", "shared threshold", "threshold per channel"}
    wanted |= {f"{mode} pool of {what}" for mode in ("max", "sum") for what in ("values", "currents")}
    wanted |= {
        f"{kind} of {what}" for kind in ("add", "concat") for what in ("values", "currents")
    }  # wide counts: a hand-made graph
    wanted |= {"product", "inhibit", "matmul", "sum", "transpose", "reshape", "slice"}
    wanted |= {"binary", "floor", "round", "same_step", "after_leak", "masked", "before_fire", "after_reset", "double"}
    wanted |= {"synapse", "potential", "recurrent linear", "recurrent convolution"}
    assert wanted <= set(features), wanted - set(features)


def _features(graph: IntGraph) -> Iterator[str]:
    kinds, proved = carries(graph), bounds(graph)
    if graph.time_steps is not None:
        yield "fixed T"
    for node in graph:
        what = "values" if kinds[node.name] is TensorRole.VALUES else "currents"
        match node:
            case IntInput():
                yield "signed" if node.signed else "unsigned"
            case IntConv() | IntConvTranspose():
                yield f"{node.kind} {node.bit_width}"
                yield f"{node.kind} of {len(node.stride)} axes"
                yield from (n for n in ("stride", "dilation") if max(getattr(node, n)) > 1)
                yield from (n for n, used in (("groups", node.groups > 1), ("padding", any(node.padding))) if used)
            case IntLinear():
                yield f"linear {node.bit_width}"
                yield "wide counts" if proved[node.inputs[0]].high > 255 else "counts"
            case IntNeuron():
                yield from _neuron_features(node)
            case IntPool():
                yield f"{node.mode} pool of {what}"
                yield f"pool of {len(node.kernel)} axes"
            case IntReadout():
                yield f"readout {node.mode}"
            case IntMultiply():
                yield node.mode
            case IntAdd() | IntConcat():
                yield f"{node.kind} of {what}"
            case _:
                yield node.kind


def _neuron_features(node: IntNeuron) -> Iterator[str]:
    yield from (node.reset, node.spike, node.timing, node.floor, node.rearm, node.output)
    yield "threshold per channel" if len(node.threshold) > 1 else "shared threshold"
    yield "leak per channel" if len(node.leak) > 1 else "shared leak"
    yield "leak" if int(node.leak.min()) < 2**node.guard_bits else "no leak"
    used = {"driven": node.drive.any(), "initial": node.initial != 0, "synapse": node.has_synapse}
    yield from (name for name, is_used in used.items() if is_used)
    if isinstance(node, IntRecurrentNeuron):
        yield "recurrent linear" if node.recurrent_weight.ndim == 2 else "recurrent convolution"


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 15, 29, 30])
def test_requant_is_exact_up_to_the_proved_limit(shift: int) -> None:
    """|acc*M + B| = 2^30 - 1 at both ends, every shift: where int32 would wrap without the proof."""
    multiplier = (2**30 - 128) // 128
    bias = np.array([2**30 - 1 - 128 * multiplier, 1 - 2**30 + 128 * multiplier, 0])
    graph = IntGraph(
        (
            IntInput("input", (), (3,), 8, True, 1.0),
            IntRequant("r", ("input",), (3,), np.array([multiplier]), bias, shift, 1.0),
            IntReadout("readout", ("r",), (3,), "steps", 1.0),
        )
    )
    x = np.array([[[v, v, v]] for v in (-128, -127, -3, -1, 0, 1, 2, 127)])
    assert np.array_equal(run(graph, x).output, run_onnx(graph, x).output)
    extreme = [int(v) * multiplier + int(b) for v in (-128, 127) for b in bias]
    assert max(abs(v) for v in extreme) == 2**30 - 1


@pytest.mark.parametrize("guard_bits", [0, 3, 13])
def test_a_membrane_of_sixteen_bits_is_exact_at_saturation(guard_bits: int) -> None:
    zero = np.zeros(1, np.int64)
    graph = IntGraph(
        (
            IntInput("input", (), (1,), 8, True, 1.0),
            IntRequant("r", ("input",), (1,), np.array([2**21 - 2**15]), np.array([0]), 0, 1.0),
            IntNeuron("n", ("r",), (1,), 2**guard_bits, zero, np.array([2**30]), "none", zero, zero,
                      guard_bits, 16, -(2**15), 1.0),
            IntReadout("readout", ("n",), (1,), "steps", 1.0),
        )
    )  # fmt: skip
    x = np.array([-128, 127, 127, 127, -128, -128, -128, 1]).reshape(-1, 1, 1)
    trace = run(graph, x)
    require_equal(compare(trace, run_onnx(graph, x)))
    assert {-(2**15), 2**15 - 1} <= set(trace.membranes["n"].ravel().tolist())


def test_sum_of_two_bytes_is_widened() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2,))
    build.readout(build.linear(build.add(x, x), 3))
    graph = build.graph()
    x_max = np.full((1, 1, 2), 255)
    assert np.array_equal(run(graph, x_max).output, run_onnx(graph, x_max).output)


def test_one_session_runs_any_number_of_steps_and_samples() -> None:
    graph = residual_graph()
    session = open_session(build_model(graph))
    for time_steps, samples in ((1, 1), (7, 2), (2, 5)):
        x = random_input(graph, time_steps=time_steps, samples=samples)
        require_equal(compare(run(graph, x), session.run(x)))
        assert np.array_equal(session.answer(x), run(graph, x).output)


@pytest.mark.parametrize("graph", _graphs())
def test_streaming_model_gives_the_same_spikes_step_by_step(graph: IntGraph) -> None:
    x = random_input(graph, time_steps=graph.time_steps or 5, samples=2)
    require_equal(compare(run(graph, x), run_streaming(graph, x), names=("interpreter", "streaming")))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_drawn_graphs_give_the_same_spikes_step_by_step(data: st.DataObject, graph: IntGraph) -> None:
    x = data.draw(graph_inputs(graph))
    require_equal(compare(run(graph, x), run_streaming(graph, x), names=("interpreter", "streaming")))


# --- the form --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(graph=any_graphs())
def test_models_pass_the_checker_and_hold_no_float(graph: IntGraph) -> None:
    for model in (build_model(graph, outputs="all"), build_streaming_model(graph)):
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        assert set(_element_types(inferred)) <= INTEGER_TYPES | {TensorProto.BOOL}
        assert not _float_attributes(model)


def _element_types(model: ModelProto) -> Iterator[int]:
    """Element types of every declared, inferred and constant tensor: graph, functions (inlined), Scan bodies."""
    import onnx.inliner

    flat = onnx.inliner.inline_local_functions(model)
    flat = onnx.shape_inference.infer_shapes(flat, check_type=True, strict_mode=True, data_prop=True)
    for graph in (model.graph, *_with_bodies(flat.graph)):
        for info in (*graph.input, *graph.output, *graph.value_info):
            yield info.type.tensor_type.elem_type
        for tensor in graph.initializer:
            yield tensor.data_type
        for node in graph.node:
            yield from (a.t.data_type for a in node.attribute if a.type == AttributeProto.TENSOR)
            yield from (a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to")


def _with_bodies(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _with_bodies(attribute.g)


def _float_attributes(model: ModelProto) -> list[str]:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return [a.name for node in nodes for a in node.attribute if a.type in (AttributeProto.FLOAT, AttributeProto.FLOATS)]


def test_model_is_opset_21_of_ir_10_with_one_call_per_neuron_and_requant() -> None:
    graph = residual_graph()
    model = build_model(graph)
    assert model.ir_version == 10
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 21), ("mdcompress", 1)}
    calls = Counter(node.op_type for node in model.graph.node if node.domain == "mdcompress")
    assert calls == {"Requant": 5, "LIF_hard_3d": 2, "LIF_soft_3d": 1, "LIF_hard_1d": 1, "UnpackWeights2": 1}
    assert [output.name for output in model.graph.output] == ["logits"]


def test_every_layer_is_one_named_node_with_its_metadata() -> None:
    graph = residual_graph()
    nodes = {proto.name: proto for proto in build_model(graph).graph.node}
    proved = bounds(graph)
    for node in graph:
        metadata = {entry.key: entry.value for entry in nodes[node.name].metadata_props}
        assert metadata["mdcompress.kind"] == node.kind
        assert metadata["mdcompress.bounds"] == f"[{proved[node.name].low}, {proved[node.name].high}]"
    first = {entry.key: entry.value for entry in nodes["layers.1.conv"].metadata_props}
    assert (first["mdcompress.bit_width"], first["mdcompress.stride"]) == ("8", "[1, 1]")


def test_weights_are_stored_offset_binary_with_uint8_zero_points() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2,))
    build.nodes.append(IntLinear("w", (x,), (2,), np.array([[-4, 3], [0, -1]]), 3))
    build.readout("w", mode="steps")
    model = build_model(build.graph())
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert arrays["w/weight"].astype(np.int64).tolist() == [[0, 4], [7, 3]]
    operands = next(node for node in model.graph.node if node.name == "w").input
    assert [int(arrays[name]) for name in operands[2:]] == [0, 4]
    assert all(arrays[name].dtype == np.uint8 and arrays[name].shape == () for name in operands[2:])


def test_all_outputs_are_declared_on_the_very_same_nodes() -> None:
    graph = residual_graph()
    short, full = build_model(graph), build_model(graph, outputs="all")
    assert list(short.graph.node) == list(full.graph.node)
    assert len(full.graph.output) == 1 + 2 * len(graph.neurons)


def test_a_variant_of_a_neuron_is_named_by_its_options() -> None:
    names = {
        node.op_type
        for graph in wide_hand_made_graphs().values()
        for node in build_model(graph).graph.node
        if node.op_type.startswith("LIF")
    }
    assert {"LIF_hard_1d", "LIF_soft_timing_after_leak_3d", "LIF_soft_spike_round_1d", "LIF_hard_synapse_1d"} <= names
    assert {"LIF_hard_recurrent_1d", "LIF_soft_rearm_double_3d", "LIF_hard_floor_before_fire_1d"} <= names
    assert any(name.startswith("LIF_soft_timing_after_leak_recurrent_") and "_groups4_3d" in name for name in names)


def test_a_graph_with_norms_per_step_has_their_number_of_steps_in_its_input() -> None:
    model = build_model(norm_per_step_graph(time_steps=3))
    assert [d.dim_value or d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim][:2] == [3, "N"]
    assert [info.name for info in build_streaming_model(norm_per_step_graph()).graph.input][:2] == ["x", "step"]


# --- running ---------------------------------------------------------------------------------------------------------


def test_a_file_runs_with_every_neuron_exposed(tmp_path: Path) -> None:
    graph, path = residual_graph(), tmp_path / "model.onnx"
    write_onnx(graph, path)
    x = random_input(graph)
    require_equal(compare(run(graph, x), run_onnx(path, x)))


def test_onnxruntime_refuses_input_outside_the_range_like_the_interpreter() -> None:
    graph = dense_graph()
    with pytest.raises(InputError, match="must lie in"):
        run_onnx(graph, random_input(graph) + 1)


def test_more_steps_than_the_readout_is_proved_for_are_refused() -> None:
    requant = IntRequant("r", ("input",), (1,), np.array([2**12]), np.array([0]), 0, 1.0)
    nodes = (IntInput("input", (), (1,), 8, False, 1.0), requant, IntReadout("out", ("r",), (1,), "sum", 1.0))
    graph = IntGraph(nodes)
    longest = (2**31 - 1) // (255 * 2**12)
    x = np.full((longest, 1, 1), 255)
    assert run_onnx(graph, x).output.tolist() == [[longest * 255 * 2**12]]
    with pytest.raises(InputError, match=f"at most {longest} steps"):
        run_onnx(graph, np.full((longest + 1, 1, 1), 255))

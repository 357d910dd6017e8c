"""Compressed networks as NIR: the integers come back equal, the floats mean them, and foreign readers run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict, TypeVar, Unpack

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import mdcompress as md
from benchmarks.nir_readers import IMPORTERS, by_mdcompress, compressed, spikes_of
from intsnn.errors import InvalidFileError
from intsnn.execution.interpreter import run
from intsnn.graph import IntConv, IntGraph, IntLinear, IntNeuron, IntNode, IntReadout, IntRequant
from mdcompress.errors import ExportError
from mdcompress.graph import ResetKind
from tests.support.graph_builder import GraphBuilder, NeuronOptions
from tests.support.nir_versions import nir_with_v_reset

nir = nir_with_v_reset()
h5py = pytest.importorskip("h5py")

T, N = 16, 100
NodeT = TypeVar("NodeT", bound=IntNode)


def started_at_zero(build: GraphBuilder, name: str, drive: int) -> str:
    """The neuron that was built last, with that drive beside the half that rounding carries."""
    node = build.nodes[-1]
    assert isinstance(node, IntNeuron) and node.name == name
    build.nodes[-1] = replace(node, drive=np.array([drive + 2 ** (node.guard_bits - 1)]))
    return name


FEEDBACK: st.SearchStrategy[Literal["none", "dense"]] = st.sampled_from(("none", "dense"))


@st.composite
def nir_graphs(draw: st.DrawFn) -> IntGraph:
    """A random graph that NIR holds: convolutions, residual sums, poolings, plain neurons, dense layers."""
    build = GraphBuilder(np.random.default_rng(draw(st.integers(0, 2**16))))
    bits = st.sampled_from((1, 1.58, 2, 4, 8))

    def fired(current: str, *, drive: int, recurrent: Literal["none", "dense"] = "none") -> str:
        leak, options = draw(st.sampled_from((None, 2, 3))), NeuronOptions(recurrent=recurrent)
        name = build.neuron(current, leak=leak, per_channel=draw(st.booleans()), options=options)
        return started_at_zero(build, name, drive)

    if draw(st.booleans()):
        x = build.input((draw(st.integers(1, 3)), 6, 5), signed=draw(st.booleans()))
        size = draw(st.sampled_from((1, 3)))
        sums = build.conv(x, 3, bit_width=draw(bits), kernel=(size, size), padding=(size // 2, size // 2))
        current = build.requant(sums, per_channel=draw(st.booleans()))
        if draw(st.booleans()):
            branch = build.requant(build.conv(fired(current, drive=0), 3, bit_width=draw(bits)))
            current = fired(build.add(current, branch), drive=0)
        else:
            current = fired(current, drive=draw(st.integers(-5, 5)))
        x = build.flatten(build.pool(current, "sum") if draw(st.booleans()) else current)
    else:
        x = build.input((draw(st.integers(1, 6)),))
    feedback = draw(FEEDBACK)
    current = build.requant(build.linear(x, draw(st.integers(1, 5)), bit_width=draw(bits)))
    x = fired(current, drive=3, recurrent=feedback)
    if draw(st.booleans()):
        x = build.requant(build.linear(x, 2, bit_width=draw(bits)))
    build.readout(x, mode=draw(st.sampled_from(("sum", "steps", "last", "max"))))
    return build.graph(drawn="by Hypothesis")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=nir_graphs())
def test_the_integer_graph_of_a_file_is_the_one_that_was_written(tmp_path: Path, graph: IntGraph) -> None:
    md.write_nir(md.to_nir(graph), tmp_path / "model.nir")
    assert md.integers_from_nir(tmp_path / "model.nir") == graph
    nir.read(tmp_path / "model.nir")  # with nir's own check of shapes


@settings(max_examples=20, deadline=None)
@given(graph=nir_graphs())
def test_every_weight_behind_spikes_is_exactly_its_integers(graph: IntGraph) -> None:
    written = md.to_nir(graph)
    for requant in (node for node in graph if isinstance(node, IntRequant)):
        synapse = graph.node(requant.inputs[0])
        assert isinstance(synapse, IntConv | IntLinear)
        if synapse.inputs[0] == graph.input.name:
            continue
        multiplier = np.broadcast_to(requant.multiplier, len(synapse.weight))
        exact = synapse.weight * multiplier.reshape(-1, *(1 for _ in synapse.weight.shape[1:]))
        floats = written.nodes[synapse.name].weight
        assert floats.dtype == np.float32
        if exact.any():
            ratio = np.abs(floats.astype(np.float64)).max() / np.abs(exact).max()
            assert np.log2(ratio) == round(np.log2(ratio))  # a power of two
            assert np.array_equal(floats.astype(np.float64), exact * ratio)


def test_metadata_are_text_and_integers_that_h5py_reads(tmp_path: Path) -> None:
    graph = dense(np.random.default_rng(0))
    md.write_nir(md.to_nir(graph), tmp_path / "model.nir")
    with h5py.File(tmp_path / "model.nir") as file:
        held = file["node/metadata/mdcompress/nodes/00001"]
        assert held["kind"].asstr()[()] == "linear"
        assert held["weight"].dtype == np.int8
        synapse = graph.node(held["name"].asstr()[()])
        assert isinstance(synapse, IntLinear) and np.array_equal(held["weight"][()], synapse.weight)
        kinds = []
        file.visititems(lambda _, item: kinds.append(getattr(item, "dtype", None)))
    assert all(kind is None or kind.kind in "iuf" or h5py.check_string_dtype(kind) for kind in kinds)


class NeuronArguments(TypedDict, total=False):
    """Of the builder's neuron."""

    reset: ResetKind
    initial: int
    options: NeuronOptions


def dense(random: np.random.Generator, **options: Unpack[NeuronArguments]) -> IntGraph:
    build = GraphBuilder(random)
    x = build.neuron(build.requant(build.linear(build.input((6,)), 8, bit_width=8)), leak=2, driven=True, **options)
    build.readout(build.requant(build.linear(x, 3)))
    return build.graph()


# --- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["snntorch", "norse", "spikingjelly", "sinabs"])
def test_a_foreign_reader_agrees_with_the_integers_on_nearly_every_spike(name: str) -> None:
    pytest.importorskip(name)
    importer = IMPORTERS[name]
    student, x, spikes = compressed("8bit", importer.reset)
    found, own = (spikes_of(one, student, x) for one in (importer, replace(importer, run=by_mdcompress)))
    assert found.shape == spikes.shape and 0.1 < float(spikes.mean()) < 0.4
    assert float((found == own).float().mean()) > 0.999  # they read the floats as they are meant
    assert float((found == spikes).float().mean()) > 0.985  # no saturation, no floors


# --- recurrent neurons -----------------------------------------------------------------------------------------------


def recurrent_network(loop: object, shape: tuple[int, ...], *, synapse: bool) -> nn.Module:
    """A neuron with `loop` between it and itself, and a layer of weights behind it, as another library exports it."""
    random = np.random.default_rng(0)

    def full(value: float) -> np.ndarray:
        return np.full(shape, value, np.float32)

    size = int(np.prod(shape))
    leaky = {"tau_mem" if synapse else "tau": full(2e-4), "r": full(2.0), "v_leak": full(0.0),
             "v_threshold": full(1.0), "v_reset": full(0.0)}  # fmt: skip
    neuron = nir.CubaLIF(**leaky, tau_syn=full(1.5e-4), w_in=full(1.5)) if synapse else nir.LIF(**leaky)
    nodes = {
        "in": nir.Input({"input": np.array(shape)}), "first": first_layer(shape, random), "lif": neuron, "loop": loop,
        "flat": nir.Flatten({"input": np.array(shape)}, 0, -1), "out": nir.Output({"output": np.array([8])}),
        "second": nir.Affine(random.normal(0, 2 / size**0.5, (8, size)).astype(np.float32), np.zeros(8, np.float32)),
        "last": nir.IF(*(np.full(8, value, np.float32) for value in (1e4, 1.0, 0.0))),
    }  # fmt: skip
    edges = [("in", "first"), ("first", "lif"), ("lif", "loop"), ("loop", "lif"), ("lif", "flat"), ("flat", "second"),
             ("second", "last"), ("last", "out")]  # fmt: skip
    return md.from_nir(nir.NIRGraph(nodes, edges), exporter="norse", dt=1e-4, reset="hard", discretization="euler")


def first_layer(shape: tuple[int, ...], random: np.random.Generator) -> object:
    if len(shape) == 1:
        return nir.Affine(random.normal(0, 0.5, (*shape, *shape)).astype(np.float32), np.zeros(shape, np.float32))
    weight = random.normal(0, 0.5, (shape[0], shape[0], 3, 3)).astype(np.float32)
    return nir.Conv2d(shape[1:], weight, (1, 1), (1, 1), (1, 1), 1, np.zeros(shape[0], np.float32))


def loops() -> dict[str, tuple[object, tuple[int, ...]]]:
    random = np.random.default_rng(1)
    dense = random.normal(0, 0.4, (12, 12)).astype(np.float32)
    kernel = random.normal(0, 0.4, (2, 2, 3, 3)).astype(np.float32)
    return {
        "dense with a bias": (nir.Affine(dense, np.full(12, 0.2, np.float32)), (12,)),
        "convolution": (nir.Conv2d((4, 4), kernel, (1, 1), (1, 1), (1, 1), 1, np.zeros(2, np.float32)), (2, 4, 4)),
    }


@pytest.mark.parametrize("synapse", [False, True])
@pytest.mark.parametrize("name", ["dense with a bias", "convolution"])
def test_a_recurrent_neuron_is_a_loop_of_weights(tmp_path: Path, name: str, synapse: bool) -> None:
    loop, shape = loops()[name]
    network = recurrent_network(loop, shape, synapse=synapse)
    x = 2 * torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(0))
    student = md.compress(network, x, "8bit", [x])
    report = md.verify(student, x)
    assert report.equal, str(report)
    md.write_nir(md.to_nir(student), tmp_path / "model.nir")
    assert md.integers_from_nir(tmp_path / "model.nir") == md.lower(student)
    written = nir.read(tmp_path / "model.nir")
    assert {("lif", "lif.recurrent"), ("lif.recurrent", "lif")} <= set(written.edges)
    assert not np.any(written.nodes["lif.recurrent"].bias)  # readers differ in whether a loop acts in the first step
    spikes, floats, broken = student.trace(x).spikes, md.from_nir(written), md.from_nir(written)
    with torch.no_grad():
        broken.get_parameter("lif.recurrent.weight").zero_()
        seen = [md.observe(each, md.trace(each, x), x).spikes["lif"] for each in (floats, broken)]
    assert 0.05 < float(spikes["lif"].mean()) < 0.95
    agreeing, alone = (float((each.numpy() == spikes["lif"]).mean()) for each in seen)
    assert agreeing > 0.96 and 1 - alone > 3 * (1 - agreeing)  # no saturation, no floors


def test_a_loop_of_weights_that_nir_does_not_have_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.conv(build.input((2, 6, 6)), 2))
    spikes = started_at_zero(build, build.neuron(current, options=NeuronOptions(recurrent="depthwise")), 0)
    build.readout(build.requant(build.linear(build.flatten(spikes), 3)))
    with pytest.raises(ExportError, match=r"'layers\.3\.neuron\.recurrent'.*one group with square kernels"):
        md.to_nir(build.graph())


def test_what_a_loop_adds_at_every_step_needs_weights_of_its_own_before() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.linear(build.input((6,)), 4))
    spikes = started_at_zero(build, build.neuron(current, options=NeuronOptions(recurrent="dense")), 0)
    build.readout(build.add(build.requant(build.linear(spikes, 4)), current))
    with pytest.raises(ExportError, match="it has a drive of its own, and shares its currents"):
        md.to_nir(build.graph())


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reset": "soft"}, "its reset is soft"),
        ({"reset": "none"}, "its reset is none"),
        ({"initial": 3}, "it does not start from 0"),
        ({"options": NeuronOptions(floor="after_reset")}, "it has a floor"),
        ({"options": NeuronOptions(timing="masked")}, "its reset comes late"),
        ({"reset": "soft", "options": NeuronOptions(spike="floor", max_spikes=3)}, "counts of spikes"),
    ],
)
def test_neurons_that_nir_does_not_have_are_refused_by_name(options: NeuronArguments, says: str) -> None:
    graph = dense(np.random.default_rng(0), **options)
    with pytest.raises(ExportError, match=says) as caught:
        md.to_nir(graph)
    assert "layers.3.neuron" in caught.value.message
    assert ("export with reset='soft'" in caught.value.hints[0]) == (says == "its reset is soft")


def with_node(change: Callable[[IntNode], IntNode]) -> IntGraph:
    return IntGraph(tuple(change(node) for node in dense(np.random.default_rng(0))))


def of_kind(kind: type[NodeT], change: Callable[[NodeT], NodeT]) -> Callable[[IntNode], IntNode]:
    return lambda node: change(node) if isinstance(node, kind) else node


def unweighted() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.neuron(build.requant(build.input((6,)))), mode="steps")
    return build.graph()


def read_twice() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    sums = build.linear(build.input((6,)), 4)
    build.readout(build.add(build.requant(sums), build.requant(sums)))
    return build.graph()


def added_to_itself() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.linear(build.input((6,)), 4))
    build.readout(build.add(current, current))
    return build.graph()


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (unweighted, "no batch norm without a synapse"),
        (read_twice, "2 requants read it"),
        (added_to_itself, "one stands in it twice"),
        (
            lambda: with_node(of_kind(IntRequant, lambda node: replace(node, multiplier=np.ones((2, 1), np.int64)))),
            "from step to step",
        ),
        (
            lambda: with_node(of_kind(IntReadout, lambda node: replace(node, name="a/b"))),
            "parts groups in an HDF5 file",
        ),
        (
            lambda: with_node(of_kind(IntNeuron, lambda node: replace(node, leak=np.array([2, 4] * 4)))),
            "let all channels leak, or none",
        ),
    ],
)
def test_other_forms_that_nir_does_not_have_are_refused(graph: Callable[[], IntGraph], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        md.to_nir(graph())


def test_a_soft_reset_subtracts_the_threshold() -> None:
    def subtracting(node: IntNeuron) -> IntNeuron:
        return replace(node, reset="soft", reset_value=np.array([0]), soft_amount=np.array([99]))

    graph = with_node(of_kind(IntNeuron, subtracting))
    with pytest.raises(ExportError, match="another amount than its threshold"):
        md.to_nir(graph, reset="soft")


def test_an_older_nir_lacks_some_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(nir, "LIF")
    with pytest.raises(ExportError, match="the installed nir has no such LIF"):
        md.to_nir(dense(np.random.default_rng(0)))


def test_all_nodes_that_nir_does_not_have_are_named_at_once() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 6, 6)), 4, groups=2)))
    x = build.flatten(build.pool(build.concat(x, x), "max"))
    build.readout(build.requant(build.linear(x, 3)))
    with pytest.raises(ExportError) as caught:
        md.to_nir(build.graph())
    for node in ("'layers.1.conv'", "'layers.4.concat'", "'layers.5.pool'"):
        assert node in caught.value.message


def test_a_synaptic_state_is_a_cuba_lif_for_euler_readers_only() -> None:
    graph = dense(np.random.default_rng(0), options=NeuronOptions(synapse_shift=3))
    neuron = graph.neurons[0]
    zeroed = replace(neuron, drive=np.array([2 - 4]), synapse_drive=np.array([4]), synapse_leak=np.array([4]))
    plain = IntGraph(tuple(zeroed if node is neuron else node for node in graph))
    node = md.to_nir(plain).nodes[neuron.name]
    assert type(node).__name__ == "CubaLIF"
    assert np.allclose(1 - 1e-4 / node.tau_syn, 4 / 8) and np.allclose(1 - 1e-4 / node.tau_mem, 2 / 4)
    with pytest.raises(ExportError, match="sinabs reads no CubaLIF"):
        md.to_nir(plain, step="jump")
    with pytest.raises(ExportError, match="drive of its own"):
        md.to_nir(graph)


def test_a_potential_as_the_answer_is_an_li(tmp_path: Path) -> None:
    graph = dense(np.random.default_rng(0))
    current = graph.nodes[-2]
    reading = replace(graph.neurons[0], drive=np.array([2]), reset="none", reset_value=np.array([0]))
    membrane = replace(
        reading, name="membrane", inputs=(current.name,), shape=(3,), output="potential", threshold=np.array([9])
    )
    readout = replace(graph.output, inputs=("membrane",), mode="steps")
    md.write_nir(md.to_nir(IntGraph((*graph.nodes[:-1], membrane, readout))), tmp_path / "model.nir")
    assert type(nir.read(tmp_path / "model.nir").nodes["membrane"]).__name__ == "LI"
    integers = md.integers_from_nir(tmp_path / "model.nir")
    x = np.random.default_rng(0).integers(0, 256, (T, N, 6))
    exact = run(integers, x).output
    floats = md.from_nir(tmp_path / "model.nir")(torch.from_numpy(x * graph.input.scale).float())
    assert np.corrcoef(exact.ravel(), floats.detach().numpy().ravel())[0, 1] > 0.99


@pytest.mark.parametrize("field", ["weight", "bias"])
def test_changed_floats_are_not_the_integers_any_more(field: str) -> None:
    graph = md.to_nir(dense(np.random.default_rng(0)))
    name = next(name for name, node in graph.nodes.items() if type(node).__name__ == "Affine")
    getattr(graph.nodes[name], field)[0] += 1.0
    with pytest.raises(InvalidFileError, match=f"{field} was changed"):
        md.integers_from_nir(graph)


def test_changed_integers_are_an_error() -> None:
    graph = md.to_nir(dense(np.random.default_rng(0)))
    held = graph.metadata["mdcompress"]
    linear = next(node for node in held["nodes"].values() if node["kind"] == "linear")
    linear["weight"][0] = 7 - linear["weight"][0]
    with pytest.raises(InvalidFileError, match="was changed"):
        md.integers_from_nir(graph)
    linear["kind"] = "unknown"
    with pytest.raises(InvalidFileError, match="as they were written"):
        md.integers_from_nir(graph)
    held["format_version"] = 99
    with pytest.raises(InvalidFileError, match="format version"):
        md.integers_from_nir(graph)


def test_a_foreign_graph_holds_no_integers() -> None:
    foreign = nir.NIRGraph.from_list(nir.Linear(np.ones((2, 3))))
    with pytest.raises(InvalidFileError, match="no integers"):
        md.integers_from_nir(foreign)


def test_a_graph_with_an_added_edge_is_not_the_one_of_its_integers() -> None:
    graph = md.to_nir(dense(np.random.default_rng(0)))
    graph.edges.append((graph.edges[1][1], "readout"))
    with pytest.raises(InvalidFileError, match="nodes and edges"):
        md.integers_from_nir(graph)
    graph.metadata["mdcompress"]["step"] = "leap"
    with pytest.raises(InvalidFileError, match="the reader"):
        md.from_nir(graph)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    graph = md.to_nir(dense(np.random.default_rng(0)))
    md.write_nir(graph, tmp_path / "model.nir")
    before = (tmp_path / "model.nir").read_bytes()
    graph.metadata["broken"] = None  # what HDF5 cannot hold
    with pytest.raises(TypeError):
        md.write_nir(graph, tmp_path / "model.nir")
    assert (tmp_path / "model.nir").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_the_input_layer_carries_the_scale_of_the_input() -> None:
    graph = dense(np.random.default_rng(0))
    linear = graph.synapses[0]
    requant = graph.readers(linear.name)[0]
    assert isinstance(linear, IntLinear) and isinstance(requant, IntRequant)
    real = (
        linear.weight * requant.multiplier[:, None] * 2.0**-requant.shift * 2.0**-7 / graph.input.scale
    )  # 0.01 ~ 2^-7
    assert np.allclose(md.to_nir(graph).nodes[linear.name].weight, real, rtol=1e-6, atol=0)

"""NIR graphs as networks: each node by hand, what has to be said, and what is refused by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mdcompress as md
from intsnn.errors import InvalidFileError, MissingFileError, UsageError
from mdcompress.errors import TraceError
from mdcompress.graph import AddSpec, NeuronModel, ReadoutSpec
from mdcompress.nir.network import CanonicalIntegrator, CanonicalNeuron
from tests.support.live_networks import assert_integer_parity
from tests.support.nir_versions import nir_with_v_reset

nir = nir_with_v_reset()

NEURONS = (CanonicalNeuron, CanonicalIntegrator)
EULER = {"dt": 0.5, "reset": "hard", "comparator": "greater", "discretization": "euler"}
T, N = 8, 6


def of(value: float, *shape: int) -> np.ndarray:
    return np.full(shape or (3,), value)


def lif(**other: float) -> Any:
    values = {"tau": 2.0, "r": 3.0, "v_leak": 0.5, "v_threshold": 1.0, "v_reset": -0.25, **other}
    return nir.LIF(**{name: of(value) for name, value in values.items()})


def cuba(**other: float) -> Any:
    values = {"tau_syn": 1.0, "tau_mem": 2.0, "r": 3.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **other}
    return nir.CubaLIF(**{name: of(value) for name, value in values.items()}, w_in=of(4.0))


def listed(*nodes: object) -> Any:
    return nir.NIRGraph.from_list(*nodes)


def model_of(node: object, **options: object) -> NeuronModel:
    """The canonical neuron of a node behind a synapse."""
    network = md.from_nir(listed(nir.Linear(np.eye(3)), node), None, **(EULER | options))
    (found,) = [module.neuron_model() for module in network.modules() if isinstance(module, NEURONS)]
    return found


# --- neurons, by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "decay", "gain"),
    [
        ("euler", 0.75, 0.75),  # 1 - 0.5/2, 3*0.5/2
        ("norse", 0.75, 0.75),
        ("exponential", math.exp(-0.25), 3 * (1 - math.exp(-0.25))),
        ("jump", math.exp(-0.25), 3.0),
    ],
)
def test_a_lif_is_discretized_by_each_rule(rule: str, decay: float, gain: float) -> None:
    model = model_of(lif(), discretization=rule)
    assert (model.decay, model.input_gain) == pytest.approx((decay, gain), rel=1e-15)
    assert model.drive == pytest.approx(0.5 * (1 - decay)) and model.initial == 0.5
    assert (model.threshold, model.reset, model.reset_value, model.comparator) == (1.0, "hard", -0.25, "greater")


@pytest.mark.parametrize(
    ("rule", "decay", "gain", "integrator"),
    [
        ("euler", 0.5, 2.0, 1.5),  # 1 - 0.5/1, 4*0.5/1, 3*0.5
        ("norse", 0.5, 4.0, 3.0),
        ("exponential", math.exp(-0.5), 4 * (1 - math.exp(-0.5)), 1.5),
        ("jump", math.exp(-0.5), 4.0, 3.0),
    ],
)
def test_synapses_and_integrators_are_discretized_by_each_rule(
    rule: str, decay: float, gain: float, integrator: float
) -> None:
    model = model_of(cuba(), discretization=rule)
    assert (model.synapse_decay, model.synapse_gain) == pytest.approx((decay, gain), rel=1e-15)
    fires = model_of(nir.IF(of(3.0), of(1.0), of(-0.5)), discretization=rule)
    assert (fires.decay, fires.input_gain, fires.initial, fires.reset_value) == (1.0, integrator, -0.5, -0.5)


@pytest.mark.parametrize(
    ("node", "options", "expected"),
    [
        ("lif", {"reset": "soft"}, ("soft", "same_step", 1.0)),
        ("lif", {"reset": "soft", "reset_step": "next_step"}, ("soft", "after_leak", 1.0)),
        ("lif", {"reset_step": "next_step"}, ("hard", "same_step", 0.0)),
        ("cuba", {"reset_step": "next_step"}, ("hard", "masked", 0.0)),
        ("lif", {"reset": "none"}, ("none", "same_step", 0.0)),
    ],
)
def test_the_reset_is_the_one_that_was_said(node: str, options: dict[str, str], expected: tuple[object, ...]) -> None:
    model = model_of({"lif": lif, "cuba": cuba}[node](), **options)
    assert (model.reset, model.timing, model.soft_amount) == expected


def test_counts_start_levels_and_thresholds_alone() -> None:
    counting = model_of(lif(), spikes="counts", reset="soft")
    assert (counting.spike, counting.max_spikes) == ("floor", None)
    assert model_of(lif(), start="v_reset").initial == -0.25
    threshold = model_of(nir.Threshold(of(0.5)))
    assert (threshold.decay, threshold.threshold, threshold.reset, threshold.comparator) == (
        0.0,
        0.5,
        "none",
        "greater",
    )


def test_parameters_are_per_channel_and_as_exact_as_their_arrays() -> None:
    tau = np.array([1.0, 2.0, 4.0])
    node = nir.LIF(tau=tau, r=of(1.0), v_leak=of(0.0), v_threshold=of(1.0), v_reset=of(0.0))
    assert model_of(node).decay == (0.5, 0.75, 0.875)
    beta = np.full(3, 0.9, np.float32)
    single = nir.LIF(1e-4 / (1 - beta), np.ones(3, np.float32), np.zeros(3), np.ones(3), np.zeros(3))
    assert model_of(single, dt=1e-4).decay == float(np.float32(0.9))


def test_a_parameter_that_differs_within_a_channel_is_refused_by_name() -> None:
    values = np.arange(1.0, 9.0).reshape(2, 2, 2)
    node = nir.IF(r=of(1.0, 2, 2, 2), v_threshold=values, v_reset=of(0.0, 2, 2, 2))
    graph = wired({**ends((2, 2, 2)), "fire": node}, ("in", "fire"), ("fire", "out"))
    with pytest.raises(TraceError, match=r"'fire' \(IF\) .* differs from neuron to neuron"):
        md.from_nir(graph, None, **EULER)


# --- what must be said -----------------------------------------------------------------------------------------------


def test_everything_that_is_open_is_asked_for_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        md.from_nir(listed(nir.Linear(np.eye(3)), lif()))
    assert "dt, discretization, reset, comparator" in caught.value.message
    assert len(caught.value.hints) == 6 and "exporter" in caught.value.hints[-1]


@pytest.mark.parametrize(
    ("exporter", "node", "asked"),
    [
        ("spikingjelly", lif, ""),
        ("snntorch", lif, "reset"),
        ("norse", lif, "reset"),
        ("sinabs", lif, "discretization, reset, spikes"),
        ("sinabs", lambda: nir.IF(of(1.0), of(1.0)), "reset, spikes"),
    ],
)
def test_an_exporter_leaves_open_what_its_file_does_not_tell(
    exporter: str, node: Callable[[], object], asked: str
) -> None:
    graph = listed(nir.Linear(np.eye(3)), node())
    if not asked:
        assert md.from_nir(graph, exporter=exporter).interpretation.comparator == "greater_equal"
        return
    with pytest.raises(UsageError) as caught:
        md.from_nir(graph, exporter=exporter)
    assert caught.value.message.endswith(f"leaves open {asked}")


def test_a_graph_without_neurons_asks_for_nothing() -> None:
    assert md.from_nir(listed(nir.Linear(np.eye(3)))).interpretation.reset == "none"
    with pytest.raises(UsageError, match="comparator"):
        md.from_nir(listed(nir.Threshold(of(1.0))))


def test_wrong_options_are_named() -> None:
    with pytest.raises(UsageError, match=r"`reset`.*`speed`|`speed`.*`reset`"):
        md.from_nir(listed(lif()), reset="sometimes", speed=3)


# --- layers and wiring -----------------------------------------------------------------------------------------------


def run(graph: object, x: Tensor, **options: object) -> Tensor:
    with torch.no_grad():
        y: Tensor = md.from_nir(graph, None, **options)(x)
        return y


def wired(nodes: dict[str, object], *edges: tuple[str, str]) -> Any:
    return nir.NIRGraph(nodes, list(edges))


def ends(shape: tuple[int, ...], out: tuple[int, ...] | None = None) -> dict[str, object]:
    return {
        "in": nir.Input({"input": np.array(shape)}),
        "out": nir.Output({"output": np.array(out or shape)}),
    }


def test_layers_compute_what_nir_says() -> None:
    x = torch.rand(T, N, 2, 6, 6)
    weight, bias = np.random.default_rng(0).normal(size=(3, 2, 3, 3)), np.array([1.0, 2.0, 3.0])
    conv = nir.Conv2d((6, 6), weight, (2, 1), (1, 0), (1, 1), 1, bias)
    graph = listed(conv, nir.SumPool2d(np.array([2, 2]), np.array([1, 1]), np.array([0, 0])))
    conv_of = torch.nn.functional.conv2d(
        x.flatten(0, 1), torch.tensor(weight).float(), torch.tensor(bias).float(), (2, 1), (1, 0)
    )
    expected = torch.nn.functional.avg_pool2d(conv_of, 2, 1) * 4
    torch.testing.assert_close(run(graph, x).flatten(0, 1), expected)
    halving = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    pooled = run(wired({**ends((2, 6, 6), (2, 3, 3)), "p": halving}, ("in", "p"), ("p", "out")), x)
    torch.testing.assert_close(pooled[0], torch.nn.functional.avg_pool2d(x[0], 2))
    line = nir.Conv1d(5, np.ones((2, 3, 2)), 1, "same", 1, 1, np.zeros(2))
    assert run(listed(line), torch.ones(T, N, 3, 5))[0, 0].tolist() == [[6, 6, 6, 6, 3]] * 2


def test_flatten_and_both_kinds_of_scale() -> None:
    x = torch.rand(T, N, 2, 3, 3)
    even, channels = nir.Scale(of(0.5, 2, 3, 3)), nir.Scale(np.array([2.0, -3.0]).reshape(2, 1, 1) * np.ones((2, 3, 3)))
    flatten = nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1)
    found = run(listed(even, channels, flatten), x)
    expected = (0.5 * x * torch.tensor([2.0, -3.0]).reshape(2, 1, 1)).flatten(2)
    torch.testing.assert_close(found, expected)


def residual() -> Any:
    nodes = {
        **ends((4,), (3,)),
        "a": nir.Affine(2 * np.eye(4), of(0.1, 4)),
        "n1": nir.IF(of(2.0, 4), of(1.0, 4), of(0.0, 4)),
        "b": nir.Linear(np.random.default_rng(1).normal(size=(4, 4))),
        "n2": nir.IF(of(2.0, 4), of(1.0, 4), of(0.0, 4)),
        "head": nir.Linear(np.random.default_rng(2).normal(size=(3, 4))),
    }
    edges = [("in", "a"), ("a", "n1"), ("n1", "b"), ("b", "n2"), ("a", "n2"), ("n2", "head"), ("head", "out")]
    return wired(nodes, *edges)


def test_several_edges_are_a_residual_sum_of_one_exact_student() -> None:
    network, x = md.from_nir(residual(), None, **EULER), torch.rand(T, N, 4)
    graph = md.trace(network, x)
    assert [node.name for node in graph.of(NeuronModel)] == ["n1", "n2"]
    assert len(graph.of(AddSpec)) == 1
    assert_integer_parity(network, graph, x)


def test_an_li_at_the_output_is_a_readout_of_its_membrane() -> None:
    li = nir.LI(tau=of(2.0, 4), r=of(1.0, 4), v_leak=of(0.0, 4))
    spiking = nir.IF(of(2.0, 4), of(1.0, 4), of(0.0, 4))
    graph = listed(nir.Linear(np.eye(4)), spiking, nir.Linear(np.eye(4)), li)
    network, x = md.from_nir(graph, None, **EULER), torch.rand(T, N, 4)
    traced = md.trace(network, x)
    assert traced.readout.spec == ReadoutSpec("steps")
    v, seen = torch.zeros(N, 4), md.observe(network, traced, x)
    for t, spikes in enumerate(next(iter(seen.spikes.values()))):
        v = 0.75 * v + 0.25 * spikes
        torch.testing.assert_close(seen.output[t], v)
    assert_integer_parity(network, traced, x, silent=("li",))


def test_subgraphs_are_entered_and_loops_become_recurrent_neurons() -> None:
    inner = nir.NIRGraph(
        {**ends((3,)), "lif": lif(v_reset=0.0, v_leak=0.0), "w_rec": nir.Linear(-np.eye(3))},
        [("in", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "out")],
    )
    graph = wired({**ends((3,)), "w": nir.Linear(np.eye(3)), "rec": inner}, ("in", "w"), ("w", "rec"), ("rec", "out"))
    network = md.from_nir(graph, None, **EULER)
    assert {name for name, _ in network.named_modules()} >= {"w", "rec.lif", "rec.lif.recurrent"}
    x, v, s = 4 * torch.rand(T, N, 3), torch.zeros(N, 3), torch.zeros(N, 3)
    for step, found in zip(x, network(x), strict=True):
        v = 0.75 * v + 0.75 * (step - s)
        s = (v > 1).float()
        v = v * (1 - s)
        assert torch.equal(found, s)
    late = md.from_nir(graph, None, **(EULER | {"reset_step": "next_step"})).get_submodule("rec.lif")
    assert isinstance(late, CanonicalNeuron)
    masked = late.neuron_model()
    assert (masked.timing, masked.recurrent) == ("masked", "recurrent")
    traced = md.trace(network, x)
    assert [node.name for node in traced] == ["input", "w", "rec.lif.recurrent", "rec.lif", "readout"]
    assert_integer_parity(network, traced, x)


@pytest.mark.parametrize("name", ["forward", "training", "a", "a.b", "a.c"])
def test_any_name_of_a_node_is_kept_as_far_as_torch_allows(name: str) -> None:
    nodes = {**ends((3,)), "a.b.c": nir.Linear(np.eye(3)), name: nir.Linear(2 * np.eye(3))}
    network = md.from_nir(wired(nodes, ("in", "a.b.c"), ("a.b.c", name), (name, "out")))
    assert torch.equal(network(torch.ones(T, N, 3)), 2 * torch.ones(T, N, 3))
    assert "a.b.c" in dict(network.named_modules())


# --- refusals --------------------------------------------------------------------------------------------------------


def test_all_nodes_without_a_form_are_named_at_once() -> None:
    graph = listed(
        nir.Linear(np.eye(3)), nir.Delay(of(1.0)), nir.Scale(np.arange(12.0).reshape(3, 2, 2)[:, 0, 0]), lif(tau=np.inf)
    )  # fmt: skip
    graph.nodes["scale"] = nir.Scale(np.arange(12.0).reshape(3, 4))
    with pytest.raises(TraceError) as caught:
        md.from_nir(graph, None, **EULER)
    for words in ("'delay' (Delay)", "'scale' (Scale)", "'lif' (LIF) cannot become integers: tau must be finite"):
        assert words in caught.value.message
    assert len(caught.value.hints) == 3


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (lambda: listed(nir.LI(of(1.0), of(1.0), of(0.0)), nir.Linear(np.eye(3))), "at the output only"),
        (lambda: listed(nir.Linear(np.eye(3)), lif(v_threshold=0.0)), "a threshold must be above 0"),
        (lambda: listed(nir.Linear(np.ones((2, 3, 3)))), "must have 2 axes"),
    ],
)  # fmt: skip
def test_a_node_without_a_form_is_refused(graph: Callable[[], object], says: str) -> None:
    with pytest.raises(TraceError, match=says):
        md.from_nir(graph(), None, **EULER)


def test_a_late_reset_to_another_value_than_0_is_refused() -> None:
    with pytest.raises(TraceError, match="goes to 0"):
        model_of(cuba(v_reset=-1.0), reset_step="next_step")


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ([("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")], "'a', 'b' wait for each other"),
        ([("in", "n"), ("n", "a"), ("a", "n"), ("n", "b"), ("b", "n"), ("n", "out")], "'n', 'a', 'b' wait"),
        ([("in", "a"), ("a", "out"), ("a", "b")], "unconnected: 'b'"),
        ([("in", "a")], "unconnected: 'a'"),
        ([("in", "a"), ("a", "c"), ("c", "out")], "'c' is none"),
    ],
)
def test_wirings_without_a_form_name_their_nodes(edges: list[tuple[str, str]], says: str) -> None:
    names = {name for edge in edges for name in edge} - {"c"}
    nodes = {**ends((3,)), "a": nir.Linear(np.eye(3)), "b": nir.Linear(np.eye(3)), "n": lif()}
    graph = nir.NIRGraph(ends((3,)), [("in", "out")])
    graph.nodes, graph.edges = {name: nodes[name] for name in nodes if name in names | {"in", "out"}}, edges
    with pytest.raises(TraceError, match=says):
        md.from_nir(graph, None, **EULER)


def test_one_input_and_one_output() -> None:
    graph = nir.NIRGraph(ends((3,)), [("in", "out")])
    graph.nodes["in2"] = nir.Input({"input": np.array([3])})
    with pytest.raises(TraceError, match=r"one Input \(it has 'in', 'in2'\)"):
        md.from_nir(graph)


def test_files_that_are_not_nir_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.nir"):
        md.from_nir(tmp_path / "nothing.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(InvalidFileError, match="cannot be read as a NIR graph"):
        md.from_nir(tmp_path / "text.nir")
    with pytest.raises(UsageError, match="got LIF"):
        md.from_nir(lif())


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(UsageError) as caught:
        md.from_nir("any.nir")
    assert caught.value.hints == ("pip install 'mdcompress[nir]'",)


# --- files that anyone may have written ------------------------------------------------------------------------------


def flatten_from(start: float) -> object:
    """Changed afterwards: newer releases of nir compute with it first."""
    node = nir.Flatten({"input": np.array([2, 6])}, 0, -1)
    node.start_dim = start
    return node


def conv1d(**changed: float) -> object:
    """Without a shape of its input, from which nir would compute before we see the node."""
    sizes = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, **changed}
    return nir.Conv1d(None, of(1.0, 4, 2, 3), **sizes, bias=of(0.0, 4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: conv1d(groups=0), "its attributes must describe such a node .*sizes must be integers from 1"),
        (lambda: conv1d(groups=3), "its attributes must describe such a node"),
        (lambda: conv1d(stride=0), "sizes must be integers from 1 to 65535 \\(got \\[0.0\\]"),
        (lambda: conv1d(stride=1.5), "sizes must be integers from 1 to 65535 \\(got \\[1.5\\]"),
        (lambda: conv1d(dilation=-1), "sizes must be integers from 1"),
        (lambda: conv1d(padding=-1), "sizes must be integers from 0"),
        (lambda: conv1d(padding=1 << 40), "sizes must be integers from 0"),
        (lambda: nir.SumPool2d(np.array([2, 2]), np.array([0, 2]), np.array([0, 0])), "sizes must be integers from 1"),
        (lambda: nir.AvgPool2d(np.array([2, 0]), np.array([2, 2]), np.array([0, 0])), "sizes must be integers from 1"),
        (lambda: flatten_from(0.5), "an axis must be an integer"),
        (lambda: nir.Affine(of(1.0, 3, 3), of(1.0, 7)), "its attributes must describe such a node"),
        (lambda: nir.Linear(of(1e308, 3, 3)), "its weight must be finite"),
        (lambda: nir.Affine(of(1.0, 3, 3), of(float("nan"))), "its bias must be finite"),
    ],
)
def test_attributes_that_describe_no_layer_are_an_error_that_names_the_node(
    make: Callable[[], object], said: str
) -> None:
    graph = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([2, 6])}),
            "layer": make(),
            "output": nir.Output({"output": np.array([3])}),
        },
        [("input", "layer"), ("layer", "output")],
        **({"type_check": False} if "type_check" in inspect.signature(nir.NIRGraph).parameters else {}),
    )
    with pytest.raises(TraceError, match=f"'layer'.*{said}"):
        md.from_nir(graph, None, **EULER)

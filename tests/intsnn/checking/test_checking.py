"""The bounds of every tensor: by hand, and as intervals that no run leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.arithmetic import Bounds, IntArray
from intsnn.checking.stages import bounds, check, longest_run
from intsnn.execution.interpreter import evaluate
from intsnn.graph import (
    IntConv,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntPool,
    IntReadout,
    IntRequant,
)
from intsnn.graph.bounds import MAX_TIME_STEPS, ChannelBounds, TensorRole, carries, channel_bounds
from tests.support.hand_made_graphs import neuron_graph, norm_per_step_graph, wide_hand_made_graphs
from tests.support.intgraphs import (
    GraphBuilder,
    dense_graph,
    graph_inputs,
    random_input,
    residual_graph,
    with_changed_node,
)
from tests.support.wide_graphs import any_graphs

# --- bounds by hand --------------------------------------------------------------------------------------------------


def test_bounds_of_a_convolution_follow_the_signs_of_its_weights() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1, 3, 3))
    weight = np.array([[[[1, -2]]], [[[3, 4]]]])
    build.nodes.append(IntConv("conv", (x,), (2, 3, 2), weight, 4, (1, 1), (0, 0), (1, 1), 1))
    build.readout("conv", mode="steps")
    found = channel_bounds(build.graph())["conv"]
    assert (found.low.tolist(), found.high.tolist()) == ([-510, 0], [255, 1785])
    assert bounds(build.graph())["conv"] == Bounds(-510, 1785)


def test_bounds_of_grouped_convolution_use_the_groups_own_channels() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.input((2, 1, 1))
    build.nodes.append(IntRequant("r", ("input",), (2, 1, 1), np.array([1, 2]), np.array([0, 0]), 0, 1.0))
    weight = np.array([[[[1]]], [[[-1]]]])
    conv = IntConv("conv", ("r",), (2, 1, 1), weight, 4, (1, 1), (0, 0), (1, 1), 2)
    graph = IntGraph((*build.nodes, conv, IntReadout("out", ("conv",), (2, 1, 1), "steps", 1.0)))
    found = channel_bounds(graph)["conv"]
    assert (found.low.tolist(), found.high.tolist()) == ([0, -510], [255, 0])


def test_bounds_of_a_linear_layer_along_the_last_axis_keep_the_channels() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.input((2, 1, 2))
    build.nodes.append(IntRequant("r", ("input",), (2, 1, 2), np.array([1, -1]), np.array([0, 0]), 0, 1.0))
    linear = IntLinear("l", ("r",), (2, 1, 1), np.array([[2, -1]]), 4)
    graph = IntGraph((*build.nodes, linear, IntReadout("out", ("l",), (2, 1, 1), "steps", 1.0)))
    found = channel_bounds(graph)["l"]
    assert (found.low.tolist(), found.high.tolist()) == ([-255, -510], [510, 255])


@pytest.mark.parametrize("at_once", [1, 25, 10**6])
def test_bounds_of_a_synapse_are_those_of_all_its_weights_however_many_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intsnn.graph.bounds._AT_ONCE", at_once)
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((4, 1, 3))
    weight = np.random.default_rng(1).integers(-8, 8, (10, 2, 1, 3))  # two groups of five outputs, six weights each
    build.nodes.append(IntConv("conv", (x,), (10, 1, 1), weight, 4, (1, 1), (0, 0), (1, 1), 2))
    build.readout("conv", mode="steps")
    found = channel_bounds(build.graph())["conv"]
    assert found.high.tolist() == [255 * sum(w for w in row if w > 0) for row in weight.reshape(10, 6).tolist()]
    assert found.low.tolist() == [255 * sum(w for w in row if w < 0) for row in weight.reshape(10, 6).tolist()]


def test_bounds_of_a_requant_with_a_negative_multiplier_swap_their_ends() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.input((1,))
    build.nodes.append(IntRequant("r", ("input",), (1,), np.array([-3]), np.array([5]), 1, 1.0))
    build.readout("r", mode="steps")
    assert bounds(build.graph())["r"] == Bounds((-765 + 5) // 2, 2)


def test_bounds_of_a_sum_pool_with_padding_hold_zero() -> None:
    graph = IntGraph(
        (
            IntInput("input", (), (1, 2, 2), 8, False, 1.0),
            IntRequant("r", ("input",), (1, 2, 2), np.array([1]), np.array([10]), 0, 1.0),
            IntPool("pool", ("r",), (1, 2, 2), "sum", (2, 2), (2, 2), (1, 1)),
            IntReadout("readout", ("pool",), (1, 2, 2), "steps", 1.0),
        )
    )
    assert bounds(graph)["pool"] == Bounds(0, 4 * 265)


def test_bounds_of_a_summing_readout_hold_for_the_longest_promised_run() -> None:
    graph = dense_graph()
    step = bounds(graph)[graph.output.inputs[0]]
    assert bounds(graph)["readout"] == Bounds(step.low * MAX_TIME_STEPS, step.high * MAX_TIME_STEPS)
    assert longest_run(graph) == (2**31 - 1) // step.magnitude
    assert {longest_run(with_changed_node(graph, "readout", mode=mode)) for mode in ("steps", "last", "max")} == {None}
    assert longest_run(norm_per_step_graph(time_steps=3)) == 3


def test_tensors_carry_values_accumulators_or_currents() -> None:
    graph = residual_graph()
    kinds = carries(graph)
    assert {kinds[node.name] for node in graph if isinstance(node, IntConv | IntLinear)} == {TensorRole.ACCUMULATOR}
    assert {kinds[node.name] for node in graph if isinstance(node, IntRequant)} == {TensorRole.CURRENT}
    assert {kinds[node.name] for node in graph if isinstance(node, IntInput | IntNeuron | IntFlatten)} == {
        TensorRole.VALUES
    }


def test_bounds_of_a_product_of_matrices_are_those_of_its_sums() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2, 3), bit_width=4, signed=True)  # [-8, 7]
    build.readout(build.matmul(x, build.transpose(x, 1, 0)), mode="steps")
    assert bounds(build.graph())["layers.2.matmul"] == Bounds(3 * -56, 3 * 64)


def test_bounds_of_an_inhibition_are_those_of_what_it_lets_through() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    spikes, counts = build.input((2, 3), bit_width=1), "layers.1.sum"
    build.sum(spikes, 1)
    build.readout(build.multiply(spikes, counts, mode="inhibit"), mode="steps")
    assert bounds(build.graph())["layers.2.multiply"] == Bounds(0, 3)


def test_bounds_follow_channels_through_slices_concatenations_and_reshapes() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2, 2), bit_width=1)
    build.nodes.append(IntRequant("r", (x,), (2, 2), np.array([1, 5]), np.array([0, -1]), 0, 1.0))
    build.reshape("r", 4)
    build.concat("layers.2.reshape", build.slice("layers.2.reshape", 0, 2, 3))
    build.readout(build.reshape(build.transpose(build.reshape("layers.4.concat", 5, 1), 1, 0), 5), mode="steps")
    found = channel_bounds(build.graph())
    assert found["layers.2.reshape"].high.tolist() == [1, 1, 4, 4]
    assert found["layers.4.concat"].low.tolist() == [0, 0, -1, -1, -1]
    assert (found["layers.6.transpose"].low.tolist(), found["layers.7.reshape"].high.tolist()) == ([-1], [4] * 5)


def test_bounds_of_a_reshape_that_neither_cuts_nor_joins_channels_are_the_hull() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.input((2, 3), bit_width=1)
    build.nodes.append(IntRequant("r", ("input",), (2, 3), np.array([1, 5]), np.array([0, 0]), 0, 1.0))
    build.readout(build.reshape("r", 3, 2), mode="steps")
    assert channel_bounds(build.graph())["layers.2.reshape"].high.tolist() == [5, 5, 5]


def test_bounds_of_a_requant_with_a_row_per_step_hold_for_every_step() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.input((2,), bit_width=1)
    build.nodes.append(IntRequant("r", ("input",), (2,), np.array([[1, 2], [-3, 4]]), np.array([[1], [0]]), 0, 1.0))
    build.readout("r", mode="steps")
    found = channel_bounds(build.graph())["r"]
    assert (found.low.tolist(), found.high.tolist()) == ([-3, 0], [2, 4])


def test_bounds_of_a_potential_are_those_of_the_whole_step() -> None:
    graph = neuron_graph("potential")
    node = graph.neurons[0]
    current = channel_bounds(graph)[node.inputs[0]].magnitude
    expected = node.leak * 2 ** (node.bit_width - 1) + current + np.abs(node.drive)
    assert channel_bounds(graph)[node.name].high.tolist() == expected.tolist()


@pytest.mark.parametrize("graph", wide_hand_made_graphs().values(), ids=wide_hand_made_graphs())
def test_hand_made_graphs_of_every_kind_are_legal(graph: IntGraph) -> None:
    check(graph)
    longest = longest_run(graph)
    assert longest is None or longest >= (graph.time_steps or MAX_TIME_STEPS)


# --- bounds as a property --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_every_run_stays_within_the_bounds(data: st.DataObject, graph: IntGraph) -> None:
    proved = channel_bounds(graph)
    for step in evaluate(graph, data.draw(graph_inputs(graph))):
        if isinstance(step.node, IntReadout):
            continue  # proved over MAX_TIME_STEPS
        low, high = (end.reshape(-1, *(1 for _ in step.node.shape[1:])) for end in _ends(proved[step.node.name]))
        assert bool((low <= step.output).all()) and bool((step.output <= high).all()), step.node.name


def _ends(interval: ChannelBounds) -> tuple[IntArray, IntArray]:
    return interval.low, interval.high


def test_bounds_of_a_dense_layer_are_reached() -> None:
    graph = dense_graph()
    node = graph.synapses[0]
    x = np.where(node.weight[0] > 0, 255, 0)[None, None]
    accumulator = next(step.output for step in evaluate(graph, x) if step.node is node)
    assert int(accumulator[0, 0, 0]) == int(channel_bounds(graph)[node.name].high[0])


def test_random_inputs_cover_the_whole_range() -> None:
    x = random_input(residual_graph())
    assert (int(x.min()), int(x.max())) == (0, 255)

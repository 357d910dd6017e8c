"""Every rule of the graph is broken once, on purpose; the proofs are compared with what runs produce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgraphs import GraphBuilder, dense_graph, graph_inputs, int_graphs, random_input, residual_graph

from intsnn.arithmetic import Bounds
from intsnn.checking import bounds, check, longest_run
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
from intsnn.interpreter import evaluate
from intsnn.proofs import PROOFS
from intsnn.rules import STAGES
from intsnn.tensors import MAX_TIME_STEPS, Carries, carries, channel_bounds

Change = Callable[[IntGraph], IntGraph]


def _with(graph: IntGraph, name: str, **changes: object) -> IntGraph:
    """The graph with some fields of one node changed."""
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in graph)  # type: ignore[arg-type]
    return IntGraph(nodes, graph.metadata)


def _named(kind: type[IntNode], **changes: object) -> Change:
    """Change fields of the first node of a type in the residual graph."""

    def change(graph: IntGraph) -> IntGraph:
        return _with(graph, next(node.name for node in graph if isinstance(node, kind)), **changes)

    return change


def _soft(**changes: object) -> Change:
    def change(graph: IntGraph) -> IntGraph:
        return _with(graph, next(node.name for node in graph.neurons if node.reset == "soft"), **changes)

    return change


def _nodes(reorder: Callable[[tuple[IntNode, ...]], tuple[IntNode, ...]]) -> Change:
    return lambda graph: IntGraph(reorder(graph.nodes), graph.metadata)


class _Foreign(IntAdd):
    """A node type that is not in the format."""


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
    assert longest_run(_with(graph, "readout", mode="steps")) == 2**31 - 1


def test_tensors_carry_values_accumulators_or_currents() -> None:
    graph = residual_graph()
    kinds = carries(graph)
    assert {kinds[node.name] for node in graph if isinstance(node, IntConv | IntLinear)} == {Carries.ACCUMULATOR}
    assert {kinds[node.name] for node in graph if isinstance(node, IntRequant)} == {Carries.CURRENT}
    assert {kinds[node.name] for node in graph if isinstance(node, IntInput | IntNeuron | IntFlatten)} == {
        Carries.VALUES
    }


# --- bounds as a property --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), graph=int_graphs())
def test_every_run_stays_within_the_bounds(data: st.DataObject, graph: IntGraph) -> None:
    proved = channel_bounds(graph)
    for step in evaluate(graph, data.draw(graph_inputs(graph))):
        if isinstance(step.node, IntReadout):
            continue  # proved over MAX_TIME_STEPS
        low, high = (end.reshape(-1, *(1 for _ in step.node.shape[1:])) for end in _ends(proved[step.node.name]))
        assert bool((low <= step.output).all()) and bool((step.output <= high).all()), step.node.name


def _ends(interval: object) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    return interval.low, interval.high  # type: ignore[attr-defined]


def test_bounds_of_a_dense_layer_are_reached() -> None:
    graph = dense_graph()
    node = graph.synapses[0]
    x = np.where(node.weight[0] > 0, 255, 0)[None, None]
    accumulator = next(step.output for step in evaluate(graph, x) if step.node is node)
    assert int(accumulator[0, 0, 0]) == int(channel_bounds(graph)[node.name].high[0])


# --- rules -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(graph=int_graphs())
def test_drawn_graphs_break_no_rule(graph: IntGraph) -> None:
    check(graph)


VIOLATIONS: dict[str, list[Change]] = {
    "nodes_are_of_this_format": [
        _nodes(lambda nodes: (nodes[0], _Foreign("odd", (nodes[0].name,) * 2, nodes[0].shape), *nodes[1:])),
    ],
    "names_are_unique": [
        _nodes(lambda nodes: (*nodes[:-1], replace(nodes[-1], name=nodes[1].name))),
        _nodes(lambda nodes: (*nodes[:-1], replace(nodes[-1], name=""))),
        _nodes(lambda nodes: (*nodes[:-1], replace(nodes[-1], name="a/b"))),
    ],
    "input_first_and_readout_last": [
        _nodes(lambda nodes: ()),
        _nodes(lambda nodes: nodes[:-1]),
        _nodes(lambda nodes: nodes[1:]),
        _nodes(lambda nodes: (*nodes, replace(nodes[-1], name="second"))),
    ],
    "inputs_stand_before_readers": [
        _nodes(lambda nodes: (nodes[0], nodes[2], nodes[1], *nodes[3:])),
        _named(IntConv, inputs=("nowhere",)),
    ],
    "nodes_read_as_many_tensors_as_they_take": [_named(IntAdd, inputs=("input",)), _named(IntInput, inputs=("input",))],
    "every_tensor_is_read": [_named(IntAdd, inputs=("layers.2.requant", "layers.2.requant"))],
    "attributes_are_legal": [
        _named(IntInput, bit_width=9),
        _named(IntInput, signed=1),
        _named(IntInput, shape=()),
        _named(IntInput, shape=[2, 8, 8]),
        _named(IntConv, bit_width=1.5),
        _named(IntConv, bit_width=np.int64(4)),
        _named(IntConv, stride=(1, 1, 1)),
        _named(IntConv, stride=(0, 1)),
        _named(IntConv, groups=0),
        _named(IntRequant, shift=31),
        _named(IntRequant, shift=np.int64(3)),
        _named(IntRequant, scale=0.0),
        _named(IntRequant, scale=float("inf")),
        _named(IntRequant, scale=np.float64(0.5)),
        _named(IntNeuron, bit_width=17),
        _named(IntNeuron, reset="sometimes"),
        _named(IntPool, mode="mean"),
        _named(IntReadout, mode="last"),
    ],
    "metadata_is_text": [lambda graph: IntGraph(graph.nodes, {"epochs": 3})],  # type: ignore[dict-item]
    "arrays_have_their_shape": [
        _named(IntConv, weight=np.ones((4, 2))),
        _named(IntLinear, weight=np.ones((4, 2, 1, 1))),
        _named(IntRequant, bias=np.zeros(3)),
        _named(IntNeuron, threshold=np.ones((4, 1))),
    ],
    "parameters_fit_their_word": [
        _named(IntRequant, bias=np.array([2**31])),
        _named(IntNeuron, threshold=np.array([2**30 + 1])),
    ],
    "weights_fit_their_bit_width": [
        _named(IntConv, bit_width=4),
        _named(IntConv, bit_width=1.58),
        _named(IntConv, bit_width=1, weight=np.zeros((4, 2, 3, 3))),
    ],
    "unused_reset_parameters_are_zero": [
        _named(IntNeuron, soft_amount=np.array([3])),
        _named(IntNeuron, reset="none", reset_value=np.array([0, 0, 0, 0])),
    ],
    "leak_is_a_decay": [_named(IntNeuron, leak=5)],
    "initial_membrane_fits_its_word": [_named(IntNeuron, initial=32)],
    "shapes_agree": [
        _named(IntInput, shape=(2, 9, 8)),
        _named(IntInput, shape=(3, 8, 8)),
        _named(IntInput, shape=(128,)),
        _named(IntInput, shape=(2, 1, 1)),
        _named(IntConv, shape=(4, 7, 8)),
        _named(IntConv, dilation=(9, 9)),
        _named(IntFlatten, shape=(3,)),
        _named(IntLinear, weight=np.ones((6, 5))),
        _named(IntAdd, inputs=("layers.2.requant", "layers.5.requant", "input")),
        lambda graph: _with(graph, "layers.4.conv", groups=1),
    ],
    "pool_padding_is_smaller_than_its_kernel": [_named(IntPool, padding=(2, 0), shape=(4, 6, 4))],
    "nodes_read_what_they_can_read": [
        _named(IntAdd, inputs=("layers.2.requant", "layers.5.requant", "layers.1.conv")),
    ],
    "synapse_operands_fit_their_word": [],
    "accumulators_fit_int32": [],
    "requant_stays_below_the_limit": [
        _named(IntRequant, multiplier=np.array([2**16])),
        _named(IntRequant, bias=np.array([0, 0, 2**30, 0])),
    ],
    "membrane_stays_below_the_limit": [
        _named(IntNeuron, guard_bits=26, leak=2**25),
        _named(IntNeuron, drive=np.array([0, 2**30, 0, 0])),
        _named(IntNeuron, reset_value=np.array([2**30])),
        _soft(soft_amount=np.array([2**30])),
    ],
    "readout_fits_int32": [lambda graph: _with(graph, graph.output.inputs[0], bias=np.array([2**29]), shift=0)],
}


@pytest.mark.parametrize(
    ("rule", "change"), [(rule, change) for rule, all_of in VIOLATIONS.items() for change in all_of]
)
def test_a_graph_that_breaks_a_rule_is_refused_by_its_name(rule: str, change: Change) -> None:
    with pytest.raises(GraphError) as caught:
        check(change(residual_graph()))
    assert rule in caught.value.message
    assert caught.value.hints


def test_every_rule_of_the_table_is_tested_and_documented() -> None:
    rules = [rule for stage in STAGES for rule in stage] + list(PROOFS)
    assert {rule.__name__ for rule in rules} == set(VIOLATIONS)
    assert all(rule.__doc__ for rule in rules)


def test_all_violations_of_a_stage_are_reported_together() -> None:
    graph = _named(IntRequant, shift=31)(_named(IntConv, groups=0)(residual_graph()))
    with pytest.raises(GraphError, match="in 2 places") as caught:
        check(graph)
    assert "layers.1.conv: groups must be" in caught.value.message
    assert "layers.2.requant: shift must be an int in [0, 30] (got 31)" in caught.value.message


def test_addition_of_currents_and_spikes_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.linear(build.input((3,)), 3))
    spikes = build.neuron(current)
    build.readout(build.add(current, spikes))
    with pytest.raises(GraphError, match="one kind \\(got current and values\\)"):
        check(build.graph())


def test_synapse_that_reads_currents_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.linear(build.input((3,)), 3))
    build.readout(build.linear(current, 2))
    with pytest.raises(GraphError, match="a synapse must read spikes, counts or the input \\(got current\\)"):
        check(build.graph())


def test_neuron_that_reads_spikes_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.neuron(build.input((3,))))
    with pytest.raises(GraphError, match="a neuron must read currents"):
        check(build.graph())


def test_convolution_of_counts_wider_than_a_byte_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    pooled = build.pool(build.input((1, 4, 4)), "sum")
    build.readout(build.conv(pooled, 2))
    with pytest.raises(GraphError, match=r"in \[0, 255\] or \[-128, 127\] \(got \[0, 1020\]\)"):
        check(build.graph())


def test_linear_layer_reads_counts_up_to_two_to_the_fifteen() -> None:
    def graph(size: int) -> IntGraph:
        build = GraphBuilder(np.random.default_rng(0))
        pooled = build.pool(build.input((1, size, size)), "sum", kernel=(size, size), stride=(1, 1))
        build.readout(build.linear(build.flatten(pooled), 2))
        return build.graph()

    check(graph(11))  # 121 * 255 = 30855
    with pytest.raises(GraphError, match="synapse_operands_fit_their_word"):
        check(graph(12))


def test_accumulator_wider_than_int32_is_refused() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((70_000,))
    build.nodes.append(IntLinear("wide", (x,), (1,), np.full((1, 70_000), 127), 8))
    build.readout("wide", mode="steps")
    with pytest.raises(GraphError, match="accumulators_fit_int32"):
        check(build.graph())


def test_a_proof_of_a_hostile_graph_does_not_overflow_itself() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2,))
    for place in range(6):
        shape, huge = (2,), np.array([2**31 - 1])
        build.nodes.append(IntRequant(f"r{place}", (x,), shape, huge, huge, 0, 1.0))
        x = f"r{place}"
    build.readout(x, mode="steps")
    assert bounds(build.graph())[x].high == 2**31
    with pytest.raises(GraphError, match="requant_stays_below_the_limit"):
        check(build.graph())


def test_random_inputs_cover_the_whole_range() -> None:
    x = random_input(residual_graph())
    assert (int(x.min()), int(x.max())) == (0, 255)

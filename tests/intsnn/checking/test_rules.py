"""Every rule of the graph is broken once, on purpose, and refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

from intsnn.checking.proofs import PROOFS
from intsnn.checking.rules import STAGES
from intsnn.checking.stages import bounds, check
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
    Sizes,
)
from intsnn.graph.bounds import MAX_TIME_STEPS
from tests.support.graph_builder import NeuronOptions
from tests.support.hand_made_graphs import attention_graph, maps_graph, neuron_graph, norm_per_step_graph
from tests.support.intgraphs import GraphBuilder, residual_graph, with_changed_node
from tests.support.wide_graphs import any_graphs

Change = Callable[[IntGraph], IntGraph]


def _named(kind: type[IntNode], **changes: object) -> Change:
    """Change fields of the first node of a type in the residual graph."""

    def change(graph: IntGraph) -> IntGraph:
        return with_changed_node(graph, next(node.name for node in graph if isinstance(node, kind)), **changes)

    return change


def _soft(**changes: object) -> Change:
    def change(graph: IntGraph) -> IntGraph:
        return with_changed_node(graph, next(node.name for node in graph.neurons if node.reset == "soft"), **changes)

    return change


def _in(make: Callable[[], IntGraph], kind: type[IntNode], **changes: object) -> Change:
    """Change fields of the first node of a type in another graph."""
    return lambda _: _named(kind, **changes)(make())


def _maps_2d() -> IntGraph:
    return maps_graph(2)


def _recurrent_graph() -> IntGraph:
    return neuron_graph("recurrent")


def _product_of_currents_graph() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((3,))
    build.readout(build.multiply(build.requant(x), x))
    return build.graph()


def _product_of_wide_counts_graph() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((12, 12))
    square = build.matmul(x, x)  # up to 12 * 255 * 255
    build.readout(build.matmul(square, x), mode="steps")
    return build.graph()


ONES: tuple[Sizes, Sizes, Sizes, Sizes] = ((1,), (0,), (0,), (1,))  # stride, padding, output padding, dilation


def _joined_graph(node: IntNode) -> IntGraph:
    """A node that reads what does not fit together, and a readout of it."""
    shape = (3, 4)
    flat = IntFlatten("flat", ("input",), (12,))
    both = IntAdd("both", ("flat", "flat"), (12,))
    rest = IntReshape("rest", ("both",), shape)
    answer = IntReadout("answer", ("end",), node.shape, "steps", 1.0)
    end = IntMultiply("end", ("joined", "rest"), node.shape, "product")
    return IntGraph((IntInput("input", (), shape, 1, False, 1.0), flat, node, both, rest, end, answer))


def _inhibition_by_counts_graph() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.requant(build.linear(build.input((3,)), 3))
    counts = build.neuron(x, reset="soft", options=NeuronOptions(spike="floor", max_spikes=2))
    build.readout(build.multiply(counts, build.neuron(x), mode="inhibit"))
    return build.graph()


def _nodes(reorder: Callable[[tuple[IntNode, ...]], tuple[IntNode, ...]]) -> Change:
    return lambda graph: IntGraph(reorder(graph.nodes), graph.metadata)


class _Foreign(IntAdd):
    """A node type that is not in the format."""


@settings(max_examples=60, deadline=None)
@given(graph=any_graphs())
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
        _named(IntReadout, mode="mean"),
        _named(IntNeuron, max_spikes=256),
        _named(IntNeuron, spike="ternary"),
        _named(IntNeuron, timing="later"),
        _named(IntNeuron, synapse_shift=31),
        _named(IntNeuron, output="membrane"),
        _in(attention_graph, IntSlice, start=-1),
        _in(attention_graph, IntTranspose, permutation=(0, 2, -1)),
        _in(attention_graph, IntMultiply, mode="or"),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_bit_width=9),
        _in(_recurrent_graph, IntRecurrentNeuron, bit_width=1),
    ],
    "metadata_is_text": [lambda graph: IntGraph(graph.nodes, {"epochs": 3})],  # type: ignore[dict-item]  # no text
    "arrays_have_their_shape": [
        _named(IntConv, weight=np.ones((4, 2))),
        _named(IntLinear, weight=np.ones((4, 2, 1, 1))),
        _named(IntRequant, bias=np.zeros(3)),
        _named(IntNeuron, threshold=np.ones((4, 1))),
        _named(IntNeuron, leak=np.ones((2, 4))),
        _in(norm_per_step_graph, IntRequant, multiplier=np.ones((4, 3))),
        _in(norm_per_step_graph, IntRequant, multiplier=np.ones((MAX_TIME_STEPS + 1, 1))),
        _in(norm_per_step_graph, IntRequant, multiplier=np.ones((4, 4, 1))),
        _in(_maps_2d, IntConvTranspose, weight=np.ones((4, 2))),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_weight=np.ones(8)),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_bias=np.ones(3)),
    ],
    "steps_agree": [_in(norm_per_step_graph, IntRequant, multiplier=np.ones((3, 1)))],
    "windows_have_one_number_per_axis": [
        _named(IntConv, stride=(1, 1, 1)),
        _named(IntPool, padding=(0,)),
        _named(IntPool, kernel=(1,) * 4, stride=(1,) * 4, padding=(0,) * 4),
        _in(_maps_2d, IntConvTranspose, output_padding=(0,)),
    ],
    "parameters_fit_their_word": [
        _named(IntRequant, bias=np.array([2**31])),
        _named(IntNeuron, threshold=np.array([2**30 + 1])),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_multiplier=np.array([2**31])),
    ],
    "weights_fit_their_bit_width": [
        _named(IntConv, bit_width=4),
        _named(IntConv, bit_width=1.58),
        _named(IntConv, bit_width=1, weight=np.zeros((4, 2, 3, 3))),
        _in(_maps_2d, IntConvTranspose, bit_width=2),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_bit_width=2),
    ],
    "neuron_options_fit_together": [
        _named(IntNeuron, timing="after_leak"),
        _soft(timing="masked"),
        _soft(rearm="double", timing="after_leak", level=np.ones(1)),
        _named(IntNeuron, rearm="double", level=np.ones(1)),
        _named(IntNeuron, timing="masked", spike="floor", max_spikes=2, level=np.ones(1)),
        _soft(rearm="double", spike="round", level=np.ones(1)),
        _named(IntNeuron, max_spikes=2),
    ],
    "unused_parameters_are_zero": [
        _named(IntNeuron, level=np.array([1])),
        _named(IntNeuron, floor_value=np.array([-1])),
        _named(IntNeuron, synapse_drive=np.array([1])),
        _named(IntNeuron, synapse_leak=np.zeros(4)),
        _named(IntNeuron, synapse_shift=1),
        _named(IntNeuron, soft_amount=np.array([3])),
        _named(IntNeuron, reset="none", reset_value=np.array([0, 0, 0, 0])),
    ],
    "leaks_are_decays": [
        _named(IntNeuron, leak=5),
        _named(IntNeuron, leak=np.array([1, 1, -1, 1])),
        _named(IntNeuron, synapse_leak=np.array([9]), synapse_shift=3),
    ],
    "levels_are_positive": [_named(IntNeuron, spike="floor"), _soft(rearm="double", level=np.array([1, 1, 0, 1]))],
    "recurrent_weights_keep_the_shape": [
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_weight=np.ones((8, 7))),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_weight=np.ones((8, 8, 1))),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_groups=3),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_groups=8, recurrent_weight=np.ones((8, 1))),
        _in(
            partial(neuron_graph, "recurrent", on_map=True), IntRecurrentNeuron, recurrent_weight=np.ones((4, 1, 2, 3))
        ),
    ],
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
        lambda graph: with_changed_node(graph, "layers.4.conv", groups=1),
        _in(_maps_2d, IntConvTranspose, weight=np.ones((2, 2, 3, 3))),
        _in(_maps_2d, IntConvTranspose, padding=(9, 9), output_padding=(0, 0)),
        _in(_maps_2d, IntPool, kernel=(2,), stride=(2,), padding=(0,)),
        _in(attention_graph, IntReshape, shape=(3, 4)),
        _in(attention_graph, IntTranspose, permutation=(0, 2, 2)),
        _in(attention_graph, IntTranspose, permutation=(0, 1)),
        _in(attention_graph, IntSlice, stop=9),
        _in(attention_graph, IntSlice, axis=2),
        _in(attention_graph, IntSum, axis=2),
        _in(attention_graph, IntConcat, shape=(4, 4)),
        _in(attention_graph, IntMultiply, inputs=("input", "layers.4.reshape")),
        lambda graph: _joined_graph(IntMatMul("joined", ("input", "input"), (3, 4))),
        lambda graph: _joined_graph(IntConcat("joined", ("input", "flat"), (3, 4))),
        lambda graph: _joined_graph(IntMultiply("joined", ("input", "flat"), (3, 4), "product")),
        lambda graph: _joined_graph(
            IntConvTranspose("joined", ("flat",), (1,), np.ones((12, 1, 1), np.int64), 4, *ONES, 1)
        ),
    ],
    "transposed_padding_stays_within_the_kernel": [
        _in(_maps_2d, IntConvTranspose, padding=(3, 1), shape=(4, 2, 6)),
    ],
    "pool_padding_is_smaller_than_its_kernel": [_named(IntPool, padding=(2, 0), shape=(4, 6, 4))],
    "nodes_read_what_they_can_read": [
        _named(IntAdd, inputs=("layers.2.requant", "layers.5.requant", "layers.1.conv")),
        lambda graph: _product_of_currents_graph(),
    ],
    "operands_fit_their_word": [lambda graph: _product_of_wide_counts_graph()],
    "inhibition_reads_binary_spikes": [lambda graph: _inhibition_by_counts_graph()],
    "accumulators_fit_int32": [],
    "requant_stays_below_the_limit": [
        _named(IntRequant, multiplier=np.array([2**16])),
        _named(IntRequant, bias=np.array([0, 0, 2**30, 0])),
    ],
    "recurrent_currents_stay_below_the_limit": [
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_bias=np.array([2**30])),
        _in(_recurrent_graph, IntRecurrentNeuron, recurrent_multiplier=np.array([2**26])),
    ],
    "membrane_stays_below_the_limit": [
        _named(IntNeuron, floor="before_fire", floor_value=np.array([-(2**30)])),
        _named(IntNeuron, synapse_leak=np.array([2**26]), synapse_shift=26, bit_width=16),
        _soft(spike="floor", max_spikes=255, level=np.ones(1), soft_amount=np.array([2**23])),
        _soft(spike="round", max_spikes=1, level=np.array([2**29]), threshold=np.array([2**29])),
        _named(IntNeuron, guard_bits=26, leak=2**25),
        _named(IntNeuron, drive=np.array([0, 2**30, 0, 0])),
        _named(IntNeuron, reset_value=np.array([2**30])),
        _soft(soft_amount=np.array([2**30])),
    ],
    "readout_fits_int32": [
        lambda graph: with_changed_node(graph, graph.output.inputs[0], bias=np.array([2**29]), shift=0)
    ],
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
    with pytest.raises(GraphError, match="operands_fit_their_word"):
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

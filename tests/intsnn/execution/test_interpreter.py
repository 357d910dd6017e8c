"""The interpreter against numbers computed by hand and against naive loops that share no code with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.arithmetic import Bounds, IntArray, IntType, divide_half_even, saturate, shift_floor
from intsnn.errors import GraphError, InputError
from intsnn.execution.interpreter import evaluate, run
from intsnn.graph import (
    IntConv,
    IntGraph,
    IntLinear,
    IntNeuron,
)
from intsnn.graph.nodes import NodeFields
from tests.support.hand_made_graphs import norm_per_step_graph
from tests.support.intgraphs import GraphBuilder, graph_inputs, one_neuron_graph, random_input, residual_graph
from tests.support.naive import as_values, naive
from tests.support.wide_graphs import any_graphs

# --- by hand ---------------------------------------------------------------------------------------------------------


def test_floor_shift_goes_down_for_negative_values_too() -> None:
    assert shift_floor(np.array([5, -5, 11, -11, -1, 0]), 1).tolist() == [2, -3, 5, -6, -1, 0]


def test_saturation_clips_to_the_signed_word() -> None:
    assert saturate(np.array([-9, -8, 7, 8]), 4).tolist() == [-8, -8, 7, 7]


def test_words_and_bounds_know_their_ends() -> None:
    assert (IntType(8, signed=False).low, IntType(8, signed=False).high) == (0, 255)
    assert IntType(2, signed=True).holds(-2, 1) and not IntType(2, signed=True).holds(-3, 1)
    assert Bounds(-7, 3).magnitude == 7


def test_convolution_of_a_small_map_by_hand() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1, 2, 2))
    weight = np.array([[[[1, -2], [3, 4]]]])
    build.nodes.append(IntConv("conv", (x,), (1, 1, 1), weight, 4, (1, 1), (0, 0), (1, 1), 1))
    build.readout("conv", mode="steps")
    assert run(build.graph(), [[[[[5, 6], [7, 8]]]]]).output.tolist() == [[[[[1 * 5 - 2 * 6 + 3 * 7 + 4 * 8]]]]]


def test_maximum_pooling_ignores_its_padding_where_every_value_is_negative() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.pool(build.input((1, 2, 2), signed=True), "max", kernel=(2, 2), stride=(2, 2), padding=(1, 1))
    build.readout(x, mode="steps")
    assert run(build.graph(), [[[[[-5, -6], [-7, -8]]]]]).output.tolist() == [[[[[-5, -6], [-7, -8]]]]]


def test_summing_readout_adds_the_steps() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.input((2,)))
    assert run(build.graph(), [[[1, 2]], [[10, 20]]]).output.tolist() == [[11, 22]]


def test_readouts_keep_the_last_step_or_the_maximum_over_time() -> None:
    answers: dict[Literal["last", "max"], list[list[int]]] = {"last": [[3, -4]], "max": [[7, -2]]}
    for mode, expected in answers.items():
        build = GraphBuilder(np.random.default_rng(0))
        build.readout(build.input((2,), signed=True), mode=mode)
        assert run(build.graph(), [[[7, -3]], [[-5, -2]], [[3, -4]]]).output.tolist() == expected


def test_a_row_per_step_fixes_the_number_of_steps() -> None:
    graph = norm_per_step_graph(time_steps=4)
    assert graph.time_steps == 4 and residual_graph().time_steps is None
    with pytest.raises(InputError, match=r"must have 4 steps.*got 3") as caught:
        run(graph, random_input(graph, time_steps=3))
    assert caught.value.hints


def test_convolution_over_three_axes_by_hand() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1, 2, 1, 2))
    weight = np.array([1, -2, 3, -4]).reshape(1, 1, 2, 1, 2)
    build.nodes.append(IntConv("conv", (x,), (1, 1, 1, 1), weight, 4, (1,) * 3, (0,) * 3, (1,) * 3, 1))
    build.readout("conv", mode="steps")
    assert run(build.graph(), [[[[[[5, 6]], [[7, 8]]]]]]).output.ravel().tolist() == [5 - 12 + 21 - 32]


def test_quotients_round_half_to_even() -> None:
    x = np.arange(0, 12)
    assert divide_half_even(x, np.array(4)).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    assert divide_half_even(x, np.array(3)).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]


def test_products_too_large_for_float64_are_made_in_int64() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1,))
    build.nodes.append(IntLinear("linear", (x,), (1,), np.array([[2**60 + 1]]), 8))
    build.readout("linear", mode="steps")
    assert run(build.graph(), [[[3]]]).output.tolist() == [[[3 * 2**60 + 3]]]


# --- naive loops -----------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_every_tensor_equals_the_one_of_naive_loops(data: st.DataObject, graph: IntGraph) -> None:
    x = data.draw(graph_inputs(graph))[: graph.time_steps or 3, :2]
    expected = naive(graph, x)
    for step in evaluate(graph, x):
        seen = expected[step.node.name]
        assert as_values(step.output) == seen.output, step.node.name
        assert step.spikes is None or as_values(step.spikes) == seen.spikes, step.node.name
        assert step.membrane is None or as_values(step.membrane) == seen.membranes, step.node.name


def test_naive_loops_and_interpreter_agree_where_neurons_fire() -> None:
    graph = residual_graph()
    x = random_input(graph, time_steps=3, samples=1)
    expected, trace = naive(graph, x), run(graph, x)
    assert all(as_values(spikes) == expected[name].spikes for name, spikes in trace.spikes.items())
    assert all(spikes.any() for spikes in trace.spikes.values())


# --- the trace -------------------------------------------------------------------------------------------------------


def test_a_trace_holds_every_neuron_in_graph_order_with_time_and_batch_first() -> None:
    graph = residual_graph()
    trace = run(graph, random_input(graph, time_steps=2, samples=3))
    assert list(trace.spikes) == list(trace.membranes) == [neuron.name for neuron in graph.neurons]
    assert all(trace.spikes[neuron.name].shape == (2, 3, *neuron.shape) for neuron in graph.neurons)
    assert trace.output.shape == (3, 3)


def test_evaluation_gives_each_node_with_what_it_read() -> None:
    graph = residual_graph()
    steps = list(evaluate(graph, random_input(graph)))
    assert [step.node.name for step in steps] == [node.name for node in graph]
    written = {step.node.name: step.output for step in steps}
    read = [
        (array, written[name]) for step in steps for name, array in zip(step.node.inputs, step.inputs, strict=False)
    ]
    assert all(array is original for array, original in read)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[0], "must have shape"),
        (lambda x: x[:0], "must have shape"),
        (lambda x: x.astype(np.float64), "must be integers"),
        (lambda x: x - 1, "must lie in"),
        (lambda x: x + 1, "must lie in"),
    ],
)
def test_an_input_that_does_not_fit_the_graph_is_an_error(spoil: Callable[[IntArray], IntArray], message: str) -> None:
    graph = residual_graph()
    x = random_input(graph)
    assert (int(x.min()), int(x.max())) == (0, 255)
    with pytest.raises(InputError, match=message):
        run(graph, spoil(x))


def test_a_node_of_another_type_is_an_error() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    odd = NodeFields("odd", (build.input((2,)),), (2,))
    build.nodes.append(odd)  # type: ignore[arg-type]  # no node type, on purpose
    build.readout("odd")
    with pytest.raises(GraphError, match="knows no NodeFields"):
        run(build.graph(), [[[1, 2]]])


def test_a_neuron_without_reset_keeps_what_it_integrated() -> None:
    zero, one, shape = np.zeros(1, np.int64), np.ones(1, np.int64), (1,)
    neuron = IntNeuron("lif", ("current",), shape, one, zero, np.array([5]), "none", zero, zero, 0, 4, 0, 1.0)
    trace = run(one_neuron_graph(neuron), np.array([[[4]], [[4]], [[-20]]]))
    assert trace.membranes["lif"].ravel().tolist() == [4, 7, -8]
    assert trace.spikes["lif"].ravel().tolist() == [0, 1, 0]

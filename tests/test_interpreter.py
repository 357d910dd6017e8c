"""The interpreter against numbers computed by hand and against naive loops that share no code with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgraphs import GraphBuilder, graph_inputs, int_graphs, one_neuron_graph, random_input, residual_graph

from intsnn.arithmetic import Bounds, IntArray, IntType, saturate, shift_floor
from intsnn.errors import GraphError, InputError
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
from intsnn.interpreter import evaluate, run

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


def test_products_too_large_for_float64_are_made_in_int64() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1,))
    build.nodes.append(IntLinear("linear", (x,), (1,), np.array([[2**60 + 1]]), 8))
    build.readout("linear", mode="steps")
    assert run(build.graph(), [[[3]]]).output.tolist() == [[[3 * 2**60 + 3]]]


# --- naive loops -----------------------------------------------------------------------------------------------------

Array = dict[tuple[int, ...], int]  # value by index: nothing of NumPy's broadcasting or windows


def _naive(graph: IntGraph, x: IntArray) -> dict[str, tuple[Array, Array]]:
    """Output and membrane of every node, element by element in Python's integers."""
    time_steps, samples = x.shape[:2]
    values: dict[str, tuple[Array, Array]] = {}
    for node in graph:
        inputs = [values[name][0] for name in node.inputs]
        values[node.name] = {}, {}
        for n in range(samples):
            state: Array = {}
            for t in range(time_steps):
                for place in itertools.product(*map(range, node.shape)):
                    _naive_element(node, inputs, x, (t, n, place), state, values[node.name])
    return values


def _naive_element(
    node: IntNode,
    inputs: list[Array],
    x: IntArray,
    at: tuple[int, int, tuple[int, ...]],
    state: Array,
    out: tuple[Array, Array],
) -> None:
    t, n, place = at
    output, membrane = out
    key = (t, n, *place)
    match node:
        case IntInput():
            output[key] = int(x[key])
        case IntConv():
            output[key] = _naive_conv(node, inputs[0], at)
        case IntLinear():
            terms = (int(w) * inputs[0][(t, n, *place[:-1], i)] for i, w in enumerate(node.weight[place[-1]]))
            output[key] = sum(terms)
        case IntRequant():
            product = inputs[0][key] * _channel(node.multiplier, place) + _channel(node.bias, place)
            output[key] = product // 2**node.shift
        case IntNeuron():
            output[key], membrane[key] = _naive_neuron(node, inputs[0][key], place, state)
        case IntPool():
            window = [inputs[0][k] for k in _window(node, at) if k in inputs[0]]
            output[key] = max(window) if node.mode == "max" else sum(window)
        case IntAdd():
            output[key] = sum(tensor[key] for tensor in inputs)
        case IntFlatten():
            c, height, width = (1 + max(k[axis] for k in inputs[0]) for axis in (2, 3, 4))
            assert place[0] < c * height * width
            output[key] = inputs[0][(t, n, place[0] // (height * width), place[0] // width % height, place[0] % width)]
        case IntReadout():
            total = (n, *place) if node.mode == "sum" else key
            output[total] = output.get(total, 0) + inputs[0][key]


def _channel(values: IntArray, place: tuple[int, ...]) -> int:
    return int(values[0] if len(values) == 1 else values[place[0]])


def _window(node: IntPool, at: tuple[int, int, tuple[int, ...]]) -> list[tuple[int, ...]]:
    t, n, (c, row, column) = at
    return [
        (t, n, c, row * node.stride[0] - node.padding[0] + i, column * node.stride[1] - node.padding[1] + j)
        for i in range(node.kernel[0])
        for j in range(node.kernel[1])
    ]


def _naive_conv(node: IntConv, x: Array, at: tuple[int, int, tuple[int, ...]]) -> int:
    t, n, (o, row, column) = at
    out_channels, per_group, height, width = node.weight.shape
    first, total = (o * node.groups // out_channels) * per_group, 0
    for c, i, j in itertools.product(range(per_group), range(height), range(width)):
        y = row * node.stride[0] - node.padding[0] + i * node.dilation[0]
        z = column * node.stride[1] - node.padding[1] + j * node.dilation[1]
        total += int(node.weight[o, c, i, j]) * x.get((t, n, first + c, y, z), 0)
    return total


def _naive_neuron(node: IntNeuron, current: int, place: tuple[int, ...], state: Array) -> tuple[int, int]:
    x = node.leak * state.get(place, node.initial) + current + _channel(node.drive, place)
    fired = x >= _channel(node.threshold, place)
    if fired and node.reset == "hard":
        x = _channel(node.reset_value, place)
    if fired and node.reset == "soft":
        x -= _channel(node.soft_amount, place)
    half = 2 ** (node.bit_width - 1)
    state[place] = min(max(x // 2**node.guard_bits, -half), half - 1)
    return int(fired), state[place]


def _as_dict(array: IntArray) -> Array:
    return {index: int(value) for index, value in np.ndenumerate(array)}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), graph=int_graphs())
def test_every_tensor_equals_the_one_of_naive_loops(data: st.DataObject, graph: IntGraph) -> None:
    x = data.draw(graph_inputs(graph))[:3, :2]
    expected = _naive(graph, x)
    for step in evaluate(graph, x):
        output, membrane = expected[step.node.name]
        assert _as_dict(step.output) == output, step.node.name
        assert step.membrane is None or _as_dict(step.membrane) == membrane, step.node.name


def test_naive_loops_and_interpreter_agree_where_neurons_fire() -> None:
    graph = residual_graph()
    x = random_input(graph, time_steps=3, samples=1)
    expected, trace = _naive(graph, x), run(graph, x)
    assert all(_as_dict(spikes) == expected[name][0] for name, spikes in trace.spikes.items())
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
    build.nodes.append(IntNode("odd", (build.input((2,)),), (2,)))
    build.readout("odd")
    with pytest.raises(GraphError, match="knows no IntNode"):
        run(build.graph(), [[[1, 2]]])


def test_a_neuron_without_reset_keeps_what_it_integrated() -> None:
    zero, shape = np.zeros(1, np.int64), (1,)
    neuron = IntNeuron("lif", ("current",), shape, 1, zero, np.array([5]), "none", zero, zero, 0, 4, 0, 1.0)
    trace = run(one_neuron_graph(neuron), np.array([[[4]], [[4]], [[-20]]]))
    assert trace.membranes["lif"].ravel().tolist() == [4, 7, -8]
    assert trace.spikes["lif"].ravel().tolist() == [0, 1, 0]

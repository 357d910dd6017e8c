"""Synaptic additions: counted one by one, and those of full inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import measure
from intsnn.activity.additions import synaptic_additions
from intsnn.arithmetic import IntArray
from intsnn.execution.interpreter import evaluate
from intsnn.graph import IntGraph, IntMatMul
from tests.support.graph_builder import GraphBuilder
from tests.support.hand_made_graphs import attention_graph
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph
from tests.support.wide_graphs import weighted_graphs


def counted(graph: IntGraph, x: IntArray) -> dict[str, int]:
    """Pairs of a weight and an input that is not 0, by hand for linear layers."""
    return {
        step.weight_layer[0].name: int((step.weight_layer[1] != 0).sum()) * step.weight_layer[0].weight.shape[0]
        for step in evaluate(graph, x)
        if step.weight_layer is not None
    }


def test_linear_layer_adds_a_row_for_each_active_input() -> None:
    graph = dense_graph()
    x = random_input(graph, samples=2)
    expected = counted(graph, x)
    for each in synaptic_additions(graph, measure(graph, [x])):
        assert each.mean == pytest.approx(expected[each.name] / x[..., 0].size)
        assert each.most == math.prod(graph.node(each.name).weight.shape)  # type: ignore[union-attr]  # a linear layer
    assert len(expected) == 3


@settings(max_examples=40)
@given(st.data())
def test_no_activity_adds_more_than_full_inputs(data: st.DataObject) -> None:
    graph = data.draw(weighted_graphs())
    x = data.draw(graph_inputs(graph))
    for each in synaptic_additions(graph, measure(graph, [x])):
        assert 0 <= each.mean <= each.most


def test_first_layer_of_full_input_adds_the_most() -> None:
    graph = residual_graph()
    x = np.ones_like(random_input(graph))
    first = synaptic_additions(graph, measure(graph, [x]))[0]
    assert first.mean == first.most == 4 * 2 * (8 * 8 * 9 - 4 * 8 * 3 + 4)  # the padding is read by none


def test_the_most_by_hand() -> None:
    """A linear layer over a map: all weights. A convolution: windows of 5 places read 2, 3, 3, 3, 2 of them."""
    build = GraphBuilder(np.random.default_rng(0))
    spikes = build.neuron(build.requant(build.conv(build.input((4, 5, 5), bit_width=1), 3)))
    build.readout(build.linear(build.flatten(spikes), 2))
    graph = build.graph()
    convolution, linear = synaptic_additions(graph, measure(graph, [random_input(graph)]))
    assert convolution.most == (3 + 3 + 3 + 2 + 2) ** 2 * 4 * 3
    assert linear.most == 2 * 3 * 5 * 5


def test_matrix_products_count_their_active_pairs() -> None:
    graph = attention_graph()
    x = random_input(graph)
    found = {each.name: each for each in synaptic_additions(graph, measure(graph, [x]))}
    for node in graph.of_type(IntMatMul):
        depth = graph.node(node.inputs[0]).shape[-1]
        assert found[node.name].most == math.prod(node.shape) * depth
        assert 0 < found[node.name].mean <= found[node.name].most

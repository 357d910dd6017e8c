"""A graph that hardware has no price for is refused by node and reason; its activity can be measured all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_made_graphs import neuron_graph, wide_hand_made_graphs
from intgraphs import dense_graph, random_input, residual_graph

from intsnn.activity import measure
from intsnn.arithmetic import IntArray
from intsnn.errors import HardwareError
from intsnn.estimation import estimate
from intsnn.graph import IntConv, IntConvTranspose, IntGraph
from intsnn.interpreter import evaluate
from intsnn.priced_nodes import require_priced
from intsnn.windows import exact_sums

HARDWARE = "rram_64x64_65nm"
PRICED = {"soft, after the leak", "hard, masked", "potential"}


@pytest.mark.parametrize(("name", "graph"), wide_hand_made_graphs().items(), ids=wide_hand_made_graphs())
def test_a_graph_is_priced_or_refused_by_node(name: str, graph: IntGraph) -> None:
    activity = measure(graph, [random_input(graph, time_steps=graph.time_steps or 3, samples=2)])
    if name in PRICED:
        assert estimate(graph, activity, HARDWARE).energy
        return
    with pytest.raises(HardwareError, match="must have a price for every node") as caught:
        estimate(graph, activity, HARDWARE)
    assert "layers." in caught.value.message or "readout" in caught.value.message
    assert caught.value.hints


def test_a_leak_per_channel_is_priced_at_the_channel_that_takes_the_most_additions() -> None:
    graph = neuron_graph("soft, after the leak")
    activity = measure(graph, [random_input(graph)])
    assert len(graph.neurons[0].leak) > 1
    assert estimate(graph, activity, HARDWARE).energy


@pytest.mark.parametrize("graph", [dense_graph(), residual_graph()])
def test_common_graphs_are_priced(graph: IntGraph) -> None:
    require_priced(graph)


@pytest.mark.parametrize("name", ["1-d maps", "2-d maps", "3-d maps"])
def test_row_activations_count_the_windows_of_every_input(name: str) -> None:
    """Counted from the definition: every synaptic product with an active input."""
    graph = wide_hand_made_graphs()[name]
    x = random_input(graph, time_steps=1, samples=1)
    seen = measure(graph, [x])
    for step in evaluate(graph, x):
        if isinstance(step.node, IntConv | IntConvTranspose):
            expected = _products_with_active_inputs(step.node, step.inputs[0])
            assert seen.synapse(step.node.name).row_activations[0] == expected, step.node.name


def _products_with_active_inputs(node: IntConv | IntConvTranspose, x: IntArray) -> int:
    """The response of a layer of ones, one output channel per group, to which inputs are active."""
    shape = list(node.weight.shape)
    shape[1 if isinstance(node, IntConvTranspose) else 0] = 1 if isinstance(node, IntConvTranspose) else node.groups
    ones = replace(node, weight=np.ones(shape), shape=(node.groups, *node.shape[1:]))
    return int(exact_sums(ones, (x != 0).astype(np.int64)).sum())

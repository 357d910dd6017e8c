"""How tensors lie and what a stage is, by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intsnn.emission.stages import Stage, read_names, stages
from intsnn.emission.storage import Store, stores
from intsnn.graph import IntFlatten, IntGraph, IntLinear
from intsnn.graph.bounds import channel_bounds
from tests.support.graph_builder import GraphBuilder, NeuronOptions
from tests.support.intgraphs import residual_graph


def lying(graph: IntGraph, word_bits: int = 64) -> dict[str, Store]:
    return stores(graph, channel_bounds(graph), word_bits)


def staged(graph: IntGraph) -> list[Stage]:
    return stages(graph, lying(graph))


def kinds(found: list[Stage]) -> Iterator[list[str]]:
    return ([node.name.split(".")[-1] for node in stage.nodes] for stage in found)


def test_seventy_channels_of_bits_take_two_words_a_place() -> None:
    store = Store((70, 3, 5), "last", "bit", 64)
    assert (store.rows, store.inner, store.words, store.row_bytes, store.step_bytes) == (15, 70, 2, 16, 240)
    assert store.place(("c", "y", "x")) == ("(y) * 5 + x", "c")
    narrow = Store((70, 3, 5), "last", "bit", 32)
    assert (narrow.words, narrow.row_bytes) == (3, 12)


def test_channels_first_has_rows_along_the_last_axis() -> None:
    store = Store((70, 3, 5), "first", "int16", 64)
    assert (store.rows, store.inner, store.row_bytes, store.step_bytes) == (210, 5, 10, 2100)
    assert store.place(("c", "y", "x")) == ("(c) * 3 + y", "x")
    assert not store.channel_is_inner and Store((70,), "last", "int16", 64).channel_is_inner


def test_tensors_lie_in_the_narrowest_element() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    pixels = build.input((70, 4, 4))
    current = build.requant(build.conv(pixels, 70))
    spikes = build.neuron(current)
    counts = build.neuron(current, reset="soft", options=NeuronOptions(spike="floor", max_spikes=15))
    both = build.add(spikes, spikes)
    build.readout(build.flatten(build.add(both, counts)), mode="last")
    found = lying(build.graph())
    elements = [found[name].element for name in (pixels, current, spikes, counts, both)]
    assert elements == ["uint8", "int8", "bit", "uint8", "uint8"]
    assert {found[name].order for name in (pixels, current, spikes, counts, both)} == {"last"}
    assert found[spikes].words == 2


def test_residual_block_is_one_stage_per_convolution() -> None:
    found = staged(residual_graph())
    assert list(kinds(found)) == [
        ["input"],
        ["conv", "requant", "neuron"],
        ["conv", "requant", "add"],
        ["pool"],
        ["neuron"],
        ["conv", "requant", "neuron", "add"],
        ["pool"],
        ["flatten"],
        ["linear", "requant", "neuron"],
        ["linear", "requant"],
        ["readout"],
    ]
    assert [stage.index for stage in found] == list(range(11))
    stem = found[1]
    assert stem.stored == [stem.tail[1].name, stem.tail[0].name]  # the spikes, and the residual current
    assert found[2].reads(residual_graph()) == [stem.tail[1].name, stem.tail[0].name]
    assert found[5].stored == [found[5].tail[-1].name]  # its spikes are added at once


def test_linear_layer_reads_the_map_through_a_flatten() -> None:
    graph = residual_graph()
    linear = next(node for node in graph if isinstance(node, IntLinear))
    flatten = graph.node(linear.inputs[0])
    assert isinstance(flatten, IntFlatten)
    assert read_names(graph, linear) == flatten.inputs
    assert next(stage for stage in staged(graph) if stage.head is flatten).stored == []


def test_two_recurrent_neurons_are_two_stages() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    current = build.requant(build.linear(build.input((5,)), 4))
    recurrent = NeuronOptions(recurrent="dense")
    first, second = (build.neuron(current, options=recurrent) for _ in range(2))
    build.readout(build.add(first, second))
    assert list(kinds(staged(build.graph()))) == [
        ["input"], ["linear", "requant", "neuron"], ["neuron", "add"], ["readout"],
    ]  # fmt: skip

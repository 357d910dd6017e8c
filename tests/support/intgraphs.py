"""Integer graphs for tests: hand-made ones, and Hypothesis strategies of random ones that hardware can price.

`int_graphs()` draws graphs of the nodes that crossbars know; `wide_graphs.py` draws all others. `graph_inputs(graph)`
draws an input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from intsnn.arithmetic import IntArray, IntType
from intsnn.checking.proofs import CONV_READS
from intsnn.graph import IntConv, IntGraph, IntInput, IntNeuron, IntReadout, IntRequant
from tests.support.graph_builder import GraphBuilder

__all__ = [
    "GraphBuilder",
    "dense_graph",
    "graph_inputs",
    "int_graphs",
    "one_neuron_graph",
    "random_input",
    "residual_graph",
    "with_changed_node",
]

WEIGHT_BIT_WIDTHS = (1, 1.58, 2, 3, 4, 8)


def with_changed_node(graph: IntGraph, name: str, **changes: Any) -> IntGraph:  # of a wrong type too, to be refused
    """The graph with some fields of one node changed."""
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in graph)
    return IntGraph(nodes, graph.metadata)


def one_neuron_graph(neuron: IntNeuron, *, signed: bool = True) -> IntGraph:
    """Input -> requant by 1 -> the neuron -> readout of every step: the current is the input."""
    shape = neuron.shape
    return IntGraph(
        (
            IntInput("input", (), shape, 8, signed, 1.0),
            IntRequant("current", ("input",), shape, np.array([1]), np.array([0]), 0, 1.0),
            neuron,
            IntReadout("readout", (neuron.name,), shape, "steps", 1.0),
        )
    )


def dense_graph(seed: int = 2, *, features: int = 12, classes: int = 4) -> IntGraph:
    """Input -> linear -> LIF (hard) -> linear -> LIF (soft) -> linear -> readout."""
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.input((features,))
    x = build.neuron(build.requant(build.linear(x, 10)), leak=2)
    x = build.neuron(build.requant(build.linear(x, 8, bit_width=2)), reset="soft", leak=3)
    build.readout(build.requant(build.linear(x, classes, bit_width=8)))
    return build.graph(recipe="dense")


def residual_graph(seed: int = 2) -> IntGraph:
    """A small MS-ResNet: stem, a residual of currents, a residual of spikes, both poolings, head."""
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.input((2, 8, 8))
    stem = build.requant(build.conv(x, 4, bit_width=8))
    first = build.neuron(stem, leak=3)
    branch = build.requant(build.conv(first, 4, groups=2))
    second = build.neuron(build.pool(build.add(stem, branch), "max"), reset="soft", leak=2, driven=True)
    third = build.neuron(build.requant(build.conv(second, 4, bit_width=1.58)))
    x = build.pool(build.add(second, third), "sum")
    x = build.neuron(build.requant(build.linear(build.flatten(x), 6)), bit_width=4)
    build.readout(build.requant(build.linear(x, 3, bit_width=8)))
    return build.graph(recipe="residual", tool="tests")


def random_input(graph: IntGraph, *, time_steps: int | None = None, samples: int = 3, seed: int = 0) -> IntArray:
    """Uniform integers over the input's whole range, [T, N, *shape]; T is the graph's own where it has one, else 4."""
    word = IntType(graph.input.bit_width, graph.input.signed)
    shape = (time_steps or graph.time_steps or 4, samples, *graph.input.shape)
    return np.random.default_rng(seed).integers(word.low, word.high + 1, shape)


@st.composite
def graph_inputs(draw: st.DrawFn, graph: IntGraph) -> IntArray:
    """An input of 1 to 5 steps (or the graph's own number) and 1 to 3 samples."""
    seed, steps = draw(st.integers(0, 2**16)), graph.time_steps or draw(st.integers(1, 5))
    return random_input(graph, time_steps=steps, samples=draw(st.integers(1, 3)), seed=seed)


@st.composite
def int_graphs(draw: st.DrawFn) -> IntGraph:
    """A random legal graph: a few convolutional blocks and a head, or dense layers only."""
    build = GraphBuilder(np.random.default_rng(draw(st.integers(0, 2**16))))
    bit_width, signed = draw(st.sampled_from((1, 3, 8))), draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        x = build.input((draw(st.integers(1, 6)),), bit_width=bit_width, signed=signed)
    else:
        sizes = (draw(st.integers(1, 3)), draw(st.integers(4, 7)), draw(st.integers(4, 7)))
        x = build.input(sizes, bit_width=bit_width, signed=signed)
        for _ in range(draw(st.integers(0, 3))):
            x = _block(draw, build, x)
        x = build.flatten(_maybe_pool(draw, build, x)) if draw(st.booleans()) else build.flatten(x)
    if draw(st.booleans()):
        x = _neuron(draw, build, build.requant(build.linear(x, draw(st.integers(1, 5)), bit_width=_bits(draw))))
    _head(draw, build, x)
    return build.graph(drawn="by Hypothesis")


def _bits(draw: st.DrawFn) -> float:
    return draw(st.sampled_from(WEIGHT_BIT_WIDTHS))


def _head(draw: st.DrawFn, build: GraphBuilder, x: str) -> None:
    """The readout reads currents, accumulators, or spikes."""
    kind = draw(st.sampled_from(("current", "accumulator", "spikes")))
    if kind != "spikes" or not isinstance(build.nodes[-1], IntNeuron):
        x = build.linear(x, draw(st.integers(1, 4)), bit_width=_bits(draw))
    if kind == "current":
        x = build.requant(x, per_channel=draw(st.booleans()))
    build.readout(x, mode=draw(st.sampled_from(("sum", "steps"))))


def _block(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    """Convolution, requant, perhaps a second branch or the pooling of currents, neuron, perhaps a sum of spikes."""
    if min(build.shape(x)[1:]) >= 3 and draw(st.integers(0, 3)) == 0:
        x = _maybe_pool(draw, build, x)
    if draw(st.integers(0, 6)) == 0:
        current = build.requant(build.linear(x, draw(st.integers(2, 5)), bit_width=_bits(draw)))  # along the last axis
    else:
        current = _conv_current(draw, build, _narrowed(build, x))
        if draw(st.integers(0, 2)) == 0:
            current = build.add(current, _second_branch(build, current))
    if draw(st.integers(0, 2)) == 0:
        current = _maybe_pool(draw, build, current)
    spikes = _neuron(draw, build, current)
    if draw(st.integers(0, 2)) == 0:
        again = _neuron(draw, build, current)
        spikes = build.add(spikes, again, spikes) if draw(st.booleans()) else build.add(spikes, again)
    return spikes


def _narrowed(build: GraphBuilder, x: str) -> str:
    """A convolution reads uint8 or int8: a wider count goes through a neuron first."""
    seen = build.bounds(x).hull
    if any(limit.low <= seen.low and seen.high <= limit.high for limit in CONV_READS):
        return x
    return build.neuron(build.requant(x))


def _conv_current(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    channels = build.shape(x)[0]
    kernel = draw(st.sampled_from(((1, 1), (3, 3), (2, 3), (3, 1))))
    dilation = draw(st.sampled_from(((1, 1), (1, 1), (2, 1)))) if min(build.shape(x)[1:]) >= 3 else (1, 1)
    padding = [
        draw(st.integers(0, 1)) if size >= 5 else (k - 1) * d
        for size, k, d in zip(build.shape(x)[1:], kernel, dilation, strict=True)
    ]
    groups = channels if draw(st.booleans()) else 1
    conv = build.conv(
        x,
        groups * draw(st.integers(1, 3)),
        kernel=kernel,
        stride=draw(st.sampled_from(((1, 1), (2, 1), (2, 2)))),
        padding=(padding[0], padding[1]),
        dilation=dilation,
        groups=groups,
        bit_width=_bits(draw),
    )
    return build.requant(conv, per_channel=draw(st.booleans()), multiplier_bits=draw(st.sampled_from((2, 8, 12))))


def _second_branch(build: GraphBuilder, current: str) -> str:
    """Another convolution and requant, of the input and the geometry of the one that made `current`."""
    nodes = {node.name: node for node in build.nodes}
    first = nodes[nodes[current].inputs[0]]
    assert isinstance(first, IntConv)
    other = build.conv(
        first.inputs[0],
        first.shape[0],
        kernel=(int(first.weight.shape[2]), int(first.weight.shape[3])),
        stride=first.stride,
        padding=first.padding,
        dilation=first.dilation,
    )
    return build.requant(other)


def _maybe_pool(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    """A pooling that fits the map; none where the map is too small."""
    kernel = draw(st.sampled_from(((2, 2), (3, 2), (1, 2), (3, 3))))
    if any(k > size for k, size in zip(kernel, build.shape(x)[1:], strict=True)):
        return x
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    stride = draw(st.sampled_from(((1, 1), (2, 2), (2, 1))))
    return build.pool(x, draw(st.sampled_from(("max", "sum"))), kernel=kernel, stride=stride, padding=padding)


def _neuron(draw: st.DrawFn, build: GraphBuilder, current: str) -> str:
    guard_bits, bit_width = draw(st.integers(0, 6)), draw(st.sampled_from((2, 4, 8, 16)))
    word = IntType(bit_width, signed=True)
    return build.neuron(
        current,
        reset=draw(st.sampled_from(("hard", "soft", "none"))),
        leak=draw(st.integers(0, 2**guard_bits)),
        guard_bits=guard_bits,
        bit_width=bit_width,
        per_channel=draw(st.booleans()),
        driven=draw(st.booleans()),
        initial=draw(st.integers(max(word.low, -9), min(word.high, 9))),
    )

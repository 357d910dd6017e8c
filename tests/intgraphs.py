"""Integer graphs for tests: a builder that keeps them legal, hand-made ones, and Hypothesis strategies of random ones.

`int_graphs()` draws graphs that together use every node type and attribute; `graph_inputs(graph)` draws an input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from hypothesis import strategies as st

from intsnn.arithmetic import IntArray, IntType
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
    Pair,
    Shape,
)
from intsnn.proofs import CONV_READS
from intsnn.tensors import ChannelBounds, channel_bounds, output_shape

WEIGHT_BIT_WIDTHS = (1, 1.58, 2, 3, 4, 8)
CURRENT_MAGNITUDE = 100  # random requants aim at currents of about this size, random thresholds at half of it


@dataclass
class GraphBuilder:
    """Adds nodes to a graph; shapes follow from the inputs, requants and thresholds from the bounds."""

    random: np.random.Generator
    nodes: list[IntNode] = field(default_factory=list)

    def graph(self, **metadata: str) -> IntGraph:
        return IntGraph(tuple(self.nodes), metadata)

    def shape(self, name: str) -> Shape:
        return next(node.shape for node in self.nodes if node.name == name)

    def bounds(self, name: str) -> ChannelBounds:
        return channel_bounds(IntGraph(tuple(self.nodes)))[name]

    def input(self, shape: Shape, *, bit_width: int = 8, signed: bool = False) -> str:
        return self._add(IntInput("input", (), shape, bit_width, signed, 1 / 255))

    def conv(
        self,
        x: str,
        channels: int,
        *,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        padding: Pair = (1, 1),
        dilation: Pair = (1, 1),
        groups: int = 1,
        bit_width: float = 4,
    ) -> str:
        weight = self.weight((channels, self.shape(x)[0] // groups, *kernel), bit_width)
        node = IntConv(self._name("conv"), (x,), (), weight, bit_width, stride, padding, dilation, groups)
        return self._add_shaped(node)

    def linear(self, x: str, features: int, *, bit_width: float = 4) -> str:
        weight = self.weight((features, self.shape(x)[-1]), bit_width)
        return self._add_shaped(IntLinear(self._name("linear"), (x,), (), weight, bit_width))

    def weight(self, shape: Shape, bit_width: float) -> IntArray:
        if bit_width == 1:
            return self.random.choice(np.array([-1, 1]), shape)
        if bit_width < 2:
            return self.random.integers(-1, 2, shape)
        word = IntType(int(bit_width), signed=True)
        return self.random.integers(word.low, word.high + 1, shape)

    def requant(self, x: str, *, per_channel: bool = True, multiplier_bits: int = 8) -> str:
        """Currents of about CURRENT_MAGNITUDE: multipliers of both signs, biases of a third of that size."""
        channels = self.shape(x)[0] if per_channel else 1
        largest = 2 ** (multiplier_bits - 1) - 1
        reach = max(int(self.bounds(x).magnitude.max()), 1)
        shift = max(0, min(30, math.ceil(math.log2(reach * largest / CURRENT_MAGNITUDE))))
        multiplier = self.random.integers(-largest // 2, largest + 1, channels)
        bias = self.random.integers(-(CURRENT_MAGNITUDE << shift) // 3, (CURRENT_MAGNITUDE << shift) // 3 + 1, channels)
        return self._add(IntRequant(self._name("requant"), (x,), self.shape(x), multiplier, bias, shift, 0.01))

    def neuron(
        self,
        x: str,
        *,
        reset: Literal["hard", "soft", "none"] = "hard",
        leak: int | None = None,
        guard_bits: int = 2,
        bit_width: int = 6,
        per_channel: bool = True,
        driven: bool = False,
        initial: int = 0,
    ) -> str:
        count = self.shape(x)[0] if per_channel else 1
        threshold = self.random.integers(1, CURRENT_MAGNITUDE // 2, count)
        zero = np.zeros(1, np.int64)
        node = IntNeuron(
            self._name("neuron"),
            (x,),
            self.shape(x),
            leak=2**guard_bits if leak is None else leak,
            drive=self.random.integers(-9, 10, count) if driven else zero,
            threshold=threshold,
            reset=reset,
            reset_value=self.random.integers(-9, 10, count) if reset == "hard" else zero,
            soft_amount=threshold + self.random.integers(-2, 3, count) if reset == "soft" else zero,
            guard_bits=guard_bits,
            bit_width=bit_width,
            initial=initial,
            scale=0.0625,
        )
        return self._add(node)

    def pool(
        self,
        x: str,
        mode: Literal["max", "sum"],
        *,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        padding: Pair = (0, 0),
    ) -> str:
        return self._add_shaped(IntPool(self._name("pool"), (x,), (), mode, kernel, stride, padding))

    def add(self, *inputs: str) -> str:
        return self._add_shaped(IntAdd(self._name("add"), inputs, ()))

    def flatten(self, x: str) -> str:
        return self._add_shaped(IntFlatten(self._name("flatten"), (x,), ()))

    def readout(self, x: str, *, mode: Literal["sum", "steps"] = "sum") -> str:
        return self._add(IntReadout("readout", (x,), self.shape(x), mode, 0.5))

    def _name(self, kind: str) -> str:
        return f"layers.{len(self.nodes)}.{kind}"

    def _add(self, node: IntNode) -> str:
        self.nodes.append(node)
        return node.name

    def _add_shaped(self, node: IntNode) -> str:
        shape = output_shape(node, tuple(self.shape(name) for name in node.inputs))
        object.__setattr__(node, "shape", shape)
        return self._add(node)


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


def random_input(graph: IntGraph, *, time_steps: int = 4, samples: int = 3, seed: int = 0) -> IntArray:
    """Uniform integers over the input's whole range, [T, N, *shape]."""
    word = IntType(graph.input.bit_width, graph.input.signed)
    shape = (time_steps, samples, *graph.input.shape)
    return np.random.default_rng(seed).integers(word.low, word.high + 1, shape)


@st.composite
def graph_inputs(draw: st.DrawFn, graph: IntGraph) -> IntArray:
    """An input of 1 to 5 steps and 1 to 3 samples."""
    seed = draw(st.integers(0, 2**16))
    return random_input(graph, time_steps=draw(st.integers(1, 5)), samples=draw(st.integers(1, 3)), seed=seed)


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

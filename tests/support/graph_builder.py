"""A builder of integer graphs for tests that keeps them legal: shapes and scales follow from what a node reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypedDict

import numpy as np

from intsnn.arithmetic import IntArray, IntType
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
    Shape,
    Sizes,
)
from intsnn.graph.bounds import ChannelBounds, channel_bounds
from intsnn.graph.shapes import output_shape

CURRENT_MAGNITUDE = 100  # random requants aim at currents of about this size, random thresholds at half of it


Reset = Literal["hard", "soft", "none"]
Spike = Literal["binary", "floor", "round"]
Timing = Literal["same_step", "after_leak", "masked"]
ZERO = np.zeros(1, np.int64)


@dataclass(frozen=True)
class NeuronOptions:
    """What makes a neuron more than a plain one; the arrays that an option needs are drawn by the builder."""

    spike: Spike = "binary"
    max_spikes: int = 1
    timing: Timing = "same_step"
    floor: Literal["none", "before_fire", "after_reset"] = "none"
    rearm: Literal["plain", "double"] = "plain"
    synapse_shift: int | None = None
    output: Literal["spikes", "potential"] = "spikes"
    recurrent: Literal["none", "dense", "depthwise"] = "none"

    def applied(self, node: IntNeuron, build: GraphBuilder) -> IntNeuron:
        """The neuron with these options."""
        draw, count = build.random.integers, len(node.threshold)
        leveled, shift = self.spike != "binary" or self.rearm == "double", self.synapse_shift
        node = replace(
            node,
            spike=self.spike,
            max_spikes=self.max_spikes,
            timing=self.timing,
            floor=self.floor,
            rearm=self.rearm,
            output=self.output,
            level=draw(1, 30, count) if leveled else ZERO,
            floor_value=draw(-30, 10, count) if self.floor != "none" else ZERO,
            synapse_leak=ZERO if shift is None else draw(1, 2**shift + 1, count),
            synapse_drive=ZERO if shift is None else draw(-5, 6, count),
            synapse_shift=shift or 0,
        )
        return node if self.recurrent == "none" else self._recurrent(node, build)

    def _recurrent(self, node: IntNeuron, build: GraphBuilder) -> IntNeuron:
        """Currents back of about CURRENT_MAGNITUDE."""
        channels, rank = node.shape[0], len(node.shape) - 1
        groups = channels if self.recurrent == "depthwise" and rank else 1
        kernel = tuple(int(size) for size in build.random.choice([1, 3], rank))
        shift = max(0, math.ceil(math.log2(8 * channels * node.max_spikes * 7 / CURRENT_MAGNITUDE)))
        values = {field.name: getattr(node, field.name) for field in fields(IntNeuron)}
        return IntRecurrentNeuron(
            **values,
            recurrent_weight=build.weight((channels, channels // groups, *kernel), 4),
            recurrent_bit_width=4,
            recurrent_groups=groups,
            recurrent_multiplier=build.random.integers(-7, 8, channels),
            recurrent_bias=build.random.integers(-(10 << shift), (10 << shift) + 1, 1),
            recurrent_shift=shift,
        )


PLAIN = NeuronOptions()


class Window(TypedDict, total=False):
    """How a convolution moves, by the builder's own words."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes


class TransposedWindow(Window, total=False):
    """The same of a transposed convolution."""

    output_padding: Sizes


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
        kernel: Sizes = (3, 3),
        stride: Sizes = (1, 1),
        padding: Sizes = (1, 1),
        dilation: Sizes = (1, 1),
        groups: int = 1,
        bit_width: float = 4,
    ) -> str:
        weight = self.weight((channels, self.shape(x)[0] // groups, *kernel), bit_width)
        node = IntConv(self._name("conv"), (x,), (), weight, bit_width, stride, padding, dilation, groups)
        return self._add_shaped(node)

    def conv_transpose(
        self,
        x: str,
        channels: int,
        *,
        kernel: Sizes = (3, 3),
        stride: Sizes = (2, 2),
        padding: Sizes = (1, 1),
        output_padding: Sizes = (1, 1),
        dilation: Sizes = (1, 1),
        groups: int = 1,
        bit_width: float = 4,
    ) -> str:
        weight = self.weight((self.shape(x)[0], channels // groups, *kernel), bit_width)
        geometry = (stride, padding, output_padding, dilation, groups)
        return self._add_shaped(IntConvTranspose(self._name("transposed"), (x,), (), weight, bit_width, *geometry))

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

    def requant(
        self, x: str, *, per_channel: bool = True, multiplier_bits: int = 8, time_steps: int | None = None
    ) -> str:
        """Currents of about CURRENT_MAGNITUDE: multipliers of both signs, biases of a third of that size."""
        channels = self.shape(x)[0] if per_channel else 1
        size = (channels,) if time_steps is None else (time_steps, channels)
        reach = max(int(self.bounds(x).magnitude.max()), 1)
        largest = min(2 ** (multiplier_bits - 1) - 1, 2**29 // reach)  # of large sums the limit leaves fewer bits
        shift = max(0, min(30, math.ceil(math.log2(reach * largest / CURRENT_MAGNITUDE))))
        multiplier = self.random.integers(-largest // 2, largest + 1, size)
        bias = self.random.integers(-(CURRENT_MAGNITUDE << shift) // 3, (CURRENT_MAGNITUDE << shift) // 3 + 1, size)
        return self._add(IntRequant(self._name("requant"), (x,), self.shape(x), multiplier, bias, shift, 0.01))

    def neuron(
        self,
        x: str,
        *,
        reset: Reset = "hard",
        leak: int | IntArray | None = None,
        guard_bits: int = 2,
        bit_width: int = 6,
        per_channel: bool = True,
        driven: bool = False,
        initial: int = 0,
        options: NeuronOptions = PLAIN,
    ) -> str:
        count = self.shape(x)[0] if per_channel else 1
        threshold = self.random.integers(1, CURRENT_MAGNITUDE // 2, count)
        node = IntNeuron(
            self._name("neuron"),
            (x,),
            self.shape(x),
            leak=np.array(2**guard_bits if leak is None else leak),
            drive=self.random.integers(-9, 10, count) if driven else ZERO,
            threshold=threshold,
            reset=reset,
            reset_value=self.random.integers(-9, 10, count) if reset == "hard" else ZERO,
            soft_amount=threshold + self.random.integers(-2, 3, count) if reset == "soft" else ZERO,
            guard_bits=guard_bits,
            bit_width=bit_width,
            initial=initial,
            scale=0.0625,
        )
        return self._add(options.applied(node, self))

    def pool(
        self,
        x: str,
        mode: Literal["max", "sum"],
        *,
        kernel: Sizes = (2, 2),
        stride: Sizes = (2, 2),
        padding: Sizes = (0, 0),
    ) -> str:
        return self._add_shaped(IntPool(self._name("pool"), (x,), (), mode, kernel, stride, padding))

    def add(self, *inputs: str) -> str:
        return self._add_shaped(IntAdd(self._name("add"), inputs, ()))

    def concat(self, *inputs: str) -> str:
        return self._add_shaped(IntConcat(self._name("concat"), inputs, ()))

    def multiply(self, left: str, right: str, *, mode: Literal["product", "inhibit"] = "product") -> str:
        return self._add_shaped(IntMultiply(self._name("multiply"), (left, right), (), mode))

    def matmul(self, left: str, right: str) -> str:
        return self._add_shaped(IntMatMul(self._name("matmul"), (left, right), ()))

    def sum(self, x: str, axis: int) -> str:
        return self._add_shaped(IntSum(self._name("sum"), (x,), (), axis))

    def transpose(self, x: str, *permutation: int) -> str:
        return self._add_shaped(IntTranspose(self._name("transpose"), (x,), (), permutation))

    def reshape(self, x: str, *shape: int) -> str:
        return self._add(IntReshape(self._name("reshape"), (x,), shape))

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        return self._add_shaped(IntSlice(self._name("slice"), (x,), (), axis, start, stop))

    def flatten(self, x: str) -> str:
        return self._add_shaped(IntFlatten(self._name("flatten"), (x,), ()))

    def readout(self, x: str, *, mode: Literal["sum", "steps", "last", "max"] = "sum") -> str:
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

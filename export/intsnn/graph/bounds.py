"""What each tensor of an integer graph is: the quantity it carries, and the interval it is proved in.

Intervals come from the real weights, channel by channel, by interval arithmetic; FORMAT.md, "Bounds", has the table.
Everything here expects a graph whose names and order are right (checking.py asks that first).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from typing import assert_never

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType, shift_floor
from intsnn.graph.graph import IntGraph
from intsnn.graph.nodes import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
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
    Rearrangement,
    Shape,
    Synapse,
)
from intsnn.graph.windows import weight_rows

MAX_TIME_STEPS = 1024  # a readout that sums is proved for this many steps; event data use a few hundred at most
INT32 = Bounds(IntType(32, signed=True).low, IntType(32, signed=True).high)
_AT_ONCE = 2**15  # weights, so that what is made of them stays in a cache
_BEYOND_INT32 = 2**31  # intervals are cut here: enough to be seen as out of range, too little to overflow int64


class TensorRole(Enum):
    """What a tensor means: values a synapse may read (input, spikes, counts), accumulators, or synaptic currents."""

    VALUES = "values"
    ACCUMULATOR = "accumulator"
    CURRENT = "current"


@dataclass(frozen=True)
class ChannelBounds:
    """Proved interval of each channel, [C]: C is the first axis of the tensor's per-sample shape."""

    low: IntArray
    high: IntArray

    @property
    def hull(self) -> Bounds:
        """The smallest interval that holds every channel."""
        return Bounds(int(self.low.min()), int(self.high.max()))

    @property
    def magnitude(self) -> IntArray:
        """Largest absolute value of each channel, [C]."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def with_zero(self) -> ChannelBounds:
        """The same intervals stretched to hold 0, which zero padding adds."""
        return ChannelBounds(np.minimum(self.low, 0), np.maximum(self.high, 0))

    @property
    def cut(self) -> ChannelBounds:
        """The same intervals within [-2^31, 2^31], so that the next step of a proof cannot itself overflow int64."""
        return ChannelBounds(*(np.clip(end, -_BEYOND_INT32, _BEYOND_INT32) for end in (self.low, self.high)))

    def times(self, factor: int) -> ChannelBounds:
        """The intervals of a sum of `factor` values of each channel."""
        return ChannelBounds(self.low * factor, self.high * factor)


def bounds(graph: IntGraph) -> dict[str, Bounds]:
    """The proved interval of every tensor: no input in range leads outside of it.

    A readout that sums over time is taken over MAX_TIME_STEPS steps.

    Args:
        graph: legal but for overflow.

    Returns:
        The interval of each tensor, by the name of the node that writes it; in integers of that tensor.

    Raises:
        GraphError: a node reads a tensor that there is not.
    """
    return {name: interval.hull for name, interval in channel_bounds(graph).items()}


def channel_bounds(graph: IntGraph) -> dict[str, ChannelBounds]:
    """The proved interval of every channel of every tensor, by node name."""
    return dict(graph.derived(_channel_bounds))


def _channel_bounds(graph: IntGraph) -> dict[str, ChannelBounds]:
    found: dict[str, ChannelBounds] = {}
    shapes = {node.name: node.shape for node in graph}
    for node in graph:
        read = [found[name] for name in node.inputs]
        found[node.name] = _interval(node, read, [shapes[name] for name in node.inputs]).cut
    return found


def value_bounds(graph: IntGraph) -> dict[str, Bounds]:
    """The proved interval of every tensor of values, by node name: as in `bounds`, without looking at a weight."""
    means, shapes, found = carries(graph), {node.name: node.shape for node in graph}, dict[str, ChannelBounds]()
    for node in graph:
        if means[node.name] is TensorRole.VALUES:
            read = [] if isinstance(node, IntNeuron) else [found[name] for name in node.inputs]
            found[node.name] = _interval(node, read, [shapes[name] for name in node.inputs]).cut
    return {name: interval.hull for name, interval in found.items()}


def read_bounds(graph: IntGraph) -> dict[str, Bounds]:
    """The proved interval of what every synapse reads, by its name: of a neuron its spikes."""
    proved = bounds(graph)
    sources = {layer.name: graph.node(layer.inputs[0]) for layer in graph.all_synapses}
    return {
        name: Bounds(0, source.max_spikes) if isinstance(source, IntNeuron) else proved[source.name]
        for name, source in sources.items()
    }


def carries(graph: IntGraph) -> dict[str, TensorRole]:
    """What every tensor means, by node name. A pool, a sum and a flatten keep what their first input carries."""
    found: dict[str, TensorRole] = {}
    for node in graph:
        match node:
            case IntConv() | IntConvTranspose() | IntLinear():
                found[node.name] = TensorRole.ACCUMULATOR
            case IntRequant() | IntNeuron(output="potential"):
                found[node.name] = TensorRole.CURRENT
            case IntInput() | IntNeuron():
                found[node.name] = TensorRole.VALUES
            case IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntMatMul() | IntSum() | IntReadout():
                found[node.name] = found[node.inputs[0]]
            case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
                found[node.name] = found[node.inputs[0]]
            case _:
                assert_never(node)
    return found


def _interval(node: IntNode, inputs: list[ChannelBounds], shapes: list[Shape]) -> ChannelBounds:
    """The interval of what a node writes, from those of what it reads and their per-sample shapes."""
    match node:
        case IntInput():
            word = IntType(node.bit_width, node.signed)
            return _constant(node.shape[0], Bounds(word.low, word.high))
        case IntConv():
            return _conv_interval(node, inputs[0].with_zero if any(node.padding) else inputs[0])
        case IntConvTranspose():
            return _conv_interval(node, inputs[0].with_zero)
        case IntLinear():
            return _linear_interval(node, inputs[0])
        case IntRequant():
            return _requant_interval(node, inputs[0])
        case IntNeuron(output="potential"):
            reach = potential_magnitude(node, inputs[0])
            return ChannelBounds(-reach, reach)
        case IntNeuron():
            return _constant(node.shape[0], Bounds(0, node.max_spikes))
        case IntPool(mode="sum"):
            return (inputs[0].with_zero if any(node.padding) else inputs[0]).times(math.prod(node.kernel))
        case IntAdd():
            return reduce(lambda left, right: ChannelBounds(left.low + right.low, left.high + right.high), inputs)
        case IntReadout(mode="sum"):
            return inputs[0].times(MAX_TIME_STEPS)
        case IntMultiply():
            left, right = inputs
            return _product(ChannelBounds(1 - left.high, 1 - left.low) if node.mode == "inhibit" else left, right)
        case IntMatMul():
            left, right = inputs  # of two axes, the rows of the left operand are the channels
            return _product(left, right if len(node.shape) > 2 else _constant(1, right.hull)).times(shapes[0][-1])
        case IntSum(axis=0):
            return ChannelBounds(inputs[0].low.sum(keepdims=True), inputs[0].high.sum(keepdims=True))
        case IntSum():
            return inputs[0].times(shapes[0][node.axis])
        case IntConcat():
            return ChannelBounds(
                *(np.concatenate(ends) for ends in zip(*((b.low, b.high) for b in inputs), strict=True))
            )
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return _rearranged_interval(node, inputs[0])
        case IntPool() | IntReadout():
            return inputs[0]
        case _:
            assert_never(node)


def _rearranged_interval(node: Rearrangement, x: ChannelBounds) -> ChannelBounds:
    """Of a node that moves values; channels that stay apart keep their own interval."""
    match node:
        case IntFlatten() | IntReshape():
            return _reshaped_interval(x, node.shape[0])
        case IntTranspose():
            return x if node.permutation[0] == 0 else _constant(node.shape[0], x.hull)
        case IntSlice():
            return ChannelBounds(x.low[node.start : node.stop], x.high[node.start : node.stop]) if node.axis == 0 else x
        case _:
            assert_never(node)


def _reshaped_interval(x: ChannelBounds, channels: int) -> ChannelBounds:
    """Row-major: a channel that is cut gives its interval to every part; channels that are joined give their hull."""
    before = len(x.low)
    if channels % before == 0:
        return ChannelBounds(np.repeat(x.low, channels // before), np.repeat(x.high, channels // before))
    if before % channels == 0:
        return ChannelBounds(x.low.reshape(channels, -1).min(axis=1), x.high.reshape(channels, -1).max(axis=1))
    return _constant(channels, x.hull)


def _constant(channels: int, interval: Bounds) -> ChannelBounds:
    return ChannelBounds(np.full(channels, interval.low, np.int64), np.full(channels, interval.high, np.int64))


def _conv_interval(node: Synapse, x: ChannelBounds) -> ChannelBounds:
    """high[o] = sum_c high[c] * sum_k max(w, 0) + low[c] * sum_k min(w, 0), c over the channels of o's group."""
    groups, per_out, _ = (rows := weight_rows(node)).shape
    per_group = len(x.low) // groups
    taps = rows.reshape(groups, per_out, per_group, -1)
    low, high = (end.reshape(groups, 1, per_group) for end in (x.low, x.high))
    lowest, highest = np.empty((2, groups, per_out), np.int64)
    some = max(1, _AT_ONCE * per_out // taps.size)
    for outputs in (slice(first, first + some) for first in range(0, per_out, some)):
        positive = np.einsum("gock->goc", np.maximum(taps[:, outputs], 0))  # faster than a sum over so short an axis
        negative = np.einsum("gock->goc", taps[:, outputs]) - positive
        lowest[:, outputs] = (positive * low + negative * high).sum(axis=2)
        highest[:, outputs] = (positive * high + negative * low).sum(axis=2)
    return ChannelBounds(lowest.ravel(), highest.ravel())


def _linear_interval(node: IntLinear, x: ChannelBounds) -> ChannelBounds:
    """As for a convolution; on an input of rank > 1 the channel axis passes through and the last one is summed."""
    if len(node.shape) == 1:
        return _conv_interval(node, x)
    up: IntArray = np.maximum(node.weight, 0).sum(axis=1)
    down: IntArray = np.minimum(node.weight, 0).sum(axis=1)
    lows, highs = x.low[:, None], x.high[:, None]
    return ChannelBounds((lows * up + highs * down).min(axis=1), (highs * up + lows * down).max(axis=1))


def _requant_interval(node: IntRequant, x: ChannelBounds) -> ChannelBounds:
    """The image of both ends, in order, shifted; over all steps where M or B has one row per step."""
    ends = (x.low * node.multiplier + node.bias, x.high * node.multiplier + node.bias)
    low, high = (np.atleast_2d(end) for end in (np.minimum(*ends), np.maximum(*ends)))
    return ChannelBounds(shift_floor(low.min(axis=0), node.shift), shift_floor(high.max(axis=0), node.shift))


def _product(left: ChannelBounds, right: ChannelBounds) -> ChannelBounds:
    """The extremes of the four products of ends; [1] is repeated."""
    products = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    return ChannelBounds(np.minimum.reduce(products), np.maximum.reduce(products))


def potential_magnitude(node: IntNeuron, current: ChannelBounds) -> IntArray:
    """What no potential of a neuron exceeds in size, at any point of a step, [C] (FORMAT.md, "Bounds").

    (D + D_s)*2^(N-1) + |j| + |recurrent| + |c| + |c_s| + |rho|*max_spikes, and no less than |reset_value| and
    |floor_value|.
    """
    stored: IntArray = (node.leak + node.synapse_leak) * 2 ** (node.bit_width - 1)
    added = np.abs(node.drive) + np.abs(node.synapse_drive) + np.abs(node.soft_amount) * node.max_spikes
    size = stored + current.magnitude + added
    if isinstance(node, IntRecurrentNeuron):
        size = size + recurrent_bounds(node).current.magnitude
    set_to = np.maximum(np.abs(node.reset_value), np.abs(node.floor_value))
    largest: IntArray = np.maximum(size, set_to) + np.zeros(node.shape[0], np.int64)
    return largest


@dataclass(frozen=True)
class RecurrentBounds:
    """Proved intervals of a recurrent synapse, by channel: its sums, and its currents in the neuron's unit."""

    accumulator: ChannelBounds
    current: ChannelBounds


def recurrent_bounds(node: IntRecurrentNeuron) -> RecurrentBounds:
    """From spikes in [0, max_spikes]."""
    spikes = _constant(node.shape[0], Bounds(0, node.max_spikes))
    accumulator = _conv_interval(node.recurrent_synapse, spikes)
    ends = [end * node.recurrent_multiplier + node.recurrent_bias for end in (accumulator.low, accumulator.high)]
    low, high = (shift_floor(end, node.recurrent_shift) for end in (np.minimum(*ends), np.maximum(*ends)))
    return RecurrentBounds(accumulator, ChannelBounds(low, high))

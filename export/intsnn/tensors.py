"""What each tensor of an integer graph is: the quantity it carries, its shape, and the interval it is proved in.

Intervals come from the real weights, channel by channel, by interval arithmetic; FORMAT.md, "Bounds", has the table.
Everything here expects a graph whose names and order are right (checking.py asks that first).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import reduce

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType, shift_floor
from intsnn.errors import GraphError
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

MAX_TIME_STEPS = 1024  # a readout that sums is proved for this many steps; event data use a few hundred at most
INT32 = Bounds(IntType(32, signed=True).low, IntType(32, signed=True).high)
_BEYOND_INT32 = 2**31  # intervals are cut here: enough to be seen as out of range, too little to overflow int64


class Carries(Enum):
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
    """The proved interval of every tensor, by node name; a summing readout is taken over MAX_TIME_STEPS steps."""
    return {name: interval.hull for name, interval in channel_bounds(graph).items()}


def channel_bounds(graph: IntGraph) -> dict[str, ChannelBounds]:
    """The proved interval of every channel of every tensor, by node name."""
    found: dict[str, ChannelBounds] = {}
    for node in graph:
        found[node.name] = _interval(node, [found[name] for name in node.inputs]).cut
    return found


def carries(graph: IntGraph) -> dict[str, Carries]:
    """What every tensor means, by node name. A pool, a sum and a flatten keep what their first input carries."""
    found: dict[str, Carries] = {}
    for node in graph:
        match node:
            case IntConv() | IntLinear():
                found[node.name] = Carries.ACCUMULATOR
            case IntRequant():
                found[node.name] = Carries.CURRENT
            case IntInput() | IntNeuron():
                found[node.name] = Carries.VALUES
            case _:
                found[node.name] = found[node.inputs[0]]
    return found


def output_shape(node: IntNode, inputs: tuple[Shape, ...]) -> Shape:
    """The per-sample shape a node writes; GraphError where it cannot read tensors of these shapes."""
    match node:
        case IntInput():
            return node.shape
        case IntConv():
            return _conv_shape(node, inputs[0])
        case IntLinear():
            _require(inputs[0][-1] == node.weight.shape[1], node, f"a weight [O, {inputs[0][-1]}]", node.weight.shape)
            return (*inputs[0][:-1], int(node.weight.shape[0]))
        case IntPool():
            _require(len(inputs[0]) == 3, node, "an input (C, H, W)", inputs[0])
            return (inputs[0][0], *_window_counts(node, inputs[0], node.kernel, (1, 1)))
        case IntFlatten():
            return (math.prod(inputs[0]),)
        case IntAdd():
            _require(len(set(inputs)) == 1, node, "inputs of one shape", *inputs)
            return inputs[0]
        case _:
            return inputs[0]


def _conv_shape(node: IntConv, shape: Shape) -> Shape:
    _require(len(shape) == 3, node, "an input (C, H, W)", shape)
    out_channels, per_group, height, width = (int(size) for size in node.weight.shape)
    expected = f"Ci/groups = {shape[0]}/{node.groups} input channels and Co a multiple of the groups"
    fits = per_group * node.groups == shape[0] and out_channels % node.groups == 0
    _require(fits, node, f"a weight with {expected}", node.weight.shape)
    return (out_channels, *_window_counts(node, shape, (height, width), node.dilation))


def _window_counts(node: IntConv | IntPool, shape: Shape, kernel: Pair, dilation: Pair) -> Pair:
    """floor((size + 2*padding - dilation*(kernel - 1) - 1) / stride) + 1, for height and width."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    room = [size + 2 * p - r for size, p, r in zip(shape[1:], node.padding, reach, strict=True)]
    _require(min(room) >= 0, node, f"an input that holds its window of {reach[0]}x{reach[1]}", shape)
    return room[0] // node.stride[0] + 1, room[1] // node.stride[1] + 1


def _require(holds: bool, node: IntNode, expected: str, *seen: Shape) -> None:
    if not holds:
        raise GraphError(f"node {node.name!r} must have {expected} (got {', '.join(map(str, seen))})")


def _interval(node: IntNode, inputs: list[ChannelBounds]) -> ChannelBounds:
    match node:
        case IntInput():
            word = IntType(node.bit_width, node.signed)
            return _constant(node.shape[0], Bounds(word.low, word.high))
        case IntConv():
            return _conv_interval(node, inputs[0].with_zero if any(node.padding) else inputs[0])
        case IntLinear():
            return _linear_interval(node, inputs[0])
        case IntRequant():
            return _requant_interval(node, inputs[0])
        case IntNeuron():
            return _constant(node.shape[0], Bounds(0, 1))
        case IntPool(mode="sum"):
            return (inputs[0].with_zero if any(node.padding) else inputs[0]).times(math.prod(node.kernel))
        case IntAdd():
            return reduce(lambda left, right: ChannelBounds(left.low + right.low, left.high + right.high), inputs)
        case IntFlatten():
            per_channel = node.shape[0] // len(inputs[0].low)
            return ChannelBounds(np.repeat(inputs[0].low, per_channel), np.repeat(inputs[0].high, per_channel))
        case IntReadout(mode="sum"):
            return inputs[0].times(MAX_TIME_STEPS)
        case _:
            return inputs[0]


def _constant(channels: int, interval: Bounds) -> ChannelBounds:
    return ChannelBounds(np.full(channels, interval.low, np.int64), np.full(channels, interval.high, np.int64))


def _conv_interval(node: IntConv, x: ChannelBounds) -> ChannelBounds:
    """high[o] = sum_c high[c] * sum_k max(w, 0) + low[c] * sum_k min(w, 0), c over the channels of o's group."""
    out_channels, per_group = node.weight.shape[:2]
    group = np.arange(out_channels) // (out_channels // node.groups)
    taps = node.weight.reshape(out_channels, per_group, -1)
    positive, negative = np.maximum(taps, 0).sum(axis=2), np.minimum(taps, 0).sum(axis=2)
    low, high = x.low.reshape(node.groups, per_group)[group], x.high.reshape(node.groups, per_group)[group]
    return ChannelBounds((positive * low + negative * high).sum(axis=1), (positive * high + negative * low).sum(axis=1))


def _linear_interval(node: IntLinear, x: ChannelBounds) -> ChannelBounds:
    """As for a convolution; on an input of rank > 1 the channel axis passes through and the last one is summed."""
    if len(node.shape) == 1:
        rising = node.weight > 0  # a positive weight is lowest where its input is, a negative one where it is highest
        low = (node.weight * np.where(rising, x.low, x.high)).sum(axis=1)
        high = (node.weight * np.where(rising, x.high, x.low)).sum(axis=1)
        return ChannelBounds(low, high)
    up: IntArray = np.maximum(node.weight, 0).sum(axis=1)
    down: IntArray = np.minimum(node.weight, 0).sum(axis=1)
    lows, highs = x.low[:, None], x.high[:, None]
    return ChannelBounds((lows * up + highs * down).min(axis=1), (highs * up + lows * down).max(axis=1))


def _requant_interval(node: IntRequant, x: ChannelBounds) -> ChannelBounds:
    ends = (x.low * node.multiplier + node.bias, x.high * node.multiplier + node.bias)
    return ChannelBounds(shift_floor(np.minimum(*ends), node.shift), shift_floor(np.maximum(*ends), node.shift))

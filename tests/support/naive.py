"""Integer graphs evaluated element by element in Python's integers: nothing of NumPy's broadcasting or windows.

`naive(graph, x)` shares no code with the interpreter; it is FORMAT.md read a second time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from intsnn.arithmetic import IntArray
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

Place = tuple[int, ...]  # within the per-sample shape
Values = dict[tuple[int, ...], int]  # [t, n, *place], or [n, *place] of a readout


@dataclass
class Naive:
    """What one node wrote, and of a neuron its spikes and membranes."""

    output: Values = field(default_factory=dict)
    spikes: Values = field(default_factory=dict)
    membranes: Values = field(default_factory=dict)


def naive(graph: IntGraph, x: IntArray) -> dict[str, Naive]:
    """Every node's tensors from integer input x [T, N, *shape]."""
    time_steps, samples = x.shape[:2]
    shapes = {node.name: node.shape for node in graph}
    found: dict[str, Naive] = {}
    for node in graph:
        read = [_Read(found[name].output, shapes[name]) for name in node.inputs]
        found[node.name] = Naive()
        for n in range(samples):
            state: dict[str, dict[Place, int]] = {"v": {}, "i": {}, "s": {}}
            for t in range(time_steps):
                _step(node, read, x, (t, n), state, found[node.name])
    return found


def as_values(array: IntArray) -> Values:
    """An array as values by index."""
    return dict(zip(itertools.product(*map(range, array.shape)), array.ravel().tolist(), strict=True))


@dataclass
class _Read:
    values: Values
    shape: Shape

    def at(self, tn: tuple[int, int], place: Place) -> int:
        return self.values[(*tn, *place)]

    def or_zero(self, tn: tuple[int, int], place: Place) -> int:
        return self.values.get((*tn, *place), 0)


def _step(
    node: IntNode,
    read: list[_Read],
    x: IntArray,
    tn: tuple[int, int],
    state: dict[str, dict[Place, int]],
    out: Naive,
) -> None:
    places = list(itertools.product(*map(range, node.shape)))
    if isinstance(node, IntNeuron):
        _neuron_step(node, read[0], tn, state, out)
        return
    for place in places:
        key = (*tn, *place)
        if isinstance(node, IntReadout):
            _read_out(node, read[0].at(tn, place), tn, place, out.output)
        elif isinstance(node, IntInput):
            out.output[key] = int(x[key])
        else:
            out.output[key] = _element(node, read, tn, place)


def _element(node: IntNode, read: list[_Read], tn: tuple[int, int], place: Place) -> int:
    match node:
        case IntConv():
            return _conv(node, read[0], tn, place)
        case IntConvTranspose():
            return _conv_transpose(node, read[0], tn, place)
        case IntLinear():
            return sum(int(w) * read[0].at(tn, (*place[:-1], i)) for i, w in enumerate(node.weight[place[-1]]))
        case IntRequant():
            multiplier, bias = _of_step(node.multiplier, tn[0], place), _of_step(node.bias, tn[0], place)
            return (read[0].at(tn, place) * multiplier + bias) // (1 << node.shift)
        case IntPool():
            window = [read[0].values[k] for k in _window(node, tn, place) if k in read[0].values]
            return max(window) if node.mode == "max" else sum(window)
        case IntAdd():
            return sum(part.at(tn, place) for part in read)
        case IntMultiply():
            left, right = (part.at(tn, _repeated(place, part.shape)) for part in read)
            return left * right if node.mode == "product" else (1 - left) * right
        case IntMatMul():
            *heads, row, column = place
            inner = range(read[0].shape[-1])
            return sum(read[0].at(tn, (*heads, row, d)) * read[1].at(tn, (*heads, d, column)) for d in inner)
        case _:
            return _moved(node, read, tn, place)


def _moved(node: IntNode, read: list[_Read], tn: tuple[int, int], place: Place) -> int:
    x = read[0]
    match node:
        case IntConcat():
            first = 0
            for part in read:
                if place[0] < first + part.shape[0]:
                    return part.at(tn, (place[0] - first, *place[1:]))
                first += part.shape[0]
            raise AssertionError(place)
        case IntSum():
            along = (x.at(tn, (*place[: node.axis], k, *place[node.axis + 1 :])) for k in range(x.shape[node.axis]))
            return sum(along)
        case IntTranspose():
            origin = [0] * len(place)
            for axis, source in enumerate(node.permutation):
                origin[source] = place[axis]
            return x.at(tn, tuple(origin))
        case IntSlice():
            return x.at(tn, (*place[: node.axis], place[node.axis] + node.start, *place[node.axis + 1 :]))
        case IntFlatten() | IntReshape():
            return x.at(tn, _unraveled(_raveled(place, node.shape), x.shape))
        case _:
            raise AssertionError(node)


def _raveled(place: Place, shape: Shape) -> int:
    position = 0
    for index, size in zip(place, shape, strict=True):
        position = position * size + index
    return position


def _unraveled(position: int, shape: Shape) -> Place:
    place = []
    for size in reversed(shape):
        place.append(position % size)
        position //= size
    return tuple(reversed(place))


def _repeated(place: Place, shape: Shape) -> Place:
    return tuple(index if size > 1 else 0 for index, size in zip(place, shape, strict=True))


def _channel(values: IntArray, place: Place) -> int:
    return int(values[0] if len(values) == 1 else values[place[0]])


def _of_step(values: IntArray, t: int, place: Place) -> int:
    return _channel(values if values.ndim == 1 else values[t], place)


def _window(node: IntPool, tn: tuple[int, int], place: Place) -> Iterator[tuple[int, ...]]:
    for offsets in itertools.product(*map(range, node.kernel)):
        origin = zip(place[1:], node.stride, node.padding, offsets, strict=True)
        yield (*tn, place[0], *(index * stride - padding + k for index, stride, padding, k in origin))


def _conv(node: IntConv, x: _Read, tn: tuple[int, int], place: Place) -> int:
    kernel = node.weight.shape[2:]
    geometry = (node.stride, node.padding, node.dilation)
    return _correlated(node.weight, node.groups, kernel, geometry, x, tn, place)


def _correlated(
    weight: IntArray,
    groups: int,
    kernel: Sizes,
    geometry: tuple[Sizes, Sizes, Sizes],
    x: _Read,
    tn: tuple[int, int],
    place: Place,
) -> int:
    out_channels, per_group = weight.shape[:2]
    first, total = (place[0] * groups // out_channels) * per_group, 0
    for c, *offsets in itertools.product(range(per_group), *map(range, kernel)):
        numbers = zip(place[1:], offsets, *geometry, strict=True)
        at = [index * stride - padding + k * dilation for index, k, stride, padding, dilation in numbers]
        total += int(weight[(place[0], c, *offsets)]) * x.or_zero(tn, (first + c, *at))
    return total


def _conv_transpose(node: IntConvTranspose, x: _Read, tn: tuple[int, int], place: Place) -> int:
    """Every input value adds its kernel at its place: read backwards from the output."""
    in_channels, per_group = node.weight.shape[:2]
    group, o = divmod(place[0], per_group)
    reads = range(group * in_channels // node.groups, (group + 1) * in_channels // node.groups)
    total = 0
    for c, *offsets in itertools.product(reads, *map(range, node.weight.shape[2:])):
        numbers = zip(place[1:], offsets, node.stride, node.padding, node.dilation, strict=True)
        reached = [(y + padding - k * dilation, stride) for y, k, stride, padding, dilation in numbers]
        if all(position % stride == 0 for position, stride in reached):
            at = tuple(position // stride for position, stride in reached)
            total += int(node.weight[(c, o, *offsets)]) * x.or_zero(tn, (c, *at))
    return total


def _read_out(node: IntReadout, value: int, tn: tuple[int, int], place: Place, out: Values) -> None:
    t, n = tn
    total = (n, *place)
    match node.mode:
        case "steps":
            out[(t, n, *place)] = value
        case "sum":
            out[total] = out.get(total, 0) + value
        case "max":
            out[total] = max(out.get(total, value), value)
        case "last":
            out[total] = value


def _neuron_step(
    node: IntNeuron, current: _Read, tn: tuple[int, int], state: dict[str, dict[Place, int]], out: Naive
) -> None:
    new: dict[str, dict[Place, int]] = {"v": {}, "i": {}, "s": {}}
    for place in itertools.product(*map(range, node.shape)):
        j = current.at(tn, place) + recurrent_current(node, state["s"], place)
        s, potential, v, i = fire(node, j, place, state)
        new["v"][place], new["i"][place], new["s"][place] = v, i, s
        key = (*tn, *place)
        out.spikes[key], out.membranes[key] = s, v
        out.output[key] = s if node.output == "spikes" else potential
    state.update(new)


def recurrent_current(node: IntNeuron, spikes: dict[Place, int], place: Place) -> int:
    """What a recurrent synapse adds to j, from the spikes of the step before."""
    if not isinstance(node, IntRecurrentNeuron):
        return 0
    weight, kernel = node.recurrent_weight, node.recurrent_weight.shape[2:]
    last = _Read({(0, 0, *at): s for at, s in spikes.items()}, node.shape)
    if kernel:
        geometry = ((1,) * len(kernel), tuple(k // 2 for k in kernel), (1,) * len(kernel))
        total = _correlated(weight, node.recurrent_groups, kernel, geometry, last, (0, 0), place)
    else:
        total = sum(int(weight[place[0], c]) * last.or_zero((0, 0), (c,)) for c in range(node.shape[0]))
    product = total * _channel(node.recurrent_multiplier, place) + _channel(node.recurrent_bias, place)
    return product // (1 << node.recurrent_shift)


def fire(node: IntNeuron, j: int, place: Place, state: dict[str, dict[Place, int]]) -> tuple[int, int, int, int]:
    """One step of one neuron: its spikes, potential, stored membrane and stored synaptic state."""

    def of(name: str) -> int:
        return _channel(getattr(node, name), place)

    v, i, last = state["v"].get(place, node.initial), state["i"].get(place, 0), state["s"].get(place, 0)
    y = of("synapse_leak") * i + j + of("synapse_drive")
    x = of("leak") * v + y + of("drive")
    if node.timing == "after_leak":
        x -= of("soft_amount") * last
    if node.timing == "masked" and last:
        x = of("reset_value")
    if node.floor == "before_fire":
        x = max(x, of("floor_value"))
    above = node.rearm == "double" and v * 2**node.guard_bits > of("level")
    s = _spikes(node, x - (of("level") if above else 0), of("threshold"), of("level"))
    if node.timing == "same_step" and s and node.reset == "hard":
        x = of("reset_value")
    if node.timing == "same_step" and node.reset == "soft":
        x -= of("soft_amount") * s
    if node.floor == "after_reset":
        x = max(x, of("floor_value"))
    has_synapse = any(node.synapse_leak.tolist())
    return s, x, _stored(node, x, node.guard_bits), _stored(node, y, node.synapse_shift) if has_synapse else 0


def _spikes(node: IntNeuron, x: int, threshold: int, level: int) -> int:
    if node.spike == "binary":
        return int(x >= threshold)
    ratio = Fraction(x - threshold + level, level)
    levels = math.floor(ratio) if node.spike == "floor" else round(ratio)  # Python rounds a tie to even
    return min(max(levels, 0), node.max_spikes)


def _stored(node: IntNeuron, x: int, shift: int) -> int:
    half = 1 << (node.bit_width - 1)
    return min(max(x // (1 << shift), -half), half - 1)

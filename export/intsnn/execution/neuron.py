"""The neuron over a sequence of currents: FORMAT.md, "Neuron", line by line, in int64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from intsnn.arithmetic import IntArray, divide_half_even, saturate, shift_floor
from intsnn.graph import IntNeuron, IntRecurrentNeuron
from intsnn.graph.windows import Accumulate, exact_sums


@dataclass(frozen=True)
class Firing:
    """A neuron's spikes s, stored membranes v and fine potentials x', all [T, N, *shape]."""

    spikes: IntArray
    membranes: IntArray
    potentials: IntArray


@dataclass(frozen=True)
class _State:
    """What a step leaves to the next one: v, i and s, each [N, *shape]."""

    membrane: IntArray
    synapse: IntArray
    spikes: IntArray


def integrate_and_fire(node: IntNeuron, current: IntArray, *, accumulate: Accumulate = exact_sums) -> Firing:
    """Run the neuron on currents [T, N, *shape]; `accumulate` makes the sums of a recurrent synapse."""
    zero = np.zeros(current.shape[1:], dtype=np.int64)
    state, of = _State(zero + node.initial, zero, zero), _parameters(node)
    spikes, membranes, potentials = (np.empty_like(current) for _ in range(3))
    for t, j in enumerate(current):
        if isinstance(node, IntRecurrentNeuron):
            j = j + recurrent_current(node, state.spikes, accumulate=accumulate)
        y = of("synapse_leak") * state.synapse + j + of("synapse_drive")
        x = _integrated(node, of, y, state)
        s = _fired(node, of, x, state)
        potentials[t] = _after_reset(node, of, x, s)
        state = _State(
            saturate(shift_floor(potentials[t], node.guard_bits), node.bit_width),
            saturate(shift_floor(y, node.synapse_shift), node.bit_width) if node.has_synapse else zero,
            s,
        )
        spikes[t], membranes[t] = s, state.membrane
    return Firing(spikes, membranes, potentials)


def recurrent_current(node: IntRecurrentNeuron, spikes: IntArray, *, accumulate: Accumulate = exact_sums) -> IntArray:
    """((sum q_w * s) * M + B) >> S of the spikes of the step before, [N, *shape]."""
    accumulator = accumulate(node.recurrent_synapse, spikes[None])[0]
    multiplier, bias = (along_channels(v, node.shape) for v in (node.recurrent_multiplier, node.recurrent_bias))
    return shift_floor(accumulator * multiplier + bias, node.recurrent_shift)


def along_channels(values: IntArray, shape: tuple[int, ...]) -> IntArray:
    """[C] or [1] -> an array that broadcasts over [..., *shape]; C is the first axis of the shape."""
    return values.reshape(-1, *(1 for _ in shape[1:]))


_Parameters = Callable[[str], IntArray]


def _parameters(node: IntNeuron) -> _Parameters:
    found = {name: along_channels(getattr(node, name), node.shape) for name in IntNeuron.arrays}
    return found.__getitem__


def _integrated(node: IntNeuron, of: _Parameters, y: IntArray, state: _State) -> IntArray:
    """x: leak and integrate; then the resets of the step before, where they come late; then the floor before firing."""
    x = of("leak") * state.membrane + y + of("drive")
    match node.timing:
        case "after_leak":
            x = x - of("soft_amount") * state.spikes
        case "masked":
            x = np.where(state.spikes > 0, of("reset_value"), x)
        case "same_step":
            pass
        case _:
            assert_never(node.timing)
    return np.maximum(x, of("floor_value")) if node.floor == "before_fire" else x


def _fired(node: IntNeuron, of: _Parameters, x: IntArray, state: _State) -> IntArray:
    threshold, level = of("threshold"), of("level")
    if node.rearm == "double":
        x = x - level * (state.membrane > shift_floor(level, node.guard_bits))
    if node.spike == "binary":
        return (x >= threshold).astype(np.int64)
    above = np.maximum(x - threshold + level, 0)
    levels = above // level if node.spike == "floor" else divide_half_even(above, level)
    return np.minimum(levels, node.max_spikes)


def _after_reset(node: IntNeuron, of: _Parameters, x: IntArray, s: IntArray) -> IntArray:
    if node.timing == "same_step" and node.reset == "hard":
        x = np.where(s > 0, of("reset_value"), x)
    elif node.timing == "same_step" and node.reset == "soft":
        x = x - of("soft_amount") * s
    return np.maximum(x, of("floor_value")) if node.floor == "after_reset" else x

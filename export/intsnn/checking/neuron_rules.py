"""The rules of a neuron that need no proof: what its options can be together, what is unused, what a decay is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intsnn.arithmetic import IntArray, IntType
from intsnn.checking.violations import Violation
from intsnn.graph import IntGraph, IntNeuron, IntRecurrentNeuron

_LATE_RESETS = {"after_leak": "soft", "masked": "hard"}  # what a reset in the next step can be


def neuron_options_fit_together(graph: IntGraph) -> Iterator[Violation]:
    """A late reset is soft (after_leak) or hard (masked); masked and double need binary spikes.

    A double rearm needs a soft reset in the same step; binary spikes have max_spikes 1.
    """
    for node in graph.neurons:
        late = _LATE_RESETS.get(node.timing, node.reset)
        if node.reset != late:
            yield _misfit(node, f"reset must be {late!r} where timing is {node.timing!r}", node.reset)
        if node.spike != "binary" and (node.timing == "masked" or node.rearm == "double"):
            yield _misfit(node, "spike must be 'binary' where timing is 'masked' or rearm is 'double'", node.spike)
        if node.rearm == "double" and (node.reset, node.timing) != ("soft", "same_step"):
            seen = (node.reset, node.timing)
            yield _misfit(node, "reset and timing must be 'soft' and 'same_step' where rearm is 'double'", seen)
        if node.spike == "binary" and node.max_spikes != 1:
            yield _misfit(node, "max_spikes must be 1 where spike is 'binary'", node.max_spikes)


def _misfit(node: IntNeuron, message: str, seen: object) -> Violation:
    return Violation(node.name, f"{message} (got {seen!r})", 'FORMAT.md, "Neuron", has the options that go together')


def unused_parameters_are_zero(graph: IntGraph) -> Iterator[Violation]:
    """What a neuron's options do not read is [0], a shift 0: equal graphs are equal data."""
    for node in graph.neurons:
        for name, used in used_parameters(node).items():
            values = getattr(node, name)
            if not used and not np.array_equal(values, [0]):
                message = f"{name} must be [0] where nothing reads it (got {values.tolist()})"
                yield Violation(node.name, message, f"set {name} to [0], or the option that reads it")
        if not node.has_synapse and node.synapse_shift != 0:
            message = f"synapse_shift must be 0 without a synaptic state (got {node.synapse_shift})"
            yield Violation(node.name, message, "set synapse_shift to 0, or give a synapse_leak")


def used_parameters(node: IntNeuron) -> dict[str, bool]:
    """Whether a neuron's options read each of its optional arrays."""
    return {
        "reset_value": node.reset == "hard",
        "soft_amount": node.reset == "soft",
        "level": node.spike != "binary" or node.rearm == "double",
        "floor_value": node.floor != "none",
        "synapse_leak": node.has_synapse,
        "synapse_drive": node.has_synapse,
    }


def leaks_are_decays(graph: IntGraph) -> Iterator[Violation]:
    """0 <= D <= 2^R and 0 <= D_s <= 2^R_s: what is stored decays, or stays."""
    for node in graph.neurons:
        yield from _no_decay(node, "leak", node.leak, "guard_bits", node.guard_bits)
        yield from _no_decay(node, "synapse_leak", node.synapse_leak, "synapse_shift", node.synapse_shift)


def _no_decay(node: IntNeuron, name: str, leak: IntArray, bits_name: str, bits: int) -> Iterator[Violation]:
    for value in (int(leak.min()), int(leak.max())):
        if not 0 <= value <= 2**bits:
            message = f"{name} must lie in [0, 2^{bits_name} = {2**bits}] (got {value})"
            yield Violation(node.name, message, f"{name} is round(decay * 2^{bits_name})")
            return


def levels_are_positive(graph: IntGraph) -> Iterator[Violation]:
    """Where spikes are counted in levels, or a level is taken off, it is at least 1."""
    for node in graph.neurons:
        if used_parameters(node)["level"] and int(node.level.min()) < 1:
            message = f"level must be at least 1 (got {int(node.level.min())})"
            yield Violation(
                node.name,
                message,
                "level is the threshold in units of scale * 2^-guard_bits: lower the scale, or raise guard_bits",
            )


def initial_membrane_fits_its_word(graph: IntGraph) -> Iterator[Violation]:
    """v(0) is a stored value: it lies in the N-bit word."""
    for node in graph.neurons:
        word = IntType(node.bit_width, signed=True)
        if not word.holds(node.initial, node.initial):
            message = f"initial must lie in [{word.low}, {word.high}] (got {node.initial})"
            yield Violation(node.name, message, "saturate it, or raise bit_width")


def recurrent_weights_keep_the_shape(graph: IntGraph) -> Iterator[Violation]:
    """[C, C] on a (C,) shape, of one group; [C, C/groups, *kernel] with an odd kernel for each axis on a map."""
    for node in graph.of_type(IntRecurrentNeuron):
        channels, seen = node.shape[0], node.recurrent_weight.shape
        per_group = channels // node.recurrent_groups
        kernel = seen[2:]
        fits = seen[:2] == (channels, per_group) and per_group * node.recurrent_groups == channels
        fits = fits and (node.recurrent_groups == 1 or bool(kernel))  # a linear layer has no groups
        if not fits or len(kernel) != len(node.shape) - 1 or any(size % 2 == 0 for size in kernel):
            axes = ", odd" * (len(node.shape) - 1)
            expected = f"[{channels}, {channels}/{node.recurrent_groups}{axes}]"
            message = f"recurrent_weight must have shape {expected} (got {list(seen)})"
            yield Violation(node.name, message, "a recurrent synapse gives back the shape of the neuron")

"""The proofs that no integer of a graph overflows, from the bounds of its tensors and its real weights.

A proof yields a Violation for each node where it fails. A runtime wraps int32 silently, so a graph without these is
refused (FORMAT.md, "Bounds").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import assert_never

import numpy as np

from intsnn.arithmetic import ACCUMULATOR_LIMIT, Bounds, IntArray
from intsnn.checking.violations import Violation
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
)
from intsnn.graph.bounds import INT32, MAX_TIME_STEPS, ChannelBounds, potential_magnitude, recurrent_bounds

CONV_READS = (Bounds(0, 255), Bounds(-128, 127))  # uint8 or int8: the operands ConvInteger has (FORMAT.md, "ONNX")
LINEAR_READS = Bounds(-(2**15), 2**15)  # counts of a pooled map; wider than uint8 takes an int32 product
_HINT_REQUANT = "lower the shift with multiplier and bias, or the weight bits of the layer before"

Proof = Callable[[IntGraph, Mapping[str, ChannelBounds]], Iterator[Violation]]


def operands_fit_their_word(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """A convolution reads [0, 255] or [-128, 127]; a linear layer or a matrix product up to 2^15 either way."""
    for node in graph:
        allowed = _operands(node)
        for name in node.inputs if allowed else ():
            seen = proved[name].hull
            if not any(limit.low <= seen.low and seen.high <= limit.high for limit in allowed):
                words = " or ".join(f"[{limit.low}, {limit.high}]" for limit in allowed)
                message = f"a {node.kind} must read values in {words} (got [{seen.low}, {seen.high}])"
                hint = "pool fewer values, put a neuron in between, or give an input that is pooled fewer bits"
                yield Violation(node.name, message, hint)


def _operands(node: IntNode) -> tuple[Bounds, ...]:
    """The intervals that the operands of a node may lie in; () where int32 operators compute it."""
    match node:
        case IntConv() | IntConvTranspose():
            return CONV_READS
        case IntLinear() | IntMatMul():
            return (LINEAR_READS,)
        case IntInput() | IntRequant() | IntNeuron() | IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntSum():
            return ()
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            return ()
        case _:
            assert_never(node)


def inhibition_reads_binary_spikes(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """(1 - a)*b is (NOT a) AND b only for a in [0, 1]."""
    for node in graph.of_type(IntMultiply):
        seen = proved[node.inputs[0]].hull
        if node.mode == "inhibit" and (seen.low < 0 or seen.high > 1):
            message = f"the first input of an inhibition must lie in [0, 1] (got [{seen.low}, {seen.high}])"
            yield Violation(node.name, message, "let binary spikes inhibit, not counts")


def accumulators_fit_int32(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """Every sum (synapse, pool, addition) lies in int32, which a runtime wraps silently; the readout: its own proof."""
    for node in graph.nodes[:-1]:
        seen = proved[node.name].hull
        if seen.low < INT32.low or seen.high > INT32.high:
            message = f"the result must fit int32 (got [{seen.low}, {seen.high}] or beyond)"
            yield Violation(node.name, message, "lower the weight or input bits of this layer")


def requant_stays_below_the_limit(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """|acc| * |M_c| + |B_c| < 2^30 in every channel: the floor shift adds 2^30 in int32."""
    for node in graph.of_type(IntRequant):
        size = np.atleast_2d(proved[node.inputs[0]].magnitude * np.abs(node.multiplier) + np.abs(node.bias)).max(axis=0)
        yield from _below_limit(node, "|acc|*|M| + |B|", size, _HINT_REQUANT)


def recurrent_currents_stay_below_the_limit(
    graph: IntGraph, proved: Mapping[str, ChannelBounds]
) -> Iterator[Violation]:
    """A recurrent synapse's sum fits int32, and |acc| * |M_c| + |B_c| < 2^30, from spikes up to max_spikes."""
    for node in graph.of_type(IntRecurrentNeuron):
        size = recurrent_bounds(node).accumulator.magnitude
        product = size * np.abs(node.recurrent_multiplier) + np.abs(node.recurrent_bias)
        yield from _below_limit(node, "recurrent |acc|*|M| + |B|", np.maximum(size, product), _HINT_REQUANT)


def membrane_stays_below_the_limit(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """No potential reaches 2^30 at any point of a step, nor what is compared: the floor shift adds 2^30.

    |potential| (tensors.potential_magnitude) + level, and + |theta| where spikes are counted in levels.
    """
    for node in graph.neurons:
        size = potential_magnitude(node, proved[node.inputs[0]]) + node.level
        if node.spike != "binary":
            size = size + np.abs(node.threshold)
        hint = "lower guard_bits or the membrane's bit_width, or the scale of the currents"
        yield from _below_limit(node, "the potential |D*v| + |j| + |c| + |rho|, ...", size, hint)


def _below_limit(node: IntNode, what: str, size: IntArray, hint: str) -> Iterator[Violation]:
    if int(size.max()) >= ACCUMULATOR_LIMIT:
        channel = f", channel {int(size.argmax())}" if size.size > 1 else ""
        yield Violation(node.name, f"{what} must be below 2^30 (got {int(size.max())}{channel})", hint)


def readout_fits_int32(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """A readout that sums fits int32 for MAX_TIME_STEPS steps."""
    seen = proved[graph.output.name].hull
    if seen.low < INT32.low or seen.high > INT32.high:
        magnitude = proved[graph.output.inputs[0]].hull.magnitude
        message = f"its sum over {MAX_TIME_STEPS} steps must fit int32 (got steps of up to {magnitude})"
        yield Violation(graph.output.name, message, "requantize the last layer with a coarser scale")


PROOFS: tuple[Proof, ...] = (
    operands_fit_their_word,
    inhibition_reads_binary_spikes,
    accumulators_fit_int32,
    requant_stays_below_the_limit,
    recurrent_currents_stay_below_the_limit,
    membrane_stays_below_the_limit,
    readout_fits_int32,
)

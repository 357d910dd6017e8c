"""The proofs that no integer of a graph overflows, from the bounds of its tensors and its real weights.

A proof yields a Violation for each node where it fails. A runtime wraps int32 silently, so a graph without these is
refused (FORMAT.md, "Bounds").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from intsnn.arithmetic import ACCUMULATOR_LIMIT, Bounds, IntArray
from intsnn.graph import IntConv, IntGraph, IntNode, IntReadout, IntRequant
from intsnn.rules import Violation
from intsnn.tensors import INT32, MAX_TIME_STEPS, ChannelBounds

CONV_READS = (Bounds(0, 255), Bounds(-128, 127))  # uint8 or int8: the operands ConvInteger has (FORMAT.md, "ONNX")
LINEAR_READS = Bounds(-(2**15), 2**15)  # counts of a pooled map; wider than uint8 takes an int32 product

Proof = Callable[[IntGraph, Mapping[str, ChannelBounds]], Iterator[Violation]]


def synapse_operands_fit_their_word(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """A convolution reads [0, 255] or [-128, 127]; a linear layer reads up to 2^15 either way."""
    for node in graph.synapses:
        seen = proved[node.inputs[0]].hull
        allowed = CONV_READS if isinstance(node, IntConv) else (LINEAR_READS,)
        if not any(limit.low <= seen.low and seen.high <= limit.high for limit in allowed):
            words = " or ".join(f"[{limit.low}, {limit.high}]" for limit in allowed)
            message = f"a {node.kind} must read values in {words} (got [{seen.low}, {seen.high}])"
            yield Violation(node.name, message, "pool fewer values, or put a neuron in between")


def accumulators_fit_int32(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """Every sum (synapse, pool, addition) lies in int32, which a runtime wraps silently."""
    for node in graph:
        seen = proved[node.name].hull
        if not isinstance(node, IntReadout) and (seen.low < INT32.low or seen.high > INT32.high):
            message = f"the result must fit int32 (got [{seen.low}, {seen.high}] or beyond)"
            yield Violation(node.name, message, "lower the weight or input bits of this layer")


def requant_stays_below_the_limit(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """|acc| * |M_c| + |B_c| < 2^30 in every channel: the floor shift adds 2^30 in int32."""
    for node in graph:
        if not isinstance(node, IntRequant):
            continue
        size = proved[node.inputs[0]].magnitude * np.abs(node.multiplier) + np.abs(node.bias)
        hint = "lower the shift with multiplier and bias, or the weight bits of the layer before"
        yield from _below_limit(node, "|acc|*|M| + |B|", size, hint)


def membrane_stays_below_the_limit(graph: IntGraph, proved: Mapping[str, ChannelBounds]) -> Iterator[Violation]:
    """|D|*2^(N-1) + |j| + |c| + |rho| < 2^30 in every channel (and |reset_value|): the floor shift adds 2^30."""
    for node in graph.neurons:
        stored = node.leak * 2 ** (node.bit_width - 1)
        size = stored + proved[node.inputs[0]].magnitude + np.abs(node.drive) + np.abs(node.soft_amount)
        hint = "lower guard_bits or the membrane's bit_width, or the scale of the currents"
        yield from _below_limit(node, "|D*v| + |j| + |c| + |rho|", size, hint)
        yield from _below_limit(node, "|reset_value|", np.abs(node.reset_value), hint)


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
    synapse_operands_fit_their_word,
    accumulators_fit_int32,
    requant_stays_below_the_limit,
    membrane_stays_below_the_limit,
    readout_fits_int32,
)

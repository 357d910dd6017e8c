"""A mapped graph -> how long each node is busy in one inference. One function for each schedule rule.

layer_by_layer: nothing overlaps. In each of T steps every node runs once, after the one before it. M columns share a
converter; an array read is rounded up to whole clocks:

    weight layer   positions * input bits * (t_read + M*t_convert + one clock to accumulate)
    neuron, pool, sum, readout   ceil(elements / lanes) clocks
    requantization   0: a pipeline stage of the node that reads it
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from intsnn.hardware.items import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping


@dataclass(frozen=True)
class Busy:
    """Time a node takes in one inference, ns. Latency is the sum over nodes: nothing overlaps."""

    node: str
    time_ns: float


def schedule(mapping: Mapping, *, time_steps: int) -> tuple[Busy, ...]:
    """Busy time of every node under the hardware's own rule."""
    match mapping.hardware.schedule.rule:
        case "layer_by_layer":
            return _layer_by_layer(mapping, time_steps)
        case rule:
            assert_never(rule)


def _layer_by_layer(mapping: Mapping, time_steps: int) -> tuple[Busy, ...]:
    read_ns, clock_ns = array_read_ns(mapping.hardware), mapping.hardware.technology.clock_ns
    arrays = [Busy(layer.name, time_steps * layer.positions * layer.input_bits * read_ns) for layer in mapping.layers]
    digital = [Busy(node.name, time_steps * node.clocks * clock_ns) for node in mapping.digital]
    return (*arrays, *digital)


def array_read_ns(hardware: HardwareSpec) -> float:
    """One read of an array, all its columns converted and accumulated, in whole clocks, ns."""
    convert_ns = hardware.crossbar.column_mux * hardware.latency_ns(Item.ADC_CONVERSION)
    clock_ns = hardware.technology.clock_ns
    busy_ns = hardware.latency_ns(Item.CELL_READ) + convert_ns + clock_ns
    return math.ceil(busy_ns / clock_ns - 1e-9) * clock_ns  # 1e-9: a sum that is whole up to rounding is whole

"""A mapped graph and its activity -> how often each item happens, per node and step, and how many of each are built.

Counting only: no energy, no area. Per weight layer and step, with p positions, b input bits (one after another),
K_a arrays per PE, N_r, N_c blocks, S slices, P polarities, `columns` = Co*S*P, and `pulses` from the activity:

    row_activation       pulses * N_c
    cell_read            pulses * (Co/G)*S*P
    adc_conversion       p*b*columns*K_a * sum over row blocks of a;  a = 1, or with gating a = 1 - (1-r)^rows
    mux_switch           adc_conversion
    partial_sum_add      adc_conversion - p*b*columns, at least 0;  partial_sum_store the same
    shift_add            p*Co*P*(S*b - 1)
    popcount_add         pulses + p*G*(b - 1) (offset), 0 (differential)
    sign_subtract        p*Co
    buffer_write         inputs*b;  buffer_read  p*K*Ci*b, or inputs*b with a line buffer
    spike_transfer       hops * (bitmap: inputs*b | address_event: active*(address bits + b where b > 1))
    partial_sum_transfer p*b*columns*(active row blocks - 1) * partial-sum bits

r = pulses / (p*K*Ci*b) is the chance that a row is active; gating takes rows as independent. Widths: partial sums
ADC bits + ceil(log2(K_a*N_r)); shifted sums (S-1)*cell bits + b - 1 more; row counts the word of K*Ci/G; addresses
ceil(log2(inputs)), at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity, SynapseActivity
from intsnn.arithmetic import Bounds
from intsnn.errors import HardwareError
from intsnn.hardware.items import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.hardware.words import word_bits
from intsnn.mapping import DigitalMapping, LayerMapping, Mapping

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EventCount:
    """How often an item happens at a node in each step, mean per sample; `bits` where its cost depends on a width."""

    node: str
    item: Item
    bits: float | None
    steps: tuple[float, ...]

    @property
    def total(self) -> float:
        """Over all steps."""
        return math.fsum(self.steps)


@dataclass(frozen=True)
class InstanceCount:
    """How many of an item are built for a node."""

    node: str
    item: Item
    bits: float | None
    count: int


@dataclass(frozen=True)
class EventCounts:
    """Every event of one inference, and every instance of the chip."""

    time_steps: int
    events: tuple[EventCount, ...]
    instances: tuple[InstanceCount, ...]

    def total(self, item: Item) -> float:
        """Events of an item over all nodes and steps."""
        return math.fsum(event.total for event in self.events if event.item is item)

    def built(self, item: Item) -> int:
        """Instances of an item on the chip."""
        return sum(instance.count for instance in self.instances if instance.item is item)


def count(mapping: Mapping, activity: Activity) -> EventCounts:
    """Count the events of `activity.time_steps` steps and the instances of the mapping.

    Raises:
        HardwareError: the activity belongs to another graph.
    """
    steps = activity.time_steps
    events = [event for layer in mapping.layers for event in _layer_events(layer, mapping.hardware, activity)]
    events += [event for node in mapping.digital for event in _digital_events(node, steps)]
    instances = [built for layer in mapping.layers for built in _layer_instances(layer, mapping.hardware)]
    instances += [built for node in mapping.digital for built in _digital_instances(node)]
    return EventCounts(steps, tuple(events), tuple(instances))


def _layer_events(layer: LayerMapping, hardware: HardwareSpec, activity: Activity) -> Iterator[EventCount]:
    seen = activity.synapse(layer.name)
    if seen.size != layer.inputs:
        raise HardwareError(
            f"the activity of {layer.name!r} must be of {layer.inputs} inputs (got {seen.size})",
            hints=["measure the activity again on this graph"],
        )
    counts = {
        **_crossbar_counts(layer, seen),
        **_conversion_counts(layer, hardware, seen),
        **_correction_counts(layer, seen),
        **_movement_counts(layer, hardware, seen),
    }
    for item, steps in counts.items():
        if np.any(steps):
            yield EventCount(layer.name, item, _layer_bits(item, layer, hardware), tuple(steps.tolist()))


def _crossbar_counts(layer: LayerMapping, seen: SynapseActivity) -> dict[Item, FloatArray]:
    pulses = np.array(seen.row_pulses)
    return {
        Item.ROW_ACTIVATION: pulses * layer.column_blocks,
        Item.CELL_READ: pulses * (layer.out_per_group * layer.slices * layer.polarity),
    }


def _conversion_counts(layer: LayerMapping, hardware: HardwareSpec, seen: SynapseActivity) -> dict[Item, FloatArray]:
    reads = layer.positions * layer.input_bits * layer.columns
    conversions = reads * layer.array_kernel * _active_blocks(layer, hardware, seen, layer.groups_per_array)
    additions = np.maximum(0.0, conversions - reads)
    pe_rows = layer.groups_per_array * layer.array_kernel  # a PE is idle only if all its arrays are
    passed_on = np.maximum(0.0, _active_blocks(layer, hardware, seen, pe_rows) - 1)
    return {
        Item.ADC_CONVERSION: conversions,
        Item.MUX_SWITCH: conversions,
        Item.PARTIAL_SUM_ADD: additions,
        Item.PARTIAL_SUM_STORE: additions,
        Item.PARTIAL_SUM_TRANSFER: reads * passed_on * partial_sum_bits(layer, hardware),
    }


def _active_blocks(layer: LayerMapping, hardware: HardwareSpec, seen: SynapseActivity, row_multiple: int) -> FloatArray:
    """Expected number of row blocks with an active row, [T]; each block spans its rows times `row_multiple`."""
    rate = row_rate(layer, seen)
    if hardware.crossbar.gating == "none":
        return np.full_like(rate, layer.row_blocks)
    return np.asarray(sum(1 - (1 - rate) ** (rows * row_multiple) for rows in layer.rows))


def row_rate(layer: LayerMapping, seen: SynapseActivity) -> FloatArray:
    """r = pulses / (p*K*Ci*b): the share of row reads that carry a pulse, [T]."""
    places = layer.positions * layer.kernel * layer.groups * layer.in_per_group * layer.input_bits
    return np.array(seen.row_pulses) / places


def _correction_counts(layer: LayerMapping, seen: SynapseActivity) -> dict[Item, FloatArray]:
    pulses = np.array(seen.row_pulses)
    per_sign = layer.positions * layer.out_channels * layer.polarity
    joined_bits = layer.positions * layer.groups * (layer.input_bits - 1)
    counts = {
        Item.SHIFT_ADD: np.full_like(pulses, per_sign * (layer.slices * layer.input_bits - 1)),
        Item.SIGN_SUBTRACT: np.full_like(pulses, layer.positions * layer.out_channels),
    }
    return counts if layer.polarity == 2 else {**counts, Item.POPCOUNT_ADD: pulses + joined_bits}


def _movement_counts(layer: LayerMapping, hardware: HardwareSpec, seen: SynapseActivity) -> dict[Item, FloatArray]:
    active, bits = np.array(seen.active_inputs), layer.input_bits
    once = layer.inputs * bits
    every_window = layer.positions * layer.kernel * layer.groups * layer.in_per_group * bits
    read = once if hardware.buffers.input_reuse == "line_buffer" else every_window
    return {
        Item.BUFFER_WRITE: np.full_like(active, once),
        Item.BUFFER_READ: np.full_like(active, read),
        Item.SPIKE_TRANSFER: hardware.interconnect.hops * _moved_bits(layer, hardware, active),
    }


def _moved_bits(layer: LayerMapping, hardware: HardwareSpec, active: FloatArray) -> FloatArray:
    payload = layer.input_bits if layer.input_bits > 1 else 0
    address = max(1, math.ceil(math.log2(layer.inputs)))
    bitmap, addressed = np.full_like(active, layer.inputs * layer.input_bits), active * (address + payload)
    match hardware.interconnect.encoding:
        case "bitmap":
            return bitmap
        case "address_event":
            return addressed
        case "smaller":
            return np.minimum(bitmap, addressed)


def partial_sum_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of a sum of column codes over a layer's arrays: ADC bits + ceil(log2(K_a*N_r))."""
    return hardware.crossbar.resolution + math.ceil(math.log2(layer.array_kernel * layer.row_blocks))


def _layer_bits(item: Item, layer: LayerMapping, hardware: HardwareSpec) -> float | None:
    summed = partial_sum_bits(layer, hardware)
    joined = summed + (layer.slices - 1) * hardware.crossbar.cell.bits + layer.input_bits - 1
    widths = {
        Item.ADC_CONVERSION: hardware.crossbar.resolution,
        Item.PARTIAL_SUM_ADD: summed,
        Item.PARTIAL_SUM_STORE: summed,
        Item.SHIFT_ADD: joined,
        Item.SIGN_SUBTRACT: joined,
        Item.POPCOUNT_ADD: word_bits(Bounds(0, layer.kernel * layer.in_per_group)),
    }
    return widths.get(item)


def _layer_instances(layer: LayerMapping, hardware: HardwareSpec) -> Iterator[InstanceCount]:
    crossbar, arrays = hardware.crossbar, layer.arrays
    converters = arrays * crossbar.converters
    summing = converters if layer.array_kernel * layer.row_blocks > 1 else 0
    counts = {
        Item.ROW_ACTIVATION: arrays * crossbar.rows,
        Item.CELL_READ: arrays * crossbar.rows * crossbar.columns,
        Item.ADC_CONVERSION: converters,
        Item.MUX_SWITCH: converters,
        Item.PARTIAL_SUM_ADD: summing,
        Item.PARTIAL_SUM_STORE: summing,
        Item.SHIFT_ADD: converters if layer.slices * layer.input_bits > 1 else 0,
        Item.SIGN_SUBTRACT: converters,
        Item.POPCOUNT_ADD: (crossbar.rows - 1) * (arrays // layer.column_blocks) if layer.polarity == 1 else 0,
        Item.BUFFER_BIT: layer.inputs * layer.input_bits,
        Item.TILE: layer.tiles,
    }
    for item, number in counts.items():
        if number:
            yield InstanceCount(layer.name, item, _layer_bits(item, layer, hardware), number)


def _digital_events(node: DigitalMapping, time_steps: int) -> Iterator[EventCount]:
    for operation in node.operations:
        if operation.per_element:
            each = float(node.elements * operation.per_element)
            yield EventCount(node.name, operation.item, operation.bits, (each,) * time_steps)
    moved = {
        Item.MEMBRANE_READ: node.state_bits,
        Item.MEMBRANE_WRITE: node.state_bits,
        Item.BUFFER_WRITE: node.waiting_bits,
        Item.BUFFER_READ: node.waiting_bits,
    }
    for item, bits in moved.items():
        if bits:
            yield EventCount(node.name, item, None, (float(node.elements * bits),) * time_steps)


def _digital_instances(node: DigitalMapping) -> Iterator[InstanceCount]:
    for operation in node.operations:
        if operation.per_element:
            yield InstanceCount(node.name, operation.item, operation.bits, node.lanes * operation.per_element)
    for item, bits in ((Item.MEMBRANE_BIT, node.state_bits), (Item.BUFFER_BIT, node.waiting_bits)):
        if bits:
            yield InstanceCount(node.name, item, None, node.elements * bits)

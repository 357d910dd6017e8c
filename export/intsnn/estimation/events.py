"""A mapped graph and its activity -> how often each item happens, per node and step.

Counting only: no energy, no area; what is built: instances.py. Per synapse and step, with p positions, b input bits
(one after another), K_a arrays per PE, N_r, N_c blocks, S slices, P polarities, P_c codes of a slice, and `pulses` from
the activity:

    row_activation       pulses * N_c
    cell_read            pulses * (Co/G)*S*P
    column reads         array reads * (Co/G)*S*P_c; array reads p*b*G*K_a*N_r, or those that gating leaves (gating.py)
    words                (Co/G)*S*P_c of an array read, or (Co/G)*P_c where slices are joined at the array
    adc_conversion       column reads, and mux_switch the same; none where the columns are summed digitally
    adder_tree_add       column reads * (X_r - 1), where adder trees read the columns: every adder counts as switching
    accumulate_add       pulses * (Co/G)*P_c, where accumulators read active rows alone;  accumulate_store the same
    partial_sum_add      (array reads - outputs that have one) * words;  partial_sum_store the same
    shift_add            p*Co*P_c*(S*b - 1), or where slices are joined at the array
                         array reads * (Co/G)*P_c*(S - 1) + p*Co*P_c*(b - 1); an accumulator adds weights whole: S = 1
    popcount_add         pulses + p*G*(b - 1) (offset), 0 (all others)
    sign_subtract        p*Co (offset, differential); 0 where currents are subtracted, or the sign bit has its column
    buffer_write         inputs*b;  buffer_read  windows*K*Ci*b, or inputs*b with a line buffer
    spike_transfer       hops * (bitmap: inputs*b | address_event: active*(address bits + b where b > 1));
                         from a global buffer as often as inputs are read: buffer_read / buffer_write times as much
    pe_transfer          where K_a > 1: windows*K*Ci*b*N_c, the inputs of every array, + array reads * words * word bits
    partial_sum_transfer hops * (PE reads - outputs that have one) * words * partial-sum bits

A layer whose sums are held (`held_steps`) does all of this in the first step alone, and more:

    buffer_write         p*Co*sum bits, in the first step;  buffer_read the same in each of the others

A digital node of e elements takes e * operations of each kind; its state words are read and written once, waiting
operands written once and read as often as its products need them; what it multiplies moves as a layer's input does.
Where membranes are fused, the additions and comparisons of a neuron happen in the memory of its
words, each a `membrane_operation`: one after another: no word is read or written apart.
A row of a norm by step is read from its table once in a step. Every product of a matrix product counts, active or not.

Copies of a layer share its work, so events do not depend on D. An idle array sends nothing, but must be sent its inputs
to be known as idle. What reloading adds: loading.py. Widths: sum_widths.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity, ProductActivity, SynapseActivity
from intsnn.errors import HardwareError
from intsnn.estimation.counts import EventCount, EventCounts
from intsnn.estimation.gating import Reads, converted_reads
from intsnn.estimation.instances import count_instances, width_of
from intsnn.estimation.loading import hops_of, reload_events
from intsnn.estimation.sum_widths import held_bits, layer_bits, partial_sum_bits, sent_bits
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Crossbar, Encoding
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import DigitalMapping, LayerMapping, Mapping

FloatArray = npt.NDArray[np.float64]


def count(mapping: Mapping, activity: Activity) -> EventCounts:
    """Count the events of `activity.time_steps` steps and the instances of the mapping.

    Raises:
        HardwareError: the activity belongs to another graph.
    """
    events = tuple(count_events(mapping, activity))
    return EventCounts(activity.time_steps, events, tuple(count_instances(mapping, activity.time_steps)))


def count_events(mapping: Mapping, activity: Activity) -> Iterator[EventCount]:
    """What happens. It does not depend on the sharing of converters, nor on copies unless hops are a mesh's.

    Where layers take turns it depends on the array budget.
    """
    for layer in mapping.layers:
        yield from _layer_events(layer, mapping, activity)
    for node in mapping.digital:
        yield from _digital_events(node, activity.time_steps)
        if node.pairs:
            yield _operand_transfer(node, mapping, activity.product(node.name))
    if mapping.reload is not None:
        yield from reload_events(mapping, mapping.reload, activity.time_steps)


def _layer_events(layer: LayerMapping, mapping: Mapping, activity: Activity) -> Iterator[EventCount]:
    hardware = mapping.hardware
    seen = activity.synapse(layer.name)
    if seen.size != layer.inputs:
        raise HardwareError(
            f"the activity of {layer.name!r} must be of {layer.inputs} inputs (got {seen.size})",
            hints=["measure the activity again on this graph"],
        )
    counts = {
        **_crossbar_counts(layer, seen),
        **_conversion_counts(layer, hardware, seen),
        **_correction_counts(layer, hardware.crossbar.encoding, seen),
        **_movement_counts(layer, hardware, seen, input_hops=hops_of(hardware, mapping.tiles)),
    }
    if layer.held_steps > 1:
        counts = _read_once(counts, held_bits(layer, hardware))
    widths = layer_bits(layer, hardware)
    for item, steps in counts.items():
        if steps.any():
            yield EventCount(layer.name, item, widths.get(item), tuple(steps.tolist()))


def _read_once(counts: dict[Item, FloatArray], held: int) -> dict[Item, FloatArray]:
    """Everything in the first step; its sums, of so many bits, wait in a buffer for the other steps."""
    first = np.zeros_like(counts[Item.BUFFER_WRITE])
    first[0] = 1.0
    once = {item: steps * first for item, steps in counts.items()}
    once[Item.BUFFER_WRITE] += held * first
    once[Item.BUFFER_READ] += held * (1 - first)
    return once


def _crossbar_counts(layer: LayerMapping, seen: SynapseActivity) -> dict[Item, FloatArray]:
    pulses = np.array(seen.row_pulses)
    return {
        Item.ROW_ACTIVATION: pulses * layer.column_blocks,
        Item.CELL_READ: pulses * (layer.out_per_group * layer.slices * layer.polarity),
    }


def _conversion_counts(layer: LayerMapping, hardware: HardwareSpec, seen: SynapseActivity) -> dict[Item, FloatArray]:
    crossbar, columns = hardware.crossbar, layer.converted
    reads = converted_reads(layer, seen, crossbar.gating)
    column_reads = reads.arrays * columns
    words = columns if crossbar.joining == "after_sum" else layer.out_per_group * layer.codes
    additions = (reads.arrays - reads.outputs) * words
    hops = 1.0 if hardware.interconnect.hops != "mesh" else hops_of(hardware, layer.tiles)
    counts = {
        Item.PARTIAL_SUM_ADD: additions,
        Item.PARTIAL_SUM_STORE: additions,
        Item.PE_TRANSFER: _bus_bits(layer, reads.arrays * words * sent_bits(layer, hardware)),
        Item.PARTIAL_SUM_TRANSFER: hops * (reads.pes - reads.outputs) * words * partial_sum_bits(layer, hardware),
        Item.SHIFT_ADD: _joins(layer, crossbar, reads),
    }
    match crossbar.readout:
        case "converter":
            return {Item.ADC_CONVERSION: column_reads, Item.MUX_SWITCH: column_reads, **counts}
        case "adder_tree":
            return {Item.ADDER_TREE_ADD: column_reads * (crossbar.rows - 1), **counts}
        case "accumulator":
            weights = np.array(seen.row_pulses) * (layer.out_per_group * layer.codes)
            return {Item.ACCUMULATE_ADD: weights, Item.ACCUMULATE_STORE: weights, **counts}
        case readout:
            assert_never(readout)


def _bus_bits(layer: LayerMapping, sent: FloatArray) -> FloatArray:
    """Bits on the buses of PEs: inputs of every array, and what arrays send. A PE of one array has no bus."""
    return sent + _window_bits(layer) * layer.column_blocks if layer.array_kernel > 1 else np.zeros_like(sent)


def _joins(layer: LayerMapping, crossbar: Crossbar, reads: Reads) -> FloatArray:
    """Shifted additions: of the slices, after the sum or at every array, and of the input bits, once for an output."""
    outputs = layer.positions * layer.out_channels * layer.codes
    match crossbar.joining:
        case "after_sum":
            return np.full_like(reads.outputs, outputs * (layer.slices * layer.input_bits - 1))
        case "at_array":
            shifted = 0 if crossbar.readout == "accumulator" else layer.slices - 1
            at_arrays = reads.arrays * (layer.out_per_group * layer.codes * shifted)
            return at_arrays + outputs * (layer.input_bits - 1)
        case joining:
            assert_never(joining)


def _correction_counts(layer: LayerMapping, encoding: Encoding, seen: SynapseActivity) -> dict[Item, FloatArray]:
    pulses = np.array(seen.row_pulses)
    subtractions = np.full_like(pulses, layer.positions * layer.out_channels)
    match encoding:
        case "offset":
            joined_bits = layer.positions * layer.groups * (layer.input_bits - 1)
            return {Item.SIGN_SUBTRACT: subtractions, Item.POPCOUNT_ADD: pulses + joined_bits}
        case "differential":
            return {Item.SIGN_SUBTRACT: subtractions}
        case "analog_differential" | "twos_complement":
            return {}
        case _:
            assert_never(encoding)


def _movement_counts(
    layer: LayerMapping, hardware: HardwareSpec, seen: SynapseActivity, *, input_hops: float
) -> dict[Item, FloatArray]:
    active, bits = np.array(seen.active_inputs), layer.input_bits
    once = layer.inputs * bits
    read = once if hardware.buffers.input_reuse == "line_buffer" else _window_bits(layer)
    journeys = 1.0 if hardware.buffers.place == "local" else read / once
    return {
        Item.BUFFER_WRITE: np.full_like(active, once),
        Item.BUFFER_READ: np.full_like(active, read),
        Item.SPIKE_TRANSFER: input_hops * journeys * _moved_bits(hardware, layer.inputs, bits, active),
    }


def _window_bits(layer: LayerMapping) -> int:
    """Input bits of all places at which the kernel is applied."""
    return layer.windows * layer.kernel * layer.groups * layer.in_per_group * layer.input_bits


def _moved_bits(hardware: HardwareSpec, values: int, bits: int, active: FloatArray) -> FloatArray:
    """Bits that `values` words of `bits` take on the way, `active` of them not 0."""
    payload = bits if bits > 1 else 0
    address = max(1, math.ceil(math.log2(values)))
    bitmap, addressed = np.full_like(active, values * bits), active * (address + payload)
    match hardware.interconnect.encoding:
        case "bitmap":
            return bitmap
        case "address_event":
            return addressed
        case "smaller":
            return np.minimum(bitmap, addressed)
        case encoding:
            assert_never(encoding)


def _digital_events(node: DigitalMapping, time_steps: int) -> Iterator[EventCount]:
    for operation in node.operations:
        if operation.per_element:
            each = float(node.elements * operation.per_element)
            yield EventCount(node.name, operation.item, width_of(operation), (each,) * time_steps)
    moved = {
        Item.MEMBRANE_READ: 0 if node.in_memory else node.elements * node.state_bits,
        Item.MEMBRANE_WRITE: 0 if node.in_memory else node.elements * node.state_bits,
        Item.BUFFER_WRITE: node.waiting_bits,
        Item.BUFFER_READ: sum(one.values * one.bits * one.reads for one in node.operands) + node.table.row_bits,
    }
    for item, bits in moved.items():
        if bits:
            yield EventCount(node.name, item, None, (float(bits),) * time_steps)


def _operand_transfer(node: DigitalMapping, mapping: Mapping, seen: ProductActivity) -> EventCount:
    """Both operands on their way to a matrix product."""
    hardware, bits = mapping.hardware, np.zeros(len(seen.active_pairs))
    for one, size, active in zip(node.operands, seen.sizes, (seen.active_left, seen.active_right), strict=True):
        if size != one.values:
            raise HardwareError(
                f"the activity of {node.name!r} must be of {one.values} values (got {size})",
                hints=["measure the activity again on this graph"],
            )
        journeys = 1 if hardware.buffers.place == "local" else one.reads
        bits = bits + journeys * _moved_bits(hardware, one.values, one.bits, np.array(active))
    steps = hops_of(hardware, mapping.tiles) * bits
    return EventCount(node.name, Item.SPIKE_TRANSFER, None, tuple(steps.tolist()))

"""Mapped layers and their activity -> how often each of their items happens, of all layers side by side.

The equations stand in events.py. A table [L, T] has a row for each layer and a column for each step; what does not
change from step to step is a column [L, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as ByItem
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity, SynapseActivity
from intsnn.arithmetic import IntArray
from intsnn.errors import HardwareError
from intsnn.estimation.counts import EventCount
from intsnn.estimation.gating import converted_reads, every_read_of
from intsnn.estimation.loading import hops_of
from intsnn.estimation.sum_widths import Words, held_bits, item_bits, words_of
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Crossbar, Encoding, Gating
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping, Mapping

FloatArray = npt.NDArray[np.float64]
Counts = dict[Item, FloatArray]


def count_layer_events(mapping: Mapping, activity: Activity) -> Iterator[EventCount]:
    """What happens for the synapses: whether they take turns does not matter, nor does what is not of the crossbars.

    Raises:
        HardwareError: the activity belongs to another graph.
    """
    found = layer_events(mapping, activity)
    tables = {item: table.tolist() for item, table in found.counts.items()}
    for index, layer in enumerate(mapping.layers):
        for item, rows in tables.items():
            if any(rows[index]):
                bits = found.bits[item][index] if item in found.bits else None
                yield EventCount(layer.name, item, bits, tuple(rows[index]))


@dataclass(frozen=True)
class LayerEvents:
    """Events of all layers side by side: of each item [L, T], and its width at each layer, where its cost has one."""

    counts: Counts
    bits: ByItem[Item, tuple[float, ...]]


def layer_events(mapping: Mapping, activity: Activity) -> LayerEvents:
    """What `count_layer_events` counts, without a record for each."""
    layers, hardware = mapping.layers, mapping.hardware
    seen = [_seen_by(layer, activity) for layer in layers]
    words = words_of(layers, hardware)
    columns = _Columns.of(layers, words)
    counts = _counts(columns, layers, hardware, seen, input_hops=hops_of(hardware, mapping.tiles))
    return LayerEvents(counts, item_bits(layers, hardware, words))


def moved_bits(
    encoding: Literal["bitmap", "address_event", "smaller"],
    values: int | IntArray,
    bits: int | IntArray,
    active: FloatArray,
) -> FloatArray:
    """Bits that `values` words of `bits` take on the way, `active` of them not 0, [..., T]."""
    payload = np.where(np.greater(bits, 1), bits, 0)
    addressed = active * (_address_bits(values) + payload)
    bitmap = np.full_like(active, values * bits)
    match encoding:
        case "bitmap":
            return bitmap
        case "address_event":
            return addressed
        case "smaller":
            return np.minimum(bitmap, addressed)
        case _:
            assert_never(encoding)


def _address_bits(values: int | IntArray) -> IntArray:
    """ceil(log2) of each, at least 1."""
    found = [max(1, (number - 1).bit_length()) for number in np.ravel(values).tolist()]
    return np.array(found, dtype=np.int64).reshape(np.shape(values))


def _seen_by(layer: LayerMapping, activity: Activity) -> SynapseActivity:
    seen = activity.synapse(layer.name)
    if seen.size != layer.inputs:
        raise HardwareError(
            f"the activity of {layer.name!r} must be of {layer.inputs} inputs (got {seen.size})",
            hints=["measure the activity again on this graph"],
        )
    return seen


@dataclass(frozen=True)
class _Columns:
    """What the equations take of each layer, [L, 1].

    Letters of events.py: positions p; outputs p*Co*P_c; groups G; input_bits b; slices S; codes P_c; array_kernel K_a;
    column_blocks N_c; cells (Co/G)*S*P; converted (Co/G)*S*P_c; joined (Co/G)*P_c; inputs; window_bits
    windows*K*Ci*b; summed p*Co; sent, partial: bits of a word that is sent, and of a partial sum.
    """

    positions: IntArray
    groups: IntArray
    input_bits: IntArray
    slices: IntArray
    codes: IntArray
    array_kernel: IntArray
    column_blocks: IntArray
    cells: IntArray
    converted: IntArray
    joined: IntArray
    inputs: IntArray
    window_bits: IntArray
    summed: IntArray
    sent: IntArray
    partial: IntArray

    @classmethod
    def of(cls, layers: Sequence[LayerMapping], words: Sequence[Words]) -> _Columns:
        """Of some layers."""
        rows = [
            (
                *(one.positions, one.groups, one.input_bits, one.slices, one.codes, one.array_kernel),
                one.column_blocks,
                one.out_per_group * one.slices * one.polarity,
                one.converted,
                one.out_per_group * one.codes,
                one.inputs,
                one.windows * one.kernel * one.groups * one.in_per_group * one.input_bits,
                one.positions * one.out_channels,
                word.sent,
                word.partial,
            )
            for one, word in zip(layers, words, strict=True)
        ]
        return cls(*np.array(rows, dtype=np.int64).T[:, :, None])


@dataclass(frozen=True)
class _Reads:
    """Reads whose columns are converted (gating.py), [L, T]: of arrays, of PEs, and outputs with at least one."""

    arrays: FloatArray
    pes: FloatArray
    outputs: FloatArray

    @classmethod
    def of(cls, layers: Sequence[LayerMapping], seen: Sequence[SynapseActivity], gating: Gating) -> _Reads:
        """Of some layers under a gating."""
        if gating == "none":
            every = every_read_of(layers, len(seen[0].row_pulses))
            return cls(every.arrays, every.pes, every.outputs)
        each = [converted_reads(layer, one, gating) for layer, one in zip(layers, seen, strict=True)]
        return cls(*np.array([(one.arrays, one.pes, one.outputs) for one in each]).swapaxes(0, 1))


def _counts(
    columns: _Columns,
    layers: Sequence[LayerMapping],
    hardware: HardwareSpec,
    seen: Sequence[SynapseActivity],
    *,
    input_hops: float,
) -> Counts:
    """Every item, [L, T]."""
    crossbar = hardware.crossbar
    pulses = np.array([one.row_pulses for one in seen])
    active = np.array([one.active_inputs for one in seen])
    reads = _Reads.of(layers, seen, crossbar.gating)
    hops = [hops_of(hardware, one.tiles) if hardware.interconnect.hops == "mesh" else 1.0 for one in layers]
    counts: Counts = {
        Item.ROW_ACTIVATION: pulses * columns.column_blocks,
        Item.CELL_READ: pulses * columns.cells,
        **_conversions(columns, crossbar, reads, pulses, hops=np.array(hops)[:, None]),
        **_corrections(columns, crossbar.encoding, pulses),
        **_movements(columns, hardware, active, input_hops=input_hops),
    }
    return _read_once(counts, layers, hardware)


def _conversions(
    columns: _Columns, crossbar: Crossbar, reads: _Reads, pulses: FloatArray, *, hops: FloatArray
) -> Counts:
    column_reads = reads.arrays * columns.converted
    words = columns.converted if crossbar.joining == "after_sum" else columns.joined
    additions = (reads.arrays - reads.outputs) * words
    on_buses = np.where(columns.array_kernel > 1, reads.arrays * words * columns.sent + _bus_inputs(columns), 0.0)
    counts = {
        Item.PARTIAL_SUM_ADD: additions,
        Item.PARTIAL_SUM_STORE: additions,
        Item.PE_TRANSFER: on_buses,
        Item.PARTIAL_SUM_TRANSFER: hops * (reads.pes - reads.outputs) * words * columns.partial,
        Item.SHIFT_ADD: _joins(columns, crossbar, reads),
    }
    match crossbar.readout:
        case "converter":
            return {Item.ADC_CONVERSION: column_reads, Item.MUX_SWITCH: column_reads, **counts}
        case "adder_tree":
            return {Item.ADDER_TREE_ADD: column_reads * (crossbar.rows - 1), **counts}
        case "accumulator":
            weights = pulses * columns.joined
            return {Item.ACCUMULATE_ADD: weights, Item.ACCUMULATE_STORE: weights.copy(), **counts}
        case readout:
            assert_never(readout)


def _bus_inputs(columns: _Columns) -> IntArray:
    """Inputs of every array on the buses of PEs. A PE of one array has no bus."""
    return columns.window_bits * columns.column_blocks


def _joins(columns: _Columns, crossbar: Crossbar, reads: _Reads) -> FloatArray:
    """Shifted additions: of the slices, after the sum or at every array, and of the input bits, once for an output."""
    outputs = columns.summed * columns.codes
    match crossbar.joining:
        case "after_sum":
            return np.full_like(reads.outputs, outputs * (columns.slices * columns.input_bits - 1))
        case "at_array":
            shifted = 0 if crossbar.readout == "accumulator" else columns.slices - 1
            at_arrays: FloatArray = reads.arrays * (columns.joined * shifted)
            return at_arrays + outputs * (columns.input_bits - 1)
        case joining:
            assert_never(joining)


def _corrections(columns: _Columns, encoding: Encoding, pulses: FloatArray) -> Counts:
    subtractions = np.full_like(pulses, columns.summed)
    match encoding:
        case "offset":
            joined_bits = columns.positions * columns.groups * (columns.input_bits - 1)
            return {Item.SIGN_SUBTRACT: subtractions, Item.POPCOUNT_ADD: pulses + joined_bits}
        case "differential":
            return {Item.SIGN_SUBTRACT: subtractions}
        case "analog_differential" | "twos_complement":
            return {}
        case _:
            assert_never(encoding)


def _movements(columns: _Columns, hardware: HardwareSpec, active: FloatArray, *, input_hops: float) -> Counts:
    once = columns.inputs * columns.input_bits
    read = once if hardware.buffers.input_reuse == "line_buffer" else columns.window_bits
    journeys = 1.0 if hardware.buffers.place == "local" else read / once
    moved = moved_bits(hardware.interconnect.encoding, columns.inputs, columns.input_bits, active)
    return {
        Item.BUFFER_WRITE: np.full_like(active, once),
        Item.BUFFER_READ: np.full_like(active, read),
        Item.SPIKE_TRANSFER: input_hops * journeys * moved,
    }


def _read_once(counts: Counts, layers: Sequence[LayerMapping], hardware: HardwareSpec) -> Counts:
    """Of layers whose sums are held everything in the first step; the sums wait in a buffer for the other steps."""
    is_held = np.array([layer.held_steps > 1 for layer in layers])
    if not is_held.any():
        return counts
    held = np.array([held_bits(layer, hardware) for layer in layers])[is_held, None]
    for table in counts.values():
        table[is_held, 1:] = 0.0
    counts[Item.BUFFER_WRITE][is_held, :1] += held
    counts[Item.BUFFER_READ][is_held, 1:] += held
    return counts

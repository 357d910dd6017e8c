"""Writing weights into arrays: what a load counts and takes, and what reloading adds to an inference.

A load of some layers or parts of them, w weights of b_w bits on n = w*S*P cells, D copies of each:

    weight_fetch     w*ceil(b_w), from a memory beside the chip
    buffer_write     the same; buffer_read D times as much: every copy is written from the buffer
    spike_transfer   hops * what is read: the way to the arrays
    cell_write       D*n
    time             max(w*ceil(b_w) * time of a bit, rows * time of a row): fetching and writing overlap. rows: of the
                     fullest tile, all its arrays one row after the other; tiles are written side by side

Where layers take turns (mapping/reloading.py), an inference has 1/samples of the load of every group, all of it counted
in the first step; in every step what crosses to later groups and the sums of cut layers go through a buffer. Of each
item the chip has as many as the group that needs most, at the widest width that any node needs; all of it, with what
moves between groups, stands under the node `shared`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from intsnn.estimation.counts import EventCount
from intsnn.estimation.sum_widths import sum_bits
from intsnn.hardware.catalogue import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping, Mapping
from intsnn.mapping.reloading import Part, Reload, sums_written_anew

SHARED = "shared"


@dataclass(frozen=True)
class Load:
    """What is written at once: bits fetched, and read from the buffer, cells written, and the time, ns."""

    fetched_bits: float
    read_bits: float
    cells: float
    time_ns: float


def first_load(mapping: Mapping) -> Load:
    """Every weight of the network, written once: where layers take turns, one group after the other.

    Raises:
        HardwareError: the description gives no time of a bit or of a row.
    """
    if mapping.reload is None:
        return _load([(layer, weight_cells(layer)) for layer in mapping.layers], mapping.hardware)
    loads = group_loads(mapping, mapping.reload)
    fetched, cells = math.fsum(one.fetched_bits for one in loads), math.fsum(one.cells for one in loads)
    return Load(fetched, fetched, cells, math.fsum(one.time_ns for one in loads))


def group_loads(mapping: Mapping, reload: Reload) -> tuple[Load, ...]:
    """The load of each group.

    Raises:
        HardwareError: the description gives no time of a bit or of a row.
    """
    columns = mapping.hardware.crossbar.columns
    return tuple(
        _load(
            [(layer, _cells(layer, part, columns)) for layer, part in zip(layers, parts, strict=True)],
            mapping.hardware,
        )
        for layers, parts in zip(mapping.groups, reload.groups, strict=True)
    )


def weight_cells(layer: LayerMapping) -> int:
    """Cells of one copy of a layer that hold a weight."""
    return layer.columns * layer.in_per_group * layer.kernel


def weight_bits(layer: LayerMapping, cells: int) -> float:
    """Bits of the weights on so many cells; a ternary weight takes 2."""
    return cells * math.ceil(layer.weight_bits) / (layer.slices * layer.polarity)


def _load(written: Sequence[tuple[LayerMapping, int]], hardware: HardwareSpec) -> Load:
    bits = math.fsum(weight_bits(layer, cells) for layer, cells in written)
    rows = max(_rows_of_the_fullest_tile(layer, hardware) for layer, _ in written)
    return Load(
        fetched_bits=bits,
        read_bits=math.fsum(layer.copies * weight_bits(layer, cells) for layer, cells in written),
        cells=math.fsum(layer.copies * cells for layer, cells in written),
        time_ns=max(bits * hardware.latency_ns(Item.WEIGHT_FETCH), rows * hardware.latency_ns(Item.CELL_WRITE)),
    )


def _rows_of_the_fullest_tile(layer: LayerMapping, hardware: HardwareSpec) -> int:
    return min(layer.pes, hardware.tile.pe) * layer.array_kernel * layer.rows[0] * layer.groups_per_array


def _cells(layer: LayerMapping, part: Part, columns: int) -> int:
    """Cells of a part: PEs in the order pack by pack, by blocks of columns, by blocks of rows."""
    if part.pes == layer.pes_of_a_copy:
        return weight_cells(layer)
    after = _cells_before(layer, part.first + part.pes, columns)
    return layer.array_kernel * (after - _cells_before(layer, part.first, columns))


def _cells_before(layer: LayerMapping, pes: int, columns: int) -> int:
    """Cells of the first PEs, for one of a PE's arrays. Packs of several groups are a PE each."""
    width, height = layer.out_per_group * layer.slices * layer.polarity, sum(layer.rows)
    pack, within = divmod(pes, layer.row_blocks * layer.column_blocks)
    column, row = divmod(within, layer.row_blocks)
    groups = min(pack * layer.groups_per_array, layer.groups)
    whole = groups * height * width + height * min(column * columns, width)
    return whole + row * layer.rows[0] * min(columns, max(0, width - column * columns))


def reload_events(mapping: Mapping, reload: Reload, time_steps: int) -> Iterator[EventCount]:
    """What one inference has of the loads, and what moves between groups."""
    moved = 0.0
    for layer in mapping.layers:
        cells = weight_cells(layer)
        bits = weight_bits(layer, cells) / reload.samples
        moved += bits
        yield EventCount(layer.name, Item.WEIGHT_FETCH, None, _first(bits, time_steps))
        yield EventCount(layer.name, Item.CELL_WRITE, None, _first(cells / reload.samples, time_steps))
    written, read = _between_groups(mapping, reload, time_steps)
    hops = hops_of(mapping.hardware, mapping.tiles)
    yield EventCount(SHARED, Item.BUFFER_WRITE, None, (written[0] + moved, *written[1:]))
    yield EventCount(SHARED, Item.BUFFER_READ, None, (read[0] + moved, *read[1:]))
    yield EventCount(SHARED, Item.SPIKE_TRANSFER, None, _first(hops * moved, time_steps))


def waiting_bits(mapping: Mapping, reload: Reload, time_steps: int) -> int:
    """Bits that wait between two groups, for all steps of all samples: where they are most."""
    most = 0
    cut = _cut_layers(mapping, reload)
    for before in range(len(reload.groups) - 1):
        bits = sum(one.bits for one in reload.crossings if one.stage <= before < one.readers[-1]) * time_steps
        for layer, first, last in cut:
            if first <= before < last:
                sums = layer.positions * layer.out_channels * sum_bits(layer, mapping.hardware)
                bits += sums * layer.read_steps(time_steps)
        most = max(most, bits * reload.samples)
    return most


def leaking_ns(mapping: Mapping, latency_ns: float) -> float:
    """How long the chip leaks for one inference, ns: the latency, of a batch the sample's share of it."""
    return latency_ns / mapping.batch


def hops_of(hardware: HardwareSpec, tiles: int) -> float:
    """Hops of an input, or the mean Manhattan distance of two tiles of a square mesh."""
    hops = hardware.interconnect.hops
    return max(1.0, 2 / 3 * math.sqrt(tiles)) if hops == "mesh" else hops


def _between_groups(mapping: Mapping, reload: Reload, time_steps: int) -> tuple[list[float], list[float]]:
    """Bits written to the buffer between groups, and read from it, in each step."""
    written = [float(sum(one.bits for one in reload.crossings))] * time_steps
    read = [float(sum(one.bits * len(one.readers) for one in reload.crossings))] * time_steps
    for layer, _, _ in _cut_layers(mapping, reload):
        again = sums_written_anew(layer, reload.parts_of(layer.name), mapping.hardware.crossbar.columns)
        bits = (layer.positions * layer.out_channels + again) * sum_bits(layer, mapping.hardware)
        for step in range(layer.read_steps(time_steps)):
            written[step] += bits
            read[step] += bits
    return written, read


def _cut_layers(mapping: Mapping, reload: Reload) -> list[tuple[LayerMapping, int, int]]:
    """The layers that are loaded in several parts, with the first and the last group of each."""
    groups: dict[str, list[int]] = {}
    for index, group in enumerate(reload.groups):
        for part in group:
            groups.setdefault(part.layer, []).append(index)
    return [(one, groups[one.name][0], groups[one.name][-1]) for one in mapping.layers if len(groups[one.name]) > 1]


def _first(amount: float, time_steps: int) -> tuple[float, ...]:
    return (amount, *(0.0,) * (time_steps - 1))

"""A mapped graph -> how many of each item are built.

Where layers take turns on the arrays, one group's arrays, lanes and memories are the next one's: of each item the chip
has as many as the group that needs most, at the widest width that any node needs, and a buffer for all that waits
between groups (loading.py). All of it stands under the node `shared`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as ByItem
from dataclasses import dataclass, replace

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.estimation.counts import InstanceCount
from intsnn.estimation.loading import SHARED, waiting_bits
from intsnn.estimation.sum_widths import held_bits, item_bits
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Crossbar
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import DigitalMapping, LayerMapping, Mapping
from intsnn.mapping.operations import Operation
from intsnn.mapping.reloading import Reload


def count_instances(mapping: Mapping, time_steps: int) -> Iterator[InstanceCount]:
    """What is built; it depends on the number of steps only where layers take turns, for what waits of all steps."""
    if mapping.reload is not None:
        yield from with_waiting(shared_instances(mapping, mapping.reload), mapping, mapping.reload, time_steps)
        return
    yield from count_array_instances(mapping)
    yield from count_digital_instances(mapping.digital)


def count_array_instances(mapping: Mapping) -> Iterator[InstanceCount]:
    """What is built for the synapses, of which none takes turns with another."""
    return _layer_instances(mapping.layers, mapping.hardware)


def count_digital_instances(digital: Iterable[DigitalMapping]) -> Iterator[InstanceCount]:
    """What is built for all other nodes; it does not depend on the crossbars."""
    for node in digital:
        yield from _digital_instances(node)


def width_of(operation: Operation) -> float | None:
    """Width at which an operation is priced; None where its price has none."""
    return operation.bits if operation.item.meaning.by_width else None


@dataclass(frozen=True)
class Needed:
    """How many of each item are needed at the same time, and the widest of those that have a width."""

    numbers: ByItem[Item, int]
    widest: ByItem[Item, float]


def digital_needs(mapping: Mapping, reload: Reload) -> tuple[Needed, ...]:
    """Of the nodes that are no synapses, group by group: the crossbars do not matter."""
    stages: list[list[InstanceCount]] = [[] for _ in reload.groups]
    for node in mapping.digital:
        stages[reload.stage_of(node)] += _digital_instances(node)
    return tuple(map(_together, stages))


def shared_instances(
    mapping: Mapping, reload: Reload, digital: Sequence[Needed] | None = None
) -> tuple[InstanceCount, ...]:
    """Of each item as many as the group that needs most, at the widest width, where layers take turns.

    Args:
        mapping: in which they do.
        reload: how.
        digital: the `digital_needs`, where they are known.
    """
    most: dict[Item, int] = {}
    widest: dict[Item, float] = {}
    others = digital_needs(mapping, reload) if digital is None else digital
    for layers, beside in zip(mapping.groups, others, strict=True):
        own = _needed(layers, mapping.hardware)
        for item in (*own.numbers, *(item for item in beside.numbers if item not in own.numbers)):
            most[item] = max(most.get(item, 0), own.numbers.get(item, 0) + beside.numbers.get(item, 0))
        for item, bits in (*own.widest.items(), *beside.widest.items()):
            widest[item] = max(widest.get(item, 0.0), bits)
    return tuple(InstanceCount(SHARED, item, widest.get(item), number) for item, number in most.items())


def _needed(layers: Sequence[LayerMapping], hardware: HardwareSpec) -> Needed:
    """Of some layers."""
    counts = {item: one.tolist() for item, one in layer_instances(layer_columns(layers, hardware), hardware).items()}
    widest = {
        item: max(itertools.compress(bits, counts[item]))
        for item, bits in item_bits(layers, hardware).items()
        if any(counts[item])
    }
    return Needed({item: total for item, numbers in counts.items() if (total := sum(numbers))}, widest)


def _together(instances: Iterable[InstanceCount]) -> Needed:
    numbers: dict[Item, int] = {}
    widest: dict[Item, float] = {}
    for one in instances:
        numbers[one.item] = numbers.get(one.item, 0) + one.count
        if one.bits is not None:
            widest[one.item] = max(widest.get(one.item, 0.0), one.bits)
    return Needed(numbers, widest)


def with_waiting(
    shared: Iterable[InstanceCount], mapping: Mapping, reload: Reload, time_steps: int
) -> Iterator[InstanceCount]:
    """The same with the buffer for what waits between groups."""
    waiting = waiting_bits(mapping, reload, time_steps)
    for one in shared:
        yield replace(one, count=one.count + waiting) if one.item is Item.BUFFER_BIT else one


def _layer_instances(layers: Sequence[LayerMapping], hardware: HardwareSpec) -> Iterator[InstanceCount]:
    counts = {item: one.tolist() for item, one in layer_instances(layer_columns(layers, hardware), hardware).items()}
    widths = item_bits(layers, hardware)
    for index, layer in enumerate(layers):
        for item, numbers in counts.items():
            if numbers[index]:
                bits = widths[item][index] if item in widths else None
                yield InstanceCount(layer.name, item, bits, numbers[index])


@dataclass(frozen=True)
class LayerColumns:
    """Layers side by side, [L] each: what their instances follow from.

    accumulators: that an array has where it is read so; summed: arrays whose sums are added, K_a*N_r; joined: codes
    that are shifted and added, S*b, of accumulators b; counters: of active rows, where offsets are stored; buffered:
    bits of inputs, and of sums that are held.
    """

    arrays: IntArray
    accumulators: IntArray
    summed: IntArray
    joined: IntArray
    counters: IntArray
    buffered: IntArray
    tiles: IntArray


def layer_columns(layers: Sequence[LayerMapping], hardware: HardwareSpec) -> LayerColumns:
    """The columns of some layers: they depend on converters only by their bits, which words that are held have."""
    rows = [
        (
            layer.arrays,
            _accumulators(layer, hardware.crossbar),
            layer.array_kernel * layer.row_blocks,
            layer.input_bits * (1 if hardware.crossbar.readout == "accumulator" else layer.slices),
            min(layer.pes, layer.copies * layer.packs * layer.row_blocks) * layer.array_kernel,
            layer.inputs * layer.input_bits + (held_bits(layer, hardware) if layer.held_steps > 1 else 0),
            layer.tiles,
        )
        for layer in layers
    ]
    return LayerColumns(*np.array(rows, dtype=np.int64).T.copy())


def layer_instances(columns: LayerColumns, hardware: HardwareSpec) -> dict[Item, IntArray]:
    """How many of each item are built for each layer, [L]."""
    crossbar, arrays = hardware.crossbar, columns.arrays
    none = np.zeros_like(arrays)
    readers = arrays * (columns.accumulators if crossbar.readout == "accumulator" else crossbar.converters)
    converters, trees, accumulators = (
        readers if crossbar.readout == kind else none for kind in ("converter", "adder_tree", "accumulator")
    )
    summing = readers * (columns.summed > 1)
    return {
        Item.ROW_ACTIVATION: arrays * crossbar.rows,
        Item.CELL_READ: arrays * (crossbar.rows * crossbar.columns),
        Item.ADC_CONVERSION: converters,
        Item.MUX_SWITCH: converters,
        Item.ADDER_TREE_ADD: trees * (crossbar.rows - 1),
        Item.ACCUMULATE_ADD: accumulators,
        Item.ACCUMULATE_STORE: accumulators,
        Item.PARTIAL_SUM_ADD: summing,
        Item.PARTIAL_SUM_STORE: summing,
        Item.SHIFT_ADD: readers * (columns.joined > 1),
        Item.SIGN_SUBTRACT: readers if crossbar.encoding in ("offset", "differential") else none,
        Item.POPCOUNT_ADD: columns.counters * (crossbar.rows - 1) if crossbar.encoding == "offset" else none,
        Item.BUFFER_BIT: columns.buffered,
        Item.TILE: columns.tiles,
    }


def _accumulators(layer: LayerMapping, crossbar: Crossbar) -> int:
    """Of one array: one for each weight of a row."""
    return math.ceil(crossbar.columns / (layer.slices * layer.polarity)) * layer.codes


def _digital_instances(node: DigitalMapping) -> Iterator[InstanceCount]:
    for operation in node.operations:
        if operation.per_element:
            built = node.lanes * (1 if operation.item is Item.MEMBRANE_OPERATION else operation.per_element)
            yield InstanceCount(node.name, operation.item, width_of(operation), built)
    held = node.waiting_bits + node.table.rows * node.table.row_bits
    for item, bits in ((Item.MEMBRANE_BIT, node.elements * node.state_bits), (Item.BUFFER_BIT, held)):
        if bits:
            yield InstanceCount(node.name, item, None, bits)

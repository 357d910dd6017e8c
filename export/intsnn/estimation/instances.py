"""A mapped graph -> how many of each item are built.

Where layers take turns on the arrays, one group's arrays, lanes and memories are the next one's: of each item the chip
has as many as the group that needs most, at the widest width that any node needs, and a buffer for all that waits
between groups (loading.py). All of it stands under the node `shared`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from intsnn.estimation.counts import InstanceCount
from intsnn.estimation.loading import SHARED, waiting_bits
from intsnn.estimation.sum_widths import held_bits, layer_bits
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
    yield from count_digital_instances(mapping)


def count_array_instances(mapping: Mapping) -> Iterator[InstanceCount]:
    """What is built for the synapses, of which none takes turns with another."""
    for layer in mapping.layers:
        yield from _layer_instances(layer, mapping.hardware)


def count_digital_instances(mapping: Mapping) -> Iterator[InstanceCount]:
    """What is built for all other nodes; it does not depend on the crossbars."""
    for node in mapping.digital:
        yield from _digital_instances(node)


def width_of(operation: Operation) -> float | None:
    """Width at which an operation is priced; None where its price has none."""
    return operation.bits if operation.item.meaning.by_width else None


def shared_instances(mapping: Mapping, reload: Reload) -> tuple[InstanceCount, ...]:
    """Of each item as many as the group that needs most, at the widest width, where layers take turns."""
    most: dict[Item, int] = {}
    widest: dict[Item, float] = {}
    for index, layers in enumerate(mapping.groups):
        needed: dict[Item, int] = {}
        for one in _group_instances(mapping, reload, index, layers):
            needed[one.item] = needed.get(one.item, 0) + one.count
            if one.bits is not None:
                widest[one.item] = max(widest.get(one.item, 0.0), one.bits)
        most = {item: max(most.get(item, 0), needed.get(item, 0)) for item in (*most, *needed)}
    return tuple(InstanceCount(SHARED, item, widest.get(item), number) for item, number in most.items())


def with_waiting(
    shared: Iterable[InstanceCount], mapping: Mapping, reload: Reload, time_steps: int
) -> Iterator[InstanceCount]:
    """The same with the buffer for what waits between groups."""
    waiting = waiting_bits(mapping, reload, time_steps)
    for one in shared:
        yield replace(one, count=one.count + waiting) if one.item is Item.BUFFER_BIT else one


def _group_instances(
    mapping: Mapping, reload: Reload, index: int, layers: tuple[LayerMapping, ...]
) -> Iterator[InstanceCount]:
    for layer in layers:
        yield from _layer_instances(layer, mapping.hardware)
    for node in mapping.digital:
        if reload.stage_of(node) == index:
            yield from _digital_instances(node)


def _layer_instances(layer: LayerMapping, hardware: HardwareSpec) -> Iterator[InstanceCount]:
    crossbar, arrays = hardware.crossbar, layer.arrays
    readers = arrays * _readers(layer, crossbar)
    converters, trees, accumulators = (
        readers if crossbar.readout == kind else 0 for kind in ("converter", "adder_tree", "accumulator")
    )
    summing = readers if layer.array_kernel * layer.row_blocks > 1 else 0
    shifted = layer.input_bits * (1 if crossbar.readout == "accumulator" else layer.slices)
    blocks = min(layer.pes, layer.copies * layer.packs * layer.row_blocks)
    counters = blocks * layer.array_kernel if crossbar.encoding == "offset" else 0
    counts = {
        Item.ROW_ACTIVATION: arrays * crossbar.rows,
        Item.CELL_READ: arrays * crossbar.rows * crossbar.columns,
        Item.ADC_CONVERSION: converters,
        Item.MUX_SWITCH: converters,
        Item.ADDER_TREE_ADD: trees * (crossbar.rows - 1),
        Item.ACCUMULATE_ADD: accumulators,
        Item.ACCUMULATE_STORE: accumulators,
        Item.PARTIAL_SUM_ADD: summing,
        Item.PARTIAL_SUM_STORE: summing,
        Item.SHIFT_ADD: readers if shifted > 1 else 0,
        Item.SIGN_SUBTRACT: readers if crossbar.encoding in ("offset", "differential") else 0,
        Item.POPCOUNT_ADD: (crossbar.rows - 1) * counters,
        Item.BUFFER_BIT: layer.inputs * layer.input_bits + held_bits(layer, hardware),
        Item.TILE: layer.tiles,
    }
    widths = layer_bits(layer, hardware)
    for item, number in counts.items():
        if number:
            yield InstanceCount(layer.name, item, widths.get(item), number)


def _readers(layer: LayerMapping, crossbar: Crossbar) -> int:
    """What sums columns at one array: a converter or tree for those that share it, an accumulator for each weight."""
    if crossbar.readout == "accumulator":
        return math.ceil(crossbar.columns / (layer.slices * layer.polarity)) * layer.codes
    return crossbar.converters


def _digital_instances(node: DigitalMapping) -> Iterator[InstanceCount]:
    for operation in node.operations:
        if operation.per_element:
            built = node.lanes * (1 if operation.item is Item.MEMBRANE_OPERATION else operation.per_element)
            yield InstanceCount(node.name, operation.item, width_of(operation), built)
    held = node.waiting_bits + node.table.rows * node.table.row_bits
    for item, bits in ((Item.MEMBRANE_BIT, node.elements * node.state_bits), (Item.BUFFER_BIT, held)):
        if bits:
            yield InstanceCount(node.name, item, None, bits)

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

from collections.abc import Iterator

import numpy as np

from intsnn.activity import Activity, ProductActivity
from intsnn.errors import HardwareError
from intsnn.estimation.counts import EventCount, EventCounts
from intsnn.estimation.instances import count_instances, width_of
from intsnn.estimation.layer_events import count_layer_events, moved_bits
from intsnn.estimation.loading import hops_of, reload_events
from intsnn.hardware.catalogue import Item
from intsnn.mapping import DigitalMapping, Mapping

__all__ = ["count", "count_digital_events", "count_events", "count_layer_events"]


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
    yield from count_layer_events(mapping, activity)
    yield from count_digital_events(mapping, activity)
    if mapping.reload is not None:
        yield from reload_events(mapping, mapping.reload, activity.time_steps)


def count_digital_events(mapping: Mapping, activity: Activity) -> Iterator[EventCount]:
    """What happens for all other nodes: of the crossbars no more than the number of tiles matters, where hops do."""
    for node in mapping.digital:
        yield from _digital_events(node, activity.time_steps)
        if node.pairs:
            yield _operand_transfer(node, mapping, activity.product(node.name))


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
        bits = bits + journeys * moved_bits(hardware.interconnect.encoding, one.values, one.bits, np.array(active))
    steps = hops_of(hardware, mapping.tiles) * bits
    return EventCount(node.name, Item.SPIKE_TRANSFER, None, tuple(steps.tolist()))

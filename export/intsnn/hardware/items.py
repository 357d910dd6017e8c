"""The closed catalogue of what is counted: each item's event (costs energy) and its instance (costs area and leakage).

An item without an event is only built, one without an instance only happens: memories are built as `*_bit` and
happen as `*_read` and `*_write`. A hardware description prices every item or excludes it with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Group(Enum):
    """Parts of the chip, for tables."""

    CROSSBAR = "crossbar"
    ADC = "adc"
    ACCUMULATION = "accumulation"
    BUFFER = "buffer"
    MEMBRANE = "membrane"
    NEURON = "neuron"
    REQUANTIZATION = "requantization"
    POOL_AND_ADD = "pool_and_add"
    INTERCONNECT = "interconnect"
    PRODUCT = "product"


@dataclass(frozen=True)
class Counted:
    """Meaning of an item.

    event: what one count is, None where nothing happens. instance: what one unit is, None where nothing is built.
    by_width: whether the cost depends on a bit width (a table over bits). timed: whether latency_ns is needed.
    """

    group: Group
    event: str | None
    instance: str | None
    by_width: bool = False
    timed: bool = False


class Item(Enum):
    """Everything that is counted; the value is the key under `costs`."""

    ROW_ACTIVATION = "row_activation"
    CELL_READ = "cell_read"
    ADC_CONVERSION = "adc_conversion"
    MUX_SWITCH = "mux_switch"
    ADDER_TREE_ADD = "adder_tree_add"
    PARTIAL_SUM_ADD = "partial_sum_add"
    PARTIAL_SUM_STORE = "partial_sum_store"
    SHIFT_ADD = "shift_add"
    POPCOUNT_ADD = "popcount_add"
    SIGN_SUBTRACT = "sign_subtract"
    BUFFER_READ = "buffer_read"
    BUFFER_WRITE = "buffer_write"
    BUFFER_BIT = "buffer_bit"
    MEMBRANE_READ = "membrane_read"
    MEMBRANE_WRITE = "membrane_write"
    MEMBRANE_BIT = "membrane_bit"
    NEURON_ADD = "neuron_add"
    NEURON_COMPARE = "neuron_compare"
    NEURON_STORE = "neuron_store"
    REQUANTIZE_MULTIPLY = "requantize_multiply"
    REQUANTIZE_ADD = "requantize_add"
    POOL_ADD = "pool_add"
    POOL_COMPARE = "pool_compare"
    RESIDUAL_ADD = "residual_add"
    READOUT_ADD = "readout_add"
    PRODUCT_AND = "product_and"
    PRODUCT_MULTIPLY = "product_multiply"
    PRODUCT_ADD = "product_add"
    SPIKE_TRANSFER = "spike_transfer"
    PE_TRANSFER = "pe_transfer"
    PARTIAL_SUM_TRANSFER = "partial_sum_transfer"
    TILE = "tile"

    __hash__ = object.__hash__  # members are single objects; the name's hash, which Enum takes, is slow for tallies

    @property
    def meaning(self) -> Counted:
        """What one event and one instance of the item are."""
        return _MEANING[self]


_MEANING = {
    Item.ROW_ACTIVATION: Counted(
        Group.CROSSBAR, "one row of one array driven for one read (one pulse, one input bit)", "row driver"
    ),
    Item.CELL_READ: Counted(Group.CROSSBAR, "one used cell of an active row read once", "cell", timed=True),
    Item.ADC_CONVERSION: Counted(
        Group.ADC, "one used column of one array converted once", "converter", by_width=True, timed=True
    ),
    Item.MUX_SWITCH: Counted(Group.ADC, "one column switched to its converter", "multiplexer (one per converter)"),
    Item.ADDER_TREE_ADD: Counted(
        Group.ACCUMULATION,
        "one addition in the tree that sums a column's rows (digital arrays; rows - 1 for a column read)",
        "adder of a tree (rows - 1 per tree)",
        by_width=True,
    ),
    Item.PARTIAL_SUM_ADD: Counted(
        Group.ACCUMULATION, "one addition of two arrays' column sums", "adder (one per converter)", by_width=True
    ),
    Item.PARTIAL_SUM_STORE: Counted(
        Group.ACCUMULATION, "one partial sum written to its register", "register (one per converter)", by_width=True
    ),
    Item.SHIFT_ADD: Counted(
        Group.ACCUMULATION,
        "one shifted addition that joins weight slices or input bits",
        "adder (one per converter)",
        by_width=True,
    ),
    Item.POPCOUNT_ADD: Counted(
        Group.ACCUMULATION,
        "one active row counted for the offset code's correction",
        "adder of a row counter (rows - 1 per block of rows)",
        by_width=True,
    ),
    Item.SIGN_SUBTRACT: Counted(
        Group.ACCUMULATION,
        "one subtraction that restores the sign of an output (offset term, or negative from positive column)",
        "subtractor (one per converter)",
        by_width=True,
    ),
    Item.BUFFER_READ: Counted(Group.BUFFER, "one bit read from an activation buffer or a norm's table", None),
    Item.BUFFER_WRITE: Counted(Group.BUFFER, "one bit written to an activation buffer", None),
    Item.BUFFER_BIT: Counted(
        Group.BUFFER, None, "bit of activation buffer (weight-layer inputs, waiting operands, norms by step)"
    ),
    Item.MEMBRANE_READ: Counted(
        Group.MEMBRANE, "one bit of a state word read (membrane, synapse, last spikes, readout)", None
    ),
    Item.MEMBRANE_WRITE: Counted(Group.MEMBRANE, "one bit of a state word written", None),
    Item.MEMBRANE_BIT: Counted(Group.MEMBRANE, None, "bit of membrane, synapse or readout memory"),
    Item.NEURON_ADD: Counted(
        Group.NEURON,
        "one addition of a neuron update (leaks, currents, drives, soft reset, levels)",
        "adder",
        by_width=True,
    ),
    Item.NEURON_COMPARE: Counted(
        Group.NEURON, "one comparison with the threshold, a level or a floor", "comparator", by_width=True
    ),
    Item.NEURON_STORE: Counted(
        Group.NEURON, "one pipeline register of a neuron update written", "register (one per lane)", by_width=True
    ),
    Item.REQUANTIZE_MULTIPLY: Counted(
        Group.REQUANTIZATION, "one product acc * M of a x m bits, at width sqrt(a*m)", "multiplier", by_width=True
    ),
    Item.REQUANTIZE_ADD: Counted(Group.REQUANTIZATION, "one addition of B", "adder", by_width=True),
    Item.POOL_ADD: Counted(
        Group.POOL_AND_ADD, "one addition of a sum pool or of a sum over an axis", "adder", by_width=True
    ),
    Item.POOL_COMPARE: Counted(
        Group.POOL_AND_ADD,
        "one comparison of a maximum, of a pool or over time (of spikes: an OR)",
        "comparator",
        by_width=True,
    ),
    Item.RESIDUAL_ADD: Counted(Group.POOL_AND_ADD, "one addition of two tensors", "adder", by_width=True),
    Item.READOUT_ADD: Counted(Group.POOL_AND_ADD, "one addition to a readout's sum", "adder", by_width=True),
    Item.PRODUCT_AND: Counted(Group.PRODUCT, "one bit of an activation that a spike takes or leaves", "AND gate"),
    Item.PRODUCT_MULTIPLY: Counted(
        Group.PRODUCT, "one product of two activations of a x b bits, at width sqrt(a*b)", "multiplier", by_width=True
    ),
    Item.PRODUCT_ADD: Counted(
        Group.PRODUCT, "one addition in the tree that sums a matrix product", "adder of a tree", by_width=True
    ),
    Item.SPIKE_TRANSFER: Counted(
        Group.INTERCONNECT, "one bit of a weight layer's or matrix product's input moved over one hop", None
    ),
    Item.PE_TRANSFER: Counted(
        Group.INTERCONNECT,
        "one bit on the bus of a PE of several arrays: of an input to an array, or of an array's word to its adders",
        None,
    ),
    Item.PARTIAL_SUM_TRANSFER: Counted(Group.INTERCONNECT, "one bit of a partial sum moved from PE to PE", None),
    Item.TILE: Counted(Group.INTERCONNECT, None, "tile: its wiring tree and port to the network"),
}

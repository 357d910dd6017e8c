"""The closed catalogue of what is counted on a chip: what one event and one instance of each item is.

An event costs energy, an instance area and leakage. An item without an event is only built, one without an instance
only happens: memories are built as `*_bit` and happen as `*_read` and `*_write`. A hardware description prices every
item or excludes it with a reason; estimation/events.py counts every item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Self, assert_never

from intsnn.hardware.chip import Crossbar, Neuron

Quantity = Literal["energy_pj", "area_um2", "leakage_uw", "latency_ns"]
QUANTITIES: tuple[Quantity, ...] = ("energy_pj", "area_um2", "leakage_uw", "latency_ns")
QUANTITY_WORDS: Mapping[Quantity, str] = {
    "energy_pj": "energy",
    "area_um2": "area",
    "leakage_uw": "leakage",
    "latency_ns": "time",
}


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
    WEIGHT_LOADING = "weight_loading"


def _on_every_crossbar(_: Crossbar) -> bool:
    return True


def _with_every_neuron(_: Neuron) -> bool:
    return True


@dataclass(frozen=True)
class Counted:
    """An item's key under `costs`, and its meaning.

    group: the part of the chip. event: what one count is, None where nothing happens. instance: what one unit is, None
    where nothing is built. by_width: whether the cost depends on a bit width (a table over bits). timed: whether
    latency_ns is needed. per_active_row: what the remark on sparsity calls an item that happens for active rows only,
    so that fewer spikes cost less of it; "" for all others. counted_on, counted_with: the crossbars and the neurons
    that can have the item at all; a description of others need not speak of it. optional: a description need not
    speak of it at all; what needs it is then refused, or left out of the report with the reason.
    """

    key: str
    group: Group
    event: str | None
    instance: str | None
    by_width: bool = False
    timed: bool = False
    per_active_row: str = ""
    counted_on: Callable[[Crossbar], bool] = _on_every_crossbar
    counted_with: Callable[[Neuron], bool] = _with_every_neuron
    optional: bool = False

    def must_be_priced(self, crossbar: Crossbar, neuron: Neuron) -> bool:
        """Whether a description of a chip of these must price or exclude the item."""
        return self.is_counted(crossbar, neuron) and not self.optional

    def is_counted(self, crossbar: Crossbar, neuron: Neuron) -> bool:
        """Whether a chip of these can have the item."""
        return self.counted_on(crossbar) and self.counted_with(neuron)

    def has(self, quantity: Quantity) -> bool:
        """Whether a price of the item has this quantity."""
        match quantity:
            case "energy_pj":
                return self.event is not None
            case "area_um2" | "leakage_uw":
                return self.instance is not None
            case "latency_ns":
                return self.timed
            case _:
                assert_never(quantity)


class Item(Enum):
    """Everything that is counted; the value is the key under `costs`."""

    _value_: str
    meaning: Counted

    def __new__(cls, meaning: Counted) -> Self:
        """A member whose value is its key."""
        item = object.__new__(cls)
        item._value_, item.meaning = meaning.key, meaning
        return item

    __hash__ = object.__hash__  # members are single objects; the name's hash, which Enum takes, is slow for tallies

    ROW_ACTIVATION = Counted(
        "row_activation",
        Group.CROSSBAR,
        "one row of one array driven for one read (one pulse, one input bit)",
        "row driver",
        per_active_row="row drivers",
    )
    CELL_READ = Counted(
        "cell_read",
        Group.CROSSBAR,
        "one used cell of an active row read once",
        "cell",
        timed=True,
        per_active_row="cells",
    )
    ADC_CONVERSION = Counted(
        "adc_conversion",
        Group.ADC,
        "one used column of one array converted once",
        "converter",
        by_width=True,
        timed=True,
    )
    MUX_SWITCH = Counted(
        "mux_switch", Group.ADC, "one column switched to its converter", "multiplexer (one per converter)"
    )
    ADDER_TREE_ADD = Counted(
        "adder_tree_add",
        Group.ACCUMULATION,
        "one addition in the tree that sums a column's rows (digital arrays; rows - 1 for a column read)",
        "adder of a tree (rows - 1 per tree)",
        by_width=True,
        counted_on=lambda crossbar: crossbar.readout == "adder_tree",
    )
    ACCUMULATE_ADD = Counted(
        "accumulate_add",
        Group.ACCUMULATION,
        "one weight of an active row added to its sum (arrays with accumulators)",
        "adder (one per weight of a row)",
        by_width=True,
        per_active_row="additions of weights",
        counted_on=lambda crossbar: crossbar.readout == "accumulator",
    )
    ACCUMULATE_STORE = Counted(
        "accumulate_store",
        Group.ACCUMULATION,
        "one such sum written to its register",
        "register (one per weight of a row)",
        by_width=True,
        per_active_row="registers of their sums",
        counted_on=lambda crossbar: crossbar.readout == "accumulator",
    )
    PARTIAL_SUM_ADD = Counted(
        "partial_sum_add",
        Group.ACCUMULATION,
        "one addition of two arrays' column sums",
        "adder (one per converter)",
        by_width=True,
    )
    PARTIAL_SUM_STORE = Counted(
        "partial_sum_store",
        Group.ACCUMULATION,
        "one partial sum written to its register",
        "register (one per converter)",
        by_width=True,
    )
    SHIFT_ADD = Counted(
        "shift_add",
        Group.ACCUMULATION,
        "one shifted addition that joins weight slices or input bits",
        "adder (one per converter)",
        by_width=True,
    )
    POPCOUNT_ADD = Counted(
        "popcount_add",
        Group.ACCUMULATION,
        "one active row counted for the offset code's correction",
        "adder of a row counter (rows - 1 per block of rows)",
        by_width=True,
        per_active_row="row counts",
    )
    SIGN_SUBTRACT = Counted(
        "sign_subtract",
        Group.ACCUMULATION,
        "one subtraction that restores the sign of an output (offset term, or negative from positive column)",
        "subtractor (one per converter)",
        by_width=True,
    )
    BUFFER_READ = Counted("buffer_read", Group.BUFFER, "one bit read from an activation buffer or a norm's table", None)
    BUFFER_WRITE = Counted("buffer_write", Group.BUFFER, "one bit written to an activation buffer", None)
    BUFFER_BIT = Counted(
        "buffer_bit",
        Group.BUFFER,
        None,
        "bit of activation buffer (weight-layer inputs, held sums, waiting operands, norms by step)",
    )
    MEMBRANE_READ = Counted(
        "membrane_read", Group.MEMBRANE, "one bit of a state word read (membrane, synapse, last spikes, readout)", None
    )
    MEMBRANE_WRITE = Counted("membrane_write", Group.MEMBRANE, "one bit of a state word written", None)
    MEMBRANE_BIT = Counted("membrane_bit", Group.MEMBRANE, None, "bit of membrane, synapse or readout memory")
    MEMBRANE_OPERATION = Counted(
        "membrane_operation",
        Group.MEMBRANE,
        "one addition to a state word, or comparison of it, inside its memory (fused membranes)",
        "adder at the memory's columns (one per lane)",
        by_width=True,
        counted_with=lambda neuron: neuron.membrane == "fused",
    )
    NEURON_ADD = Counted(
        "neuron_add",
        Group.NEURON,
        "one addition of a neuron update (leaks, currents, drives, soft reset, levels)",
        "adder",
        by_width=True,
    )
    NEURON_COMPARE = Counted(
        "neuron_compare",
        Group.NEURON,
        "one comparison with the threshold, a level or a floor",
        "comparator",
        by_width=True,
    )
    NEURON_STORE = Counted(
        "neuron_store",
        Group.NEURON,
        "one pipeline register of a neuron update written",
        "register (one per lane)",
        by_width=True,
    )
    REQUANTIZE_MULTIPLY = Counted(
        "requantize_multiply",
        Group.REQUANTIZATION,
        "one product acc * M of a x m bits, at width sqrt(a*m)",
        "multiplier",
        by_width=True,
    )
    REQUANTIZE_ADD = Counted("requantize_add", Group.REQUANTIZATION, "one addition of B", "adder", by_width=True)
    POOL_ADD = Counted(
        "pool_add", Group.POOL_AND_ADD, "one addition of a sum pool or of a sum over an axis", "adder", by_width=True
    )
    POOL_COMPARE = Counted(
        "pool_compare",
        Group.POOL_AND_ADD,
        "one comparison of a maximum, of a pool or over time (of spikes: an OR)",
        "comparator",
        by_width=True,
    )
    RESIDUAL_ADD = Counted("residual_add", Group.POOL_AND_ADD, "one addition of two tensors", "adder", by_width=True)
    READOUT_ADD = Counted("readout_add", Group.POOL_AND_ADD, "one addition to a readout's sum", "adder", by_width=True)
    PRODUCT_AND = Counted(
        "product_and", Group.PRODUCT, "one bit of an activation that a spike takes or leaves", "AND gate"
    )
    PRODUCT_MULTIPLY = Counted(
        "product_multiply",
        Group.PRODUCT,
        "one product of two activations of a x b bits, at width sqrt(a*b)",
        "multiplier",
        by_width=True,
    )
    PRODUCT_ADD = Counted(
        "product_add",
        Group.PRODUCT,
        "one addition in the tree that sums a matrix product",
        "adder of a tree",
        by_width=True,
    )
    SPIKE_TRANSFER = Counted(
        "spike_transfer",
        Group.INTERCONNECT,
        "one bit of a synapse's or matrix product's input, or of a weight that is loaded, moved over one hop",
        None,
    )
    PE_TRANSFER = Counted(
        "pe_transfer",
        Group.INTERCONNECT,
        "one bit on the bus of a PE of several arrays: of an input to an array, or of an array's word to its adders",
        None,
        counted_on=lambda crossbar: crossbar.mapping != "im2col",
    )
    PARTIAL_SUM_TRANSFER = Counted(
        "partial_sum_transfer", Group.INTERCONNECT, "one bit of a partial sum moved from PE to PE", None
    )
    TILE = Counted("tile", Group.INTERCONNECT, None, "tile: its wiring tree and port to the network")
    WEIGHT_FETCH = Counted(
        "weight_fetch",
        Group.WEIGHT_LOADING,
        "one bit of a weight read from a memory beside the chip (latency_ns: the time between two bits)",
        None,
        timed=True,
        optional=True,
    )
    CELL_WRITE = Counted(
        "cell_write",
        Group.WEIGHT_LOADING,
        "one cell of a weight written (latency_ns: of one row of one array, all its cells at once)",
        None,
        timed=True,
        optional=True,
    )

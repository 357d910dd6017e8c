"""What a chip is built of, and the closed catalogue of what is counted on it.

Structure: the sections of a hardware description that are no prices. Catalogue (`Item`): what one event of an item is
(it costs energy) and what one instance is (it costs area and leakage). An item without an event is only built, one
without an instance only happens: memories are built as `*_bit` and happen as `*_read` and `*_write`. A hardware
description prices every item or excludes it with a reason; estimation/events.py counts every item.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, model_validator

from intsnn.yaml.file import Count, Physical, RuleError, StrictModel, Text

Encoding = Literal["offset", "differential", "analog_differential", "twos_complement"]
Placing = Literal["kernel_split", "im2col"]  # of one layer
KernelMapping = Literal["kernel_split", "im2col", "auto", "neurosim"]
Gating = Literal["none", "pe", "array"]
ScheduleRule = Literal["layer_by_layer", "row_pipeline"]
ArrayBudget = Count | Annotated[str, Field(pattern=r"^\+\d+(\.\d+)?%$")]
Quantity = Literal["energy_pj", "area_um2", "leakage_uw", "latency_ns"]
QUANTITIES: tuple[Quantity, ...] = ("energy_pj", "area_um2", "leakage_uw", "latency_ns")


class Technology(StrictModel):
    """Node, supply and clock of the digital parts. Designs are comparable only where these are equal."""

    node_nm: Physical
    voltage_v: Physical
    clock_mhz: Physical

    @property
    def clock_ns(self) -> float:
        """Length of a clock, ns."""
        return 1000 / self.clock_mhz


class Cell(StrictModel):
    """Memory cell: kind (a word for the reader) and the weight bits it stores."""

    kind: Text
    bits: Annotated[int, Field(ge=1, le=8)]


class Crossbar(StrictModel):
    """One array and how weights lie in it.

    encoding: `offset` stores w + 2^(b-1) and subtracts 2^(b-1) times the number of active rows; `differential` stores
    the magnitude in a positive or a negative column, each converted, and subtracts the codes; `analog_differential`
    subtracts the two currents before the converter, which then gives a signed code; `twos_complement` stores the bits
    below the sign in slices and the sign bit in a column of its own, which counts -2^(b-1). mapping: `kernel_split`
    gives each kernel position its own arrays, `im2col` unrolls the kernel along the rows, `auto` and `neurosim` choose
    one of the two for each layer (mapping/placing.py). readout: how a column is summed, by an analog-to-digital
    `converter` on currents or by a digital `adder_tree` over the rows. column_mux: columns, or subtracted pairs of
    columns, that share a converter or tree. adc_bits: resolution, or `lossless`: ceil(log2(levels)) for the
    rows * (2^cell_bits - 1) + 1 sums of a column, or nearly twice as many of a subtracted pair; a tree is always
    lossless. gating: `array` skips an array none of whose rows is active, `pe` skips a PE all of whose arrays are idle.
    joining: the slices of a weight are shifted and added once, `after_sum` over all arrays, or `at_array` before
    anything is summed or sent.
    """

    rows: Count
    columns: Count
    cell: Cell
    encoding: Encoding
    mapping: KernelMapping
    column_mux: Count
    adc_bits: Annotated[int, Field(ge=1, le=16)] | Literal["lossless"]
    gating: Gating
    readout: Literal["converter", "adder_tree"] = "converter"
    joining: Literal["after_sum", "at_array"] = "after_sum"

    @property
    def lossless_adc_bits(self) -> int:
        """Smallest resolution that tells every column sum apart."""
        return lossless_bits(self.rows, self.cell.bits, self.encoding)

    @property
    def polarity(self) -> Literal[1, 2]:
        """P: columns of opposite sign that hold a slice of a weight."""
        return 2 if self.encoding in ("differential", "analog_differential") else 1

    @property
    def columns_of_a_code(self) -> Literal[1, 2]:
        """Columns that give one code: two where their currents are subtracted."""
        return 2 if self.encoding == "analog_differential" else 1

    @property
    def resolution(self) -> int:
        """Bits of the converter."""
        return self.lossless_adc_bits if self.adc_bits == "lossless" else self.adc_bits

    @property
    def converters(self) -> int:
        """Converters, or adder trees, of one array."""
        return math.ceil(self.columns // self.columns_of_a_code / self.column_mux)

    @model_validator(mode="after")
    def _mux_fits(self) -> Self:
        most = max(1, self.columns // self.columns_of_a_code)
        if self.column_mux > most:
            words = "columns" if self.columns_of_a_code == 1 else "pairs of columns"
            message = f"must be at most the {most} {words} of an array (got {self.column_mux})"
            raise RuleError(message, field="column_mux", hint=f"write the number of {words} that share one converter")
        if self.columns_of_a_code == 2 and self.readout == "adder_tree":
            message = "currents are subtracted before a converter: an adder tree has none (got analog_differential)"
            raise RuleError(message, field="encoding", hint="write differential, offset or twos_complement")
        if self.columns_of_a_code == 2 and self.columns % 2:
            message = f"the columns of a pair lie on one array: columns must be even (got {self.columns})"
            raise RuleError(message, field="columns", hint="write an even number, or another encoding")
        if self.columns_of_a_code == 2 and self.adc_bits == 1:
            message = "the code of a subtracted pair has a sign: adc_bits must be at least 2 (got 1)"
            raise RuleError(message, field="adc_bits", hint="write 2 or more bits, or another encoding")
        if self.readout == "adder_tree" and self.adc_bits != "lossless":
            message = f"an adder tree sums exactly: adc_bits must be lossless (got {self.adc_bits})"
            raise RuleError(message, field="adc_bits", hint="write `lossless`, or read the columns by a converter")
        return self


def lossless_bits(rows: int, cell_bits: int, encoding: Encoding) -> int:
    """ceil(log2) of the number of sums that a code must tell apart."""
    most = rows * (2**cell_bits - 1)
    return math.ceil(math.log2(2 * most + 1 if encoding == "analog_differential" else most + 1))


class Tile(StrictModel):
    """PEs of a tile. A PE is a kernel's arrays on a bus (kernel_split) or one array (im2col); layers share no tile."""

    pe: Count


class Neuron(StrictModel):
    """parallelism: lanes that each layer of neurons, pools, sums and readouts has: results per clock.

    membrane: `memory` reads a membrane's word, updates it in a lane and writes it back; `fused` adds and compares
    inside the memory that holds it, a clock and an access for each operation (IMPULSE, arXiv:2105.08217).
    """

    parallelism: Count
    membrane: Literal["memory", "fused"] = "memory"


class Buffers(StrictModel):
    """input_reuse: `none` reads an input for every window it lies in; `line_buffer` reads it once and keeps it.

    place: a `local` buffer stands beside the layer's arrays, so an input travels to it once; from a `global` buffer
    every read travels to the arrays.
    constant_input: what is done where the network's input is the same in every step, in the layers that read it
    through nodes without state: `repeat` reads their arrays anew in each step, `hold` reads them in the first and keeps
    the sums in a buffer for the others.
    """

    input_reuse: Literal["none", "line_buffer"]
    place: Literal["local", "global"] = "local"
    constant_input: Literal["repeat", "hold"] = "repeat"


class Interconnect(StrictModel):
    """Form in which a layer's input travels, one bit per value or an address per active value, and mean hops.

    hops: a number for every input, and 1 for partial sums; or `mesh`: the mean distance of two tiles of a square mesh,
    2/3 of its side, at least 1: of the chip's tiles for inputs, of the layer's own tiles for its partial sums.
    """

    encoding: Literal["bitmap", "address_event", "smaller"]
    hops: Physical | Literal["mesh"]


class Schedule(StrictModel):
    """`layer_by_layer`: nothing overlaps; each step runs each layer after the one before it.

    `row_pipeline`: every layer works at the same time, on a row as soon as the rows that it reads exist.
    """

    rule: ScheduleRule


class Duplication(StrictModel):
    """arrays: budget of the whole chip, spent on copies of the slowest layers; null: one copy of each layer.

    A number of arrays, or how many more than one copy of each layer takes: "+5%".
    """

    arrays: ArrayBudget | None = None

    def budget(self, once: int) -> int | None:
        """Arrays of the chip, where one copy of each layer takes `once`; None: no copies."""
        return self.arrays if not isinstance(self.arrays, str) else once + math.floor(once * _share(self.arrays))


def _share(more: str) -> Fraction:
    """The share that "+5%" means."""
    return Fraction(more.removeprefix("+").removesuffix("%")) / 100


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
    that can have the item at all; a description of others need not speak of it.
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
        "one bit of a synapse's or matrix product's input moved over one hop",
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

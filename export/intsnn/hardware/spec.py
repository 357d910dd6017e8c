"""What a hardware description holds: the crossbar, what stands around it, and the price of every counted item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from intsnn.errors import HardwareError
from intsnn.hardware.items import Item
from intsnn.hardware.spikesim_spec import Count, Excluded, Floorplan, NotNegative, Positive, Text
from intsnn.yaml.file import RuleError, StrictModel

HARDWARE_SCHEMA = "mdcompress.hardware/1"

Encoding = Literal["offset", "differential"]
KernelMapping = Literal["kernel_split", "im2col"]
Gating = Literal["none", "pe", "array"]
ScheduleRule = Literal["layer_by_layer", "row_pipeline"]
Quantity = Literal["energy_pj", "area_um2", "leakage_uw", "latency_ns"]
QUANTITIES: tuple[Quantity, ...] = ("energy_pj", "area_um2", "leakage_uw", "latency_ns")
Price = NotNegative | tuple[NotNegative, ...]


class Technology(StrictModel):
    """Node, supply and clock of the digital parts. Designs are comparable only where these are equal."""

    node_nm: Positive
    voltage_v: Positive
    clock_mhz: Positive

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
    the magnitude in a positive or a negative column. mapping: `kernel_split` gives each kernel position its own arrays,
    `im2col` unrolls the kernel along the rows. readout: how a column is summed, by an analog-to-digital `converter` on
    currents or by a digital `adder_tree` over the rows. column_mux: columns that share a converter or tree. adc_bits:
    resolution, or `lossless`: ceil(log2(rows * (2^cell_bits - 1) + 1)); a tree is always lossless. gating: `array`
    skips an array none of whose rows is active, `pe` skips a PE all of whose arrays are idle. joining: the slices of a
    weight are shifted and added once, `after_sum` over all arrays, or `at_array` before anything is summed or sent.
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
        return math.ceil(math.log2(self.rows * (2**self.cell.bits - 1) + 1))

    @property
    def resolution(self) -> int:
        """Bits of the converter."""
        return self.lossless_adc_bits if self.adc_bits == "lossless" else self.adc_bits

    @property
    def converters(self) -> int:
        """Converters, or adder trees, of one array."""
        return math.ceil(self.columns / self.column_mux)

    @model_validator(mode="after")
    def _mux_fits(self) -> Self:
        if self.column_mux > self.columns:
            message = f"must be at most columns, {self.columns} (got {self.column_mux})"
            raise RuleError(message, field="column_mux", hint="write the number of columns that share one converter")
        if self.readout == "adder_tree" and self.adc_bits != "lossless":
            message = f"an adder tree sums exactly: adc_bits must be lossless (got {self.adc_bits})"
            raise RuleError(message, field="adc_bits", hint="write `lossless`, or read the columns by a converter")
        return self


class Tile(StrictModel):
    """PEs of a tile. A PE is a kernel's arrays on a bus (kernel_split) or one array (im2col); layers share no tile."""

    pe: Count


class Neuron(StrictModel):
    """Lanes that each layer of neurons, pools, sums and readouts has: results per clock."""

    parallelism: Count


class Buffers(StrictModel):
    """input_reuse: `none` reads an input for every window it lies in; `line_buffer` reads it once and keeps it.

    place: a `local` buffer stands beside the layer's arrays, so an input travels to it once; from a `global` buffer
    every read travels to the arrays.
    """

    input_reuse: Literal["none", "line_buffer"]
    place: Literal["local", "global"] = "local"


class Interconnect(StrictModel):
    """Form in which a layer's input travels, one bit per value or an address per active value, and mean hops.

    hops: a number for every input, and 1 for partial sums; or `mesh`: the mean distance of two tiles of a square mesh,
    2/3 of its side, at least 1: of the chip's tiles for inputs, of the layer's own tiles for its partial sums.
    """

    encoding: Literal["bitmap", "address_event", "smaller"]
    hops: Positive | Literal["mesh"]


class Schedule(StrictModel):
    """`layer_by_layer`: nothing overlaps; each step runs each layer after the one before it.

    `row_pipeline`: every layer works at the same time, on a row as soon as the rows that it reads exist.
    """

    rule: ScheduleRule


class Duplication(StrictModel):
    """arrays: budget of the whole chip, spent on copies of the slowest layers; null: one copy of each layer."""

    arrays: Count | None = None


class Scaling(StrictModel):
    """Factors from the published numbers to this technology, and the rule they come from."""

    rule: Text
    energy: Positive = 1.0
    area: Positive = 1.0
    leakage: Positive = 1.0
    latency: Positive = 1.0


class Cost(StrictModel):
    """Price of an item as its source publishes it; with `bits`, each price is a list over those widths.

    interpolation between widths: `linear` and `quadratic` in bits, extended in proportion beyond the table's ends;
    `inside` is linear and an error beyond them. missing: the quantities the source does not give, each with a reason.
    """

    energy_pj: Price | None = None
    area_um2: Price | None = None
    leakage_uw: Price | None = None
    latency_ns: NotNegative | None = None
    bits: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    interpolation: Literal["linear", "quadratic", "inside"] | None = None
    missing: Mapping[Quantity, Text] = {}
    scaling: Scaling | None = None
    source: Text

    @model_validator(mode="after")
    def _tables_fit(self) -> Self:
        for quantity in QUANTITIES:
            price = getattr(self, quantity)
            if isinstance(price, tuple) and len(price) != len(self.bits or ()):
                message = f"must have one number for each of `bits` (got {len(price)} for {len(self.bits or ())})"
                raise RuleError(message, field=quantity, hint="write bits: [...] and lists of its length")
            if (price is not None) and quantity in self.missing:
                raise RuleError(f"{quantity} is both given and missing", field="missing", hint="remove one of them")
        if (self.bits is None) != (self.interpolation is None):
            raise RuleError("bits and interpolation go together", hint="give both, or neither for one price")
        if self.bits is not None and any(low >= high for low, high in zip(self.bits, self.bits[1:], strict=False)):
            raise RuleError("must rise from entry to entry", field="bits", hint="sort the widths, without repeats")
        return self

    def factor(self, quantity: Quantity) -> float:
        """Factor from the published number to this technology."""
        if self.scaling is None:
            return 1.0
        factors = {
            "energy_pj": self.scaling.energy,
            "area_um2": self.scaling.area,
            "leakage_uw": self.scaling.leakage,
            "latency_ns": self.scaling.latency,
        }
        return factors[quantity]


class HardwareSpec(StrictModel):
    """A crossbar chip: structure, schedule, prices, and what is left out."""

    model_config = ConfigDict(title="hardware description")

    name: Text
    summary: Text
    technology: Technology
    crossbar: Crossbar
    tile: Tile
    neuron: Neuron
    buffers: Buffers
    interconnect: Interconnect
    schedule: Schedule
    duplication: Duplication = Duplication()
    floorplan: Floorplan
    components: Mapping[str, Cost] = {}
    costs: Mapping[str, Cost | Text]
    excluded: Mapping[str, Text] = {}
    not_modelled: tuple[Excluded, ...] = ()
    remarks: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _every_item_once(self) -> Self:
        known = {item.value for item in Item}
        for section, names in (("costs", self.costs), ("excluded", self.excluded)):
            for name in names:
                if name not in known:
                    hint = f"counted items: {', '.join(sorted(known))}"
                    raise RuleError(f"nothing counted is called {name!r}", field=section, hint=hint)
        both = [name for name in sorted(known) if name in self.costs and name in self.excluded]
        for state, items in (("both priced and excluded", both), ("neither priced nor excluded", self.unpriced)):
            for name in items:
                hint = f"write costs.{name}, or excluded.{name} with the reason, not both"
                raise RuleError(f"every counted item is priced or excluded, {name} is {state}", hint=hint)
        for name, priced in self.costs.items():
            if isinstance(priced, str) and priced not in self.components:
                hint = f"components: {', '.join(self.components) or 'none'}"
                raise RuleError(f"costs.{name}: there is no component {priced!r}", field="costs", hint=hint)
            _check_quantities(Item(name), self._resolved(priced))
        return self

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Items that a chip of this structure counts and the description neither prices nor excludes: none is valid."""
        there = {*self.costs, *self.excluded}
        return tuple(sorted(item.value for item in Item if item.value not in there and self._can_count(item)))

    def _can_count(self, item: Item) -> bool:
        """Whether a chip of this structure can have the item at all."""
        only = {
            Item.ADDER_TREE_ADD: self.crossbar.readout == "adder_tree",
            Item.PE_TRANSFER: self.crossbar.mapping == "kernel_split",
        }
        return only.get(item, True)

    def cost(self, item: Item) -> Cost | None:
        """The item's prices, its own or its component's; None where it is excluded."""
        priced = self.costs.get(item.value)
        return None if priced is None else self._resolved(priced)

    def _resolved(self, priced: Cost | str) -> Cost:
        return self.components[priced] if isinstance(priced, str) else priced

    def latency_ns(self, item: Item) -> float:
        """Time of one event of a timed item; HardwareError where the description excludes it."""
        cost = self.cost(item)
        if cost is None or cost.latency_ns is None:
            raise HardwareError(
                f"{self.name}: the latency needs costs.{item.value}.latency_ns (got none)",
                hints=[f"price {item.value}, or leave latency to another description"],
            )
        return cost.latency_ns * cost.factor("latency_ns")


def _check_quantities(item: Item, cost: Cost) -> None:
    """Each quantity the item can have is given or missing with a reason; none that it cannot have is there."""
    meaning = item.meaning
    needed = {
        "energy_pj": meaning.event is not None,
        "area_um2": meaning.instance is not None,
        "leakage_uw": meaning.instance is not None,
        "latency_ns": meaning.timed,
    }
    for quantity, has in needed.items():
        there = getattr(cost, quantity) is not None or quantity in cost.missing
        if has and not there:
            hint = f"write {quantity}, or missing: {{{quantity}: why the source gives none}}"
            raise RuleError(f"costs.{item.value} must say its {quantity}", field="costs", hint=hint)
        if there and not has:
            what = "is no event" if quantity == "energy_pj" else "is not timed" if meaning.instance else "is not built"
            raise RuleError(f"costs.{item.value} has no {quantity}: it {what}", field="costs", hint="remove the key")
    if cost.bits is not None and not meaning.by_width:
        raise RuleError(f"costs.{item.value} does not depend on a bit width", field="costs", hint="give single numbers")

"""What a hardware description holds: the structure of a chip (chip.py) and the price of every counted item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from intsnn.errors import HardwareError
from intsnn.hardware.chip import (
    QUANTITIES,
    Buffers,
    Crossbar,
    Duplication,
    Interconnect,
    Item,
    Neuron,
    Quantity,
    Schedule,
    Technology,
    Tile,
)
from intsnn.hardware.spikesim_spec import Excluded, Floorplan
from intsnn.yaml.file import Physical, PhysicalOrZero, RuleError, StrictModel, Text

HARDWARE_SCHEMA = "mdcompress.hardware/1"

Price = PhysicalOrZero | tuple[PhysicalOrZero, ...]


class Scaling(StrictModel):
    """Factors from the published numbers to this technology, and the rule they come from."""

    rule: Text
    energy: Physical = 1.0
    area: Physical = 1.0
    leakage: Physical = 1.0
    latency: Physical = 1.0


class Cost(StrictModel):
    """Price of an item as its source publishes it; with `bits`, each price is a list over those widths.

    interpolation between widths: `linear` and `quadratic` in bits, extended in proportion beyond the table's ends;
    `inside` is linear and an error beyond them. missing: the quantities the source does not give, each with a reason.
    """

    energy_pj: Price | None = None
    area_um2: Price | None = None
    leakage_uw: Price | None = None
    latency_ns: PhysicalOrZero | None = None
    bits: Annotated[tuple[Physical, ...], Field(min_length=1)] | None = None
    interpolation: Literal["linear", "quadratic", "inside"] | None = None
    missing: Mapping[Quantity, Text] = {}
    scaling: Scaling | None = None
    source: Text

    @model_validator(mode="after")
    def _tables_fit(self) -> Self:
        for quantity in QUANTITIES:
            price = getattr(self, quantity)
            if isinstance(price, tuple) and (self.bits is None or len(price) != len(self.bits)):
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
        known = {item.value: item for item in Item}
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
            _check_quantities(known[name], self._resolved(priced))
        return self

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Items that a chip of this structure counts and the description neither prices nor excludes: none is valid."""
        there = {*self.costs, *self.excluded}
        counted = (item.value for item in Item if item.meaning.counted_on(self.crossbar))
        return tuple(sorted(name for name in counted if name not in there))

    def cost(self, item: Item) -> Cost | None:
        """The item's prices, its own or its component's; None where it is excluded."""
        priced = self.costs.get(item.value)
        return None if priced is None else self._resolved(priced)

    def _resolved(self, priced: Cost | str) -> Cost:
        return self.components[priced] if isinstance(priced, str) else priced

    def latency_ns(self, item: Item) -> float:
        """Time of one event of a timed item, ns.

        Raises:
            HardwareError: the description excludes it or gives no time.
        """
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
    for quantity in QUANTITIES:
        has, there = meaning.has(quantity), getattr(cost, quantity) is not None or quantity in cost.missing
        if has and not there:
            hint = f"write {quantity}, or missing: {{{quantity}: why the source gives none}}"
            raise RuleError(f"costs.{item.value} must say its {quantity}", field="costs", hint=hint)
        if there and not has:
            what = "is no event" if quantity == "energy_pj" else "is not timed" if meaning.instance else "is not built"
            raise RuleError(f"costs.{item.value} has no {quantity}: it {what}", field="costs", hint="remove the key")
    if cost.bits is not None and not meaning.by_width:
        raise RuleError(f"costs.{item.value} does not depend on a bit width", field="costs", hint="give single numbers")

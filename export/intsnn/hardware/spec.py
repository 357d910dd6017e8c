"""What a hardware description holds: the structure of a chip (chip.py) and the price of every counted item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import ConfigDict, model_validator

from intsnn.errors import HardwareError, UsageError
from intsnn.hardware.catalogue import QUANTITIES, Item
from intsnn.hardware.chip import (
    Buffers,
    Crossbar,
    Duplication,
    Interconnect,
    Neuron,
    Reloading,
    Schedule,
    Technology,
    Tile,
)
from intsnn.hardware.converters import converter_hint, shipped_converters
from intsnn.hardware.cost import Cost
from intsnn.hardware.spikesim_spec import Excluded, Floorplan
from intsnn.yaml.file import RuleError, StrictModel, Text, checked

_MEANINGS = {item.value: item.meaning for item in Item}
HARDWARE_SCHEMA = "mdcompress.hardware/1"


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
    reload: Reloading = Reloading()
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
            _check_quantities(known[name], self._named(name, priced).tabled(self.technology.node_nm))
        return self

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Items that a chip of this structure counts and the description neither prices nor excludes: none is valid."""
        absent = (name for name in _MEANINGS if name not in self.costs and name not in self.excluded)
        return tuple(sorted(one for one in absent if _MEANINGS[one].must_be_priced(self.crossbar, self.neuron)))

    @property
    def has_converters(self) -> bool:
        """Whether there are converters, and they are priced."""
        return self.crossbar.readout == "converter" and Item.ADC_CONVERSION.value not in self.excluded

    @property
    def converter(self) -> str | None:
        """Name of the price of the converters; None where it is written out, or where there are none."""
        priced = self.costs.get(Item.ADC_CONVERSION.value)
        return priced if isinstance(priced, str) else None

    def cost(self, item: Item) -> Cost | None:
        """The item's prices in numbers, its own or its component's; None where it is excluded."""
        priced = self.costs.get(item.value)
        return None if priced is None else self._named(item.value, priced).tabled(self.technology.node_nm)

    def _named(self, name: str, priced: Cost | str) -> Cost:
        """The price that stands there, or that of the component, or of the shipped converter, that it names."""
        if isinstance(priced, Cost):
            return priced
        is_converter = name == Item.ADC_CONVERSION.value
        found = self.components.get(priced) or (shipped_converters().get(priced) if is_converter else None)
        if found is not None:
            return found
        if is_converter:
            hint = converter_hint(priced, self.own_converters)
            raise RuleError(f"costs.{name}: there is no converter {priced!r}", field="costs", hint=hint)
        hint = f"components: {', '.join(self.components) or 'none'}"
        raise RuleError(f"costs.{name}: there is no component {priced!r}", field="costs", hint=hint)

    @property
    def own_converters(self) -> tuple[str, ...]:
        """Components that say all that the price of a converter must."""
        wanted = [one for one in QUANTITIES if Item.ADC_CONVERSION.meaning.has(one)]
        return tuple(
            name
            for name, cost in self.components.items()
            if all(getattr(cost, one) is not None or one in cost.missing for one in wanted)
        )

    def latency_ns(self, item: Item, bits: float | None = None) -> float:
        """Time of one event of a timed item, ns; `bits` where its time depends on a width.

        Raises:
            HardwareError: the description excludes it or gives no time.
        """
        cost = self.cost(item)
        time_ns = None if cost is None else cost.at("latency_ns", bits, name=item.value)
        if time_ns is None:
            raise HardwareError(
                f"{self.name}: the latency needs costs.{item.value}.latency_ns (got none)",
                hints=[f"price {item.value}, or leave latency to another description"],
            )
        return time_ns


def with_sections(hardware: HardwareSpec, **sections: Mapping[str, object]) -> HardwareSpec:
    """A copy with other values in some sections, held to every rule: `with_sections(chip, crossbar={"columns": 128})`.

    Raises:
        ValidationError: there is no such description.
    """
    document = hardware.model_dump()
    return HardwareSpec.model_validate(
        {**document, **{name: {**document[name], **values} for name, values in sections.items()}}
    )


def with_converter(hardware: HardwareSpec, name: str) -> HardwareSpec:
    """The description with its converters priced by another name: one of its components, or a shipped converter.

    Raises:
        UsageError: there is no such price, or the description has no converters.
    """
    key = Item.ADC_CONVERSION.value
    if not hardware.has_converters:
        raise UsageError(
            f"{hardware.name} has no converters to price (got converter {name})",
            hints=["leave the converter away, or choose a description whose `readout` is `converter`"],
        )
    changed = hardware.model_copy(update={"costs": {**hardware.costs, key: name}})
    try:
        return checked(changed)
    except UsageError as error:
        raise UsageError(f"{hardware.name}: {error.message}", hints=error.hints) from error


def require_converter(hardware: HardwareSpec, name: str) -> None:
    """Refuse a name of which neither the description nor the shipped prices have a converter, or any where it has none.

    Raises:
        UsageError: there is no such converter, or nothing to price with it.
    """
    if name not in (*hardware.own_converters, *shipped_converters()) or not hardware.has_converters:
        with_converter(hardware, name)  # the error of an estimate


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

"""A mapping and its counts -> what every price of the hardware does to the totals when it is halved or doubled.

One price at a time: the description's number is scaled, then the schedule and `price` run again with everything else
as it was. A price that several items share (a component of the description) is one price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from intsnn.estimation.costs import totals
from intsnn.estimation.counts import EventCount, EventCounts, InstanceCount
from intsnn.estimation.loading import leaking_ns
from intsnn.estimation.per_inference import PerInference
from intsnn.estimation.schedule import latencies_of_chips, latency_of
from intsnn.hardware.catalogue import QUANTITIES, Item, Quantity
from intsnn.hardware.cost import Cost
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping as ChipMapping

FACTORS = (0.5, 2.0)


@dataclass(frozen=True)
class Outcome(PerInference):
    """Totals: pJ of an inference, ns until the answers of a batch of so many, um2."""

    energy_pj: float
    latency_ns: float
    area_um2: float
    batch: int = 1


@dataclass(frozen=True)
class PriceSensitivity:
    """Totals with one price at FACTORS times its number.

    price: the key under `costs` or `components`; items: the counted items that it prices.
    """

    price: str
    quantity: Quantity
    items: tuple[str, ...]
    halved: Outcome
    doubled: Outcome


@dataclass(frozen=True)
class PriceKey:
    """Where a price stands in the description."""

    section: Literal["components", "costs"]
    name: str


def sensitivities(mapping: ChipMapping, counts: EventCounts) -> tuple[PriceSensitivity, ...]:
    """One entry for each price that changes a total, in the order of the description."""
    latency_ns = latency_of(mapping, time_steps=counts.time_steps)
    base = _outcome(counts, mapping, latency_ns)
    built = EventCounts(counts.time_steps, (), counts.instances)  # what leaks
    by_item, found = _ByItem.of(counts), list[PriceSensitivity]()
    for key, items in _shared(mapping.hardware).items():
        part = by_item.of_items(items)
        for quantity in _given(_cost(mapping.hardware, key)):
            changes = [
                replace(mapping, hardware=scaled(mapping.hardware, key, quantity=quantity, by=one)) for one in FACTORS
            ]
            if quantity == "latency_ns":  # changes the schedule, and with it what every item leaks
                times = latencies_of_chips(changes, counts.time_steps)[:, -1].tolist()
                concerned = built
            else:  # changes nothing but the items that it prices
                times, concerned = [latency_ns, latency_ns], part
            before = _outcome(concerned, mapping, latency_ns)
            afters = (_outcome(concerned, one, time) for one, time in zip(changes, times, strict=True))
            low, high = (_moved(base, before, after) for after in afters)
            if base not in (low, high):
                found.append(PriceSensitivity(key.name, quantity, items, low, high))
    return tuple(found)


def scaled(hardware: HardwareSpec, key: PriceKey, *, quantity: Quantity, by: float) -> HardwareSpec:
    """The description with one price multiplied."""
    cost = _cost(hardware, key)
    published = getattr(cost, quantity)
    number = tuple(one * by for one in published) if isinstance(published, tuple) else published * by
    changed = {key.name: cost.model_copy(update={quantity: number})}
    return hardware.model_copy(update={key.section: {**getattr(hardware, key.section), **changed}})


def _shared(hardware: HardwareSpec) -> Mapping[PriceKey, tuple[str, ...]]:
    """Each price and the items it prices."""
    items: dict[PriceKey, tuple[str, ...]] = {}
    for item, priced in hardware.costs.items():
        own = isinstance(priced, str) and priced in hardware.components
        key = PriceKey("components", str(priced)) if own else PriceKey("costs", item)
        items[key] = (*items.get(key, ()), item)
    return items


def _cost(hardware: HardwareSpec, key: PriceKey) -> Cost:
    if key.section == "components":
        return hardware.components[key.name].tabled(hardware.technology.node_nm)
    cost = hardware.cost(next(item for item in Item if item.value == key.name))
    assert cost is not None, f"costs.{key.name} prices nothing"
    return cost


def _given(cost: Cost) -> Iterator[Quantity]:
    return (quantity for quantity in QUANTITIES if getattr(cost, quantity) is not None)


@dataclass(frozen=True)
class _ByItem:
    """Where the counts of each item stand, by its key."""

    counts: EventCounts
    events: Mapping[str, Sequence[int]]
    instances: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, counts: EventCounts) -> _ByItem:
        """Of all counts."""
        return cls(counts, _places(counts.events), _places(counts.instances))

    def of_items(self, items: tuple[str, ...]) -> EventCounts:
        """The counts of some items alone, in their order."""
        events, instances = (
            sorted(place for item in items for place in places.get(item, ()))
            for places in (self.events, self.instances)
        )
        return EventCounts(
            self.counts.time_steps,
            tuple(self.counts.events[place] for place in events),
            tuple(self.counts.instances[place] for place in instances),
        )


def _places(counts: Iterable[EventCount | InstanceCount]) -> Mapping[str, Sequence[int]]:
    found: dict[Item, list[int]] = {}
    for place, one in enumerate(counts):
        found.setdefault(one.item, []).append(place)
    return {item.value: places for item, places in found.items()}


def _moved(base: Outcome, before: Outcome, after: Outcome) -> Outcome:
    """The totals with the difference that a change makes to the counts it concerns."""
    return Outcome(
        base.energy_pj + (after.energy_pj - before.energy_pj),
        after.latency_ns,
        base.area_um2 + (after.area_um2 - before.area_um2),
        base.batch,
    )


def _outcome(counts: EventCounts, mapping: ChipMapping, latency_ns: float) -> Outcome:
    energy_pj, area_um2 = totals(counts, mapping.hardware, leaking_ns=leaking_ns(mapping, latency_ns))
    return Outcome(energy_pj, latency_ns, area_um2, mapping.batch)

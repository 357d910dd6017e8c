"""Counts -> energy and area, by multiplication and addition only: each part is a count times a price.

    energy of an item at a node   events * energy_pj(bits)
    leakage of a node             sum over its items of instances * leakage_uw(bits) * latency;  1 uW*ns = 1e-3 pJ
    area of an item at a node     instances * area_um2(bits)

A price is the description's published number times its scaling factor, between tabled widths by the named rule. Items
that are excluded, and quantities that are missing with a reason, have no part; the report lists them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from intsnn.errors import HardwareError
from intsnn.estimation.counts import Columns, EventCount, EventCounts, InstanceCount
from intsnn.hardware.catalogue import Item, Quantity
from intsnn.hardware.cost import Cost
from intsnn.hardware.spec import HardwareSpec

LEAKAGE = "leakage"
PriceList = Callable[[Item, Quantity, float | None], float | None]  # of one event or instance at a width
PowerT = TypeVar("PowerT", float, npt.NDArray[np.float64])
_PJ_PER_UW_NS = 1e-3


@dataclass(frozen=True)
class EnergyPart:
    """Energy of one component at one node in each step, pJ. group: the part of the chip it belongs to."""

    node: str
    component: str
    group: str
    steps_pj: tuple[float, ...]

    @property
    def energy_pj(self) -> float:
        """Over all steps, pJ."""
        return math.fsum(self.steps_pj)


@dataclass(frozen=True)
class AreaPart:
    """Area of one component at one node, um2."""

    node: str
    component: str
    group: str
    area_um2: float


@dataclass(frozen=True)
class Prices:
    """Every part of the energy of one inference and of the chip's area."""

    energy: tuple[EnergyPart, ...]
    area: tuple[AreaPart, ...]


def price(counts: EventCounts, hardware: HardwareSpec, *, leaking_ns: float) -> Prices:
    """Price every event and instance; `leaking_ns` is how long the chip leaks for one inference.

    Raises:
        HardwareError: a width lies outside a table that must not be extended.
    """
    price_list = price_list_of(hardware)
    energy = [part for event in counts.events if (part := _energy(event, price_list))]
    area = [piece for built in counts.instances if (piece := _area(built, price_list))]
    return Prices((*energy, *_leakage(counts, price_list, leaking_ns)), tuple(area))


def totals(counts: EventCounts, hardware: HardwareSpec, *, leaking_ns: float) -> tuple[float, float]:
    """Energy, pJ, and area, um2: the sums of all parts that `price` gives, to the last bit, without the parts.

    Raises:
        HardwareError: a width lies outside a table that must not be extended.
    """
    price_list, step_ns = price_list_of(hardware), leaking_ns / counts.time_steps
    leaks = _products(counts.instance_columns, "leakage_uw", price_list)
    powers = (math.fsum(leaks[first:last]) for first, last in itertools.pairwise(counts.node_starts))
    energies = _products(counts.event_columns, "energy_pj", price_list)
    energies += [leakage_pj(power, step_ns) for power in powers] * counts.time_steps
    return math.fsum(energies), math.fsum(_products(counts.instance_columns, "area_um2", price_list))


def _products(columns: Columns, quantity: Quantity, price_list: PriceList) -> list[float]:
    """Of each count its number times its price; 0 where there is no price."""
    each = np.array([price_list(item, quantity, bits) or 0.0 for item, bits in columns.keys])
    products: list[float] = (columns.numbers * each[columns.which, None]).ravel().tolist()
    return products


def price_list_of(hardware: HardwareSpec) -> PriceList:
    """The prices of a description, each worked out once, of counts that the catalogue of items knows."""
    costs: dict[Item, Cost | None] = {}

    @cache
    def listed(item: Item, quantity: Quantity, bits: float | None) -> float | None:
        meaning = item.meaning
        assert meaning.has(quantity), f"{item.value} is counted and priced by {quantity}, which its meaning has not"
        assert meaning.by_width == (bits is not None), f"{item.value}: counted at {bits} bits against its meaning"
        if item not in costs:
            costs[item] = _cost_of(item, hardware)
        cost = costs[item]
        return None if cost is None else cost.at(quantity, bits, name=meaning.key)

    return listed


def leakage_pj(leakage_uw: PowerT, latency_ns: float) -> PowerT:
    """Energy that leaks in a time, of one node or of several at once: 1 uW*ns = 1e-3 pJ."""
    return leakage_uw * latency_ns * _PJ_PER_UW_NS


def price_of(item: Item, quantity: Quantity, hardware: HardwareSpec, *, bits: float | None = None) -> float | None:
    """Price of one event or instance at a width; None where the item is excluded or the quantity missing.

    Args:
        item: what is counted.
        quantity: pJ of an event, um2 or uW of an instance, ns of a timed event.
        hardware: the description.
        bits: the width, where the item has one.

    Raises:
        HardwareError: the item is neither priced nor excluded, or the width lies outside a table that must not be
            extended.
    """
    cost = _cost_of(item, hardware)
    return None if cost is None else cost.at(quantity, bits, name=item.value)


def _cost_of(item: Item, hardware: HardwareSpec) -> Cost | None:
    """Its prices; None where it is excluded."""
    cost = hardware.cost(item)
    if cost is None and item.value not in hardware.excluded:
        raise HardwareError(
            f"{hardware.name} neither prices nor excludes {item.value}, which is counted",
            hints=[f"write costs.{item.value}, or excluded.{item.value} with the reason"],
        )
    return cost


def _energy(event: EventCount, price_list: PriceList) -> EnergyPart | None:
    each = price_list(event.item, "energy_pj", event.bits)
    if each is None:
        return None
    steps = tuple(number * each for number in event.steps)
    return EnergyPart(event.node, event.item.value, event.item.meaning.group.value, steps)


def _area(built: InstanceCount, price_list: PriceList) -> AreaPart | None:
    each = price_list(built.item, "area_um2", built.bits)
    if each is None:
        return None
    return AreaPart(built.node, built.item.value, built.item.meaning.group.value, built.count * each)


def node_leakages(instances: Iterable[InstanceCount], price_list: PriceList) -> Iterator[tuple[str, float]]:
    """Each node that leaks, and its power, uW."""
    for node, built in itertools.groupby(instances, key=lambda instance: instance.node):
        each = [(one.count, price_list(one.item, "leakage_uw", one.bits)) for one in built]
        power_uw = math.fsum(number * leak for number, leak in each if leak is not None)
        if power_uw:
            yield node, power_uw


def total_energy_pj(parts: Iterable[EnergyPart]) -> float:
    """Energy of all parts over all steps, correctly rounded: the same in whatever order it is added, pJ."""
    return math.fsum(step for part in parts for step in part.steps_pj)


def _leakage(counts: EventCounts, price_list: PriceList, leaking_ns: float) -> list[EnergyPart]:
    """One part for each node that leaks, the same in every step."""
    step_ns = leaking_ns / counts.time_steps
    return [
        EnergyPart(node, LEAKAGE, LEAKAGE, (leakage_pj(power_uw, step_ns),) * counts.time_steps)
        for node, power_uw in node_leakages(counts.instances, price_list)
    ]

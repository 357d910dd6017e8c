"""Events and instances of a part of a chip -> its energy, area and leakage, in a form that parts can be added in.

Totals of a report are correctly rounded sums of products count x price. So is a sum of a few numbers that have the same
exact sum as the products of a part (`exact_terms`): parts that designs share are summed once, and added to others
without any rounding in between.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.estimation.costs import PriceList, node_leakages
from intsnn.estimation.counts import EventCount, InstanceCount
from intsnn.estimation.instances import LayerColumns, layer_instances
from intsnn.estimation.layer_events import LayerEvents
from intsnn.estimation.sum_widths import item_bits
from intsnn.hardware.catalogue import Item, Quantity
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping
from intsnn.report.words import readable

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dominant:
    """The component with the largest share of a total, and the product that makes it so large."""

    component: str
    share: float
    why: str


@dataclass(frozen=True)
class EnergyOfSteps:
    """Energy of a part in each step: numbers with its exact sum, pJ.

    items: of each item its energy and its events, in one step, in the first two, up to all, [T, 2].
    """

    terms: tuple[tuple[float, ...], ...]
    items: Mapping[Item, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Energy:
    """Energy of the events of one inference: numbers whose exact sum it is; the largest component, pJ, and why."""

    terms: tuple[float, ...]
    component: str
    largest_pj: float
    why: str


@dataclass(frozen=True)
class Built:
    """A part that is built: numbers whose exact sum is its area, um2; of each node that leaks the power, uW.

    items: of each item the area, um2, and the number of instances.
    """

    terms: tuple[float, ...]
    leakages_uw: tuple[float, ...]
    items: Mapping[Item, tuple[float, int]]


@dataclass(frozen=True)
class Chip:
    """Area of a chip, um2, what each node leaks, uW, and the component that takes most of the area."""

    area_um2: float
    leakages_uw: FloatArray
    area_in: Dominant


def exact_terms(values: Sequence[float]) -> tuple[float, ...]:
    """A few numbers with the same exact sum: what `math.fsum` gives of them and others, it gives of all."""
    terms: list[float] = []
    while rest := math.fsum([*values, *(-one for one in terms)]):
        terms.append(rest)
    return tuple(terms)


def energy_of_steps(events: Iterable[EventCount], price_list: PriceList) -> EnergyOfSteps:
    """Energy of some events, step by step."""
    priced = [(one, each) for one in events if (each := price_list(one.item, "energy_pj", one.bits)) is not None]
    if not priced:
        return EnergyOfSteps((), {})
    counts = np.array([one.steps for one, _ in priced])
    products = counts * np.array([each for _, each in priced])[:, None]
    places: dict[Item, list[int]] = {}
    for place, (one, _) in enumerate(priced):
        places.setdefault(one.item, []).append(place)
    both = np.stack([products, counts])
    items = {item: both[:, rows].sum(axis=1).cumsum(axis=1).T.tolist() for item, rows in places.items()}
    return EnergyOfSteps(tuple(exact_terms(step) for step in products.T.tolist()), items)


def energy_of_layers(events: LayerEvents, price_list: PriceList) -> EnergyOfSteps:
    """The same of the events of layers."""
    counts = np.array(list(events.counts.values()))  # [items, L, T]
    there: list[list[bool]] = np.logical_or.reduce(counts, axis=2).tolist()
    each = [
        [price_list(item, "energy_pj", one) if happens else 0.0 for one, happens in zip(bits, happening, strict=True)]
        for item, happening in zip(events.counts, there, strict=True)
        for bits in [events.bits.get(item, (None,) * len(happening))]
    ]
    priced = [any(happening) and None not in one for happening, one in zip(there, each, strict=True)]
    if not any(priced):
        return EnergyOfSteps((), {})
    counts, prices = counts[priced], np.array(list(itertools.compress(each, priced)))
    products = counts * prices[:, :, None]
    sums = np.stack([products, counts], axis=-1).sum(axis=1).cumsum(axis=1).tolist()
    items = dict(zip(itertools.compress(events.counts, priced), sums, strict=True))
    steps = products.reshape(-1, products.shape[2]).T.tolist()
    return EnergyOfSteps(tuple(map(exact_terms, steps)), items)


def energy_of(parts: Sequence[EnergyOfSteps], time_steps: int) -> Energy:
    """Energy of all parts over the first steps."""
    sums: dict[Item, tuple[float, float]] = {}
    for part in parts:
        for item, steps in part.items.items():
            (energy_pj, events), before = steps[time_steps - 1], sums.get(item, (0.0, 0.0))
            sums[item] = (before[0] + energy_pj, before[1] + events)
    item = max(sums, key=lambda one: sums[one][0])
    largest_pj, events = sums[item]
    why = f"{readable(events)} x {largest_pj / events if events else 0.0:.4g} pJ: {item.meaning.event}"
    terms = exact_terms([term for part in parts for step in part.terms[:time_steps] for term in step])
    return Energy(terms, item.value, largest_pj, why)


def built_of(counts: Sequence[InstanceCount], price_list: PriceList) -> Built:
    """Some instances, priced."""
    pieces: list[float] = []
    items: dict[Item, tuple[float, int]] = {}
    for one in counts:
        each = price_list(one.item, "area_um2", one.bits)
        if each is not None:
            pieces.append(one.count * each)
            area, number = items.get(one.item, (0.0, 0))
            items[one.item] = (area + pieces[-1], number + one.count)
    return Built(exact_terms(pieces), tuple(power for _, power in node_leakages(counts, price_list)), items)


@dataclass(frozen=True)
class LayerPrices:
    """Prices of the instances of layers side by side, [L]: area, um2, and leakage, uW, of each item that has them."""

    area_um2: Mapping[Item, FloatArray]
    leakage_uw: Mapping[Item, FloatArray]


def layer_prices(
    layers: Sequence[LayerMapping], columns: LayerColumns, hardware: HardwareSpec, price_list: PriceList
) -> LayerPrices:
    """What an instance of each item costs at each layer that has it, at its width there. Multiplexers do not matter."""
    widths = item_bits(layers, hardware)
    found: dict[Quantity, dict[Item, FloatArray]] = {"area_um2": {}, "leakage_uw": {}}
    for item, numbers in layer_instances(columns, hardware).items():
        there = numbers > 0
        bits = list(itertools.compress(widths[item], there.tolist())) if item in widths else [None]
        for quantity, priced in found.items() if there.any() else ():
            each = [price_list(item, quantity, one) for one in bits]
            if None not in each:  # a quantity is given or missing, whatever the width
                priced[item] = np.zeros(len(layers))
                priced[item][there] = each
    return LayerPrices(found["area_um2"], found["leakage_uw"])


def built_layers(columns: LayerColumns, hardware: HardwareSpec, prices: LayerPrices) -> Built:
    """Layers that all stay on their arrays, priced."""
    counts = layer_instances(columns, hardware)
    areas = {item: (counts[item] * each).tolist() for item, each in prices.area_um2.items()}
    leaks = np.array([counts[item] * each for item, each in prices.leakage_uw.items()])
    powers = [power for node in leaks.T.tolist() if (power := math.fsum(node))]
    items = {item: (math.fsum(one), int(counts[item].sum())) for item, one in areas.items()}
    return Built(exact_terms([piece for one in areas.values() for piece in one]), tuple(powers), items)


def chip_of(parts: Sequence[Built]) -> Chip:
    """The chip of all parts."""
    items: dict[Item, tuple[float, int]] = {}
    for part in parts:
        for item, (area, number) in part.items.items():
            before, others = items.get(item, (0.0, 0))
            items[item] = (before + area, others + number)
    area_um2 = math.fsum(term for part in parts for term in part.terms)
    item = max(items, key=lambda one: items[one][0])
    largest, number = items[item]
    why = f"{number:,} x {largest / number:.4g} um2: {item.meaning.instance}"
    leaks = np.array([power for part in parts for power in part.leakages_uw])
    return Chip(area_um2, leaks, Dominant(item.value, largest / area_um2, why))

"""Points of a design space -> energy, latency and area of each: those of an estimate to the last bit, many a second.

What designs share is worked out once:

    mapping      sizes, cell bits, encoding, mapping, budget, widths
    events       mapping without the budget, converter bits, gating; of all steps, of which fewer steps take the first
    energy       events, converter, T: an exact sum, as a few numbers, to which each design adds what leaks
    built        mapping, converter bits, multiplexers, converter
    latency      rounds of all layers and the time of a read: many mappings have the same; of all steps, as events

Totals of a report are correctly rounded sums of products count x price, so they do not depend on the order of adding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from intsnn.activity import Activity, first_steps
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import LEAKAGE, PriceList, leakage_pj, node_leakages, price_list_of
from intsnn.estimation.counts import EventCount, InstanceCount
from intsnn.estimation.events import count_events
from intsnn.estimation.instances import count_array_instances, count_digital_instances, shared_instances, with_waiting
from intsnn.estimation.loading import leaking_ns
from intsnn.estimation.per_inference import PerInference
from intsnn.estimation.programming import worn_out_after
from intsnn.estimation.schedule import array_read_ns, latencies_of_steps
from intsnn.exploration.design_space import DesignPoint, hardware_at, priced_with, sides
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Duplication
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping as ChipMapping
from intsnn.mapping import place
from intsnn.mapping.demand import Demand
from intsnn.mapping.widths import with_membrane_bits, with_weight_bits
from intsnn.yaml.file import checked


@dataclass(frozen=True)
class Dominant:
    """The component with the largest share of a total, and the product that makes it so large."""

    component: str
    share: float
    why: str


@dataclass(frozen=True)
class Design(PerInference):
    """One design's figures. accuracy: in [0, 1], None where none is known. pareto: whether no other dominates it.

    latency_ns: until the answer; where `batch` inferences share loads of weights, until the last of their answers.
    worn_out_after: inferences, with the least and the most writes that cells survive; None where weights stay, or the
    description names no endurance.
    """

    point: DesignPoint
    energy_pj: float
    latency_ns: float
    area_um2: float
    accuracy: float | None
    energy_in: Dominant
    area_in: Dominant
    pareto: bool = False
    batch: int = 1
    worn_out_after: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Energy:
    """Energy of the events of one inference: numbers whose exact sum it is; the largest component, pJ, and why."""

    terms: tuple[float, ...]
    component: str
    largest_pj: float
    why: str


@dataclass(frozen=True)
class _Built:
    """Area of a chip, um2, what each node leaks, uW, and the component that takes most of the area."""

    area_um2: float
    leakages_uw: tuple[float, ...]
    area_in: Dominant


class Pricing:
    """Prices designs of one network.

    Args:
        demand: of the network.
        activity: of the network; designs of fewer steps have its first.
        hardware: the description whose prices designs have.
    """

    def __init__(self, demand: Demand, activity: Activity, hardware: HardwareSpec) -> None:
        self._demand, self._activity, self._hardware = demand, activity, hardware
        self._described = cache(self._with_converters)
        self._price_lists = cache(self._price_list)
        self._chips = cache(self._chip)
        self._budgets = cache(self._budget)
        self._demands = cache(self._demand_with)
        self._activities = cache(self._first_steps)
        self._mappings = cache(self._mapping)
        self._events = cache(self._event_list)
        self._energies = cache(self._energy)
        self._digital = cache(self._digital_instances)
        self._shared = cache(self._shared_of)
        self._rounds = cache(self._rounds_of)
        self._built = cache(self._built_of)
        self._latencies: dict[object, tuple[float, ...]] = {}

    def design(self, point: DesignPoint, accuracy: float | None) -> Design:
        """Map, count, schedule and price one design.

        Raises:
            HardwareError: there is no such chip, or the description has no price for it.
        """
        self._activities(point.time_steps)  # an error where the activity has not so many
        mapping = self._mapped(point)
        energy = self._energies(self._counted_alike(point, mapping))
        built = self._built(self._built_alike(point, mapping))
        latency_ns = self._latency(point, mapping)
        step_ns = leaking_ns(mapping, latency_ns) / point.time_steps
        leaks = [leakage_pj(one, step_ns) for one in built.leakages_uw]
        energy_pj = math.fsum([*energy.terms, *leaks * point.time_steps])
        return Design(
            point=point,
            energy_pj=energy_pj,
            latency_ns=latency_ns,
            area_um2=built.area_um2,
            accuracy=accuracy,
            energy_in=_dominant(energy, built, math.fsum(leaks) * point.time_steps, energy_pj),
            area_in=built.area_in,
            batch=mapping.batch,
            worn_out_after=worn_out_after(mapping),
        )

    def _mapped(self, point: DesignPoint) -> ChipMapping:
        chip = self._chips(replace(point, weight_bits=None, membrane_bits=None, time_steps=1))
        return replace(self._mappings(self._placed_alike(point)), hardware=chip)

    def _placed_alike(self, point: DesignPoint) -> DesignPoint:
        """One point for all that are placed alike: converters and what runs when do not matter to a mapping.

        Steps do where the input is the same in all of them, converters where arrays fill an area.
        """
        alike = replace(point, gating="none", schedule="layer_by_layer", time_steps=self._steps_that_matter(point))
        fills = self._budgets(point.array_budget).is_area
        return alike if fills else replace(alike, adc_bits="lossless", column_mux=1, converter=None)

    def _counted_alike(self, point: DesignPoint, mapping: ChipMapping) -> DesignPoint:
        """One point for all of the same events and prices of events.

        Copies share their work, so the budget matters where inputs travel over the mesh of the chip's tiles, or where
        layers take turns; multiplexers where they decide how many arrays fill an area.
        """
        matters = mapping.reload is not None or mapping.hardware.interconnect.hops == "mesh"
        alike = replace(point, schedule="layer_by_layer", array_budget=point.array_budget if matters else None)
        fills = matters and self._budgets(point.array_budget).is_area
        return alike if fills else replace(alike, column_mux=1)

    def _built_alike(self, point: DesignPoint, mapping: ChipMapping) -> DesignPoint:
        """One point for all chips that are built alike; steps matter for what waits while layers take turns."""
        steps = point.time_steps if mapping.reload is not None else self._steps_that_matter(point)
        return replace(point, gating="none", schedule="layer_by_layer", time_steps=steps)

    def _steps_that_matter(self, point: DesignPoint) -> int:
        return point.time_steps if self._activity.constant_input else 1

    def _with_converters(self, converter: str | None) -> HardwareSpec:
        try:
            return priced_with(self._hardware, converter)
        except UsageError as error:
            raise HardwareError(error.message, hints=error.hints) from error

    def _price_list(self, converter: str | None) -> PriceList:
        return price_list_of(self._described(converter))

    def _chip(self, point: DesignPoint) -> HardwareSpec:
        return legal_hardware_at(point, self._described(point.converter))

    def _budget(self, arrays: int | str | None) -> Duplication:
        try:
            return checked(Duplication.model_construct(arrays=arrays))
        except UsageError as error:
            raise HardwareError(error.message, hints=error.hints) from error

    def _mapping(self, point: DesignPoint) -> ChipMapping:
        hardware = hardware_at(point, self._described(point.converter))
        constant_steps = point.time_steps if self._activity.constant_input else 1
        demand = self._demands(point.weight_bits, point.membrane_bits)
        return place(demand, hardware, constant_steps=constant_steps)

    def _event_list(self, point: DesignPoint) -> tuple[EventCount, ...]:
        hardware = hardware_at(point, self._described(point.converter))
        mapping = replace(self._mappings(self._placed_alike(point)), hardware=hardware)
        return tuple(count_events(mapping, self._activities(point.time_steps)))

    def _energy(self, point: DesignPoint) -> _Energy:
        """Events of all steps are counted once, unless the number of steps decides what is held."""
        steps = point.time_steps if self._activity.constant_input else self._activity.time_steps
        fills = self._budgets(point.array_budget).is_area
        alike = replace(point, time_steps=steps, converter=point.converter if fills else None)
        return _energy_of(self._events(alike), self._price_lists(point.converter), point.time_steps)

    def _digital_instances(self, weight_bits: float | None, membrane_bits: int | None) -> tuple[InstanceCount, ...]:
        alone = self._hardware.model_copy(update={"duplication": Duplication()})
        return tuple(count_digital_instances(place(self._demands(weight_bits, membrane_bits), alone)))

    def _built_of(self, point: DesignPoint) -> _Built:
        hardware = hardware_at(point, self._described(point.converter))
        mapping = replace(self._mappings(self._placed_alike(point)), hardware=hardware)
        if mapping.reload is None:
            digital = self._digital(point.weight_bits, point.membrane_bits)
            counts = (*count_array_instances(mapping), *digital)
        else:
            shared = self._shared(replace(point, time_steps=self._steps_that_matter(point)))
            counts = tuple(with_waiting(shared, mapping, mapping.reload, point.time_steps))
        return _built(counts, self._price_lists(point.converter))

    def _shared_of(self, point: DesignPoint) -> tuple[InstanceCount, ...]:
        hardware = hardware_at(point, self._described(point.converter))
        mapping = replace(self._mappings(self._placed_alike(point)), hardware=hardware)
        assert mapping.reload is not None, "only what takes turns is shared"
        return shared_instances(mapping, mapping.reload)

    def _latency(self, point: DesignPoint, mapping: ChipMapping) -> float:
        """Nodes that work as many rounds of as long reads flow alike; where layers take turns, groups matter too."""
        placed, read_ns = self._placed_alike(point), array_read_ns(mapping.hardware)
        steps = point.time_steps if self._activity.constant_input else self._activity.time_steps
        alike = self._rounds(placed) if mapping.reload is None else placed
        key = (alike, read_ns, point.schedule, steps)
        if key not in self._latencies:
            self._latencies[key] = latencies_of_steps(mapping, steps)
        return self._latencies[key][point.time_steps - 1]

    def _rounds_of(self, placed: DesignPoint) -> tuple[tuple[int, int, int], ...]:
        return tuple((one.rounds, one.input_bits, one.held_steps) for one in self._mappings(placed).layers)

    def _demand_with(self, weight_bits: float | None, membrane_bits: int | None) -> Demand:
        demand = self._demand if weight_bits is None else with_weight_bits(self._demand, weight_bits)
        return demand if membrane_bits is None else with_membrane_bits(demand, membrane_bits)

    def _first_steps(self, time_steps: int) -> Activity:
        return first_steps(self._activity, time_steps)


def legal_hardware_at(point: DesignPoint, described: HardwareSpec) -> HardwareSpec:
    """The description that a design has, held to every rule of a description.

    Raises:
        HardwareError: there is no such chip, or the description has no price for it.
    """
    _, columns = sides(point.crossbar)
    if point.column_mux > columns:
        raise HardwareError(
            f"column_mux must be at most the array's {columns} columns (got {point.column_mux})",
            hints=["explore smaller multiplexers or larger arrays"],
        )
    hardware = hardware_at(point, described)
    _require_priced(hardware, described)
    try:  # only these sections have other values than the description
        for section in (hardware.crossbar, hardware.schedule, hardware.duplication):
            checked(section)
    except UsageError as error:
        raise HardwareError(error.message, hints=error.hints) from error
    return hardware


def _require_priced(hardware: HardwareSpec, described: HardwareSpec) -> None:
    """Refuse a design where a price of the description is none of its cells or converters."""
    crossbar, own = hardware.crossbar, described.crossbar
    if hardware.unpriced:
        raise HardwareError(f"{described.name} neither prices nor excludes {hardware.unpriced[0]} ({crossbar.mapping})")
    if crossbar.readout == "adder_tree":
        if crossbar.adc_bits != "lossless":
            raise HardwareError(f"adder trees sum exactly: adc_bits must be lossless (got {crossbar.adc_bits})")
        if crossbar.cell.bits != own.cell.bits:
            # a digital cell is a bit of memory and its gate; no price says what one of more bits takes
            raise HardwareError(f"the digital cells are priced at {own.cell.bits} bit (got {crossbar.cell.bits})")
        return
    cost = hardware.cost(Item.ADC_CONVERSION)
    by_width = cost is None or any(isinstance(price, tuple) for price in (cost.energy_pj, cost.area_um2))
    if not by_width and crossbar.resolution != own.resolution:
        raise HardwareError(f"adc_conversion has one price, at {own.resolution} bits (got {crossbar.resolution})")


def exact_terms(values: Sequence[float]) -> tuple[float, ...]:
    """A few numbers with the same exact sum: what `math.fsum` gives of them and others, it gives of all."""
    terms: list[float] = []
    while rest := math.fsum([*values, *(-one for one in terms)]):
        terms.append(rest)
    return tuple(terms)


def _energy_of(events: Iterable[EventCount], price_list: PriceList, time_steps: int) -> _Energy:
    priced = [(one, each) for one in events if (each := price_list(one.item, "energy_pj", one.bits)) is not None]
    counts = np.array([one.steps for one, _ in priced])[:, :time_steps]
    products = counts * np.array([each for _, each in priced])[:, None]
    by_item: dict[Item, float] = {}
    happened: dict[Item, float] = {}
    sums = zip(priced, products.sum(axis=1).tolist(), counts.sum(axis=1).tolist(), strict=True)
    for (one, _), energy, number in sums:
        by_item[one.item] = by_item.get(one.item, 0.0) + energy
        happened[one.item] = happened.get(one.item, 0.0) + number
    item = max(by_item, key=by_item.__getitem__)
    each = by_item[item] / happened[item] if happened[item] else 0.0
    why = f"{happened[item]:.3g} x {each:.4g} pJ: {item.meaning.event}"
    return _Energy(exact_terms(products.ravel().tolist()), item.value, by_item[item], why)


def _dominant(energy: _Energy, built: _Built, leaked: float, whole: float) -> Dominant:
    if leaked > energy.largest_pj:
        return Dominant(LEAKAGE, leaked / whole, f"{math.fsum(built.leakages_uw):.4g} uW for the whole inference")
    return Dominant(energy.component, energy.largest_pj / whole if whole else 0.0, energy.why)


def _built(counts: Sequence[InstanceCount], price_list: PriceList) -> _Built:
    pieces: list[float] = []
    by_item: dict[Item, float] = {}
    number: dict[Item, int] = {}
    for one in counts:
        each = price_list(one.item, "area_um2", one.bits)
        if each is not None:
            pieces.append(one.count * each)
            by_item[one.item] = by_item.get(one.item, 0.0) + pieces[-1]
            number[one.item] = number.get(one.item, 0) + one.count
    area, item = math.fsum(pieces), max(by_item, key=by_item.__getitem__)
    why = f"{number[item]:.3g} x {by_item[item] / number[item]:.4g} um2: {item.meaning.instance}"
    leaks = tuple(power for _, power in node_leakages(counts, price_list))
    return _Built(area, leaks, Dominant(item.value, by_item[item] / area, why))

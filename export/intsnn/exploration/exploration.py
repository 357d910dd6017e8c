"""A network and a space of designs -> energy, latency and area of every design, and those that no other one beats.

Each design goes through the very mapping, counting, scheduling and pricing of an estimate; what two designs share
(demand, activity, events) is worked out once. A design is beaten where another is at least as good in every objective
and better in one. Objectives are energy, latency and area, and accuracy where it is given.

Without accuracies nothing says what fewer bits or steps cost in accuracy, so designs compete only within their own
weight bits, membrane bits and T; and designs whose converters are too coarse to compute the graph's integers do not
compete at all. With accuracies, all designs that have one compete.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import LEAKAGE, ItemTotals, Tally, leakage_pj, price_items, price_list_of
from intsnn.estimation.events import (
    EventCount,
    InstanceCount,
    count_array_instances,
    count_digital_instances,
    count_events,
)
from intsnn.estimation.schedule import latency_of
from intsnn.exploration.design_space import Axis, DesignPoint, DesignSpace
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint
from intsnn.hardware.items import Item
from intsnn.hardware.spec import Cell, HardwareSpec
from intsnn.mapping import Mapping, place
from intsnn.mapping.demand import Demand, demand_of
from intsnn.mapping.widths import with_membrane_bits, with_weight_bits

FloatArray = npt.NDArray[np.float64]
Accuracy = Callable[[DesignPoint], float | None]
_NETWORK_AXES: tuple[Axis, ...] = ("weight_bits", "membrane_bits", "time_steps")


@dataclass(frozen=True)
class Dominant:
    """The component with the largest share of a total, and the product that makes it so large."""

    component: str
    share: float
    why: str


@dataclass(frozen=True)
class Design:
    """One design's figures. accuracy: in [0, 1], None where none is known. pareto: whether no other design beats it."""

    point: DesignPoint
    energy_pj: float
    latency_ns: float
    area_um2: float
    accuracy: float | None
    energy_in: Dominant
    area_in: Dominant
    pareto: bool = False

    @property
    def edap_pj_ns_um2(self) -> float:
        """Energy-delay-area product, pJ*ns*um2."""
        return self.energy_pj * self.latency_ns * self.area_um2


@dataclass(frozen=True)
class Infeasible:
    """A design that cannot be built or priced, and why."""

    point: DesignPoint
    reason: str


@dataclass(frozen=True)
class Exploration:
    """Every design of a space, in the order of the space. hardware: the description whose prices they have.

    accuracies_given: whether designs were asked for their accuracy; then only those that have one compete.
    """

    hardware: str
    designs: tuple[Design, ...]
    infeasible: tuple[Infeasible, ...]
    accuracies_given: bool = False

    @property
    def pareto(self) -> tuple[Design, ...]:
        """The designs that no other one beats, by energy."""
        return tuple(sorted((one for one in self.designs if one.pareto), key=lambda one: one.energy_pj))


def explore(
    graph: IntGraph,
    activity: Activity,
    hardware: HardwareSpec,
    *,
    space: DesignSpace,
    accuracy: Accuracy | None = None,
) -> Exploration:
    """Price every design of a space.

    Args:
        graph: the network.
        activity: of this graph; fewer steps are its first steps, so T can be at most its own.
        hardware: prices, and what the space leaves as it is.
        space: the values of each axis.
        accuracy: of a design, in [0, 1]; None where it is not known.

    Raises:
        HardwareError: the activity is of another graph.
        UsageError: the space asks for more steps than the activity has.
    """
    if activity.graph != fingerprint(graph):
        raise HardwareError(
            "the activity must be of the graph that is explored (its fingerprint is another)",
            hints=["measure the activity again on this graph"],
        )
    pricing = _Pricing(demand_of(graph), activity, hardware)
    designs, infeasible = [], []
    for point in space.points(hardware, activity.time_steps):
        try:
            _require_steps(graph, point)
            designs.append(pricing.design(point, accuracy))
        except HardwareError as error:  # part of the answer: which designs there are not, and why
            infeasible.append(Infeasible(point, error.message))
    if not designs:
        raise HardwareError(
            f"no design of the space can be priced; the first: {infeasible[0].reason}", hints=["widen the space"]
        )
    known = accuracy is not None
    return Exploration(hardware.name, _with_pareto(designs, known=known), tuple(infeasible), known)


class _Pricing:
    """Prices designs of one network; keeps what several designs share."""

    def __init__(self, demand: Demand, activity: Activity, hardware: HardwareSpec) -> None:
        self._demand, self._activity, self._hardware = demand, activity, hardware
        self._price_list = price_list_of(hardware)
        self._demands = cache(self._demand_with)
        self._activities = cache(self._first_steps)
        self._mappings = cache(self._mapping)
        self._events = cache(self._tallied_events)
        self._digital = cache(self._digital_instances)
        self._latencies = cache(self._latency)

    def design(self, point: DesignPoint, accuracy: Accuracy | None) -> Design:
        """Map, count, schedule and price one design."""
        hardware = _hardware_at(point, self._hardware)
        _require_priced(hardware, self._hardware)
        mapping = replace(self._mappings(_placed_alike(point)), hardware=hardware)
        copies = point.array_budget if hardware.interconnect.hops == "mesh" else None
        events = self._events(replace(point, column_mux=1, schedule="layer_by_layer", array_budget=copies))
        digital = self._digital(point.weight_bits, point.membrane_bits)
        instances = _tally(count_array_instances(mapping), start=digital)
        totals = price_items(events, instances, self._price_list)
        latency_ns = self._latencies(replace(point, adc_bits="lossless", gating="none"))
        leaked = leakage_pj(totals.leakage_uw, latency_ns)
        return Design(
            point=point,
            energy_pj=sum(totals.energy_pj.values()) + leaked,
            latency_ns=latency_ns,
            area_um2=sum(totals.area_um2.values()),
            accuracy=None if accuracy is None else accuracy(point),
            energy_in=_energy_dominant(totals, events, leaked),
            area_in=_area_dominant(totals, instances),
        )

    def _mapping(self, point: DesignPoint) -> Mapping:
        return place(self._demands(point.weight_bits, point.membrane_bits), _hardware_at(point, self._hardware))

    def _tallied_events(self, point: DesignPoint) -> Tally:
        hardware = _hardware_at(point, self._hardware)
        mapping = replace(self._mappings(_placed_alike(point)), hardware=hardware)
        return _tally(count_events(mapping, self._activities(point.time_steps)))

    def _digital_instances(self, weight_bits: float | None, membrane_bits: int | None) -> Tally:
        return _tally(count_digital_instances(place(self._demands(weight_bits, membrane_bits), self._hardware)))

    def _latency(self, point: DesignPoint) -> float:
        mapping = self._mappings(_placed_alike(point))
        mapping = replace(mapping, hardware=_hardware_at(point, self._hardware))
        return latency_of(mapping, time_steps=point.time_steps)

    def _demand_with(self, weight_bits: float | None, membrane_bits: int | None) -> Demand:
        demand = self._demand if weight_bits is None else with_weight_bits(self._demand, weight_bits)
        return demand if membrane_bits is None else with_membrane_bits(demand, membrane_bits)

    def _first_steps(self, time_steps: int) -> Activity:
        return first_steps(self._activity, time_steps)


def first_steps(activity: Activity, time_steps: int) -> Activity:
    """The activity of the first steps only: what a run of fewer steps does, since no step knows how many follow."""
    if not 1 <= time_steps <= activity.time_steps:
        raise UsageError(
            f"time_steps must lie between 1 and the activity's {activity.time_steps} (got {time_steps})",
            hints=["measure or assume an activity of more steps"],
        )
    synapses = (
        replace(
            one,
            active_inputs=one.active_inputs[:time_steps],
            row_activations=one.row_activations[:time_steps],
            row_pulses=one.row_pulses[:time_steps],
            input_sum=one.input_sum[:time_steps],
            occupancy=tuple(
                replace(
                    cut,
                    arrays=cut.arrays[:time_steps],
                    pes=cut.pes[:time_steps],
                    outputs=cut.outputs[:time_steps],
                )
                for cut in one.occupancy
            ),
        )
        for one in activity.synapses
    )
    neurons = tuple(replace(one, spikes=one.spikes[:time_steps]) for one in activity.neurons)
    products = tuple(
        replace(
            one,
            active_left=one.active_left[:time_steps],
            active_right=one.active_right[:time_steps],
            active_pairs=one.active_pairs[:time_steps],
        )
        for one in activity.products
    )
    return replace(activity, time_steps=time_steps, neurons=neurons, synapses=tuple(synapses), products=products)


def _hardware_at(point: DesignPoint, hardware: HardwareSpec) -> HardwareSpec:
    if point.column_mux > point.crossbar:
        raise HardwareError(
            f"column_mux must be at most the array's {point.crossbar} columns (got {point.column_mux})",
            hints=["explore smaller multiplexers or larger arrays"],
        )
    crossbar = hardware.crossbar.model_copy(
        update={
            "rows": point.crossbar,
            "columns": point.crossbar,
            "cell": Cell(kind=hardware.crossbar.cell.kind, bits=point.cell_bits),
            "adc_bits": point.adc_bits,
            "column_mux": point.column_mux,
            "encoding": point.encoding,
            "mapping": point.mapping,
            "gating": point.gating,
        }
    )
    duplication = hardware.duplication.model_copy(update={"arrays": point.array_budget})
    schedule = hardware.schedule.model_copy(update={"rule": point.schedule})
    return hardware.model_copy(update={"crossbar": crossbar, "duplication": duplication, "schedule": schedule})


def _require_priced(hardware: HardwareSpec, described: HardwareSpec) -> None:
    """HardwareError where a price of the description is none of this design's cells or converters."""
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


def _require_steps(graph: IntGraph, point: DesignPoint) -> None:
    if graph.time_steps not in (None, point.time_steps):
        raise HardwareError(f"the graph has norms for {graph.time_steps} steps (got {point.time_steps})")


def _placed_alike(point: DesignPoint) -> DesignPoint:
    """One point for all that are placed alike: converters, steps and what runs when do not matter to a mapping."""
    return replace(point, adc_bits="lossless", column_mux=1, gating="none", schedule="layer_by_layer", time_steps=1)


def _tally(counts: Iterator[EventCount] | Iterator[InstanceCount], start: Tally | None = None) -> Tally:
    """Counts summed by item and width, with those of `start`."""
    found: dict[tuple[Item, float | None], float] = dict(start or {})
    for one in counts:
        key = (one.item, one.bits)
        found[key] = found.get(key, 0.0) + (one.total if isinstance(one, EventCount) else one.count)
    return found


def _energy_dominant(totals: ItemTotals, events: Tally, leaked: float) -> Dominant:
    whole = sum(totals.energy_pj.values()) + leaked
    item = max(totals.energy_pj, key=lambda one: totals.energy_pj[one])
    if leaked > totals.energy_pj[item]:
        return Dominant(LEAKAGE, leaked / whole, f"{totals.leakage_uw:.4g} uW for the whole inference")
    count = sum(number for (one, _), number in events.items() if one is item)
    each = totals.energy_pj[item] / count if count else 0.0
    why = f"{count:.3g} x {each:.4g} pJ: {item.meaning.event}"
    return Dominant(item.value, totals.energy_pj[item] / whole if whole else 0.0, why)


def _area_dominant(totals: ItemTotals, instances: Tally) -> Dominant:
    item = max(totals.area_um2, key=lambda one: totals.area_um2[one])
    count = sum(number for (one, _), number in instances.items() if one is item)
    each = totals.area_um2[item] / count
    why = f"{count:.3g} x {each:.4g} um2: {item.meaning.instance}"
    return Dominant(item.value, totals.area_um2[item] / sum(totals.area_um2.values()), why)


def _with_pareto(designs: list[Design], *, known: bool) -> tuple[Design, ...]:
    found = set()
    for _, group in itertools.groupby(
        sorted(range(len(designs)), key=lambda index: _league(designs[index], known=known)),
        key=lambda index: _league(designs[index], known=known),
    ):
        members = [index for index in group if _competes(designs[index], known=known)]
        if members:
            costs = np.array([_costs(designs[index]) for index in members])
            found |= {index for index, free in zip(members, unbeaten(costs).tolist(), strict=True) if free}
    return tuple(replace(one, pareto=index in found) for index, one in enumerate(designs))


def _league(design: Design, *, known: bool) -> tuple[float, ...]:
    """Designs compete within a league: all in one where accuracies are known, else those of one network."""
    if known:
        return ()
    values = (getattr(design.point, axis) for axis in _NETWORK_AXES)
    return tuple(-1.0 if value is None else float(value) for value in values)


def _competes(design: Design, *, known: bool) -> bool:
    return design.accuracy is not None if known else design.point.exact


def _costs(design: Design) -> tuple[float, ...]:
    """Objectives, less is better."""
    return (design.energy_pj, design.latency_ns, design.area_um2, -(design.accuracy or 0.0))


def unbeaten(costs: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows of [n, objectives] no other row beats: less is better."""
    free = np.ones(len(costs), dtype=np.bool_)
    for index, row in enumerate(costs):
        beats = (costs <= row).all(axis=1) & (costs < row).any(axis=1)
        free[index] = not beats.any()
    return free

"""A network and a space of designs -> energy, latency and area of every design, and the Pareto set of them.

Each design goes through the very mapping, counting, scheduling and pricing of an estimate; what two designs share
(demand, activity, events) is worked out once. A design is dominated where another is at least as good in every
objective and better in one; the Pareto set are those that none dominates. Objectives are energy, latency and area, and
accuracy where it is given.

Without accuracies nothing says what fewer bits or steps cost in accuracy, so designs are compared only with those of
the same weight bits, membrane bits and T; designs whose converters are too coarse to compute the graph's integers are
not compared at all. With accuracies, all designs that have one are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity, first_steps
from intsnn.engines import InterpreterSession, Session
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import LEAKAGE, ItemTotals, PriceList, Tally, leakage_pj, price_items, price_list_of
from intsnn.estimation.counts import EventCount, InstanceCount
from intsnn.estimation.events import count_events
from intsnn.estimation.instances import count_array_instances, count_digital_instances, count_instances
from intsnn.estimation.loading import leaking_ns
from intsnn.estimation.schedule import latency_of
from intsnn.exploration.chips import ChipAccuracy, Trial, beaten, judged
from intsnn.exploration.design_space import Axis, DesignPoint, DesignSpace, hardware_at, priced_with, sides
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Duplication
from intsnn.hardware.cost import Cost
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping, place
from intsnn.mapping.demand import Demand, demand_of
from intsnn.mapping.widths import with_membrane_bits, with_weight_bits
from intsnn.yaml.file import checked

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
    """One design's figures. accuracy: in [0, 1], None where none is known. pareto: whether no other dominates it."""

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
class Judgement:
    """How the accuracies of an exploration were measured.

    exact: accuracy of the exact network, at the T of the space that is best for it. least: what a compared design must
    reach. runs: groups of designs that were run on chips. labelled: whether answers are held against labels, else
    against the exact network.
    """

    analog: str
    chips: int
    samples: int
    exact: float
    least: float
    runs: int
    labelled: bool


@dataclass(frozen=True)
class Exploration:
    """Every design of a space, in the order of the space. hardware: the description whose prices they have.

    accuracies_given: whether designs were asked for their accuracy; then only those that have one are compared.
    judgement: how accuracies were measured here, None where they were not.
    """

    hardware: str
    designs: tuple[Design, ...]
    infeasible: tuple[Infeasible, ...]
    accuracies_given: bool = False
    judgement: Judgement | None = None

    @property
    def pareto(self) -> tuple[Design, ...]:
        """The Pareto set, by energy."""
        return tuple(sorted((one for one in self.designs if one.pareto), key=lambda one: one.energy_pj))


def explore(
    graph: IntGraph,
    activity: Activity,
    hardware: HardwareSpec,
    *,
    space: DesignSpace,
    accuracy: Accuracy | None = None,
    trial: Trial | None = None,
    exact: Session | None = None,
) -> Exploration:
    """Price every design of a space.

    Args:
        graph: the network.
        activity: of this graph; fewer steps are its first steps, so T can be at most its own.
        hardware: prices, and what the space leaves as it is.
        space: the values of each axis.
        accuracy: of a design, in [0, 1]; None where it is not known.
        trial: measure accuracies on chips, of the designs for which they can matter (chips.py); not with `accuracy`.
        exact: with `trial`, a session of the network for exact answers; None: the interpreter.

    Raises:
        HardwareError: the activity is of another graph, or no design of the space can be priced.
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
    if trial is not None:
        return _judged(hardware, designs, tuple(infeasible), trial, exact or InterpreterSession(graph))
    known = accuracy is not None
    return Exploration(hardware.name, _with_pareto(designs, known=known), tuple(infeasible), known)


def _judged(
    hardware: HardwareSpec,
    designs: Sequence[Design],
    infeasible: tuple[Infeasible, ...],
    trial: Trial,
    exact: Session,
) -> Exploration:
    """The exploration with accuracies from chips; only designs that are accurate enough are compared."""
    on_chips = ChipAccuracy(exact, hardware, trial)
    costs, points = np.array([_costs(design)[:3] for design in designs]), [design.point for design in designs]
    best = max(map(on_chips.exact_accuracy, {point.time_steps for point in points}))
    least = best - trial.loss
    found = judged(points, costs, on_chips, ceiling=on_chips.exact_accuracy, least=least)
    known = [replace(design, accuracy=value) for design, value in zip(designs, found, strict=True)]
    judgement = Judgement(
        analog=trial.analog.name,
        chips=trial.chips,
        samples=trial.samples.x.shape[1],
        exact=best,
        least=least,
        runs=on_chips.runs,
        labelled=trial.samples.labels is not None,
    )
    compared = _with_pareto(known, known=True, least=least)
    return Exploration(hardware.name, compared, infeasible, accuracies_given=True, judgement=judgement)


class _Pricing:
    """Prices designs of one network; keeps what several designs share."""

    def __init__(self, demand: Demand, activity: Activity, hardware: HardwareSpec) -> None:
        self._demand, self._activity, self._hardware = demand, activity, hardware
        self._described = cache(self._with_converters)
        self._price_lists = cache(self._price_list)
        self._converter_costs = cache(self._converter_cost)
        self._chips = cache(self._chip)
        self._demands = cache(self._demand_with)
        self._activities = cache(self._first_steps)
        self._mappings = cache(self._mapping)
        self._events = cache(self._tallied_events)
        self._digital = cache(self._digital_instances)
        self._latencies = cache(self._latency)

    def design(self, point: DesignPoint, accuracy: Accuracy | None) -> Design:
        """Map, count, schedule and price one design."""
        hardware = self._chips(replace(point, weight_bits=None, membrane_bits=None, time_steps=1))
        mapping = replace(self._mappings(self._placed_alike(point)), hardware=hardware)
        turns = mapping.reload is not None
        copies = point.array_budget if turns or hardware.interconnect.hops == "mesh" else None
        alike = replace(point, schedule="layer_by_layer", array_budget=copies)
        if not _fills_an_area(alike):
            alike = replace(alike, column_mux=1, converter=None)
        events = self._events(alike)
        if turns:
            instances = _tally(count_instances(mapping, point.time_steps))
        else:
            digital = self._digital(point.weight_bits, point.membrane_bits)
            instances = _tally(count_array_instances(mapping), start=digital)
        totals = price_items(events, instances, self._price_lists(point.converter))
        latency_ns = self._latencies(self._timed_alike(point))
        leaked = leakage_pj(totals.leakage_uw, leaking_ns(mapping, latency_ns))
        return Design(
            point=point,
            energy_pj=sum(totals.energy_pj.values()) + leaked,
            latency_ns=latency_ns,
            area_um2=sum(totals.area_um2.values()),
            accuracy=None if accuracy is None else accuracy(point),
            energy_in=_energy_dominant(totals, events, leaked),
            area_in=_area_dominant(totals, instances),
        )

    def _with_converters(self, converter: str | None) -> HardwareSpec:
        return priced_with(self._hardware, converter)

    def _price_list(self, converter: str | None) -> PriceList:
        return price_list_of(self._described(converter))

    def _timed_alike(self, point: DesignPoint) -> DesignPoint:
        """One point for all that take the same time: bits matter where a conversion takes longer for more of them."""
        cost = self._converter_costs(point.converter)
        alike = replace(point, gating="none")
        if _fills_an_area(point):
            return alike
        return alike if cost is not None and isinstance(cost.latency_ns, tuple) else replace(alike, adc_bits="lossless")

    def _converter_cost(self, converter: str | None) -> Cost | None:
        return self._described(converter).cost(Item.ADC_CONVERSION)

    def _chip(self, point: DesignPoint) -> HardwareSpec:
        return legal_hardware_at(point, self._described(point.converter))

    def _mapping(self, point: DesignPoint) -> Mapping:
        hardware = hardware_at(point, self._described(point.converter))
        constant_steps = point.time_steps if self._activity.constant_input else 1
        demand = self._demands(point.weight_bits, point.membrane_bits)
        return place(demand, hardware, constant_steps=constant_steps)

    def _placed_alike(self, point: DesignPoint) -> DesignPoint:
        """One point for all that are placed alike: converters and what runs when do not matter to a mapping.

        Steps do where the input is the same in all of them, converters where arrays fill an area.
        """
        steps = point.time_steps if self._activity.constant_input else 1
        alike = replace(point, gating="none", schedule="layer_by_layer", time_steps=steps)
        return alike if _fills_an_area(point) else replace(alike, adc_bits="lossless", column_mux=1, converter=None)

    def _tallied_events(self, point: DesignPoint) -> Tally:
        hardware = hardware_at(point, self._described(point.converter))
        mapping = replace(self._mappings(self._placed_alike(point)), hardware=hardware)
        return _tally(count_events(mapping, self._activities(point.time_steps)))

    def _digital_instances(self, weight_bits: float | None, membrane_bits: int | None) -> Tally:
        alone = self._hardware.model_copy(update={"duplication": Duplication()})
        return _tally(count_digital_instances(place(self._demands(weight_bits, membrane_bits), alone)))

    def _latency(self, point: DesignPoint) -> float:
        mapping = self._mappings(self._placed_alike(point))
        mapping = replace(mapping, hardware=hardware_at(point, self._described(point.converter)))
        return latency_of(mapping, time_steps=point.time_steps)

    def _demand_with(self, weight_bits: float | None, membrane_bits: int | None) -> Demand:
        demand = self._demand if weight_bits is None else with_weight_bits(self._demand, weight_bits)
        return demand if membrane_bits is None else with_membrane_bits(demand, membrane_bits)

    def _first_steps(self, time_steps: int) -> Activity:
        return first_steps(self._activity, time_steps)


def _fills_an_area(point: DesignPoint) -> bool:
    return Duplication(arrays=point.array_budget).is_area


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
    try:
        return checked(hardware)
    except UsageError as error:
        raise HardwareError(error.message, hints=error.hints) from error


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


def _require_steps(graph: IntGraph, point: DesignPoint) -> None:
    if graph.time_steps not in (None, point.time_steps):
        raise HardwareError(f"the graph has norms for {graph.time_steps} steps (got {point.time_steps})")


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


def _with_pareto(designs: list[Design], *, known: bool, least: float = 0.0) -> tuple[Design, ...]:
    """Each design with whether it belongs to the Pareto set of its compared group."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, design in enumerate(designs):
        if _is_compared(design, known=known, least=least):
            groups.setdefault(_compared_group(design, known=known), []).append(index)
    found: set[int] = set()
    for members in groups.values():
        costs = np.array([_costs(designs[index]) for index in members])
        found |= {index for index, free in zip(members, non_dominated(costs).tolist(), strict=True) if free}
    return tuple(replace(one, pareto=index in found) for index, one in enumerate(designs))


def _is_compared(design: Design, *, known: bool, least: float) -> bool:
    return design.accuracy is not None and design.accuracy >= least if known else design.point.exact


def _compared_group(design: Design, *, known: bool) -> tuple[float, ...]:
    """What the designs of one comparison have in common: nothing where accuracies are known, else their network."""
    if known:
        return ()
    values = (getattr(design.point, axis) for axis in _NETWORK_AXES)
    return tuple(-1.0 if value is None else float(value) for value in values)


def _costs(design: Design) -> tuple[float, ...]:
    """Objectives, less is better."""
    return (design.energy_pj, design.latency_ns, design.area_um2, -(design.accuracy or 0.0))


def non_dominated(costs: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows of [n, objectives] no other row dominates, [n]: less is better."""
    free = np.ones(len(costs), dtype=np.bool_)
    for index, row in enumerate(costs):
        free[index] = not beaten(row, costs)
    return free

"""Points of a design space -> energy, latency and area of each: those of an estimate to the last bit, many a second.

What designs share is worked out once (parts.py says how parts are added):

    mapping      sizes, cell bits, encoding, mapping, budget, widths
    energy       of layers: mapping without the budget, converter bits, gating, converter; of all other nodes: widths;
                 of loads: mapping and converter bits. Of all steps, of which fewer steps take the first
    built        of layers: mapping, converter bits, multiplexers, converter; of all other nodes: widths
    latency      rounds of all layers and the time of a read: many mappings have the same; of all steps, as energy, and
                 of all such chips at once
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, TypeVar

from intsnn.activity import Activity, first_steps
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import LEAKAGE, PriceList, leakage_pj, price_list_of
from intsnn.estimation.counts import InstanceCount
from intsnn.estimation.events import count_digital_events
from intsnn.estimation.instances import (
    LayerColumns,
    Needed,
    count_digital_instances,
    digital_needs,
    layer_columns,
    shared_instances,
    with_waiting,
)
from intsnn.estimation.layer_events import layer_events
from intsnn.estimation.loading import leaking_ns, reload_events
from intsnn.estimation.per_inference import PerInference
from intsnn.estimation.programming import worn_out_after
from intsnn.estimation.schedule import array_read_ns, latencies_of_chips, read_rows
from intsnn.exploration.design_space import DesignPoint, priced_with
from intsnn.exploration.legality import legal, legal_hardware_at
from intsnn.exploration.parts import (
    Built,
    Chip,
    Dominant,
    Energy,
    EnergyOfSteps,
    LayerPrices,
    built_layers,
    built_of,
    chip_of,
    energy_of,
    energy_of_layers,
    energy_of_steps,
    layer_prices,
)
from intsnn.hardware.chip import Duplication, Schedule, ScheduleRule
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import DigitalMapping, place
from intsnn.mapping import Mapping as ChipMapping
from intsnn.mapping.demand import Demand
from intsnn.mapping.mapping import place_digital
from intsnn.mapping.widths import with_membrane_bits, with_weight_bits

Value = TypeVar("Value")
Key = tuple[Hashable, ...]
_AT_ONCE = 128  # chips whose rows are followed at the same time: some megabytes


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
class Infeasible:
    """A design that cannot be built or priced, and why."""

    point: DesignPoint
    reason: str


@dataclass(frozen=True)
class _Placed:
    """A point on its chip. key: of all that are placed alike; timed: of all whose inferences take as long."""

    point: DesignPoint
    mapping: ChipMapping
    key: Key
    timed: Key


class _Known(Generic[Value]):
    """Values by what they depend on, each worked out once."""

    def __init__(self) -> None:
        self._found: dict[Key, Value] = {}

    def get(self, key: Key, work_out: Callable[[], Value]) -> Value:
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = work_out()
        return found


class Pricing:
    """Prices designs of one network.

    Args:
        demand: of the network.
        activity: of the network; designs of fewer steps have its first.
        hardware: the description whose prices designs have.
        time_steps: T of the network, where it fixes one.
    """

    def __init__(
        self, demand: Demand, activity: Activity, hardware: HardwareSpec, *, time_steps: int | None = None
    ) -> None:
        self._demand, self._activity, self._hardware, self._time_steps = demand, activity, hardware, time_steps
        self._mesh = hardware.interconnect.hops == "mesh"
        self._described = cache(self._with_converters)
        self._price_lists = cache(self._price_list)
        self._budgets = cache(self._budget)
        self._schedules = cache(self._schedule)
        self._demands = cache(self._demand_with)
        self._digital = cache(self._digital_nodes)
        self._activities = cache(self._first_steps)
        self._digital_built = cache(self._digital_built_of)
        self._chips, self._crossbars = _Known[HardwareSpec](), _Known[tuple[HardwareSpec, float]]()
        self._mappings, self._rounds = _Known[ChipMapping](), _Known[Key]()
        self._energies, self._energy_parts = _Known[Energy](), _Known[EnergyOfSteps]()
        self._built, self._columns, self._layer_prices = _Known[Chip](), _Known[LayerColumns](), _Known[LayerPrices]()
        self._shared, self._digital_needs = _Known[tuple[InstanceCount, ...]](), _Known[tuple[Needed, ...]]()
        self._latencies: dict[Key, Sequence[float] | HardwareError] = {}

    def designs(
        self, points: Iterable[DesignPoint], accuracy: Callable[[DesignPoint], float | None] | None = None
    ) -> list[Design | Infeasible]:
        """Map, count, schedule and price each point; what cannot be built or priced is an answer too.

        Args:
            points: the designs.
            accuracy: of a design; None where it is not known.

        Raises:
            UsageError: a point has more steps than the activity.
        """
        placed = [self._placed_or_reason(point) for point in points]
        self._follow([one for one in placed if isinstance(one, _Placed)])
        return [one if isinstance(one, Infeasible) else self._design_or_reason(one, accuracy) for one in placed]

    def _placed_or_reason(self, point: DesignPoint) -> _Placed | Infeasible:
        try:
            return self._placed(point)
        except HardwareError as error:  # part of the answer: which designs there are not, and why
            return Infeasible(point, error.message)

    def _design_or_reason(
        self, placed: _Placed, accuracy: Callable[[DesignPoint], float | None] | None
    ) -> Design | Infeasible:
        try:
            return self._design(placed, None if accuracy is None else accuracy(placed.point))
        except HardwareError as error:
            return Infeasible(placed.point, error.message)

    # -------------------------------------------------------------- from a point to its chip

    def _placed(self, point: DesignPoint) -> _Placed:
        if self._time_steps not in (None, point.time_steps):
            raise HardwareError(f"the graph has norms for {self._time_steps} steps (got {point.time_steps})")
        self._activities(point.time_steps)  # an error where the activity has not so many
        hardware, read_ns = self._chip(point)
        key = self._placed_key(point)
        mapping = self._mappings.get(key, lambda: self._mapping(point, hardware))
        timed = key if mapping.reload is not None else self._rounds.get(key, lambda: _rounds(mapping))
        return _Placed(point, mapping.on(hardware), key, (timed, read_ns, point.schedule, self._counted_steps(point)))

    def _chip(self, point: DesignPoint) -> tuple[HardwareSpec, float]:
        """The chip, and the time of a read of its arrays, ns."""
        crossbar = (
            *(point.crossbar, point.cell_bits, point.adc_bits, point.column_mux),
            *(point.encoding, point.mapping, point.gating, point.converter),
        )
        described, read_ns = self._crossbars.get(crossbar, lambda: self._chip_of(point))
        changes = {"schedule": self._schedules(point.schedule), "duplication": self._budgets(point.array_budget)}
        key = (crossbar, point.schedule, point.array_budget)
        return self._chips.get(key, lambda: described.model_copy(update=changes)), read_ns

    def _chip_of(self, point: DesignPoint) -> tuple[HardwareSpec, float]:
        own = self._hardware
        alone = replace(point, schedule=own.schedule.rule, array_budget=own.duplication.arrays)
        hardware = legal_hardware_at(alone, self._described(point.converter))
        return hardware, array_read_ns(hardware, rows=1)

    def _placed_key(self, point: DesignPoint) -> Key:
        """Converters and what runs when do not matter to a mapping.

        Steps do where the input is the same in all of them, converters where arrays fill an area.
        """
        fills = self._budgets(point.array_budget).is_area
        return (
            *(point.crossbar, point.cell_bits, point.encoding, point.mapping, point.array_budget),
            *(point.weight_bits, point.membrane_bits, self._steps_that_matter(point)),
            (point.adc_bits, point.column_mux, point.converter) if fills else None,
        )

    def _mapping(self, point: DesignPoint, hardware: HardwareSpec) -> ChipMapping:
        widths = (point.weight_bits, point.membrane_bits)
        return place(
            self._demands(*widths),
            hardware,
            constant_steps=self._steps_that_matter(point),
            digital=self._digital(*widths),
        )

    # -------------------------------------------------------------- figures

    def _design(self, placed: _Placed, accuracy: float | None) -> Design:
        point, mapping = placed.point, placed.mapping
        energy = self._energy(placed)
        chip = self._chip_built(placed)
        latencies = self._latencies[placed.timed]
        if isinstance(latencies, HardwareError):
            raise latencies
        latency_ns = latencies[point.time_steps - 1]
        step_ns = leaking_ns(mapping, latency_ns) / point.time_steps
        leaks = leakage_pj(chip.leakages_uw, step_ns).tolist()
        energy_pj = math.fsum([*energy.terms, *leaks * point.time_steps])
        leaked = math.fsum(leaks) * point.time_steps
        return Design(
            point=point,
            energy_pj=energy_pj,
            latency_ns=latency_ns,
            area_um2=chip.area_um2,
            accuracy=accuracy,
            energy_in=_dominant(energy, chip, leaked, energy_pj),
            area_in=chip.area_in,
            batch=mapping.batch,
            worn_out_after=worn_out_after(mapping),
        )

    def _energy(self, placed: _Placed) -> Energy:
        point, mapping = placed.point, placed.mapping
        widths = (point.weight_bits, point.membrane_bits)
        steps = self._counted_steps(point)
        cells = (point.crossbar, point.cell_bits, point.adc_bits, point.encoding, point.mapping, point.gating)
        within = placed.key if self._mesh else None  # ways inside a layer are as long as its tiles are many
        layers = (*cells, point.converter, *widths, within, steps)
        loads = None if mapping.reload is None else (placed.key, point.adc_bits, steps)
        return self._energies.get(
            (layers, loads, point.time_steps), lambda: energy_of(self._parts(placed, layers, loads), point.time_steps)
        )

    def _parts(self, placed: _Placed, layers: Key, loads: Key | None) -> list[EnergyOfSteps]:
        """Layers, all other nodes, and loads where layers take turns."""
        mapping, activity = placed.mapping, self._activities(self._counted_steps(placed.point))
        widths = (placed.point.weight_bits, placed.point.membrane_bits)
        prices, own = self._price_lists(placed.point.converter), self._price_lists(self._hardware.converter)
        digital = ("digital", *widths, mapping.tiles if self._mesh else None, activity.time_steps)
        parts = [
            self._energy_parts.get(layers, lambda: energy_of_layers(layer_events(mapping, activity), prices)),
            self._energy_parts.get(digital, lambda: energy_of_steps(count_digital_events(mapping, activity), own)),
        ]
        if mapping.reload is None or loads is None:
            return parts
        events = reload_events(mapping, mapping.reload, activity.time_steps)
        return [*parts, self._energy_parts.get(("loads", *loads), lambda: energy_of_steps(events, own))]

    def _chip_built(self, placed: _Placed) -> Chip:
        """Steps matter for what waits while layers take turns."""
        point, turns = placed.point, placed.mapping.reload
        key = (placed.key, point.adc_bits, point.column_mux, point.converter, turns and point.time_steps)
        return self._built.get(key, lambda: self._chip_parts(placed))

    def _chip_parts(self, placed: _Placed) -> Chip:
        point, mapping = placed.point, placed.mapping
        hardware, prices = mapping.hardware, self._price_lists(point.converter)
        if (turns := mapping.reload) is not None:
            built = (placed.key, point.adc_bits, point.column_mux)
            digital = self._digital_needs.get(placed.key, lambda: digital_needs(mapping, turns))
            shared = self._shared.get(built, lambda: shared_instances(mapping, turns, digital))
            return chip_of([built_of(tuple(with_waiting(shared, mapping, turns, point.time_steps)), prices)])
        key = (placed.key, point.adc_bits)
        columns = self._columns.get(key, lambda: layer_columns(mapping.layers, hardware))
        each = self._layer_prices.get(
            (key, point.converter), lambda: layer_prices(mapping.layers, columns, hardware, prices)
        )
        return chip_of(
            [built_layers(columns, hardware, each), self._digital_built(point.weight_bits, point.membrane_bits)]
        )

    def _follow(self, placed: Sequence[_Placed]) -> None:
        """The latencies of all: chips that differ in copies and times alone are followed at once."""
        families: dict[tuple[Key | None, int, ScheduleRule], dict[Key, ChipMapping]] = {}
        for one in placed:
            if one.timed not in self._latencies:
                turns = None if one.mapping.reload is None else one.key
                steps, rule = self._counted_steps(one.point), one.point.schedule
                families.setdefault((turns, steps, rule), {})[one.timed] = one.mapping
        for (_, steps, _), family in families.items():
            keys = list(family)
            for some in (keys[first : first + _AT_ONCE] for first in range(0, len(keys), _AT_ONCE)):
                self._latencies.update(zip(some, self._followed([family[key] for key in some], steps), strict=True))

    def _followed(self, mappings: Sequence[ChipMapping], steps: int) -> list[Sequence[float]] | list[HardwareError]:
        try:
            found: list[Sequence[float]] = latencies_of_chips(mappings, steps).tolist()
        except HardwareError as error:  # of all: the description has no time for what they do
            return [error] * len(mappings)
        return found

    # -------------------------------------------------------------- what keys depend on, and what has few values

    def _steps_that_matter(self, point: DesignPoint) -> int:
        """T where the input stays the same: sums are held for so many steps; else 1."""
        return point.time_steps if self._activity.constant_input else 1

    def _counted_steps(self, point: DesignPoint) -> int:
        """Steps of which all is counted once: all of them, unless their number decides what is held."""
        return point.time_steps if self._activity.constant_input else self._activity.time_steps

    def _with_converters(self, converter: str | None) -> HardwareSpec:
        try:
            return priced_with(self._hardware, converter)
        except UsageError as error:
            raise HardwareError(error.message, hints=error.hints) from error

    def _price_list(self, converter: str | None) -> PriceList:
        return price_list_of(self._described(converter))

    def _budget(self, arrays: int | str | None) -> Duplication:
        return legal(Duplication.model_construct(arrays=arrays))

    def _schedule(self, rule: ScheduleRule) -> Schedule:
        return legal(Schedule.model_construct(rule=rule))

    def _demand_with(self, weight_bits: float | None, membrane_bits: int | None) -> Demand:
        demand = self._demand if weight_bits is None else with_weight_bits(self._demand, weight_bits)
        return demand if membrane_bits is None else with_membrane_bits(demand, membrane_bits)

    def _digital_nodes(self, weight_bits: float | None, membrane_bits: int | None) -> tuple[DigitalMapping, ...]:
        return place_digital(self._demands(weight_bits, membrane_bits), self._hardware)

    def _digital_built_of(self, weight_bits: float | None, membrane_bits: int | None) -> Built:
        nodes = self._digital(weight_bits, membrane_bits)
        return built_of(tuple(count_digital_instances(nodes)), self._price_lists(self._hardware.converter))

    def _first_steps(self, time_steps: int) -> Activity:
        return first_steps(self._activity, time_steps)


def _rounds(mapping: ChipMapping) -> Key:
    """Nodes that work as many rounds of as long reads flow alike."""
    rows = read_rows(mapping)
    return tuple(
        (one.rounds, one.input_bits, one.held_steps, each) for one, each in zip(mapping.layers, rows, strict=True)
    )


def _dominant(energy: Energy, chip: Chip, leaked: float, whole: float) -> Dominant:
    if leaked > energy.largest_pj:
        return Dominant(LEAKAGE, leaked / whole, f"{math.fsum(chip.leakages_uw):.4g} uW for the whole inference")
    return Dominant(energy.component, energy.largest_pj / whole if whole else 0.0, energy.why)

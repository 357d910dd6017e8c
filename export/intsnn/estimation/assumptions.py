"""A report's chip -> what each assumption of its description moves: the totals under every other value of it.

One assumption at a time takes each of its values; the network is mapped, counted, scheduled and priced again. Choices
of a designer and prices that sources do not agree on stand side by side: both are what a figure hangs on.

    converters       the description's price, and every shipped one that has its resolution
    still input      sums held, or read anew in every step (where the input is the same in all)
    mapping          kernels apart, unrolled, or of each layer the way of fewer arrays
    encoding         of the sign of a weight
    idle arrays      read, or skipped
    input buffer     read for every window, or once
    transport        one hop for an input, or the mean distance on a mesh of tiles
    tiles            wiring of so many PEs each; more PEs under one, or no area for the wiring (where it has one)
    overlap          layer by layer, or rows pipelined
    white space      components as they are, or placed as in NeuroSim's floorplans (area alone)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from intsnn.activity import Activity
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import totals
from intsnn.estimation.counts import EventCounts
from intsnn.estimation.events import count
from intsnn.estimation.loading import leaking_ns
from intsnn.estimation.price_sensitivity import Outcome
from intsnn.estimation.schedule import array_read_ns, latencies_of_chips, latency_of
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding, Gating, KernelMapping, ScheduleRule
from intsnn.hardware.converters import shipped_converters
from intsnn.hardware.cost import Cost
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping as ChipMapping
from intsnn.mapping import place
from intsnn.mapping.demand import Demand
from intsnn.yaml.file import checked

FLOORPLAN = 4.2  # DNN+NeuroSim V1.4: components of 76.6 mm2 on 318.7 mm2 (VGG9, 64 x 64 arrays, 65 nm)


@dataclass(frozen=True)
class Alternative:
    """Another value of an assumption, and the totals with it."""

    value: str
    outcome: Outcome


@dataclass(frozen=True)
class Assumption:
    """What is assumed, the value that the description has, and every other."""

    name: str
    value: str
    others: tuple[Alternative, ...]


@dataclass(frozen=True)
class Estimated:
    """A chip as it is: what was mapped and counted of a network and its activity, and the totals."""

    demand: Demand
    activity: Activity
    mapping: ChipMapping
    counts: EventCounts
    totals: Outcome


def assumptions(base: Estimated) -> tuple[Assumption, ...]:
    """Every assumption of which another value gives a chip that can be built and priced."""
    hardware, chips, now = base.mapping.hardware, list[_Changed](), dict[str, str]()
    for name, value, changes in _candidates(hardware, base.activity):
        now[name] = value
        chips += [chip for other, changed in changes if (chip := _changed(base, name, other, changed))]
    others: dict[str, list[Alternative]] = {}
    for chip, latency_ns in zip(chips, _latencies(chips, base.activity.time_steps), strict=True):
        if (outcome := _outcome(chip, latency_ns)) is not None:
            others.setdefault(chip.assumption, []).append(Alternative(chip.value, outcome))
    found = [Assumption(name, now[name], tuple(values)) for name, values in others.items()]
    area = replace(base.totals, area_um2=base.totals.area_um2 * FLOORPLAN)
    if hardware.floorplan.factor == 1:
        found.append(Assumption("white space", "none", (Alternative(f"a factor of {FLOORPLAN}", area),)))
    return tuple(found)


_Changes = Iterator[tuple[str, HardwareSpec]]
_MORE_PES = (2, 9)  # times as many; 9: SpikeSim's tile, whose wiring is priced, has 8 PEs of the 9 arrays of a kernel


def _candidates(hardware: HardwareSpec, activity: Activity) -> Iterator[tuple[str, str, _Changes]]:
    crossbar, buffers = hardware.crossbar, hardware.buffers
    if hardware.has_converters:
        yield "converters", hardware.converter or "as written", _converters(hardware)
    if activity.constant_input:
        yield (
            "still input",
            buffers.constant_input,
            _sections(hardware, "buffers", "constant_input", ("repeat", "hold")),
        )
    yield "mapping", crossbar.mapping, _sections(hardware, "crossbar", "mapping", get_args(KernelMapping))
    yield "encoding", crossbar.encoding, _sections(hardware, "crossbar", "encoding", get_args(Encoding))
    yield "idle arrays", crossbar.gating, _sections(hardware, "crossbar", "gating", get_args(Gating))
    yield "input buffer", buffers.input_reuse, _sections(hardware, "buffers", "input_reuse", ("none", "line_buffer"))
    hops = hardware.interconnect.hops
    words = hops if isinstance(hops, str) else f"{hops:g} hop{'' if hops == 1 else 's'}"
    yield "transport", words, _sections(hardware, "interconnect", "hops", (1.0, "mesh"))
    tile = hardware.cost(Item.TILE)
    if tile is not None and tile.area_um2:
        yield "tiles", f"{hardware.tile.pe} PEs", _tiles(hardware, tile)
    yield "overlap", hardware.schedule.rule, _sections(hardware, "schedule", "rule", get_args(ScheduleRule))


def _converters(hardware: HardwareSpec) -> _Changes:
    """Shipped ones are priced in full, so that any description takes them."""
    key = Item.ADC_CONVERSION.value
    for name in shipped_converters():
        if name != hardware.converter:
            yield name, hardware.model_copy(update={"costs": {**hardware.costs, key: name}})


def _tiles(hardware: HardwareSpec, tile: Cost) -> _Changes:
    for times in _MORE_PES:
        pes = times * hardware.tile.pe
        yield f"{pes} PEs", hardware.model_copy(update={"tile": hardware.tile.model_copy(update={"pe": pes})})
    bare = {**hardware.costs, Item.TILE.value: tile.model_copy(update={"area_um2": 0.0})}
    yield "wiring without area", hardware.model_copy(update={"costs": bare})


def _sections(hardware: HardwareSpec, section: str, key: str, values: tuple[object, ...]) -> _Changes:
    now = getattr(hardware, section)
    for value in values:
        if value != getattr(now, key):
            try:
                changed = hardware.model_copy(update={section: checked(now.model_copy(update={key: value}))})
            except UsageError:  # no such chip
                continue
            if not changed.unpriced:
                yield f"{value:g}" if isinstance(value, float) else str(value), changed


@dataclass(frozen=True)
class _Changed:
    """A chip with another value of an assumption, mapped and counted. latency_ns: None where it is to be worked out."""

    assumption: str
    value: str
    mapping: ChipMapping
    counts: EventCounts
    latency_ns: float | None


def _changed(base: Estimated, assumption: str, value: str, changed: HardwareSpec) -> _Changed | None:
    """The chip of a changed description; what the change does not touch is kept. None where there is no such chip."""
    activity, now = base.activity, base.mapping.hardware
    mapping, counts = replace(base.mapping, hardware=changed), base.counts
    is_placed = _are_placed_alike(now, changed)
    latency_ns: float | None = None
    try:
        is_timed = _are_timed_alike(now, changed)
        if not is_placed:
            mapping = place(base.demand, changed, constant_steps=activity.constant_steps)
        if not is_placed or (changed.crossbar, changed.interconnect) != (now.crossbar, now.interconnect):
            counts = count(mapping, activity)
        if mapping.reload is not None:
            latency_ns = latency_of(mapping, time_steps=activity.time_steps)
        elif is_placed and is_timed:
            latency_ns = base.totals.latency_ns
    except HardwareError:  # not every chip can be built: the range has only those that can
        return None
    return _Changed(assumption, value, mapping, counts, latency_ns)


def _latencies(chips: Sequence[_Changed], time_steps: int) -> list[float]:
    """The latency of each, ns: chips under one rule are followed at once."""
    found = {index: chip.latency_ns for index, chip in enumerate(chips) if chip.latency_ns is not None}
    together: dict[ScheduleRule, list[int]] = {}
    for index, chip in enumerate(chips):
        if index not in found:
            together.setdefault(chip.mapping.hardware.schedule.rule, []).append(index)
    for indices in together.values():
        latencies = latencies_of_chips([chips[index].mapping for index in indices], time_steps)[:, -1]
        found |= dict(zip(indices, latencies.tolist(), strict=True))
    return [found[index] for index in range(len(chips))]


def _outcome(chip: _Changed, latency_ns: float) -> Outcome | None:
    """The totals; None where the description has no price for a width."""
    mapping = chip.mapping
    try:
        energy_pj, area_um2 = totals(chip.counts, mapping.hardware, leaking_ns=leaking_ns(mapping, latency_ns))
    except HardwareError:
        return None
    return Outcome(energy_pj, latency_ns, area_um2, mapping.batch)


def _are_placed_alike(one: HardwareSpec, other: HardwareSpec) -> bool:
    """Prices matter where a budget is an area."""
    cells = other.crossbar.model_copy(update={"gating": one.crossbar.gating})
    sections = ("technology", "tile", "neuron", "buffers", "duplication", "reload")
    same = cells == one.crossbar and all(getattr(one, section) == getattr(other, section) for section in sections)
    return same and not one.duplication.is_area


def _are_timed_alike(one: HardwareSpec, other: HardwareSpec) -> bool:
    """Of chips on which all is placed alike."""
    return one.schedule == other.schedule and array_read_ns(one, rows=1) == array_read_ns(other, rows=1)

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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from pydantic import ValidationError

from intsnn.activity import Activity
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import price, total_energy_pj
from intsnn.estimation.events import count
from intsnn.estimation.loading import leaking_ns
from intsnn.estimation.price_sensitivity import Outcome
from intsnn.estimation.schedule import latency_of
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding, Gating, KernelMapping, ScheduleRule
from intsnn.hardware.converters import shipped_converters
from intsnn.hardware.cost import Cost
from intsnn.hardware.spec import HardwareSpec, with_converter, with_sections
from intsnn.mapping import place
from intsnn.mapping.demand import Demand

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


def assumptions(demand: Demand, activity: Activity, hardware: HardwareSpec, *, base: Outcome) -> tuple[Assumption, ...]:
    """Every assumption of which another value gives a chip that can be built and priced.

    Args:
        demand: of the network.
        activity: of it.
        hardware: as it is priced.
        base: the totals with it.
    """
    found = []
    for name, value, changes in _candidates(hardware, activity):
        others = []
        for other, changed in changes:
            try:
                others.append(Alternative(other, _outcome(demand, activity, changed)))
            except HardwareError:  # not every chip can be built: the range has only those that can
                continue
        if others:
            found.append(Assumption(name, value, tuple(others)))
    area = replace(base, area_um2=base.area_um2 * FLOORPLAN)
    if hardware.floorplan.factor == 1:
        found.append(Assumption("white space", "none", (Alternative(f"a factor of {FLOORPLAN}", area),)))
    return tuple(found)


_Changes = Iterator[tuple[str, HardwareSpec]]
_MORE_PES = (2, 9)  # times as many; 9: SpikeSim's tile, whose wiring is priced, has 8 PEs of the 9 arrays of a kernel


def _candidates(hardware: HardwareSpec, activity: Activity) -> Iterator[tuple[str, str, _Changes]]:
    crossbar, buffers = hardware.crossbar, hardware.buffers
    if crossbar.readout == "converter":
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
    yield "transport", words, _sections(hardware, "interconnect", "hops", (1, "mesh"))
    tile = hardware.cost(Item.TILE)
    if tile is not None and tile.area_um2:
        yield "tiles", f"{hardware.tile.pe} PEs", _tiles(hardware, tile)
    yield "overlap", hardware.schedule.rule, _sections(hardware, "schedule", "rule", get_args(ScheduleRule))


def _converters(hardware: HardwareSpec) -> _Changes:
    for name in shipped_converters():
        if name != hardware.converter:
            try:
                yield name, with_converter(hardware, name)
            except UsageError:  # excluded by the description, or not priced for its structure
                continue


def _tiles(hardware: HardwareSpec, tile: Cost) -> _Changes:
    for times in _MORE_PES:
        pes = times * hardware.tile.pe
        yield f"{pes} PEs", with_sections(hardware, tile={"pe": pes})
    bare = {**hardware.costs, Item.TILE.value: tile.model_copy(update={"area_um2": 0.0})}
    yield "wiring without area", hardware.model_copy(update={"costs": bare})


def _sections(hardware: HardwareSpec, section: str, key: str, values: tuple[object, ...]) -> _Changes:
    now = getattr(getattr(hardware, section), key)
    for value in values:
        if value != now:
            changes: Mapping[str, Mapping[str, object]] = {section: {key: value}}
            try:
                yield str(value), with_sections(hardware, **changes)
            except ValidationError:  # no such chip, or one with an item that the description does not price
                continue


def _outcome(demand: Demand, activity: Activity, hardware: HardwareSpec) -> Outcome:
    mapping = place(demand, hardware, constant_steps=activity.constant_steps)
    latency_ns = latency_of(mapping, time_steps=activity.time_steps)
    prices = price(count(mapping, activity), hardware, leaking_ns=leaking_ns(mapping, latency_ns))
    area_um2 = sum(part.area_um2 for part in prices.area)
    return Outcome(total_energy_pj(prices.energy), latency_ns, area_um2, mapping.batch)

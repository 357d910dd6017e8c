"""A mapping -> what writing its weights takes, how often that happens, and when the cells are worn out.

energy of a load            fetched bits * (weight_fetch + buffer_write) + read bits * (buffer_read + hops * transfer)
+ cells * cell_write
writes of a cell            once a load; where layers take turns at most once for each group of a batch
inferences until worn out   endurance * samples / groups;  years: that many intervals, one inference after another
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from intsnn.errors import HardwareError
from intsnn.estimation.costs import price_of
from intsnn.estimation.loading import first_load, hops_of
from intsnn.estimation.schedule import Timeline
from intsnn.hardware.catalogue import Item
from intsnn.mapping import Mapping

_NS_IN_A_YEAR = 365.25 * 24 * 3600 * 1e9


@dataclass(frozen=True)
class Wear:
    """When the cells are worn out if inferences follow each other: with the least and the most writes published.

    writes: that a cell survives; inferences, years: until then; null where weights are written once and stay.
    """

    writes: tuple[float, float]
    inferences: tuple[float, float] | None
    years: tuple[float, float] | None
    source: str


@dataclass(frozen=True)
class Programming:
    """What one load of every weight takes, pJ and ns, and how often it happens.

    weight_bits: fetched; cells: written, all copies. groups: of layers that take turns on the arrays, 1 where all
    weights stay; samples: inferences that one load of a group serves. inference_energy_pj, inference_time_ns: the share
    of an inference, 0 where weights stay. wear: null where the description names no endurance of its cells.
    """

    weight_bits: float
    cells: float
    energy_pj: float
    time_ns: float
    groups: int
    samples: int
    inference_energy_pj: float
    inference_time_ns: float
    wear: Wear | None


def programming(mapping: Mapping, when: Timeline) -> Programming:
    """What it takes to write the weights of a network.

    Raises:
        HardwareError: the description does not price it.
    """
    hardware, turns = mapping.hardware, mapping.reload
    for item in (Item.WEIGHT_FETCH, Item.CELL_WRITE):
        if hardware.cost(item) is None:
            raise HardwareError(f"{hardware.name} prices no {item.value}", hints=[f"price {item.value} under costs"])
    load = first_load(mapping)
    counted = (
        (Item.WEIGHT_FETCH, load.fetched_bits),
        (Item.BUFFER_WRITE, load.fetched_bits),
        (Item.BUFFER_READ, load.read_bits),
        (Item.SPIKE_TRANSFER, load.read_bits * hops_of(hardware, mapping.tiles)),
        (Item.CELL_WRITE, load.cells),
    )
    energy = math.fsum(number * (price_of(item, "energy_pj", hardware) or 0.0) for item, number in counted)
    samples = 1 if turns is None else turns.samples
    return Programming(
        weight_bits=load.fetched_bits,
        cells=load.cells,
        energy_pj=energy,
        time_ns=load.time_ns,
        groups=len(mapping.groups),
        samples=samples,
        inference_energy_pj=0.0 if turns is None else energy / samples,
        inference_time_ns=0.0 if turns is None else load.time_ns / samples,
        wear=_wear(mapping, when),
    )


def worn_out_after(mapping: Mapping) -> tuple[float, float] | None:
    """Inferences until cells are worn out, of the least and of the most writes that they survive.

    None where weights stay, or where the description names no endurance.
    """
    endurance = mapping.hardware.crossbar.cell.endurance
    if endurance is None or mapping.reload is None:
        return None
    served = mapping.batch / len(mapping.groups)
    return endurance.least * served, endurance.most * served


def _wear(mapping: Mapping, when: Timeline) -> Wear | None:
    endurance = mapping.hardware.crossbar.cell.endurance
    if endurance is None:
        return None
    writes = (endurance.least, endurance.most)
    inferences = worn_out_after(mapping)
    if inferences is None:
        return Wear(writes, None, None, endurance.source)
    years = (inferences[0] * when.interval_ns / _NS_IN_A_YEAR, inferences[1] * when.interval_ns / _NS_IN_A_YEAR)
    return Wear(writes, inferences, years, endurance.source)

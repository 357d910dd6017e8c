"""Layers that do not fit an array budget together -> the groups of them that are loaded and run one after another.

A budget below one copy of every layer means that weights are reloaded. Layers are taken in the order of the graph, as
many as fit at a time: a group. All T steps of `samples` inferences run on a group before the next one is loaded:

    group      consecutive layers with sum of arrays <= budget; one copy of each
    cut layer  a layer of more arrays than the budget is loaded in parts of floor(budget / K_a) PEs, group after group;
               its PEs in the order pack by pack, then by blocks of columns, then by blocks of rows
    stage      of a node: the (last) group of its layer, else the latest stage of what it reads
    crossing   a tensor that a later group reads waits in a buffer, for all steps of all samples: it is written once,
               and read once by each such group. The network's input enters anew and does not wait
    held sums  the sums of a cut layer wait until its last part is done; where a part ends within a block of columns,
               the sums of that block are read and written once more

A recurrent layer and its neuron take turns in every step, so it is never cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as ByName
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from intsnn.errors import HardwareError
from intsnn.mapping.flows import Flow

if TYPE_CHECKING:
    from intsnn.mapping.demand import DigitalNode
    from intsnn.mapping.mapping import LayerMapping


@dataclass(frozen=True)
class Part:
    """Some PEs of a layer that are loaded together: `first` of them up to `first` + `pes`, of all its PEs or fewer."""

    layer: str
    first: int
    pes: int


@dataclass(frozen=True)
class Written:
    """What a node writes in a step: its elements and the bits of one; wide: an accumulator or current, no spikes."""

    elements: int
    bits: int
    wide: bool

    @property
    def total_bits(self) -> int:
        """Bits of a step."""
        return self.elements * self.bits


@dataclass(frozen=True)
class Crossing:
    """A tensor that waits for later groups: bits of a step, the group that writes it, and those that read it."""

    node: str
    bits: int
    stage: int
    readers: tuple[int, ...]


@dataclass(frozen=True)
class Reload:
    """How a network runs on fewer arrays than it takes.

    groups: what is loaded together. stages: the group in which each node of the graph has all of its result. samples:
    inferences that run on a group before the next is loaded.
    """

    groups: tuple[tuple[Part, ...], ...]
    stages: ByName[str, int]
    crossings: tuple[Crossing, ...]
    samples: int

    def stage_of(self, node: DigitalNode) -> int:
        """The group in which a node that is no synapse works."""
        return self.stages[node.name] if node.name in self.stages else self.stages[node.inputs[0]]

    def parts_of(self, layer: str) -> tuple[Part, ...]:
        """The parts in which a layer is loaded: one, or several of a cut layer."""
        return tuple(part for group in self.groups for part in group if part.layer == layer)


def reload_of(
    layers: Sequence[LayerMapping],
    flows: Sequence[Flow],
    written: ByName[str, Written],
    *,
    budget: int,
    samples: int,
) -> Reload:
    """Groups of layers that fit the budget.

    Args:
        layers: one copy of each, in the order of the graph.
        flows: who reads what.
        written: what each node of the graph writes.
        budget: arrays of the chip.
        samples: inferences for which a group stays loaded.

    Raises:
        HardwareError: the budget does not hold a single PE, or a recurrent layer.
    """
    recurrent = {name for flow in flows for name in flow.partners}
    groups: list[list[Part]] = []
    left = 0
    for layer in layers:
        parts = _parts(layer, budget, whole=layer.name in recurrent)
        if len(parts) > 1 or layer.arrays > left or not groups:
            groups.extend([part] for part in parts)
            left = budget - parts[-1].pes * layer.array_kernel
        else:
            groups[-1].extend(parts)
            left -= layer.arrays
    loaded = tuple(map(tuple, groups))
    stages = _stages(flows, loaded)
    return Reload(loaded, stages, tuple(_crossings(flows, loaded, stages, written)), samples)


def part_of(layer: LayerMapping, part: Part, pes_of_a_tile: int) -> LayerMapping:
    """The layer as far as it is loaded with a part."""
    return replace(layer, pes=part.pes, tiles=math.ceil(part.pes / pes_of_a_tile))


def sums_written_anew(layer: LayerMapping, parts: Sequence[Part], columns: int) -> int:
    """Sums of a step that are read and written once more since a part ends within their block of columns.

    Args:
        layer: the cut layer.
        parts: its parts.
        columns: of an array.
    """
    width = layer.out_per_group * layer.slices * layer.polarity
    sums = 0
    for part in parts[1:]:
        block, within = divmod(part.first, layer.row_blocks)
        if within:
            used = min(columns, width - block % layer.column_blocks * columns)
            sums += layer.positions * math.ceil(used / (layer.slices * layer.polarity))
    return sums


def _parts(layer: LayerMapping, budget: int, *, whole: bool) -> tuple[Part, ...]:
    if layer.arrays <= budget:
        return (Part(layer.name, 0, layer.pes),)
    most = budget // layer.array_kernel
    if whole or not most:
        needed = layer.arrays if whole else layer.array_kernel
        what = "the recurrent layer, which runs in every step" if whole else "one PE of every layer"
        raise HardwareError(
            f"the array budget must hold {what}: {needed:,} arrays of {layer.name!r} (got {budget:,})",
            hints=["raise duplication.arrays, or take larger arrays or fewer weight bits"],
        )
    return tuple(Part(layer.name, first, min(most, layer.pes - first)) for first in range(0, layer.pes, most))


def _stages(flows: Sequence[Flow], groups: Sequence[Sequence[Part]]) -> dict[str, int]:
    last = {part.layer: index for index, group in enumerate(groups) for part in group}
    found: dict[str, int] = {}
    for flow in flows:
        own = [last[name] for name in flow.members if name in last]
        stage = max([*own, *(found[name] for name in flow.inputs)], default=0)
        found |= dict.fromkeys(flow.members, stage)
    return found


def _crossings(
    flows: Sequence[Flow], groups: Sequence[Sequence[Part]], stages: ByName[str, int], written: ByName[str, Written]
) -> list[Crossing]:
    loaded: dict[str, set[int]] = {}
    for index, group in enumerate(groups):
        for part in group:
            loaded.setdefault(part.layer, set()).add(index)
    readers: dict[str, set[int]] = {}
    for flow in flows:
        works = loaded.get(flow.name, {stages[flow.name]})
        for name in flow.inputs:
            readers.setdefault(name, set()).update(works)
    found = []
    for flow in flows:
        later = tuple(sorted(one for one in readers.get(flow.name, ()) if one > stages[flow.name]))
        if flow.inputs and later:
            found.append(Crossing(flow.name, written[flow.name].total_bits, stages[flow.name], later))
    return found

"""A mapping -> where the used cells lie: tiles of PEs of arrays, each PE with the rectangles that its arrays use.

The arrays of one PE hold the same block of rows and columns for different kernel positions, so they are used alike.
Blocks are placed group by group, then by rows, then by columns; a copy of a layer follows the one before it. A tile
holds PEs of one layer only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping.mapping import LayerMapping, Mapping


@dataclass(frozen=True)
class UsedCells:
    """A rectangle of used cells in an array: its first row and column, and how many of each."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Cells."""
        return self.rows * self.columns


@dataclass(frozen=True)
class PlacedPe:
    """One PE: its arrays, and the cells that each of them uses."""

    arrays: int
    used: tuple[UsedCells, ...]

    @property
    def used_cells(self) -> int:
        """Used cells of all its arrays."""
        return self.arrays * sum(cells.count for cells in self.used)


@dataclass(frozen=True)
class PlacedLayer:
    """A synapse on its tiles; each tile is its PEs, at most as many as a tile holds."""

    name: str
    tiles: tuple[tuple[PlacedPe, ...], ...]

    @property
    def used_cells(self) -> int:
        """Cells that hold a weight."""
        return sum(pe.used_cells for tile in self.tiles for pe in tile)


def placed_layers(mapping: Mapping) -> tuple[PlacedLayer, ...]:
    """Every synapse, in the order of the graph."""
    return tuple(PlacedLayer(layer.name, tuple(_tiles(layer, mapping.hardware))) for layer in mapping.layers)


def _tiles(layer: LayerMapping, hardware: HardwareSpec) -> Iterator[tuple[PlacedPe, ...]]:
    once = tuple(_pes(layer, hardware.crossbar.columns))
    copies, rest = divmod(layer.pes, len(once))
    assert rest == 0, f"{layer.name}: {layer.pes} PEs are no whole number of copies of {len(once)}"
    pes = once * copies
    size = hardware.tile.pe
    for first in range(0, len(pes), size):
        yield pes[first : first + size]


def _pes(layer: LayerMapping, columns: int) -> Iterator[PlacedPe]:
    """One copy of the layer."""
    width = layer.out_per_group * layer.slices * layer.polarity
    for first in range(0, layer.groups, layer.groups_per_array):
        groups = min(layer.groups_per_array, layer.groups - first)
        for rows in layer.rows:
            for block in range(math.ceil(width / columns)):
                used = min(columns, width - block * columns)
                yield PlacedPe(
                    layer.array_kernel,
                    tuple(UsedCells(place * rows, place * used, rows, used) for place in range(groups)),
                )

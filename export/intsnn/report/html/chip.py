"""Placed layers -> the mapping picture: tiles of PEs of arrays in the colour of their layer, unused cells grey.

Equal PEs are drawn once, as a symbol, and used by reference: a chip of ten thousand arrays stays a small page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intsnn.estimation.report import HardwareReport
from intsnn.mapping import LayerMapping
from intsnn.mapping import Mapping as ChipMapping
from intsnn.mapping.placement import PlacedLayer, PlacedPe, UsedCells, placed_layers
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, join, number, tag
from intsnn.report.html.palette import COLOURS
from intsnn.shares import percent

_SIDES = ((60, 26.0), (600, 14.0), (4000, 8.0), (20000, 5.0))  # arrays of the chip, at most -> px of an array's side
_SMALLEST = 3.0
_THINNEST = 1.0  # px, so that one row of cells is seen
_GAP = 1.0  # px between the arrays of a PE; three times as much between PEs
_PE_GAP = 3.0
_EDGE = 3.0  # px between a tile's border and its PEs


def mapping_section(report: HardwareReport) -> Section:
    """Where the weights lie."""
    if report.basis is None or report.basis.mapping is None:
        return Section("mapping", "Mapping", (tag("p", "These rules place nothing: there is no picture."),))
    return Section("mapping", "Mapping", (_picture(report.basis.mapping),))


@dataclass(frozen=True)
class _Look:
    """Sizes of one picture, px, and the symbol of every kind of PE in it."""

    cell: float
    array: tuple[float, float]
    slots: int
    symbols: Mapping[PlacedPe, str]

    def pe_size(self, pe: PlacedPe) -> tuple[float, float]:
        """Width and height of a PE: its arrays in a near-square block."""
        across = math.ceil(math.sqrt(pe.arrays))
        down = math.ceil(pe.arrays / across)
        width, height = self.array
        return across * (width + _GAP) - _GAP, down * (height + _GAP) - _GAP


def _picture(mapping: ChipMapping) -> Html:
    layers, crossbar = placed_layers(mapping), mapping.hardware.crossbar
    look = _look(mapping, layers)
    used = sum(layer.used_cells for layer in layers)
    cells = sum(layer.arrays for layer in mapping.layers) * crossbar.rows * crossbar.columns
    symbols = (tag("symbol", *_pe(pe, look), id=name, overflow="visible") for pe, name in look.symbols.items())
    drawn = (
        _layer(layer, placed, look, f"c{index % COLOURS}")
        for index, (layer, placed) in enumerate(zip(mapping.layers, layers, strict=True))
    )
    return figure(
        "Tiles of PEs of arrays",
        tag("div", tag("svg", *symbols, class_="symbols", width=0, height=0), *drawn, class_="chip"),
        alt=f"Mapping picture: {mapping.arrays:,} arrays in {mapping.pes:,} PEs on {mapping.tiles:,} tiles; "
        f"{percent(used / cells, 1)} of the cells hold a weight.",
        numbers=_numbers(mapping),
        note=f"A frame is a tile of up to {look.slots} PEs, a block of squares a PE, a square an array of "
        f"{crossbar.rows} x {crossbar.columns} cells. Coloured cells hold a weight, {percent(used / cells, 1)} of "
        f"{cells:,}; grey ones are unused; an empty outline is a place for a PE that no layer takes."
        + ("" if mapping.reload is None else " Layers take turns on the chip: each is drawn in its own turn."),
    )


def _look(mapping: ChipMapping, layers: Sequence[PlacedLayer]) -> _Look:
    crossbar = mapping.hardware.crossbar
    side = next((px for most, px in _SIDES if mapping.arrays <= most), _SMALLEST)
    cell = side / max(crossbar.rows, crossbar.columns)
    kinds = dict.fromkeys(pe for layer in layers for tile in layer.tiles for pe in tile)
    symbols = {pe: f"pe{index}" for index, pe in enumerate(kinds)}
    return _Look(cell, (crossbar.columns * cell, crossbar.rows * cell), mapping.hardware.tile.pe, symbols)


def _layer(layer: LayerMapping, placed: PlacedLayer, look: _Look, colour: str) -> Html:
    """The layer's name, how much it takes, and its tiles."""
    arrays = f"{layer.arrays:,} array{'s' if layer.arrays > 1 else ''}"
    title = tag("p", tag("b", layer.name), f" {arrays}, {percent(layer.utilisation, 1)} used")
    tiles = tag("div", *(_tile(tile, look, layer.name) for tile in placed.tiles), class_="tiles")
    return tag("div", title, tiles, class_=f"layer {colour}")


def _tile(pes: Sequence[PlacedPe], look: _Look, name: str) -> Html:
    wide, high = look.pe_size(pes[0])
    across = min(look.slots, math.ceil(math.sqrt(2 * look.slots)))
    down = math.ceil(look.slots / across)
    width = 2 * _EDGE + across * (wide + _PE_GAP) - _PE_GAP
    height = 2 * _EDGE + down * (high + _PE_GAP) - _PE_GAP
    drawn = []
    for slot in range(look.slots):
        x, y = _EDGE + slot % across * (wide + _PE_GAP), _EDGE + slot // across * (high + _PE_GAP)
        if slot < len(pes):
            drawn.append(tag("use", href=f"#{look.symbols[pes[slot]]}", x=x, y=y))
        else:
            drawn.append(tag("rect", x=x, y=y, width=wide, height=high, class_="empty"))
    title = tag("title", f"{name}: a tile with {len(pes)} of {look.slots} PEs")
    return tag(
        "svg", title, join(drawn), class_="tile", viewBox=f"0 0 {number(width)} {number(height)}", width=width,
        height=height,
    )  # fmt: skip


def _pe(pe: PlacedPe, look: _Look) -> tuple[Html, Html]:
    """The arrays, and over them their used cells."""
    across = math.ceil(math.sqrt(pe.arrays))
    width, height = look.array
    corners = [(i % across * (width + _GAP), i // across * (height + _GAP)) for i in range(pe.arrays)]
    free = "".join(_rectangle(x, y, width, height) for x, y in corners)
    used = "".join(_cells(cells, x, y, look.cell) for x, y in corners for cells in pe.used)
    return tag("path", d=free, class_="free"), tag("path", d=used, class_="used")


def _cells(cells: UsedCells, x: float, y: float, side: float) -> str:
    width, height = max(cells.columns * side, _THINNEST), max(cells.rows * side, _THINNEST)
    return _rectangle(x + cells.column * side, y + cells.row * side, width, height)


def _rectangle(x: float, y: float, width: float, height: float) -> str:
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h-{number(width)}z"


def _numbers(mapping: ChipMapping) -> Html:
    columns = (
        "layer", "tiles", "PEs", "arrays", "arrays of a PE", "blocks of rows", "blocks of columns", "slices", "copies",
        "input bits", "used cells",
    )  # fmt: skip
    rows = (
        (
            layer.name,
            f"{layer.tiles:,}",
            f"{layer.pes:,}",
            f"{layer.arrays:,}",
            str(layer.array_kernel),
            str(layer.row_blocks),
            str(layer.column_blocks),
            str(layer.slices),
            str(layer.copies),
            str(layer.input_bits),
            percent(layer.utilisation, 1),
        )
        for layer in mapping.layers
    )
    return table(columns, rows)

"""SpikeSim's formulas, extended to networks that the tool cannot take: a model of our own, with its constants.

What the tool refuses or does not know, and what is put in its place (rules.py has its own equations):

    layers       any number, in any order: tiles = ceil(sum_i PE_i / n), latency the same sum over all layers
    kernels      each layer its own k_i, where the tool has one for all
    bit widths   S = ceil(b_w / 4) slices of a weight, as the tool's cells hold 4 bits. They multiply, by `slices`:
                 `pe`        PEs: everything that the tool has for a PE, H-tree and buffers included
                 `crossbar`  what stands inside a PE: crossbars, converters, multiplexers, sign correction
    words        22 bits of every membrane and input as in the tool (`fixed`), or b_u bits of a membrane and one bit of
                 a spike (`network`)
    membranes    of all layers, where the tool counts the first five

With one kernel, S = 1, fixed words and at most five layers the figures are the tool's, where it gives any. None of this
is in the tool or its paper: two designs may be compared by it, and no figure of it is a figure of SpikeSim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from intsnn.errors import HardwareError
from intsnn.estimation.report import value_of
from intsnn.estimation.spikesim.rules import SpikeSimLayer, SpikeSimLayerFigures, spikesim
from intsnn.graph import IntConv, IntGraph
from intsnn.hardware.loading import load_spikesim

CELL_BITS = 4  # ela_spikesim.py: one 4-bit cell a weight
WORD_BITS = 22  # ela_spikesim.py: 0.7391 um2 a bit * 22 bits, for inputs and membranes
_INSIDE_A_PE = ("crossbar", "adc", "multiplexer", "sign_correction")
_MEMORIES = ("input_buffer", "membrane")

Slices = Literal["pe", "crossbar"]
Words = Literal["fixed", "network"]


@dataclass(frozen=True)
class ExtendedLayer:
    """A convolution on square maps with the side of its kernel."""

    sizes: SpikeSimLayer
    kernel: int


@dataclass(frozen=True)
class Widths:
    """Bits of a weight and of a membrane."""

    weight: int
    membrane: int

    @property
    def slices(self) -> int:
        """S: cells of a weight."""
        return math.ceil(self.weight / CELL_BITS)


@dataclass(frozen=True)
class ExtendedFigures:
    """Totals of one inference: pJ, ns, um2, and dense operations (2 for each weight x input pair, times T)."""

    energy_pj: float
    latency_ns: float
    area_um2: float
    operations: float

    @property
    def edap_pj_ns_um2(self) -> float:
        """Energy-delay-area product."""
        return self.energy_pj * self.latency_ns * self.area_um2

    @property
    def tops_per_w(self) -> float:
        """Operations per energy."""
        return self.operations / self.energy_pj

    @property
    def tops_per_mm2(self) -> float:
        """Operations per time and area: 1 op/(ns*um2) = 1e3 TOPS/mm2."""
        return 1e3 * self.operations / (self.latency_ns * self.area_um2)


def extended_layers(graph: IntGraph) -> tuple[ExtendedLayer, ...]:
    """The convolutions of a graph, in order; linear layers are left out, as the tool does.

    Raises:
        HardwareError: a convolution is not of square maps and kernels and one group, or there is none.
    """
    found = tuple(_extended_layer(graph, node) for node in graph.of_type(IntConv))
    if not found:
        raise HardwareError("SpikeSim's formulas need a convolution (got none)", hints=["use rram_64x64_65nm"])
    return found


def spikesim_extended(
    layers: Sequence[ExtendedLayer],
    widths: Widths,
    *,
    time_steps: int,
    slices: Slices = "pe",
    words: Words = "fixed",
    crossbar: int | None = None,
) -> ExtendedFigures:
    """Totals of a list of convolutions at the given widths.

    Args:
        layers: in order.
        widths: of every weight and membrane.
        time_steps: T.
        slices: what the slices of a weight multiply.
        words: the words of memories.
        crossbar: side X; None: the description's.
    """
    rules = load_spikesim()
    alone = [
        spikesim([layer.sizes], kernel=layer.kernel, time_steps=time_steps, crossbar=crossbar, rules=rules).layers[0]
        for layer in layers
    ]
    pes = sum(one.n_pe for one in alone)
    per_tile = rules.tile.pe
    built = pes * widths.slices if slices == "pe" else pes
    tiles = math.ceil(built / per_tile)
    of_a_tile = _area_of_a_tile(layers, alone, widths.slices if slices == "crossbar" else 1, per_tile)
    cycles = [int(rules.schedule.overlap * layer.sizes.outputs) for layer in layers[:-1]]
    clocks = time_steps * (sum(cycles) + layers[-1].sizes.outputs) * rules.schedule.cycles_per_pe
    return ExtendedFigures(
        energy_pj=math.fsum(_energy(one, widths.slices, slices) for one in alone),
        latency_ns=clocks * 1000 / rules.technology.clock_mhz,
        area_um2=tiles * of_a_tile + math.fsum(_memories(one, widths, words) for one in alone),
        operations=2.0 * time_steps * sum(_pairs(layer) for layer in layers),
    )


def _extended_layer(graph: IntGraph, node: IntConv) -> ExtendedLayer:
    read, written, kernel = graph.node(node.inputs[0]).shape, node.shape, node.kernel
    square = len(kernel) == 2 and kernel[0] == kernel[1] and read[1] == read[2] and written[1] == written[2]
    if not square or node.groups != 1:
        raise HardwareError(
            f"node {node.name!r}: SpikeSim's formulas know square maps, square kernels and one group "
            f"(got maps {read} -> {written}, kernel {kernel}, {node.groups} groups)",
            hints=["use rram_64x64_65nm, which maps every convolution"],
        )
    return ExtendedLayer(SpikeSimLayer(read[0], written[0], read[1], written[1]), kernel[0])


def _energy(figures: SpikeSimLayerFigures, number: int, slices: Slices) -> float:
    match slices:
        case "pe":
            return number * figures.energy_pj
        case "crossbar":
            return math.fsum(
                part.value * (number if part.component in _INSIDE_A_PE else 1) for part in figures.energy_parts
            )
        case _:
            assert_never(slices)


def _area_of_a_tile(
    layers: Sequence[ExtendedLayer], alone: Sequence[SpikeSimLayerFigures], number: int, per_tile: int
) -> float:
    """A whole tile; its PEs have the largest kernel of the network, as all of the tool's have the one."""
    largest = max(range(len(layers)), key=lambda index: layers[index].kernel)
    figures = alone[largest]
    tiles = math.ceil(figures.n_pe / per_tile)
    parts = [part for part in value_of(figures.area_parts) if part.component not in _MEMORIES]
    return math.fsum(part.value * (number if part.component in _INSIDE_A_PE else 1) for part in parts) / tiles


def _memories(figures: SpikeSimLayerFigures, widths: Widths, words: Words) -> float:
    membrane, spikes = figures.area_of("membrane"), figures.area_of("input_buffer")
    if words == "network":
        return membrane * widths.membrane / WORD_BITS + spikes / WORD_BITS
    return membrane + spikes


def _pairs(layer: ExtendedLayer) -> int:
    return layer.sizes.outputs * layer.sizes.in_channels * layer.kernel**2

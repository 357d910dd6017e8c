"""Convolution sizes -> the energy, latency and area that the unmodified SpikeSim gives, from its bare formulas.

With X the crossbar side, g = X/8, k the kernel side, n PEs of a tile, T steps; layer i has Ci, Co, input side Hi and
output side Ho:

    PE_i = ceil(Ci/X) * ceil(Co/X)                    tiles = ceil(sum_i PE_i / n)
    E    = sum_i PE_i * Ho^2 * T * E_PE               E_PE = sum of the energy terms times 1, g, 16g, g*k^2 or g*g
    A    = tiles * A_tile + A_input * sum_i Ci*Hi^2 + A_membrane * sum_{i<5} Co*Ho^2
    L    = T * (sum_{i<last} int(0.75*Ho^2*Co) + Ho^2*Co of the last) * PE cycle

Constants, sources and the oddities of each: hardware/spikesim.yaml. Sizes are used as given: the script that the tool
ships passes Ho after pooling, which undercounts; the physical Ho is the convolution's own. Where the tool fails, that
figure raises HardwareError and the others stay: area needs PE_i in rising order; latency needs Ci*Co in rising order,
at most 12 layers, and one layer with Ci*Co >= X^2 (the tool runs forever without).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import assert_never, get_args

from intsnn.arithmetic import is_number
from intsnn.errors import UsageError
from intsnn.estimation.report import Figure, Unavailable, value_of
from intsnn.hardware.loading import load_spikesim
from intsnn.hardware.spikesim_spec import AreaMultiplier, Device, DeviceValues, EnergyMultiplier, SpikeSimSpec


@dataclass(frozen=True)
class SpikeSimLayer:
    """One convolution on square maps. Sides in pixels."""

    in_channels: int
    out_channels: int
    in_size: int
    out_size: int

    @property
    def outputs(self) -> int:
        """Output neurons, Co*Ho^2."""
        return self.out_channels * self.out_size**2


@dataclass(frozen=True)
class SpikeSimPart:
    """What one component takes, in the unit of the list it stands in."""

    component: str
    value: float


@dataclass(frozen=True)
class SpikeSimLayerFigures:
    """Figures of one layer. The tiles' area, which layers share, is split in proportion to PEs (our convention)."""

    layer: SpikeSimLayer
    n_pe: int
    energy_parts: tuple[SpikeSimPart, ...]
    area_parts: tuple[SpikeSimPart, ...] | Unavailable
    latency_figure: Figure

    @property
    def energy_pj(self) -> float:
        """Energy of the layer for all steps, pJ."""
        return math.fsum(part.value for part in self.energy_parts)

    @property
    def area_um2(self) -> float:
        """Own memories and share of the tiles, um2."""
        return self.area_of()

    def area_of(self, *components: str) -> float:
        """Area of some components, of all where none is named, um2."""
        parts = value_of(self.area_parts)
        return math.fsum(part.value for part in parts if not components or part.component in components)

    @property
    def latency_ns(self) -> float:
        """What the layer adds to the latency, ns."""
        return value_of(self.latency_figure)


@dataclass(frozen=True)
class SpikeSimReport:
    """Figures of the network: pJ, um2, ns. A figure that the tool cannot give raises HardwareError when it is read."""

    layers: tuple[SpikeSimLayerFigures, ...]
    tile_figure: Figure

    @property
    def n_pe(self) -> int:
        """PEs of all layers."""
        return sum(layer.n_pe for layer in self.layers)

    @property
    def n_tiles(self) -> int:
        """Tiles, which layers share."""
        return int(value_of(self.tile_figure))

    @property
    def energy_pj(self) -> float:
        """Energy of one inference, pJ."""
        return math.fsum(layer.energy_pj for layer in self.layers)

    @property
    def area_um2(self) -> float:
        """Chip area, um2."""
        return self._area_of()

    @property
    def latency_ns(self) -> float:
        """Time of one inference, ns."""
        return math.fsum(layer.latency_ns for layer in self.layers)

    @property
    def membrane_area_um2(self) -> float:
        """The tool's `neuron_mem`: membranes of the first five layers, um2."""
        return self._area_of("membrane")

    @property
    def pe_and_sign_area_um2(self) -> float:
        """The tool's `pe_and_sub`: crossbars, converters, multiplexers and sign correction, um2."""
        return self._area_of("crossbar", "adc", "multiplexer", "sign_correction")

    @property
    def digital_area_um2(self) -> float:
        """The tool's `digital`: PEs and buffers, without sign correction and H-tree, um2."""
        return self._area_of("crossbar", "adc", "multiplexer", "temporary_buffer", "tile_buffer", "input_buffer")

    def _area_of(self, *components: str) -> float:
        return math.fsum(layer.area_of(*components) for layer in self.layers)


@dataclass(frozen=True)
class _Setup:
    rules: SpikeSimSpec
    crossbar: int
    kernel: int
    time_steps: int
    device: Device
    pe_per_tile: int
    pe_cycle_ns: float

    @property
    def groups(self) -> float:
        """g, a fraction where the crossbar is no multiple of 8: the tool divides so."""
        return self.crossbar / self.rules.crossbar.columns_per_group


def spikesim(
    layers: Sequence[SpikeSimLayer | Mapping[str, int]],
    *,
    crossbar: int | None = None,
    kernel: int = 3,
    time_steps: int = 5,
    device: str | None = None,
    pe_per_tile: int | None = None,
    clock_mhz: float | None = None,
    cycles_per_pe: int | None = None,
    rules: SpikeSimSpec | None = None,
) -> SpikeSimReport:
    """Energy, latency and area of a list of convolutions as the unmodified SpikeSim computes them.

    Args:
        layers: in order; mappings have the keys in_channels, out_channels, in_size, out_size.
        crossbar: side X of the square crossbars.
        kernel: side k of every kernel.
        time_steps: T.
        device: `rram` or `sram` cells.
        pe_per_tile: n.
        clock_mhz: clock of the PE cycle.
        cycles_per_pe: clocks of a PE cycle.
        rules: the constants; what is None here and above is what spikesim.yaml says.

    Returns:
        Totals and the figures of each layer, in SpikeSim's units.

    Raises:
        UsageError: an argument is not positive, not an integer, or not known.
    """
    rules = rules or load_spikesim()
    clock = rules.technology.clock_mhz if clock_mhz is None else clock_mhz
    cycles = rules.schedule.cycles_per_pe if cycles_per_pe is None else cycles_per_pe
    if not is_number(clock) or not 0 < clock < math.inf:
        raise UsageError(f"clock_mhz must be a positive number (got {clock!r})")
    setup = _Setup(
        rules=rules,
        crossbar=_count("crossbar", rules.crossbar.size if crossbar is None else crossbar),
        kernel=_count("kernel", kernel),
        time_steps=_count("time_steps", time_steps),
        device=_device(rules.crossbar.device if device is None else device),
        pe_per_tile=_count("pe_per_tile", rules.tile.pe if pe_per_tile is None else pe_per_tile),
        pe_cycle_ns=_count("cycles_per_pe", cycles) * 1000 / clock,
    )
    return _report([_layer(index, layer) for index, layer in enumerate(layers)], setup)


def _count(name: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} must be an integer of at least 1 (got {value!r})")
    return value


def _device(name: str) -> Device:
    match name:
        case "rram" | "sram":
            return name
        case _:
            raise UsageError(f"device must be one of {', '.join(get_args(Device))} (got {name!r})")


def _layer(index: int, layer: SpikeSimLayer | Mapping[str, int]) -> SpikeSimLayer:
    keys = [field.name for field in fields(SpikeSimLayer)]
    values = {key: getattr(layer, key) for key in keys} if isinstance(layer, SpikeSimLayer) else dict(layer)
    if sorted(values) != sorted(keys):
        raise UsageError(f"layers[{index}] must have the keys {', '.join(keys)} (got {', '.join(values) or 'none'})")
    return SpikeSimLayer(**{key: _count(f"layers[{index}].{key}", values[key]) for key in keys})


def _report(layers: Sequence[SpikeSimLayer], setup: _Setup) -> SpikeSimReport:
    if not layers:
        raise UsageError("layers must hold at least one convolution (got none)")
    pes = [_pes(layer, setup.crossbar) for layer in layers]
    tiles = _tiles(pes, setup)
    latencies = _latencies(layers, setup)
    figures = (
        SpikeSimLayerFigures(
            layer=layer,
            n_pe=pe,
            energy_parts=_energy_parts(layer, pe, setup),
            area_parts=_area_parts(layer, index, tiles, pe / sum(pes), setup),
            latency_figure=latencies[index],
        )
        for index, (layer, pe) in enumerate(zip(layers, pes, strict=True))
    )
    return SpikeSimReport(layers=tuple(figures), tile_figure=tiles)


def _pes(layer: SpikeSimLayer, crossbar: int) -> int:
    return math.ceil(layer.in_channels / crossbar) * math.ceil(layer.out_channels / crossbar)


def _energy_parts(layer: SpikeSimLayer, pes: int, setup: _Setup) -> tuple[SpikeSimPart, ...]:
    cycles = pes * layer.out_size**2 * setup.time_steps
    return tuple(
        SpikeSimPart(term.component, cycles * _energy_multiplier(term.per, setup) * _number(term.energy_pj, setup))
        for term in setup.rules.energy
    )


def _energy_multiplier(per: EnergyMultiplier, setup: _Setup) -> float:
    g = setup.groups
    match per:
        case "pe_cycle":
            return 1
        case "group":
            return g
        case "sixteen_groups":
            return 16 * g
        case "crossbar_group":
            return g * setup.kernel**2
        case "group_group":
            return g * g
        case _:
            assert_never(per)


def _number(value: float | DeviceValues, setup: _Setup) -> float:
    return value.of(setup.device) if isinstance(value, DeviceValues) else value


def _tiles(pes: Sequence[int], setup: _Setup) -> Figure:
    if list(pes) != sorted(pes):
        return Unavailable(
            f"SpikeSim places layers on tiles only where their PE counts never fall (got {', '.join(map(str, pes))})",
            ("use a description of its own kind, such as rram_64x64_65nm, which maps every order of layers",),
        )
    return math.ceil(sum(pes) / setup.pe_per_tile)


def _area_parts(
    layer: SpikeSimLayer, index: int, tiles: Figure, share: float, setup: _Setup
) -> tuple[SpikeSimPart, ...] | Unavailable:
    """A layer's share of all tiles, its Ci*Hi^2 input words, and Co*Ho^2 membrane words if it is among the first."""
    if isinstance(tiles, Unavailable):
        return tiles
    in_tiles = tiles * share
    n, g, k = setup.pe_per_tile, setup.groups, setup.kernel
    multipliers: dict[AreaMultiplier, float] = {
        "tile": in_tiles,
        "tile_group": in_tiles * g,
        "pe_crossbar": in_tiles * n * k * k,
        "pe_group": in_tiles * n * g,
        "input_word": layer.in_channels * layer.in_size**2,
        "membrane_word": layer.outputs if index < setup.rules.membrane.counted_layers else 0,
    }
    return tuple(
        SpikeSimPart(term.component, multipliers[term.per] * _number(term.area_um2, setup)) for term in setup.rules.area
    )


def _latencies(layers: Sequence[SpikeSimLayer], setup: _Setup) -> list[Figure]:
    """Per layer, ns: T * int(0.75*Ho^2*Co) PE cycles, the last layer in full."""
    reason = _why_no_latency(layers, setup)
    if reason is not None:
        return [reason for _ in layers]
    cycles = [int(setup.rules.schedule.overlap * layer.outputs) for layer in layers[:-1]] + [layers[-1].outputs]
    return [setup.time_steps * count * setup.pe_cycle_ns for count in cycles]


def _why_no_latency(layers: Sequence[SpikeSimLayer], setup: _Setup) -> Unavailable | None:
    crossbar_cells, most = setup.crossbar**2, setup.rules.schedule.most_layers
    products = [layer.in_channels * layer.out_channels for layer in layers]
    hint = "energy and area are available; for a latency use a description such as rram_64x64_65nm"
    if products != sorted(products):
        seen = ", ".join(map(str, products))
        return Unavailable(
            f"SpikeSim's latency rule needs Ci*Co that never falls from layer to layer (got {seen})", (hint,)
        )
    if len(layers) > most:
        return Unavailable(f"SpikeSim's latency rule holds at most {most} layers (got {len(layers)})", (hint,))
    if max(products) < crossbar_cells:
        reason = f"SpikeSim's latency rule never ends unless one layer has Ci*Co >= {crossbar_cells}, a whole crossbar"
        return Unavailable(f"{reason} (got at most {max(products)})", (hint,))
    return None

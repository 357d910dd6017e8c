"""What spikesim.yaml holds: the constants of the SpikeSim rules, each with its multiplier and its source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from intsnn.yaml.file import Count, Physical, PhysicalOrZero, StrictModel, Text

SPIKESIM_SCHEMA = "mdcompress.spikesim/1"

Device = Literal["rram", "sram"]

EnergyMultiplier = Literal["pe_cycle", "group", "sixteen_groups", "crossbar_group", "group_group"]
AreaMultiplier = Literal["tile", "tile_group", "pe_crossbar", "pe_group", "input_word", "membrane_word"]


class DeviceValues(StrictModel):
    """One number for each device the tool knows."""

    rram: PhysicalOrZero
    sram: PhysicalOrZero

    def of(self, device: Device) -> float:
        """The number of one device."""
        return self.rram if device == "rram" else self.sram


class SpikeSimEnergy(StrictModel):
    """One term of the energy of a PE cycle: energy_pj x the multiplier named by `per`."""

    component: Text
    energy_pj: PhysicalOrZero | DeviceValues
    per: EnergyMultiplier
    source: Text


class SpikeSimArea(StrictModel):
    """One term of the area: area_um2 x the multiplier named by `per`."""

    component: Text
    area_um2: PhysicalOrZero | DeviceValues
    per: AreaMultiplier
    source: Text


class SpikeSimTechnology(StrictModel):
    """Node of the constants, clock of the PE cycle."""

    node_nm: Physical
    clock_mhz: Physical


class SpikeSimCrossbar(StrictModel):
    """Side of the square crossbar, its device, and the columns that share one converter (g = size / columns)."""

    size: Count
    device: Device
    columns_per_group: Count


class SpikeSimTile(StrictModel):
    """PEs of a tile."""

    pe: Count


class SpikeSimSchedule(StrictModel):
    """The latency rule: clocks of a PE cycle, the share of a layer done before the next starts, the longest list."""

    cycles_per_pe: Count
    overlap: Annotated[float, Field(gt=0, le=1)]
    most_layers: Count
    source: Text


class SpikeSimMembrane(StrictModel):
    """How many layers from the first have their membrane memory counted."""

    counted_layers: Count


class Excluded(StrictModel):
    """An effect that is not modelled, and why."""

    effect: Text
    reason: Text


class Floorplan(StrictModel):
    """Chip area = factor * sum of the components' areas, for white space and global wiring, and where that comes from.

    A factor of 1 is a choice like any other and says so: nothing is added without a word.
    """

    factor: Annotated[float, Field(ge=1)]
    source: Text


class SpikeSimSpec(StrictModel):
    """Constants of the SpikeSim rules (spikesim_rules.py has the equations)."""

    model_config = ConfigDict(title="SpikeSim description")

    name: Text
    summary: Text
    technology: SpikeSimTechnology
    crossbar: SpikeSimCrossbar
    tile: SpikeSimTile
    schedule: SpikeSimSchedule
    membrane: SpikeSimMembrane
    floorplan: Floorplan
    energy: Annotated[tuple[SpikeSimEnergy, ...], Field(min_length=1)]
    area: Annotated[tuple[SpikeSimArea, ...], Field(min_length=1)]
    excluded: tuple[Excluded, ...]

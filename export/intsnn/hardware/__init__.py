"""Descriptions of crossbar hardware: what they hold, and the ones that are shipped."""

from intsnn.hardware.loading import Hardware, dump_hardware, load_hardware, load_spikesim, shipped_hardware
from intsnn.hardware.spec import HARDWARE_SCHEMA, HardwareSpec, with_converter, with_sections
from intsnn.hardware.spikesim_spec import SPIKESIM_SCHEMA, SpikeSimSpec

__all__ = [
    "HARDWARE_SCHEMA",
    "SPIKESIM_SCHEMA",
    "Hardware",
    "HardwareSpec",
    "SpikeSimSpec",
    "dump_hardware",
    "load_hardware",
    "load_spikesim",
    "shipped_hardware",
    "with_converter",
    "with_sections",
]

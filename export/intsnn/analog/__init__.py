"""Analog accuracy: an integer graph on arrays of cells that are not ideal."""

from intsnn.analog.inference import AnalogChip, AnalogRun, make_chip, run_analog
from intsnn.analog.spec import ANALOG_SCHEMA, AnalogSpec, load_analog, shipped_analog

__all__ = [
    "ANALOG_SCHEMA",
    "AnalogChip",
    "AnalogRun",
    "AnalogSpec",
    "load_analog",
    "make_chip",
    "run_analog",
    "shipped_analog",
]

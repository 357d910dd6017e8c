"""Hardware descriptions as text: a shipped file with keys written anew, as a user would write them."""

from __future__ import annotations

from importlib.resources import files

from intsnn.exploration.design_space import DesignPoint
from intsnn.hardware import HARDWARE_SCHEMA, HardwareSpec
from intsnn.yaml.file import read_yaml_text


def description_text(name: str) -> str:
    """The shipped file of that name."""
    return (files("intsnn") / "hardware" / f"{name}.yaml").read_text("utf-8")


def read_description(name: str, *changes: str) -> HardwareSpec:
    """The shipped description with `key.path=value` written into its text."""
    return read_yaml_text(description_text(name), name, HardwareSpec, schema=HARDWARE_SCHEMA, changes=changes)


def keys_of(point: DesignPoint) -> tuple[str, ...]:
    """The keys of a description that a design point names."""
    return (
        f"crossbar.rows={point.crossbar}",
        f"crossbar.columns={point.crossbar}",
        f"crossbar.cell.bits={point.cell_bits}",
        f"crossbar.adc_bits={point.adc_bits}",
        f"crossbar.column_mux={point.column_mux}",
        f"crossbar.encoding={point.encoding}",
        f"crossbar.mapping={point.mapping}",
        f"crossbar.gating={point.gating}",
        f"schedule.rule={point.schedule}",
        f"duplication.arrays={'null' if point.array_budget is None else point.array_budget}",
        *(() if point.converter is None else (f"costs.adc_conversion={point.converter}",)),
    )

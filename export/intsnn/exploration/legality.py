"""A point of a design space -> the description that it has, held to every rule of a description."""

from __future__ import annotations

from intsnn.errors import HardwareError, UsageError
from intsnn.exploration.design_space import DesignPoint, hardware_at, sides
from intsnn.hardware.catalogue import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.yaml.file import ModelT, checked


def legal_hardware_at(point: DesignPoint, described: HardwareSpec) -> HardwareSpec:
    """The description that a design has, held to every rule of a description.

    Raises:
        HardwareError: there is no such chip, or the description has no price for it.
    """
    _, columns = sides(point.crossbar)
    if point.column_mux > columns:
        raise HardwareError(
            f"column_mux must be at most the array's {columns} columns (got {point.column_mux})",
            hints=["explore smaller multiplexers or larger arrays"],
        )
    hardware = hardware_at(point, described)
    _require_priced(hardware, described)
    for section in (hardware.crossbar, hardware.schedule, hardware.duplication):  # only these differ from the file's
        legal(section)
    return hardware


def legal(section: ModelT) -> ModelT:
    """A changed section of a description, where it keeps the rules of its file.

    Raises:
        HardwareError: it breaks one.
    """
    try:
        return checked(section)
    except UsageError as error:
        raise HardwareError(error.message, hints=error.hints) from error


def _require_priced(hardware: HardwareSpec, described: HardwareSpec) -> None:
    """Refuse a design where a price of the description is none of its cells or converters."""
    crossbar, own = hardware.crossbar, described.crossbar
    if hardware.unpriced:
        raise HardwareError(f"{described.name} neither prices nor excludes {hardware.unpriced[0]} ({crossbar.mapping})")
    if crossbar.is_digital:
        if crossbar.adc_bits != "lossless":
            raise HardwareError(f"digital arrays sum exactly: adc_bits must be lossless (got {crossbar.adc_bits})")
        if crossbar.cell.bits != own.cell.bits:
            # a digital cell is a bit of memory and its gate; no price says what one of more bits takes
            raise HardwareError(f"the digital cells are priced at {own.cell.bits} bit (got {crossbar.cell.bits})")
        return
    cost = hardware.cost(Item.ADC_CONVERSION)
    by_width = cost is None or any(isinstance(price, tuple) for price in (cost.energy_pj, cost.area_um2))
    if not by_width and crossbar.resolution != own.resolution:
        raise HardwareError(f"adc_conversion has one price, at {own.resolution} bits (got {crossbar.resolution})")

"""The axes of an exploration: which values each takes, the grid of their combinations, and what a point describes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from intsnn.errors import UsageError
from intsnn.hardware.chip import Encoding, Gating, KernelMapping, ScheduleRule, lossless_bits
from intsnn.hardware.spec import HardwareSpec, require_converter, with_converter

AdcBits = int | Literal["lossless"]
Axis = Literal[
    "crossbar",
    "cell_bits",
    "adc_bits",
    "column_mux",
    "encoding",
    "mapping",
    "gating",
    "schedule",
    "array_budget",
    "weight_bits",
    "membrane_bits",
    "time_steps",
    "converter",
]

_MOST = {"cell_bits": 8, "adc_bits": 16, "weight_bits": 64, "membrane_bits": 64}  # as in a description, and words


@dataclass(frozen=True)
class DesignPoint:
    """One design. crossbar: side of a square array, or `128x64`, rows and columns.

    weight_bits, membrane_bits: None for the network's own. mapping, gating, schedule: as in a description
    (hardware/spec.py). array_budget: arrays of the chip that copies of layers may fill, or "+5%" for so many more than
    one copy of each takes; None: one copy of each layer. converter: name of the converters' price, a component of the
    description or a shipped one (converters.py); None: the price that the description writes out.
    """

    crossbar: int | str
    cell_bits: int
    adc_bits: AdcBits
    column_mux: int
    encoding: Encoding
    mapping: KernelMapping
    gating: Gating
    schedule: ScheduleRule
    array_budget: int | str | None
    weight_bits: float | None
    membrane_bits: int | None
    time_steps: int
    converter: str | None = None

    @property
    def exact(self) -> bool:
        """Whether the converters tell every column sum apart (chip.py)."""
        if self.adc_bits == "lossless":
            return True
        rows, _ = sides(self.crossbar)
        return self.adc_bits >= lossless_bits(rows, self.cell_bits, self.encoding)


@dataclass(frozen=True)
class DesignSpace:
    """Values of each axis; an axis without values keeps that of the description, the network or the activity."""

    crossbar: tuple[int | str, ...] = ()
    cell_bits: tuple[int, ...] = ()
    adc_bits: tuple[AdcBits, ...] = ()
    column_mux: tuple[int, ...] = ()
    encoding: tuple[Encoding, ...] = ()
    mapping: tuple[KernelMapping, ...] = ()
    gating: tuple[Gating, ...] = ()
    schedule: tuple[ScheduleRule, ...] = ()
    array_budget: tuple[int | str | None, ...] = ()
    weight_bits: tuple[float, ...] = ()
    membrane_bits: tuple[int, ...] = ()
    time_steps: tuple[int, ...] = ()
    converter: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            for value in values:
                if values.count(value) > 1:
                    raise UsageError(f"{field.name} must have each value once (got {value} more than once)")
                if field.name == "crossbar":
                    sides(value)
                most = _MOST.get(field.name, math.inf)
                if isinstance(value, int | float) and not 1 <= value <= most:
                    words = "at least 1" if most == math.inf else f"between 1 and {most}"
                    raise UsageError(f"{field.name} must be {words} (got {value:g})")

    def points(self, hardware: HardwareSpec, time_steps: int) -> Iterator[DesignPoint]:
        """Every combination; an axis without values has that of the description or of the activity.

        Raises:
            UsageError: a converter is none of the description, and none that is shipped.
        """
        for name in self.converter:
            require_converter(hardware, name)
        crossbar = hardware.crossbar
        square = crossbar.rows == crossbar.columns
        described = DesignPoint(
            crossbar=crossbar.rows if square else f"{crossbar.rows}x{crossbar.columns}",
            cell_bits=crossbar.cell.bits,
            adc_bits=crossbar.adc_bits,
            column_mux=crossbar.column_mux,
            encoding=crossbar.encoding,
            mapping=crossbar.mapping,
            gating=crossbar.gating,
            schedule=hardware.schedule.rule,
            array_budget=hardware.duplication.arrays,
            weight_bits=None,
            membrane_bits=None,
            time_steps=time_steps,
            converter=hardware.converter,
        )
        names = [field.name for field in fields(self)]
        grid = itertools.product(*(getattr(self, name) or (getattr(described, name),) for name in names))
        return (DesignPoint(**dict(zip(names, values, strict=True))) for values in grid)


def priced_with(described: HardwareSpec, converter: str | None) -> HardwareSpec:
    """The description with the converters of a point."""
    return described if converter in (None, described.converter) else with_converter(described, converter)


def sides(crossbar: int | str) -> tuple[int, int]:
    """Rows and columns of `64`, or of `128x64`.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(crossbar, int):
        return crossbar, crossbar
    rows, _, columns = crossbar.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise UsageError(
            f"crossbar must be the side of a square array, or its rows and columns (got {crossbar!r})",
            hints=["write 64, or 128x64 for 128 rows of 64 columns"],
        )
    return int(rows), int(columns)


def hardware_at(point: DesignPoint, described: HardwareSpec) -> HardwareSpec:
    """A copy of the description with the axes of a point, all else as described; legal or not (`checked`)."""
    rows, columns = sides(point.crossbar)
    cell = described.crossbar.cell.model_copy(update={"bits": point.cell_bits})
    crossbar = described.crossbar.model_copy(
        update={
            "rows": rows,
            "columns": columns,
            "cell": cell,
            "adc_bits": point.adc_bits,
            "column_mux": point.column_mux,
            "encoding": point.encoding,
            "mapping": point.mapping,
            "gating": point.gating,
        }
    )
    duplication = described.duplication.model_copy(update={"arrays": point.array_budget})
    schedule = described.schedule.model_copy(update={"rule": point.schedule})
    described = priced_with(described, point.converter)
    return described.model_copy(update={"crossbar": crossbar, "duplication": duplication, "schedule": schedule})

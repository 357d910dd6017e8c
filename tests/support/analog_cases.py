"""Descriptions, graphs and crossbars for the tests of analog accuracy."""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from hypothesis import strategies as st

from intsnn.analog.spec import (
    AnalogSpec,
    ColumnGains,
    Conductance,
    Converters,
    Drift,
    Line,
    Programming,
    Reading,
    SlowNoise,
    StuckCells,
    Wires,
)
from intsnn.hardware import HardwareSpec
from tests.support.crossbar_by_hand import ENCODINGS, MAPPINGS, small_hardware

TEST = "test"
FLAT = Line(slope=0, offset=0.05, low=0, high=1)


class Parts(TypedDict, total=False):
    """What a description may have beside ideal cells."""

    programming: Programming
    drift: Drift
    reading: Reading
    stuck: StuckCells
    wires: Wires
    converters: Converters
    column_gains: ColumnGains


def analog(*, maximum_us: float = 40, minimum_us: float = 0, **parts: Unpack[Parts]) -> AnalogSpec:
    """Ideal cells but for the parts given."""
    parts.setdefault("converters", Converters(range="full_scale", source=TEST))
    parts.setdefault("column_gains", "none")
    return AnalogSpec(
        name=TEST,
        summary=TEST,
        conductance=Conductance(maximum_us=maximum_us, minimum_us=minimum_us, source=TEST),
        **parts,
    )


def relative_programming(sigma: float) -> Programming:
    """Sigma = `sigma` of the maximum conductance, at every level."""
    return Programming(coefficients_us=(sigma,), reference_maximum_us=1, source=TEST)


def drift(*, after_s: float = 86400, spread: float = 0.0, compensation: Literal["none", "global"] = "none") -> Drift:
    line = Line(slope=0, offset=spread, low=0, high=1)
    return Drift(after_s=after_s, start_s=20, mean=FLAT, spread=line, compensation=compensation, source=TEST)


def reading(
    *, of_maximum: float = 0.0, slow: float | None = None, drawn: Literal["each_read", "once"] = "each_read"
) -> Reading:
    noise = None
    if slow is not None:
        noise = SlowNoise(amplitude=slow, exponent=0.65, floor=1e-3, cap=0.2, read_s=1e-6, after_s=100)
    return Reading(of_maximum=of_maximum, slow=noise, drawn=drawn, source=TEST)


def stuck(on: float, off: float) -> StuckCells:
    return StuckCells(on=on, off=off, source=TEST)


def wires(row: float, column: float, *, driver: float = 0, load: float = 0) -> Wires:
    return Wires(row_ohm=row, column_ohm=column, driver_ohm=driver, load_ohm=load, source=TEST)


def with_adc(hardware: HardwareSpec, bits: int) -> HardwareSpec:
    """The same chip with converters of so many bits."""
    return hardware.model_copy(update={"crossbar": hardware.crossbar.model_copy(update={"adc_bits": bits})})


@st.composite
def crossbars(draw: st.DrawFn) -> HardwareSpec:
    """Any size, cells of 1 to 4 bits, every encoding and mapping."""
    encoding = draw(st.sampled_from(ENCODINGS))
    return small_hardware(
        rows=draw(st.sampled_from((1, 2, 5, 16, 64))),
        columns=draw(st.sampled_from((1, 3, 8, 64))) * (2 if encoding == "analog_differential" else 1),
        cell_bits=draw(st.integers(1, 4)),
        encoding=encoding,
        mapping=draw(st.sampled_from(MAPPINGS)),
    )

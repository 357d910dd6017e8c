"""What an analog description holds: the conductances of a cell and every way in which it is not the ideal one; reading.

A part that is absent is ideal. Conductances are in uS, resistances in ohm, times in s. g = G / G_max.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from intsnn.errors import UsageError
from intsnn.hardware.loading import description_file, shipped_in
from intsnn.hardware.spikesim_spec import Excluded
from intsnn.yaml.file import NotNegative, Positive, RuleError, StrictModel, Text, read_yaml

ANALOG_SCHEMA = "mdcompress.analog/1"
_FOLDER = Path(__file__).parent

Fraction = Annotated[float, Field(ge=0, le=1)]
ColumnGains = Literal["none", "calibrated"]


class Conductance(StrictModel):
    """Range of a cell: level k of a b-bit cell aims at G = minimum + k*(maximum - minimum)/(2^b - 1)."""

    maximum_us: Positive
    minimum_us: NotNegative
    source: Text

    @model_validator(mode="after")
    def _there_is_a_range(self) -> Self:
        if self.minimum_us >= self.maximum_us:
            message = f"must be below maximum_us, {self.maximum_us} (got {self.minimum_us})"
            raise RuleError(message, field="minimum_us", hint="write 0 for cells that can be switched off")
        return self


class Programming(StrictModel):
    """Deviation of a programmed cell from its target: G += sigma(g)*N, G >= 0, drawn once.

    sigma(g) = (G_max / reference_maximum_us) * (c0 + c1 g + c2 g^2 + ...) in uS: a relative deviation of 5 % is
    coefficients_us [0, 0.05] with a reference of 1.
    """

    coefficients_us: Annotated[tuple[float, ...], Field(min_length=1)]
    reference_maximum_us: Positive
    source: Text


class Line(StrictModel):
    """clip(slope * ln g + offset, low, high)."""

    slope: float
    offset: float
    low: NotNegative
    high: NotNegative


class Drift(StrictModel):
    """Decay with time: G * ((after_s + start_s) / start_s)^-nu, nu = |N(mean(g), spread(g))| for each cell.

    compensation `global` multiplies all sums of a layer by (sum of G before) / (sum of G after), as one reference
    read of the whole layer gives it.
    """

    after_s: NotNegative
    start_s: Positive
    mean: Line
    spread: Line
    compensation: Literal["none", "global"]
    source: Text


class SlowNoise(StrictModel):
    """1/f noise: sigma = G * min(amplitude / max(g^exponent, floor), cap) * sqrt(ln((t + r) / (2 r))).

    g is of the programmed, G of the drifted cell; t = after_s; r = read_s.
    """

    amplitude: NotNegative
    exponent: Positive
    floor: Positive
    cap: Positive
    read_s: Positive
    after_s: Positive

    @model_validator(mode="after")
    def _the_logarithm_is_positive(self) -> Self:
        if self.after_s < self.read_s:
            message = f"must be at least read_s, {self.read_s} (got {self.after_s})"
            raise RuleError(message, field="after_s", hint="a cell is read after it was programmed")
        return self


class Reading(StrictModel):
    """Noise of a cell that is read: variances of an additive part, `of_maximum` * G_max, and a slow part add up.

    drawn: `each_read` anew for each position, input bit and step; `once` for a whole run, where noise is slow.
    """

    of_maximum: NotNegative = 0.0
    slow: SlowNoise | None = None
    drawn: Literal["each_read", "once"]
    source: Text

    @property
    def is_noiseless(self) -> bool:
        """Whether both parts are 0."""
        return self.of_maximum == 0 and (self.slow is None or self.slow.amplitude == 0)


class StuckCells(StrictModel):
    """Shares of the cells that stay at G_max (on) and at G_min (off), whatever is written."""

    on: Fraction
    off: Fraction
    source: Text

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.on + self.off > 1:
            message = f"on and off must be at most 1 together (got {self.on + self.off})"
            raise RuleError(message, field="on", hint="they are shares of all cells")
        return self


class Wires(StrictModel):
    """Resistances of an array: a wire segment between cells of a row and of a column, row driver, column load."""

    row_ohm: NotNegative
    column_ohm: NotNegative
    driver_ohm: NotNegative
    load_ohm: NotNegative
    source: Text


class Converters(StrictModel):
    """Where the codes of a converter lie; how many there are is the hardware description's adc_bits.

    range: `full_scale` reaches the largest ideal sum of a column; `calibrated` reaches the `percentile` of the sums
    seen in a calibration run, one range for a layer, and clips above. noise_codes: deviation of a code, as of
    nonlinearity.
    """

    range: Literal["full_scale", "calibrated"]
    percentile: Annotated[float, Field(gt=0, le=100)] | None = None
    noise_codes: NotNegative = 0.0
    source: Text

    @model_validator(mode="after")
    def _percentile_goes_with_calibration(self) -> Self:
        if (self.range == "calibrated") != (self.percentile is not None):
            message = f"range {self.range} {'needs a' if self.percentile is None else 'has no'} percentile"
            raise RuleError(message, field="range", hint="write `range: calibrated` and `percentile: 99.9` together")
        return self


class AnalogSpec(StrictModel):
    """Cells, wires and converters of a chip.

    column_gains: `calibrated` multiplies the codes of each column by the factor that brings the sums of a calibration
    run closest to the ideal ones (least squares); `none` takes the codes as they are.
    """

    model_config = ConfigDict(title="analog description")

    name: Text
    summary: Text
    conductance: Conductance
    programming: Programming | None = None
    drift: Drift | None = None
    reading: Reading | None = None
    stuck: StuckCells | None = None
    wires: Wires | None = None
    converters: Converters
    column_gains: ColumnGains
    not_modelled: tuple[Excluded, ...] = ()

    @property
    def needs_calibration(self) -> bool:
        """Whether a chip of this kind has to see data before it runs."""
        return self.converters.range == "calibrated" or self.column_gains == "calibrated"

    @property
    def is_noiseless(self) -> bool:
        """Whether no cell deviates from its target when it is programmed or read, and none is stuck."""
        programmed = self.programming is None or not any(self.programming.coefficients_us)
        stuck = self.stuck is not None and self.stuck.on + self.stuck.off > 0
        return programmed and not stuck and (self.reading is None or self.reading.is_noiseless)

    def scaled(self, factor: float) -> AnalogSpec:
        """The same chip with all that is random `factor` times as large: 0 leaves what is systematic.

        Deviations of programming, drift exponents, reading and converters, and the shares of stuck cells. Mean drift,
        wires, resolution and range stay.

        Raises:
            UsageError: the factor is below 0, or more than all cells would be stuck.
        """
        if not factor >= 0:
            raise UsageError(f"noise is scaled by a factor of at least 0 (got {factor})")
        return self.model_copy(
            update={
                "programming": self.programming and _scaled_programming(self.programming, factor),
                "drift": self.drift and _scaled_drift(self.drift, factor),
                "reading": self.reading and _scaled_reading(self.reading, factor),
                "stuck": self.stuck and _scaled_stuck(self.stuck, factor),
                "converters": self.converters.model_copy(update={"noise_codes": self.converters.noise_codes * factor}),
            }
        )


def _scaled_programming(part: Programming, factor: float) -> Programming:
    return part.model_copy(update={"coefficients_us": tuple(factor * value for value in part.coefficients_us)})


def _scaled_drift(part: Drift, factor: float) -> Drift:
    spread = {name: factor * getattr(part.spread, name) for name in ("slope", "offset", "low", "high")}
    return part.model_copy(update={"spread": part.spread.model_copy(update=spread)})


def _scaled_reading(part: Reading, factor: float) -> Reading:
    slow = part.slow and part.slow.model_copy(
        update={"amplitude": factor * part.slow.amplitude, "cap": factor * part.slow.cap}
    )
    return part.model_copy(update={"of_maximum": factor * part.of_maximum, "slow": slow})


def _scaled_stuck(part: StuckCells, factor: float) -> StuckCells:
    if factor * (part.on + part.off) > 1:
        raise UsageError(f"{factor:g} times as many stuck cells are more than all (got {part.on} on, {part.off} off)")
    return part.model_copy(update={"on": factor * part.on, "off": factor * part.off})


def shipped_analog() -> tuple[str, ...]:
    """Names of the descriptions that are shipped."""
    return shipped_in(_FOLDER)


def load_analog(name_or_path: str | Path) -> AnalogSpec:
    """The description of that name, or in that file: a path, or text with a `/` or a `.yaml` ending.

    Raises:
        UsageError: no description of that name is shipped.
        MissingFileError: there is no such file.
        InvalidFileError: the file breaks its schema.
    """
    path = description_file(name_or_path, _FOLDER, kind="analog")
    return read_yaml(path, AnalogSpec, schema=ANALOG_SCHEMA)

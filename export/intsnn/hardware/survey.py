"""Node, rate and perhaps one measured converter -> energy and area of converters of 1 to 10 bits.

From 4 bits, the closed form of the regression on Murmann's survey of published converters (arXiv:2404.06553, as in
hwcomponents-adc and CIMLoop's ADC plug-in; f samples a second, n nm):

    SNDR = 6.0206 b + 1.7609;  FOM = min(213.7807 - 2.8719 ln f, 128.3068 + 3.2205 b)
    energy = 10^((SNDR - FOM)/10) / 2 * exp(26.0496 + 1.8800 ln n - 2.8291 ln b - 1.4702)      pJ a conversion
    area   = exp(1.3462 + 0.9933 ln n + 0.1807 ln f + 0.2991 ln energy)                        um2

The fit is loose: three macros that CIMLoop encodes take 0.275 (Jia), 3.5 (Sinangil) and 3.15 (Wang) times its energy.
So a measured converter may pin the curve: all of it from 4 bits is multiplied by one factor for energy and one for
area, so that it passes through the measured width.

Below 4 bits the survey has too few converters to fit. One bit is a sense amplifier: NeuroSim's current-mode one on a
column of one cell of mean conductance (the column's own current is what `cell_read` prices), 18727 F^2. It is never
dearer than the curve's four bits. Two and three bits lie between one and four in equal ratios: a flash of
2^b - 1 sense amplifiers would be cheaper, and would leave a step of 10 times to the survey's four bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from intsnn.yaml.file import Physical, StrictModel

LOWEST, HIGHEST = 4, 10  # bits that the regression is used for
_SENSE_AMPLIFIER_F2 = 18727  # CurrentSenseAmp.cpp, areaUnit: 79.119 um2 at 65 nm, 9.0636 at 22 nm
# CurrentSenseAmp.cpp, LSTP transistors, a column of 188.9 kohm (mean of 100 kohm and 1.7 Mohm), read as in Param.cpp
_SENSE_AMPLIFIER_NM = (22, 32, 65, 130)
_SENSE_AMPLIFIER_PJ = (0.00212, 0.00369, 0.01455, 0.02393)


class Measured(StrictModel):
    """One converter on silicon: its bits, pJ a conversion and um2."""

    bits: Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
    energy_pj: Physical
    area_um2: Physical


class Survey(StrictModel):
    """The survey's curve. node_nm: left out, that of the description; through: what was measured and pins the curve."""

    rate_msps: Physical
    node_nm: Physical | None = None
    through: Measured | None = None


@dataclass(frozen=True)
class Curve:
    """Prices of converters of 1 to 10 bits, and where they hold, in words."""

    bits: tuple[float, ...]
    energy_pj: tuple[float, ...]
    area_um2: tuple[float, ...]
    words: str


def curve(survey: Survey, node_nm: float) -> Curve:
    """The table that a survey stands for; `node_nm` of a description, where the survey names none."""
    node_nm = survey.node_nm or node_nm
    found = [regression(bits, node_nm=node_nm, rate_msps=survey.rate_msps) for bits in range(LOWEST, HIGHEST + 1)]
    energy, area = ([one[part] for one in found] for part in (0, 1))
    words = f"at {node_nm:g} nm and {survey.rate_msps:g} MS/s"
    if survey.through is not None:
        measured = survey.through
        energy = [one * measured.energy_pj / energy[measured.bits - LOWEST] for one in energy]
        area = [one * measured.area_um2 / area[measured.bits - LOWEST] for one in area]
        words = f"measured at {measured.bits} bits; other widths in the survey's ratio {words}"
    sense = sense_amplifier(node_nm)
    energy, area = (_from_one_bit(least, prices) for least, prices in zip(sense, (energy, area), strict=True))
    return Curve(
        tuple(float(bits) for bits in range(1, HIGHEST + 1)),
        tuple(energy),
        tuple(area),
        f"{words}; 1 bit a sense amplifier, 2 and 3 between in equal ratios",
    )


def regression(bits: int, *, node_nm: float, rate_msps: float) -> tuple[float, float]:
    """pJ a conversion and um2 of a converter; from 4 bits."""
    log_rate, sndr = math.log(rate_msps * 1e6), 6.0206 * bits + 1.7609
    fom = min(213.7806687348118 - 2.8719030399529957 * log_rate, 128.3068287398817 + 3.220511510977 * bits)
    size = 26.0496215686518 + 1.8800369206815004 * math.log(node_nm) - 2.8291256050594527 * math.log(bits)
    energy = 10 ** ((sndr - fom) / 10) / 2 * math.exp(size - 1.4702022133784405)
    area = 1.3461916439910742 + 0.9932794744745022 * math.log(node_nm) + 0.18071538424508238 * log_rate
    return energy, math.exp(area + 0.29912426192653485 * math.log(energy))


def sense_amplifier(node_nm: float) -> tuple[float, float]:
    """pJ a decision and um2: NeuroSim's at its nodes, energy between them in equal ratios."""
    energy = np.interp(math.log(node_nm), np.log(_SENSE_AMPLIFIER_NM), np.log(_SENSE_AMPLIFIER_PJ))
    return math.exp(energy), _SENSE_AMPLIFIER_F2 * (node_nm * 1e-3) ** 2


def _from_one_bit(least: float, from_four: list[float]) -> list[float]:
    """The table from 1 bit: `least`, but no more than 4 bits cost, then equal steps of the logarithm."""
    one = min(least, from_four[0])
    return [*(one * (from_four[0] / one) ** (step / 3) for step in range(3)), *from_four]

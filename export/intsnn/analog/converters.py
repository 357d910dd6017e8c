"""Column sums in levels -> what the converters make of them.

    value = step * clip(round(sum / step + noise), 0, 2^bits - 1)
            step * clip(round(sum / step + noise), -(2^(bits-1) - 1), 2^(bits-1) - 1)   of differences of pairs

The step is at least 1: a converter with codes to spare is set to one code a level, and is then lossless. A step that
is no power of two costs nothing, since it is one factor of a whole layer and goes into the M_c of its requantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.errors import HardwareError
from intsnn.hardware.chip import Crossbar

Sums = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Converter:
    """Levels of one code, highest and lowest code, and standard deviation of a code."""

    step: float
    highest: int
    noise_codes: float = 0.0
    lowest: int = 0

    def convert(self, sums: Sums, random: np.random.Generator) -> Sums:
        """Values in levels, of the shape of the sums."""
        codes = sums / np.float32(self.step) if self.step != 1 else sums.copy()
        if self.noise_codes:
            codes += np.float32(self.noise_codes) * random.standard_normal(codes.shape, dtype=np.float32)
        np.rint(codes, out=codes)
        np.maximum(codes, np.float32(self.lowest), out=codes)
        np.minimum(codes, np.float32(self.highest), out=codes)
        if self.step != 1:
            codes *= np.float32(self.step)
        return codes


def full_scale(crossbar: Crossbar, *, noise_codes: float = 0.0) -> Converter:
    """Reaches the largest ideal sum, every row of the array active on a cell of the highest level."""
    return reaching(crossbar.rows * (2**crossbar.cell.bits - 1), crossbar, noise_codes=noise_codes)


def reaching(most: float, crossbar: Crossbar, *, noise_codes: float = 0.0) -> Converter:
    """The finest step of at least one level whose highest code reaches a sum of `most` levels."""
    signed = crossbar.columns_of_a_code == 2
    highest = 2 ** (crossbar.resolution - signed) - 1
    return Converter(max(1.0, most / max(highest, 1)), highest, noise_codes, -highest if signed else 0)


def percentile_of(histogram: IntArray, percentile: float) -> float:
    """The least sum, in whole levels, that `percentile` % of the counted sums do not exceed."""
    total = int(histogram.sum())
    if total == 0:
        raise HardwareError(
            "a range cannot be calibrated on no column sums (got none)", hints=["calibrate on data of this graph"]
        )
    return float(np.searchsorted(np.cumsum(histogram), total * percentile / 100))

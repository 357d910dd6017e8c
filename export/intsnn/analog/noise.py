"""The random parts of a cell: programming, stuck cells, drift, and the noise of reading. Conductances in uS.

Each function takes the cells and draws from the generator it is given. The same draws serve every size of the noise,
so that runs of one seed that differ in size alone can be compared.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from intsnn.analog.spec import Conductance, Drift, Line, Programming, Reading, StuckCells

FloatArray = npt.NDArray[np.float64]

_LEAST_RELATIVE = 1e-7  # ln g of a cell at 0; aihwkit inference/noise/pcm.py clips there


def programmed(target: FloatArray, cell: Conductance, part: Programming, random: np.random.Generator) -> FloatArray:
    """G = max(0, target + sigma(g)*N)."""
    polynomial = np.polynomial.polynomial.polyval(target / cell.maximum_us, part.coefficients_us)
    sigma = np.maximum(polynomial, 0.0) * (cell.maximum_us / part.reference_maximum_us)
    return np.maximum(target + sigma * random.standard_normal(target.shape), 0.0)


def with_stuck_cells(
    conductance: FloatArray, cell: Conductance, part: StuckCells, random: np.random.Generator
) -> FloatArray:
    """Cells at G_max with probability `on`, at G_min with `off`, independent of all else."""
    lot = random.random(conductance.shape)
    lowered = np.where(lot >= 1 - part.off, cell.minimum_us, conductance)
    return np.where(lot < part.on, cell.maximum_us, lowered)


def drifted(
    conductance: FloatArray, target: FloatArray, cell: Conductance, part: Drift, random: np.random.Generator
) -> FloatArray:
    """G * ((after + start) / start)^-nu; the exponents depend on what the cells were programmed to be."""
    relative = np.maximum(target / cell.maximum_us, _LEAST_RELATIVE)
    spread = _on_line(part.spread, relative) * random.standard_normal(target.shape)
    exponent = np.abs(_on_line(part.mean, relative) + spread)
    return conductance * ((part.after_s + part.start_s) / part.start_s) ** -exponent


def reading_deviation(
    conductance: FloatArray, before_drift: FloatArray, cell: Conductance, part: Reading
) -> FloatArray:
    """sigma of one read of each cell: additive and slow part, independent of each other."""
    variance = np.full_like(conductance, (part.of_maximum * cell.maximum_us) ** 2)
    if part.slow is not None:
        slow = part.slow
        relative = np.maximum((before_drift / cell.maximum_us) ** slow.exponent, slow.floor)
        elapsed = math.sqrt(math.log((slow.after_s + slow.read_s) / (2 * slow.read_s)))
        variance += (conductance * np.minimum(slow.amplitude / relative, slow.cap) * elapsed) ** 2
    return np.sqrt(variance)


def _on_line(line: Line, relative: FloatArray) -> FloatArray:
    return np.clip(line.slope * np.log(relative) + line.offset, line.low, line.high)

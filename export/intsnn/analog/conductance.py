"""Levels of cells and an analog description -> the conductances that a chip of one seed has, and their read noise.

target -> programmed -> drifted -> stuck cells -> slow noise of the run, uS; wires act on the result. What a column
reads is given in levels again:

    level = (G_eff * compensation - G_min) / dG,   dG = (G_max - G_min) / (2^b - 1)

G_min times the number of pulses is what a dummy column of G_min cells would give, and is subtracted that way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.analog.arrays import LayerArrays
from intsnn.analog.effective_conductance import effective_conductance
from intsnn.analog.noise import drifted, programmed, reading_deviation, with_stuck_cells
from intsnn.analog.spec import AnalogSpec, Drift, Wires
from intsnn.hardware.chip import Crossbar

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellConductances:
    """Conductances of a layer's cells in uS, [A, Q, N, R, C].

    conductance: what lasts for a whole run. deviation: sigma of the noise that each read draws anew, None where there
    is none. compensation: factor on all sums of the layer.
    """

    conductance: FloatArray
    deviation: FloatArray | None
    compensation: float


def level_step_us(spec: AnalogSpec, cell_bits: int) -> float:
    """dG: conductance from one level of a cell to the next."""
    return (spec.conductance.maximum_us - spec.conductance.minimum_us) / int(2**cell_bits - 1)


def make_cells(arrays: LayerArrays, spec: AnalogSpec, seed: int | tuple[int, ...]) -> CellConductances:
    """The cells of one chip. Each effect draws from a stream of its own, so none of them shifts another's."""
    of_programming, of_drift, of_stuck, of_reading = np.random.SeedSequence(seed).spawn(4)
    cell, random = spec.conductance, np.random.default_rng
    target = cell.minimum_us + arrays.levels.astype(np.float64) * level_step_us(spec, arrays.cell_bits)
    before = programmed(target, cell, spec.programming, random(of_programming)) if spec.programming else target
    now = drifted(before, target, cell, spec.drift, random(of_drift)) if spec.drift else before
    if spec.stuck:  # the same cells then and now
        before, now = (with_stuck_cells(cells, cell, spec.stuck, random(of_stuck)) for cells in (before, now))
    compensation = _compensation(before, now, spec.drift)
    if spec.reading is None:
        return CellConductances(now, None, compensation)
    deviation = reading_deviation(now, before, cell, spec.reading)
    if spec.reading.drawn == "each_read":
        return CellConductances(now, deviation, compensation)
    noisy = np.maximum(now + deviation * random(of_reading).standard_normal(now.shape), 0.0)
    return CellConductances(noisy, None, compensation)


def read_levels(cells: CellConductances, spec: AnalogSpec, arrays: LayerArrays, crossbar: Crossbar) -> FloatArray:
    """What one pulse on a row adds to a column, in levels, [A, Q, N, R, C]; with ideal cells and wires `levels`."""
    conductance = cells.conductance
    if spec.wires is not None:
        conductance = wired(conductance, spec.wires, crossbar, unused_us=spec.conductance.minimum_us)
    levels = conductance * cells.compensation - spec.conductance.minimum_us
    return levels / level_step_us(spec, arrays.cell_bits)


def read_variance(cells: CellConductances, spec: AnalogSpec, arrays: LayerArrays) -> FloatArray | None:
    """Variance in levels^2 that one pulse on a row adds to a column; taken without the loss in the wires."""
    if cells.deviation is None:
        return None
    return (cells.deviation * cells.compensation / level_step_us(spec, arrays.cell_bits)) ** 2


def wired(conductance: FloatArray, wires: Wires, crossbar: Crossbar, *, unused_us: float) -> FloatArray:
    """G_eff of the used cells [..., R, C] in whole arrays, whose other cells have `unused_us` and undriven rows 0 V.

    Used rows lie next to the converters, used columns next to the row drivers.
    """
    *leading, rows, columns = conductance.shape
    blocks, height = -(-columns // crossbar.columns), crossbar.rows if unused_us else rows  # empty rows carry nothing
    whole = np.full((*leading, height, blocks * crossbar.columns), unused_us)
    whole[..., -rows:, :columns] = conductance
    split = whole.reshape(*leading, height, blocks, crossbar.columns).swapaxes(-3, -2)
    joined = effective_conductance(np.ascontiguousarray(split), wires).swapaxes(-3, -2).reshape(whole.shape)
    return joined[..., -rows:, :columns]


def _compensation(before: FloatArray, now: FloatArray, drift: Drift | None) -> float:
    remaining = float(now.sum())
    if drift is None or drift.compensation == "none" or remaining == 0:
        return 1.0
    return float(before.sum()) / remaining

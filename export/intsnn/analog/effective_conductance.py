"""Cell conductances and wire resistances of an array -> the matrix that a perfect array would need to act the same.

Cells are linear, so the currents of an array with wires are I = V @ G_eff for every input V: one matrix says all about
its IR drop. Row i is driven with V_i through r_s at column 0 and has r_r between neighbouring cells; column j is read
through r_l at its last row and has r_c between neighbouring cells. Row i with column potentials c_i gives the columns

    J_i = K_i (V_i 1 - c_i),   K_i = (1 + diag(G_i) R)^-1 diag(G_i),   R[j, k] = r_s + r_r min(j, k)

and the rows are joined downwards. The current S_i that flows on below row i, as a Norton source of the node c_i there:

    S_i = N_i - P_i c_i,   P_i = T_(i-1) P_(i-1) + K_i,   N_i = T_(i-1) N_(i-1) + V_i K_i 1,   T_i = (1 + r_c P_i)^-1
    I = (1 + r_l P_last)^-1 N_last,  so row i of G_eff = (1 + r_l P_last)^-1 T_(last-1) ... T_i K_i 1

Exact, without a nodal matrix: resistances of 0 and cells of 0 are ordinary values, and small ones lose no digits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from intsnn.analog.spec import Wires

FloatArray = npt.NDArray[np.float64]

_WORKING_BYTES = 2**22  # the matrices T_i of the arrays solved together: 4 MiB, which a cache holds


def effective_conductance(conductance: FloatArray, wires: Wires) -> FloatArray:
    """G_eff in the unit of the conductance, uS: [..., rows, columns] -> the same shape."""
    rows, columns = conductance.shape[-2:]
    arrays = conductance.reshape(-1, rows, columns)
    together = max(1, _WORKING_BYTES // (8 * rows * columns**2))
    parts = [_solved(arrays[start : start + together], wires) for start in range(0, len(arrays), together)]
    return np.concatenate(parts).reshape(conductance.shape)


def _solved(conductance: FloatArray, wires: Wires) -> FloatArray:
    """[arrays, rows, columns] -> G_eff."""
    arrays, rows, columns = conductance.shape
    # uS x Mohm = 1: resistances in Mohm keep the conductances in uS
    segment, load = wires.column_ohm * 1e-6, wires.load_ohm * 1e-6
    one, below = np.eye(columns), np.zeros((arrays, columns, columns))  # below: P_i
    passed = np.empty((rows, arrays, columns, columns))  # T_i
    sources = np.empty((rows, arrays, columns))  # K_i 1
    for row in range(rows):
        coupled = _row_admittance(conductance[:, row], wires)
        below = coupled if row == 0 else coupled + passed[row - 1] @ below
        sources[row] = coupled.sum(axis=-1)
        passed[row] = np.linalg.inv(one + (segment if row < rows - 1 else load) * below)
    effective, reach = np.empty_like(conductance), np.broadcast_to(one, below.shape)
    for row in reversed(range(rows)):
        reach = reach @ passed[row]
        effective[:, row] = np.einsum("ajk,ak->aj", reach, sources[row])
    return effective


def _row_admittance(cells: FloatArray, wires: Wires) -> FloatArray:
    """K_i of one row of each array: cells [arrays, columns] -> [arrays, columns, columns]."""
    place = np.arange(cells.shape[-1])
    resistance = (wires.driver_ohm + wires.row_ohm * np.minimum.outer(place, place)) * 1e-6
    divided = np.linalg.inv(np.eye(len(place)) + cells[..., None] * resistance)
    admittance: FloatArray = np.multiply(divided, cells[:, None, :])
    return admittance

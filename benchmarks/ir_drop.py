"""Effective conductance of arrays with wires: time and agreement with a sparse nodal solve, and what the wires cost.

    OMP_NUM_THREADS=1 python -m benchmarks ir_drop > docs/results/ir_drop.md

Cells are drawn uniformly from the levels of 4 bits. The nodal solve is one factorisation of Kirchhoff's matrix
(scipy.sparse.linalg.splu, symmetric mode) and one right-hand side for each column, adjoint: its potentials at the
drivers are a column of the matrix. Column sums are those of spikes, with and without a gain for each column.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from intsnn.analog.effective_conductance import effective_conductance
from intsnn.analog.spec import Wires

FloatArray = npt.NDArray[np.float64]
LEVELS = 15
LEAST_OHM = 1e-3  # stands for an ideal driver and load, which a nodal matrix cannot have


@dataclass(frozen=True)
class Timing:
    """Seconds of either solution of one array, and their largest relative difference."""

    size: int
    nodal: float
    recursion: float
    difference: float


def random_cells(size: int, *, low_us: float, high_us: float, seed: int = 0) -> FloatArray:
    """A square array of cells in uS, every level as likely."""
    levels = np.random.default_rng(seed).integers(0, LEVELS + 1, (size, size))
    return low_us + levels * (high_us - low_us) / LEVELS


def mesh(ohm: float) -> Wires:
    """Wires of one resistance, ends that are almost ideal."""
    return Wires(row_ohm=ohm, column_ohm=ohm, driver_ohm=LEAST_OHM, load_ohm=LEAST_OHM, source="a benchmark")


def nodal_solution(cells: FloatArray, wires: Wires) -> FloatArray:
    """G_eff by the nodal matrix, uS: g_s times the potentials at the drivers for g_l injected at a column's load."""
    rows, columns = cells.shape
    number = np.arange(2 * rows * columns).reshape(2, rows, columns)
    row_node, column_node = number
    driver, load = 1e6 / wires.driver_ohm, 1e6 / wires.load_ohm
    links = [
        (row_node, column_node, cells),
        (row_node[:, :-1], row_node[:, 1:], np.full((rows, columns - 1), 1e6 / wires.row_ohm)),
        (column_node[:-1], column_node[1:], np.full((rows - 1, columns), 1e6 / wires.column_ohm)),
    ]
    first, second, value = (np.concatenate([link[part].ravel() for link in links]) for part in range(3))
    grounded = np.concatenate([row_node[:, 0], column_node[-1]])
    ends = np.concatenate([np.full(rows, driver), np.full(columns, load)])
    matrix = coo_array(
        (
            np.concatenate([value, value, -value, -value, ends]),
            (
                np.concatenate([first, second, first, second, grounded]),
                np.concatenate([first, second, second, first, grounded]),
            ),
        )
    ).tocsc()
    sources = np.zeros((number.size, columns))
    sources[column_node[-1], np.arange(columns)] = load
    factored = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    potentials: FloatArray = factored.solve(sources)
    currents: FloatArray = driver * potentials[row_node[:, 0]]
    return currents


def timed(size: int, repetitions: int) -> Timing:
    """The best of several runs of either solution."""
    cells, wires = random_cells(size, low_us=5, high_us=50), mesh(1.0)
    seconds: dict[str, float] = {}
    found: dict[str, FloatArray] = {}
    for name, solve in (("nodal", nodal_solution), ("recursion", effective_conductance)):
        for _ in range(repetitions):
            start = time.perf_counter()
            found[name] = solve(cells, wires)
            seconds[name] = min(seconds.get(name, np.inf), time.perf_counter() - start)
    difference = float(np.abs(found["recursion"] / found["nodal"] - 1).max())
    return Timing(size, seconds["nodal"], seconds["recursion"], difference)


def errors(size: int, ohm: float, *, low_us: float, high_us: float, rate: float) -> tuple[float, float, float]:
    """Sum of G_eff over sum of G; r.m.s. error of column sums in levels, as read and with the best column gains."""
    cells = random_cells(size, low_us=low_us, high_us=high_us)
    effective = effective_conductance(cells, mesh(ohm))
    step = (high_us - low_us) / LEVELS
    seen, judged = np.random.default_rng(1).random((2, 2000, size)) < rate
    ideal, real = (cells - low_us) / step, (effective - low_us) / step
    gains = ((seen @ ideal) * (seen @ real)).sum(axis=0) / ((seen @ real) ** 2).sum(axis=0)
    plain, mended = judged @ real - judged @ ideal, judged @ real * gains - judged @ ideal
    as_read, with_gains = (float(np.sqrt((part**2).mean())) for part in (plain, mended))
    return float(effective.sum() / cells.sum()), as_read, with_gains


_MEANING = """\
An array of linear cells behind wires acts as one matrix, I = V @ G_eff, so wires are solved once for each array and
cost nothing in a run. The recursion is what `mdcompress analog` uses (`export/intsnn/analog/effective_conductance.py`);
the nodal solve of the same mesh stands beside it as the independent answer: the bar is 1e-9 relative. Errors of column
sums are root mean squares, in levels of a 4-bit cell; gains are fitted on other spikes than those judged.
"""


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    print("# IR drop: the effective conductance of an array\n")
    print(
        f"`OMP_NUM_THREADS=1 python -m benchmarks ir_drop`; cells of seed 0; the best of {arguments.repetitions} times "
        f"on 2 shared {platform.machine()} cores, no GPU; NumPy {np.__version__}, SciPy {scipy.__version__}.\n"
    )
    print(_MEANING)
    print("## One array of 20 to 200 kohm cells, wires of 1 ohm a cell\n")
    print("| size | nodal solve, ms | recursion, ms | nodal / recursion | largest relative difference |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for one in (timed(size, arguments.repetitions) for size in arguments.sizes):
        ratio = one.nodal / one.recursion
        print(
            f"| {one.size} | {1e3 * one.nodal:.2f} | {1e3 * one.recursion:.2f} | {ratio:.2f} | {one.difference:.1e} |"
        )
    for low, high in ((5.0, 50.0), (0.0, 40.0)):
        print(f"\n## Column sums of spikes, 10 % of the rows active, cells of {low:g} to {high:g} uS\n")
        print("| size | ohm a cell | sum G_eff / sum G | error, levels | with column gains, levels |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        for size in arguments.sizes:
            for ohm in (0.5, 1.0, 2.0, 5.0):
                kept, plain, mended = errors(size, ohm, low_us=low, high_us=high, rate=0.1)
                print(f"| {size} | {ohm:g} | {kept:.3f} | {plain:.2f} | {mended:.2f} |")


if __name__ == "__main__":
    main()

"""The effective conductance matrix against a nodal solve of the whole mesh, SpikeSim's ladder, and its limits."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

from intsnn.analog.conductance import wired
from intsnn.analog.effective_conductance import effective_conductance
from intsnn.analog.spec import Wires
from tests.support.analog_cases import wires
from tests.support.crossbar_by_hand import small_hardware

FloatArray = npt.NDArray[np.float64]
Solve = Callable[[csc_array, FloatArray], FloatArray]


def cells(rows: int, columns: int, *, seed: int = 0, low: float = 5.0, high: float = 50.0) -> FloatArray:
    return np.random.default_rng(seed).uniform(low, high, (rows, columns))


def nodal_links(conductance: FloatArray, mesh: Wires) -> Iterator[tuple[int, int, float]]:
    """Every resistor of the mesh in uS as (node, node, conductance); ground is the last node."""
    rows, columns = conductance.shape
    number = np.arange(2 * rows * columns).reshape(2, rows, columns)
    ground = 2 * rows * columns
    for i in range(rows):
        yield number[0, i, 0], ground, 1e6 / mesh.driver_ohm
        for j in range(columns):
            yield number[0, i, j], number[1, i, j], conductance[i, j]
            if j + 1 < columns:
                yield number[0, i, j], number[0, i, j + 1], 1e6 / mesh.row_ohm
            if i + 1 < rows:
                yield number[1, i, j], number[1, i + 1, j], 1e6 / mesh.column_ohm
    for j in range(columns):
        yield number[1, rows - 1, j], ground, 1e6 / mesh.load_ohm


def nodal_matrix(conductance: FloatArray, mesh: Wires) -> csc_array:
    """Kirchhoff's matrix without ground."""
    first, second, value = (np.array(part) for part in zip(*nodal_links(conductance, mesh), strict=True))
    size = 2 * conductance.size
    places = np.concatenate([[first, first], [second, second], [first, second], [second, first]], axis=1)
    values = np.concatenate([value, value, -value, -value])
    kept = (places < size).all(axis=0)
    return coo_array((values[kept], (places[0, kept], places[1, kept])), shape=(size, size)).tocsc()


def nodal_currents(conductance: FloatArray, mesh: Wires, solve: Solve) -> FloatArray:
    """Column currents for each row driven with 1 V alone: [rows, columns], the current through the load."""
    rows, columns = conductance.shape
    sources = np.zeros((2 * rows * columns, rows))
    sources[np.arange(rows) * columns, np.arange(rows)] = 1e6 / mesh.driver_ohm
    potentials = solve(nodal_matrix(conductance, mesh), sources)
    return potentials[-columns:].T * (1e6 / mesh.load_ohm)


def dense(matrix: csc_array, sources: FloatArray) -> FloatArray:
    return np.linalg.solve(matrix.toarray(), sources)


def sparse(matrix: csc_array, sources: FloatArray) -> FloatArray:
    potentials: FloatArray = splu(matrix).solve(sources)
    return potentials


def test_one_cell_is_a_series_of_resistors() -> None:
    """1 / (1/20 uS + 10 + 30 ohm); a single cell has no wire to a neighbour."""
    found = effective_conductance(np.array([[20.0]]), wires(5, 7, driver=10, load=30))
    assert found[0, 0] == pytest.approx(1e6 / (1e6 / 20 + 10 + 30), rel=1e-15)


def test_two_cells_of_a_column_by_hand() -> None:
    """Both rows at V: the upper cell sees r_c more. Cells of 1 ohm, r_c = 1, load 1: currents solve 2x2 by hand."""
    conductance = np.full((2, 1), 1e6)
    found = effective_conductance(conductance, wires(0, 1, load=1))
    # I1 (1 + 1) + (I1 + I2) = V1,  I2 + (I1 + I2) = V2  ->  I1 + I2 = (V1 + 2 V2) / 5
    assert found[:, 0].tolist() == pytest.approx([0.2e6, 0.4e6], rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    seed=st.integers(0, 2**16),
    ohms=st.lists(st.floats(0.01, 1e4), min_size=4, max_size=4),
)
def test_equals_a_dense_nodal_solve_of_any_small_mesh(rows: int, columns: int, seed: int, ohms: list[float]) -> None:
    mesh = wires(ohms[0], ohms[1], driver=ohms[2], load=ohms[3])
    conductance = cells(rows, columns, seed=seed, low=0.0)
    found, expected = effective_conductance(conductance, mesh), nodal_currents(conductance, mesh, dense)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * expected.max())


@pytest.mark.parametrize(
    ("rows", "columns", "solve"), [(32, 32, dense), (64, 32, sparse), (64, 64, sparse), (128, 128, sparse)]
)
def test_equals_a_direct_nodal_solve_of_large_meshes(rows: int, columns: int, solve: Solve) -> None:
    mesh, conductance = wires(1.0, 1.3, driver=20, load=5), cells(rows, columns)
    found, expected = effective_conductance(conductance, mesh), nodal_currents(conductance, mesh, solve)
    assert np.abs(found / expected - 1).max() < 1e-9
    assert (found < 0.95 * conductance).mean() > 0.1  # the wires matter


def spikesim_ladder(column: FloatArray, ohm: float) -> FloatArray:
    """SpikeSim's create_A, create_B: loop currents of one column, r between its nodes and to ground (volts, siemens).

    Loop i passes the cells i and i + 1 and the wire between; the last passes the last cell and the wire to ground.
    """
    count, resistance = len(column), 1 / column
    found = np.zeros(count)
    for driven in range(count):
        loops, source = np.zeros((count, count)), np.zeros(count)
        for i in range(count):
            after = resistance[i + 1] if i + 1 < count else 0
            loops[i, i] = resistance[i] + ohm + after
            if i + 1 < count:
                loops[i, i + 1] = loops[i + 1, i] = -after
            source[i] = (i == driven) - (i + 1 == driven)
        found[driven] = np.linalg.solve(loops, source)[-1]
    return found


@pytest.mark.parametrize("ohm", [0.5, 5.0])
def test_ideal_rows_leave_the_column_ladder_of_spikesim(ohm: float) -> None:
    conductance = cells(64, 3) * 1e-6
    expected = np.stack([spikesim_ladder(column, ohm) for column in conductance.T], axis=1)
    found = effective_conductance(conductance * 1e6, wires(0, ohm, load=ohm)) * 1e-6
    assert np.abs(found / expected - 1).max() < 1e-9
    assert found.sum() < 0.99 * conductance.sum()


def test_wires_without_resistance_change_nothing() -> None:
    conductance = cells(20, 30, low=0.0)
    assert np.array_equal(effective_conductance(conductance, wires(0, 0)), conductance)


def test_the_matrix_tends_to_the_cells_in_proportion_to_the_resistance() -> None:
    conductance = cells(32, 32)
    errors = [
        np.abs(effective_conductance(conductance, wires(r, r)) / conductance - 1).max() for r in (1e-2, 1e-4, 1e-6)
    ]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[1] / errors[0] == pytest.approx(1e-2, rel=0.05)
    assert errors[2] < 1e-7


def test_empty_cells_carry_no_current_where_nothing_sneaks() -> None:
    """Cells of 0 in a row of 0 cannot pass current; elsewhere a sneak path may."""
    conductance = cells(8, 8)
    conductance[3] = 0
    found = effective_conductance(conductance, wires(1, 1, driver=5, load=5))
    assert np.array_equal(found[3], np.zeros(8)) and (found[2] > 0).all()


def test_every_wire_takes_from_the_current() -> None:
    conductance = cells(16, 16)
    less = [wires(1, 0), wires(1, 1), wires(1, 1, driver=50), wires(1, 1, driver=50, load=50)]
    sums = [effective_conductance(conductance, mesh).sum() for mesh in less]
    assert [conductance.sum(), *sums] == sorted([conductance.sum(), *sums], reverse=True)


def test_many_arrays_are_solved_as_each_alone() -> None:
    conductance = np.random.default_rng(1).uniform(5, 50, (2, 3, 10, 6))
    together = effective_conductance(conductance, wires(3, 2, driver=1, load=1))
    for place in np.ndindex(2, 3):
        alone = effective_conductance(conductance[place], wires(3, 2, driver=1, load=1))
        np.testing.assert_allclose(together[place], alone, rtol=1e-13)


@pytest.mark.parametrize("unused", [1.0, 0.0])
def test_used_cells_lie_next_to_converters_and_drivers_of_whole_arrays(unused: float) -> None:
    """4x3 arrays; 2 used rows and 5 used columns: two arrays, the second with one empty column at its far end."""
    hardware = small_hardware(rows=4, columns=3, cell_bits=2)
    used, mesh = cells(2, 5), wires(40, 30, driver=10, load=20)
    whole = np.full((4, 6), unused)
    whole[2:, :5] = used
    expected = np.hstack([effective_conductance(whole[:, half], mesh) for half in (slice(3), slice(3, 6))])[2:, :5]
    found = wired(used, mesh, hardware.crossbar, unused_us=unused)
    np.testing.assert_allclose(found, expected, rtol=1e-13)

"""Cells and converters: each effect by hand, its statistics, and what calibration finds."""

import numpy as np
import pytest

from intsnn.analog import load_analog
from intsnn.analog.arrays import LayerArrays, cut
from intsnn.analog.conductance import level_step_us, make_cells, read_levels, read_variance
from intsnn.analog.converters import Converter, full_scale, percentile_of, reaching
from intsnn.analog.noise import drifted, programmed, reading_deviation, with_stuck_cells
from intsnn.analog.spec import Converters, Programming
from intsnn.errors import HardwareError
from intsnn.hardware.chip import Crossbar
from intsnn.mapping import map_graph
from tests.support.analog_cases import analog, drift, reading, relative_programming, stuck, with_adc
from tests.support.crossbar_by_hand import small_hardware
from tests.support.intgraphs import GraphBuilder
from tests.support.narrowing import present

MANY = (400, 500)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def layer_arrays(*, cell_bits: int = 2, seed: int = 0) -> tuple[LayerArrays, Crossbar]:
    """One linear layer, 200 -> 100, 8 bits."""
    build = GraphBuilder(random(seed))
    build.readout(build.linear(build.input((200,), bit_width=1), 100, bit_width=8))
    graph, hardware = build.graph(), small_hardware(rows=64, columns=64, cell_bits=cell_bits)
    layer = map_graph(graph, hardware).layers[0]
    return cut(graph.synapses[0], layer, hardware.crossbar), hardware.crossbar


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "relative", "sigma_us"),
    [
        ("rram_wan_1s", 0.0, 0.348),
        ("rram_wan_1s", 0.5, 0.348 + 16.03 / 2 - 43.853 / 4 + 45.393 / 8 - 16.815 / 16),
        ("rram_wan_1day", 1.0, 0.701 + 22.086 - 50.773 + 47.095 - 16.458),
        ("rram_wan_2days", 0.25, 0.782 + 20.274 / 4 - 43.507 / 16 + 37.062 / 64 - 11.934 / 256),
        ("pcm_nandakumar_1day", 0.5, 0.26348 + 1.965 / 2 - 1.1731 / 4),
        ("rram_mnsim", 0.3, 0.3),
    ],
)
def test_programming_deviates_as_the_source_says(name: str, relative: float, sigma_us: float) -> None:
    spec = load_analog(name)
    target = np.full(MANY, relative * spec.conductance.maximum_us)
    found = programmed(target, spec.conductance, present(spec.programming), random())
    if relative == 0:  # half of the deviations would be below 0
        assert (found >= 0).all() and (found == 0).mean() == pytest.approx(0.5, abs=0.01)
        assert found[found > 0].max() == pytest.approx(sigma_us * random().standard_normal(MANY).max())
    else:
        assert found.mean() == pytest.approx(target[0, 0], rel=0.01)
        assert found.std() == pytest.approx(sigma_us, rel=0.01)


def test_another_maximum_scales_the_deviation_of_the_source() -> None:
    part = Programming(coefficients_us=(1.0,), reference_maximum_us=40, source="a")
    cell = analog(maximum_us=10).conductance
    assert programmed(np.full(MANY, 10.0), cell, part, random()).std() == pytest.approx(0.25, rel=0.01)


def test_stuck_cells_are_as_many_as_said() -> None:
    cell = analog(minimum_us=1).conductance
    found = with_stuck_cells(np.full(MANY, 7.0), cell, stuck(0.03, 0.05), random())
    assert (found == 40).mean() == pytest.approx(0.03, abs=0.002)
    assert (found == 1).mean() == pytest.approx(0.05, abs=0.002)
    assert set(np.unique(found)) == {1.0, 7.0, 40.0}


def test_drift_by_hand() -> None:
    """nu = 0.05 and t/t0 = 86420/20: 0.658 of the conductance is left."""
    target, cell = np.full((3, 4), 20.0), analog().conductance
    found = drifted(target / 2, target, cell, drift(), random())
    np.testing.assert_allclose(found, 10 * (86420 / 20) ** -0.05, rtol=1e-14)
    assert np.array_equal(drifted(target, target, cell, drift(after_s=0, spread=0.3), random()), target)


def test_drift_exponents_spread_and_depend_on_the_conductance_as_in_the_source() -> None:
    spec = load_analog("pcm_nandakumar_1day")
    for relative, mean, spread in [
        (1.0, 0.049, 0.008),
        (0.1, 0.0155 * np.log(10) + 0.0244, 0.0125 * np.log(10) - 0.0059),
    ]:
        target = np.full(MANY, relative * 25)
        exponent = -np.log(drifted(target, target, spec.conductance, present(spec.drift), random()) / target) / np.log(
            86420 / 20
        )
        assert exponent.mean() == pytest.approx(mean, rel=0.01)
        assert exponent.std() == pytest.approx(spread, rel=0.01)


def test_reading_deviation_by_hand() -> None:
    """G_max = 40: 0.4 uS additive; slow: G * min(0.004 / 0.5^0.65, 0.2) * sqrt(ln(100.000001 / 2e-6))."""
    cell, half = analog().conductance, np.array([20.0])
    slow = 10 * 0.004 / 0.5**0.65 * np.sqrt(np.log(100.000001 / 2e-6))
    assert reading_deviation(half / 2, half, cell, reading(of_maximum=0.01))[0] == pytest.approx(0.4)
    assert reading_deviation(half / 2, half, cell, reading(slow=0.004))[0] == pytest.approx(slow)
    both = reading_deviation(half / 2, half, cell, reading(of_maximum=0.01, slow=0.004))[0]
    assert both == pytest.approx(np.hypot(0.4, slow))
    capped = reading_deviation(half, half, cell, reading(slow=10))[0]
    assert capped == pytest.approx(20 * 0.2 * np.sqrt(np.log(100.000001 / 2e-6)))


def test_ideal_cells_read_as_their_levels_for_every_on_off_ratio() -> None:
    arrays, crossbar = layer_arrays()
    for spec in (analog(), analog(maximum_us=3, minimum_us=2.9)):
        cells = make_cells(arrays, spec, 0)
        np.testing.assert_allclose(read_levels(cells, spec, arrays, crossbar), arrays.levels, atol=1e-12)
        assert read_variance(cells, spec, arrays) is None


def test_stuck_cells_do_not_drift() -> None:
    arrays, _ = layer_arrays()
    cells = make_cells(arrays, analog(drift=drift(), stuck=stuck(0.1, 0.1)), 0).conductance
    assert (cells == 40).mean() == pytest.approx(0.1, abs=0.01)
    assert cells[cells < 40].max() == pytest.approx(40 * (86420 / 20) ** -0.05)


def test_drift_is_compensated_on_average() -> None:
    arrays, crossbar = layer_arrays()
    plain, compensated = (analog(drift=drift(compensation=word)) for word in ("none", "global"))
    lost = read_levels(make_cells(arrays, plain, 0), plain, arrays, crossbar)
    kept = read_levels(make_cells(arrays, compensated, 0), compensated, arrays, crossbar)
    assert lost.sum() == pytest.approx(arrays.levels.sum() * (86420 / 20) ** -0.05)
    np.testing.assert_allclose(kept, arrays.levels, atol=1e-12)


def test_read_noise_is_a_variance_of_each_read_or_one_draw_of_the_run() -> None:
    arrays, crossbar = layer_arrays()
    fresh, once = (analog(reading=reading(of_maximum=0.02, drawn=drawn)) for drawn in ("each_read", "once"))
    cells = make_cells(arrays, fresh, 0)
    assert np.array_equal(read_levels(cells, fresh, arrays, crossbar).round(9), arrays.levels)
    np.testing.assert_allclose(present(read_variance(cells, fresh, arrays)), (0.8 / level_step_us(fresh, 2)) ** 2)
    drawn = make_cells(arrays, once, 0)
    assert read_variance(drawn, once, arrays) is None
    high = arrays.levels == 3  # far enough from 0 not to be clipped
    error = (read_levels(drawn, once, arrays, crossbar) - arrays.levels)[high]
    assert error.std() == pytest.approx(0.8 / level_step_us(once, 2), rel=0.03)


def test_a_seed_decides_the_cells_and_no_effect_shifts_the_draws_of_another() -> None:
    arrays, _ = layer_arrays()
    spec = analog(programming=relative_programming(0.05), drift=drift(spread=0.02))
    first = make_cells(arrays, spec, (3, 1)).conductance
    assert np.array_equal(first, make_cells(arrays, spec, (3, 1)).conductance)
    assert not np.array_equal(first, make_cells(arrays, spec, (4, 1)).conductance)
    with_stuck = analog(programming=relative_programming(0.05), drift=drift(spread=0.02), stuck=stuck(0.01, 0.01))
    same = make_cells(arrays, with_stuck, (3, 1)).conductance == first
    assert 0.97 < same.mean() < 0.99


# --- converters ------------------------------------------------------------------------------------------------------


def test_a_lossless_converter_has_a_code_for_every_sum() -> None:
    crossbar = small_hardware(rows=64, columns=64, cell_bits=4).crossbar
    converter = full_scale(crossbar)
    assert (converter.step, converter.highest) == (1.0, 1023)
    sums = np.arange(961, dtype=np.float32)
    assert np.array_equal(converter.convert(sums, random()), sums)


def test_a_converter_of_few_bits_by_hand() -> None:
    """960 levels on 4 bits: 64 a code; 32 and 96 lie between two codes and go to the even one."""
    converter = full_scale(with_adc(small_hardware(rows=64, columns=64, cell_bits=4), 4).crossbar)
    assert (converter.step, converter.highest) == (64.0, 15)
    sums = np.array([-5, 31, 32, 33, 96, 960, 2000], dtype=np.float32)
    assert converter.convert(sums, random()).tolist() == [0, 0, 0, 64, 128, 960, 960]


def test_a_calibrated_range_clips_above() -> None:
    crossbar = with_adc(small_hardware(rows=64, columns=64, cell_bits=4), 4).crossbar
    assert reaching(150, crossbar).step == 10.0
    assert reaching(3, crossbar) == Converter(1.0, 15)
    assert reaching(150, crossbar).convert(np.array([149, 400], np.float32), random()).tolist() == [150, 150]


def test_converter_noise_is_in_codes() -> None:
    converter = Converter(10.0, 1000, noise_codes=3.0)
    values = converter.convert(np.full(MANY, 5000, np.float32), random())
    assert values.std() == pytest.approx(30, rel=0.02) and values.mean() == pytest.approx(5000, rel=0.001)
    assert set(np.unique(values % 10)) == {0.0}


def test_percentiles_of_a_histogram_by_hand() -> None:
    histogram = np.array([90, 0, 5, 4, 1])
    assert [percentile_of(histogram, share) for share in (50, 90, 91, 95, 99, 100)] == [0, 0, 2, 2, 3, 4]
    with pytest.raises(HardwareError, match="no column sums"):
        percentile_of(np.zeros(3, np.int64), 99)


def test_a_description_of_converters_may_have_noise_alone() -> None:
    assert Converters(range="full_scale", noise_codes=1.0, source="a").percentile is None

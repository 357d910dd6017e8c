"""Analog descriptions: what is shipped, what a file may say, and how noise is scaled."""

from pathlib import Path

import pytest

from intsnn.analog import AnalogSpec, load_analog, shipped_analog
from intsnn.analog.spec import Converters
from intsnn.errors import InvalidFileError, MissingFileError, UsageError
from tests.support.analog_cases import analog, drift, reading, relative_programming, stuck, wires
from tests.support.narrowing import present

VALID = """\
schema: mdcompress.analog/1
name: mine
summary: one of mine
conductance: {maximum_us: 40, minimum_us: 1, source: a}
converters: {range: full_scale, source: a}
column_gains: none
"""


def test_every_shipped_description_is_read_and_says_where_it_comes_from() -> None:
    assert {"ideal", "rram_wan_1day", "pcm_nandakumar_1day", "rram_wires_1ohm"} <= set(shipped_analog())
    for name in shipped_analog():
        spec = load_analog(name)
        parts = (spec.conductance, spec.programming, spec.drift, spec.reading, spec.stuck, spec.wires, spec.converters)
        assert spec.name == name and all(part.source for part in parts if part is not None)
        assert name in ("ideal", "calibrated") or spec.not_modelled


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(VALID)
    assert load_analog(path) == load_analog(str(path))
    assert load_analog(path).conductance.minimum_us == 1


def test_a_name_that_is_not_shipped_and_a_file_that_is_not_there_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no analog description 'rram'") as caught:
        load_analog("rram")
    assert "ideal" in caught.value.hints[0]
    with pytest.raises(MissingFileError):
        load_analog(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minimum_us: 1", "minimum_us: 40", "must be below maximum_us"),
        ("range: full_scale", "range: calibrated", "range calibrated needs a percentile"),
        ("range: full_scale", "range: full_scale, percentile: 99", "range full_scale has no percentile"),
        ("column_gains: none", "column_gains: maybe", "must be one of none, calibrated"),
        ("column_gains: none", "column_gains: none\nstuck: {on: 0.6, off: 0.6, source: a}", "at most 1 together"),
        (
            "column_gains: none",
            "column_gains: none\nreading: {drawn: once, source: a, slow: {amplitude: 1, exponent: 1, floor: 1, cap: 1, "
            "read_s: 2, after_s: 1}}",
            "must be at least read_s",
        ),
        (
            "name: mine",
            "name: mine\nprogramming: {coefficients_us: [], reference_maximum_us: 1, source: a}",
            "at least 1",
        ),
        ("source: a}\ncolumn", "sources: a}\ncolumn", "unknown key"),
    ],
)
def test_a_file_that_breaks_a_rule_is_an_error_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    assert VALID.count(old) == 1
    path.write_text(VALID.replace(old, new))
    with pytest.raises(InvalidFileError) as caught:
        load_analog(path)
    assert any(message in problem.message for problem in caught.value.problems), str(caught.value)
    assert all(problem.line for problem in caught.value.problems)


def noisy() -> AnalogSpec:
    return analog(
        programming=relative_programming(2.0),
        drift=drift(spread=0.02),
        reading=reading(of_maximum=0.01, slow=0.004),
        stuck=stuck(0.1, 0.2),
        wires=wires(1, 1),
        converters=Converters(range="full_scale", noise_codes=0.5, source="a"),
    )


def test_scaling_changes_what_is_random_and_nothing_else() -> None:
    spec, twice = noisy(), noisy().scaled(2)
    assert present(twice.programming).coefficients_us == (4.0,)
    drift_of_twice, reading_of_twice = present(twice.drift), present(twice.reading)
    assert (drift_of_twice.spread.offset, drift_of_twice.mean) == (0.04, present(spec.drift).mean)
    slow = present(reading_of_twice.slow)
    assert (reading_of_twice.of_maximum, slow.amplitude, slow.cap) == (0.02, 0.008, 0.4)
    cells = present(twice.stuck)
    assert (cells.on, cells.off) == (0.2, 0.4)
    assert (twice.converters.noise_codes, twice.wires) == (1.0, spec.wires)
    assert noisy().scaled(1) == noisy()
    assert analog().scaled(3) == analog()


def test_noise_cannot_be_scaled_below_nothing_or_beyond_all_cells() -> None:
    with pytest.raises(UsageError, match="at least 0"):
        noisy().scaled(-1)
    with pytest.raises(UsageError, match="4 times as many stuck cells"):
        noisy().scaled(4)


def test_a_description_says_whether_it_needs_a_calibration() -> None:
    assert not analog().needs_calibration
    assert analog(column_gains="calibrated").needs_calibration
    assert analog(converters=Converters(range="calibrated", percentile=99.0, source="a")).needs_calibration

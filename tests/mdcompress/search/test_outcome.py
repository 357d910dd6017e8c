"""Points of a search: which dominate which, by hand and against a plain reading of the definition."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intsnn.errors import InvalidFileError
from mdcompress.search.costs import Cost
from mdcompress.search.outcome import (
    Outcome,
    Point,
    PricedDesign,
    all_points,
    beating,
    best_designs,
    outcome,
    outcome_bytes,
    pareto_points,
    read_outcome,
)
from mdcompress.search.result import SearchResult, StudentFigures
from mdcompress.search.tables import csv_text, result_table
from tests.support.search_cases import design

COSTS: tuple[Cost, ...] = ("energy", "area")


def found(accuracy: float, *designs: PricedDesign, reason: str = "") -> Outcome:
    return outcome({}, accuracy=accuracy, samples=100, designs=designs, reason=reason)


def test_pareto_set_by_hand() -> None:
    cheap, accurate = design(0.9, 1.0), design(0.95, 2.0)
    dominated, too_dear = design(0.9, 1.5), design(0.95, 2.0, area=3.0)
    points = [Point(number, one) for number, one in enumerate((too_dear, accurate, dominated, cheap))]
    assert pareto_points(points, COSTS) == (points[3], points[1])
    assert pareto_points([], COSTS) == ()


def test_of_equal_costs_the_design_that_is_best_in_the_others_is_kept() -> None:
    slow, fast = design(0.9, 1.0, latency=5.0), design(0.9, 1.0, latency=2.0)
    assert best_designs([slow, fast], COSTS) == (fast,)
    assert best_designs([slow, fast], ("energy", "latency")) == (fast,)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12))
def test_a_point_is_in_the_set_where_none_is_better(rows: list[tuple[int, int, int]]) -> None:
    points = [Point(n, design(right / 10, energy, area=area)) for n, (right, energy, area) in enumerate(rows)]
    kept = {(p.design.accuracy, p.design.energy_pj, p.design.area_um2) for p in pareto_points(points, COSTS)}

    def better(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
        return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]

    plain = {row for row in rows if not any(better(other, row) for other in rows)}
    assert kept == {(right / 10, energy, area) for right, energy, area in plain}


def test_what_beats_a_design_is_the_cheapest_that_is_as_good_in_all() -> None:
    points = [Point(1, design(0.95, 3.0)), Point(2, design(0.9, 2.0)), Point(3, design(0.8, 1.0))]
    assert beating(design(0.9, 4.0), points, COSTS) == points[1]
    assert beating(design(0.9, 2.0), points, COSTS) is None, "an equal is not better"
    assert beating(design(0.99, 9.0), points, COSTS) is None


def test_a_student_that_is_not_compared_has_no_points() -> None:
    outcomes = {0: found(0.9, design(0.9, 1.0)), 1: found(0.1, design(0.1, 0.5), reason="too low"), 2: found(0.9)}
    assert [point.trial for point in all_points(outcomes)] == [0]


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "7.json"
    whole = outcome({"weight a": 3}, accuracy=None, samples=0, designs=[design(0.5, 1.25)], reason="impossible")
    file.write_bytes(outcome_bytes(whole))
    assert read_outcome(file) == whole
    file.write_bytes(outcome_bytes(whole).replace(b'"reason"', b'"because"'))
    with pytest.raises(InvalidFileError, match="because"):
        read_outcome(file)


def searched() -> SearchResult:
    """Two uniform starts, one of them beaten, and one student that was found."""
    students = {number: StudentFigures(4, 2.0 + number, None, {"weight a": 2.0 + number}) for number in range(3)}
    outcomes = {
        0: found(0.9, design(0.9, 4.0), design(0.9, 2.0, area=9.0, crossbar=32)),
        1: found(0.99, design(0.99, 5.0)),
        2: found(0.95, design(0.95, 1.0, crossbar=128)),
    }
    starts = {0: ("2 bits", "uniform"), 1: ("8 bits", "uniform")}
    return SearchResult("tiny", "chip", COSTS, 0.99, 0.9, 100, outcomes, students, starts)  # type: ignore[arg-type]  # literals


def test_uniform_starts_are_held_against_all_other_students() -> None:
    two, eight = searched().beaten
    assert (two.name, two.is_beaten, [point and point.trial for point in two.by]) == ("2 bits", True, [2, 2])
    assert (eight.is_beaten, eight.by) == (False, (None,))


def test_table_and_csv_have_every_point_once() -> None:
    result = searched()
    assert [point.trial for point in result.pareto] == [2, 1]
    text, rows = result_table(result), csv_text(result).splitlines()
    assert "2 of 2" in text and "0 of 1" in text and "2 points are dominated by no other" in text
    assert len(rows) == 1 + 4 and [row.split(",")[0] for row in rows] == ["trial", "0", "0", "1", "2"]
    assert rows[-1].endswith("yes,recipes/tiny-search-002.yaml,hardware/chip_01.yaml,")
    assert rows[1].endswith("no,,,")

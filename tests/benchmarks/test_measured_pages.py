"""The small benchmarks whose pages docs/ cites: each runs whole on a network that trains in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import membrane_range, norm_statistics
from benchmarks.experiment_store import Store
from benchmarks.experiment_students import Workplace
from tests.support.experiment_cases import write_recipe


@pytest.fixture
def recipes(tmp_path: Path) -> tuple[str, str]:
    return write_recipe(tmp_path, setting="2bit", bits=2), write_recipe(tmp_path, setting="8bit", bits=8)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(None, tmp_path / "work", Store(tmp_path / "unused.jsonl"))


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_training_is_scored_both_ways_after_every_epoch(recipes: tuple[str, str], place: Workplace) -> None:
    header, _, *rows = cells(norm_statistics.scored(recipes, ["distill.epochs=3"], place))
    assert header == ["epoch", "2bit, running", "2bit, measured", "8bit, running", "8bit, measured"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert all(0 <= float(score) <= 100 for row in rows for score in row[1:])
    assert any(row[1] != row[2] for row in rows), "at 2 bits the two ways differ"


def test_factors_are_compared_on_every_recipe(recipes: tuple[str, str], place: Workplace) -> None:
    text = membrane_range.compared([recipes], [0, 1], place)
    first, _, *divergences, second, _, mismatch_at_2, mismatch_at_8 = cells(text)
    assert first == second == ["data", "setting", "0.0", "0.01", "0.03", "0.1"]
    assert [row[:2] for row in divergences] == [["loaders", "2bit"], ["loaders", "8bit"]]
    assert all(float(value) > 0 for row in divergences for value in row[2:])
    assert mismatch_at_2[:2] == ["loaders", "2bit"] and len(set(mismatch_at_8[2:])) == 4, "the factor is what differs"
    assert len(list(place.work.iterdir())) == 2  # one teacher for each seed, whatever the factor and recipe

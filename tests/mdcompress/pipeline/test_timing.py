"""Timings in turn, and ratios with their intervals; no test asserts how long anything takes."""

from __future__ import annotations

from collections import Counter

import pytest

from mdcompress.pipeline import timing
from mdcompress.pipeline.timing import Timing, interleaved, times_as_fast


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "QUIET_SECONDS", 0.0)


def test_every_call_is_timed_once_in_every_round_and_each_comes_first() -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in ("a", "b", "c")}
    found = interleaved(calls, rounds=3)
    assert {name: len(each.seconds) for name, each in found.items()} == {"a": 3, "b": 3, "c": 3}
    warm, rounds = made[:6], made[6:]
    assert Counter(warm) == {"a": 2, "b": 2, "c": 2}
    starts = []
    for turn in range(3):
        pairs = rounds[6 * turn : 6 * turn + 6]
        assert pairs[::2] == pairs[1::2], "each warms up just before it is timed"
        assert Counter(pairs) == {"a": 2, "b": 2, "c": 2}
        starts.append(pairs[0])
    assert len(set(starts)) > 1


def test_a_short_call_is_repeated_until_it_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORTEST_SECONDS", 0.001)
    made: list[int] = []
    interleaved({"short": lambda: made.append(0)}, rounds=1)
    assert len(made) > 100


def test_the_median_and_quartiles_are_those_of_the_rounds() -> None:
    found = Timing((5.0, 1.0, 3.0, 2.0, 4.0))
    assert found.median == 3.0 and found.spread == (2.0, 4.0)
    assert Timing((2.0, 1.0)).spread == (1.0, 2.0)


def test_a_ratio_is_that_of_the_same_round() -> None:
    """A machine that is half as fast in one round changes both times and no ratio."""
    mine, base = Timing((1.0, 2.0, 1.0)), Timing((8.0, 16.0, 8.0))
    found = times_as_fast(mine, base)
    assert (found.median, found.low, found.high) == (8.0, 8.0, 8.0)
    assert str(found) == "8 (8 to 8)"


@pytest.mark.parametrize(
    ("rounds", "rank"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (20, 6)]
)
def test_the_interval_is_the_sign_tests(rounds: int, rank: int) -> None:
    """Ranks from tables of the sign test: n = 9 to 11 leave out one at each end, 12 to 14 two, 15 three."""
    found = times_as_fast(Timing((1.0,) * rounds), Timing(tuple(float(each) for each in range(1, rounds + 1))))
    assert (found.low, found.high) == (rank, rounds + 1 - rank)

"""Calls -> how long each takes, in turn, and how many times as fast one is as another. No torch here.

What else a machine does falls on all alike: in every round each call is timed once, one after the other, in an order
that changes from round to round. Ratios are those of the same round.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Call = Callable[[], object]
SHORTEST_SECONDS = 0.02  # a call is repeated until a measurement is this long: clocks and schedulers are coarse
QUIET_SECONDS = 0.01  # between two calls: threads of a pool that spin for more work come to rest
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, one figure for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the rounds; the least and the most where there are fewer than 4."""
        if len(self.seconds) < 4:
            return min(self.seconds), max(self.seconds)
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return lower, upper


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: the median over the rounds, and an interval for it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """`8.1 (7.9 to 8.4)`."""
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def interleaved(calls: Mapping[str, Call], *, rounds: int) -> dict[str, Timing]:
    """Time each call once in every round.

    Args:
        calls: by name. Each is made once before, which warms it up and says how often it has to be repeated.
        rounds: of how many a median is taken.

    Returns:
        Seconds of one call, by name.
    """
    repeats = {name: _repeats(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for name in _turned(names, turn):
            time.sleep(QUIET_SECONDS)
            calls[name]()  # what others have put into the caches is out again
            seconds[name].append(_timed(calls[name], repeats[name]))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def times_as_fast(timing: Timing, base: Timing) -> Ratio:
    """base / timing, round by round: the median, and the interval that holds it with 95 % confidence.

    The interval is that of the sign test: the k-th lowest and k-th highest of n ratios, with the largest k for which
    P(Binomial(n, 1/2) < k) <= 0.025. Below 6 rounds there is none, and the lowest and highest ratio stand for it.
    """
    ratios = sorted(b / mine for b, mine in zip(base.seconds, timing.seconds, strict=True))
    rank = _rank(len(ratios))
    return Ratio(statistics.median(ratios), ratios[rank - 1], ratios[-rank])


def _rank(count: int) -> int:
    tail, rank = 0.0, 0
    for successes in range(count // 2 + 1):
        tail += math.comb(count, successes) / 2**count
        if tail > (1 - CONFIDENCE) / 2:
            break
        rank = successes + 1
    return max(1, rank)


def _repeats(call: Call) -> int:
    call()
    seconds = max(_timed(call, 1), 1e-7)
    return max(1, math.ceil(SHORTEST_SECONDS / seconds))


def _timed(call: Call, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def _turned(names: Sequence[str], turn: int) -> Sequence[str]:
    """Forwards and backwards in turn, and from another start each time."""
    start = turn % len(names)
    order = [*names[start:], *names[:start]]
    return order if turn % 2 == 0 else order[::-1]

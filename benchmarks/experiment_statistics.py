"""Accuracies of several seeds -> mean, spread, Student's interval of paired differences, and tests of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ROUNDING = 1e-9  # sums of the same numbers in another order are the same sum


@dataclass(frozen=True)
class Interval:
    """Mean of n paired differences and its confidence interval, mean +- half_width; infinite for a single pair."""

    mean: float
    half_width: float
    pairs: int

    def __str__(self) -> str:
        """`+0.61 ± 0.24 (n = 12)`."""
        width = "?" if math.isinf(self.half_width) else f"{self.half_width:.2f}"
        return f"{self.mean:+.2f} ± {width} (n = {self.pairs})"


def paired_interval(differences: Sequence[float]) -> Interval:
    """The 95 % interval of the mean of paired differences d (Student's t, n - 1 degrees of freedom).

    mean(d) +- t(0.975, n - 1) * s / sqrt(n), s the sample standard deviation
    """
    count = len(differences)
    if count == 1:
        return Interval(differences[0], math.inf, 1)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Interval(statistics.fmean(differences), quantile * statistics.stdev(differences) / math.sqrt(count), count)


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean ± sample standard deviation; `-` where there is nothing."""
    if not values:
        return "-"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"


def sign_flip_p(differences: Sequence[float]) -> float:
    """The share of all 2^n choices of signs whose |sum| is no smaller than that of the differences (two-sided)."""
    sums = np.zeros(1)
    for each in differences:
        sums = np.concatenate([sums + each, sums - each])
    observed = abs(math.fsum(differences))
    return float(np.mean(np.abs(sums) >= observed * (1 - ROUNDING) - ROUNDING))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for their number (Holm 1979): the k-th smallest of n times n - k + 1, made monotone."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)

"""Results of variants by cluster -> how far each stands from the one beside it, and p-values corrected together.

A cluster is a data set and a seed; its value is the mean, over the settings, of the paired difference of accuracies.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.experiment_statistics import holm
from benchmarks.experiment_store import Result


@dataclass(frozen=True)
class Comparison:
    """A variant beside another: points by cluster, and its p-value after Holm's correction."""

    variant: str
    differences: tuple[float, ...]
    corrected: float

    @property
    def mean(self) -> float:
        """Points."""
        return statistics.fmean(self.differences)


def compared_by_cluster(
    rows: Sequence[Result], beside: Mapping[str, str], settings: Sequence[str]
) -> tuple[Comparison, ...]:
    """Every variant that has two clusters at least; a cluster counts where it has all settings of both.

    beside: variant -> the one that it is compared with. Student's t, two-sided; corrected together.
    """
    accuracies = {(row.variant, (row.group, row.seed), row.setting): row.accuracy for row in rows}
    clusters = list(dict.fromkeys(cluster for _, cluster, _ in accuracies))
    whole: dict[str, tuple[float, ...]] = {}
    for variant, other in beside.items():
        differences = [
            statistics.fmean(accuracies[variant, each, bits] - accuracies[other, each, bits] for bits in settings)
            for each in clusters
            if all((one, each, bits) in accuracies for one in (variant, other) for bits in settings)
        ]
        if len(differences) > 1:
            whole[variant] = tuple(differences)
    corrected = holm([float(stats.ttest_1samp(each, 0.0).pvalue) for each in whole.values()])
    return tuple(Comparison(*each, p) for each, p in zip(whole.items(), corrected, strict=True))

"""Rows of the confirmatory experiment -> differences of two variants by clusters, with intervals and p-values."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.confirmatory_design import SCENARIOS, TRAINED, Scenario, Setting
from benchmarks.experiment_statistics import CONFIDENCE, Interval, paired_interval, sign_flip_p
from benchmarks.experiment_store import Result, unpacked

PAIRS: tuple[tuple[str, str], ...] = tuple((b, a) for a, b in itertools.combinations(TRAINED, 2))
FEW_BITS: tuple[Setting, ...] = ("2bit", "ternary")
FOUR_BITS: tuple[Setting, ...] = ("4bit_all",)


@dataclass(frozen=True)
class Cell:
    """One data set in one scenario at one setting."""

    data: str
    scenario: Scenario
    setting: Setting


@dataclass(frozen=True)
class Cluster:
    """What shares a teacher and a draw of samples."""

    data: str
    seed: int


@dataclass(frozen=True)
class Difference:
    """One variant minus another by cluster, in points."""

    first: str
    second: str
    clusters: Mapping[Cluster, float]

    @property
    def interval(self) -> Interval:
        """Student's t over the clusters."""
        return paired_interval(list(self.clusters.values()))

    @property
    def p(self) -> float:
        """Two-sided, Student's t."""
        values = list(self.clusters.values())
        return float(stats.ttest_1samp(values, 0.0).pvalue) if len(set(values)) > 1 else 1.0

    @property
    def sign_flip(self) -> float:
        """Two-sided, every sign of every cluster as likely."""
        return sign_flip_p(list(self.clusters.values()))


class Rows:
    """Students by cell, variant and seed, and teachers by cluster."""

    def __init__(self, rows: Iterable[Result]) -> None:
        self.rows = tuple(rows)
        self.teachers = {_cluster(row): row for row in self.rows if row.setting == "float"}
        self._students = {(_cell(row), row.variant, row.seed): row for row in self.rows if row.setting != "float"}

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Those that have a student."""
        return tuple(dict.fromkeys(cell for cell, _, _ in self._students))

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Those that have a teacher."""
        return tuple(self.teachers)

    def of(self, cell: Cell, variant: str) -> dict[int, Result]:
        """By seed."""
        return {key[2]: row for key, row in self._students.items() if key[:2] == (cell, variant)}

    def at(self, cell: Cell, variant: str, seed: int) -> Result | None:
        """One student, where it is done."""
        return self._students.get((cell, variant, seed))

    def where(self, settings: Sequence[Setting]) -> tuple[Cell, ...]:
        """The cells of these settings."""
        return tuple(cell for cell in self.cells if cell.setting in settings)

    def difference(self, first: str, second: str, cells: Sequence[Cell]) -> Difference:
        """By cluster, mean over its cells; a cluster that lacks one of the students is left out."""
        found: dict[Cluster, float] = {}
        for cluster in self.clusters:
            own = [cell for cell in cells if cell.data == cluster.data]
            pairs = [(self.at(cell, first, cluster.seed), self.at(cell, second, cluster.seed)) for cell in own]
            gains = [a.accuracy - b.accuracy for a, b in pairs if a is not None and b is not None]
            if own and len(gains) == len(own):
                found[cluster] = statistics.fmean(gains)
        return Difference(first, second, found)

    def differences(self, cells: Sequence[Cell]) -> tuple[Difference, ...]:
        """Every pair of trained variants."""
        return tuple(self.difference(first, second, cells) for first, second in PAIRS)

    def answers(self, difference: Difference, data: str, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """[seeds, samples] of one data set: points of the first over the second at each test sample, mean of cells."""
        own = [cell for cell in cells if cell.data == data]
        seeds = [cluster.seed for cluster in difference.clusters if cluster.data == data]
        return np.array(
            [
                np.mean(
                    [
                        _right(self.at(cell, difference.first, seed)) - _right(self.at(cell, difference.second, seed))
                        for cell in own
                    ],
                    axis=0,
                )
                for seed in seeds
            ]
        )


def over_samples_too(tables: Sequence[NDArray[np.float64]]) -> Interval:
    """The interval of the mean over data sets in which seeds and test samples both count as drawn.

    tables: [seeds, samples] of each data set. var = var(means of seeds)/S + var(means of samples)/N - var(all)/(S N),
    the two-way formula of Cameron, Gelbach & Miller 2011; Student's t with S - 1 degrees of freedom, summed over the
    data sets.
    """
    variances = [_two_way(table) for table in tables]
    degrees = sum(len(table) - 1 for table in tables)
    width = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(sum(variances)) / len(tables)
    return Interval(statistics.fmean(float(table.mean()) for table in tables), width, sum(map(len, tables)))


def _two_way(table: NDArray[np.float64]) -> float:
    seeds, samples = table.shape
    by_seed = table.mean(axis=1).var(ddof=1) / seeds
    by_sample = table.mean(axis=0).var(ddof=1) / samples
    return float(max(by_seed + by_sample - table.var(ddof=1) / (seeds * samples), by_seed))


def _right(row: Result | None) -> NDArray[np.float64]:
    assert row is not None and row.right is not None
    return np.where(unpacked(row.right), 100.0, 0.0)


def _cell(row: Result) -> Cell:
    data, _, scenario = row.group.rpartition("_")
    (known,) = (each for each in SCENARIOS if each == scenario)
    setting: Setting = row.setting  # type: ignore[assignment]  # what the tasks of this experiment named
    return Cell(data, known, setting)


def _cluster(row: Result) -> Cluster:
    return Cluster(row.group.rpartition("_")[0], row.seed)

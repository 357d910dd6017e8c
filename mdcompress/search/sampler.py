"""What a trial of a search tries: given starts first, then draws of an estimator and steps from the front, in turn.

A trial's draw depends on the seed, on its place among all trials and on what is known when it is drawn: not on the
process that draws. So a search of one process that was killed goes on as if it had not been.

The estimator is the tree-structured Parzen one. It draws parameters one by one: what layers lose about adds up, and a
joint estimator has too much to learn from a few dozen trials. With few values it draws the same student again and
again; its neighbour, a step away in one parameter, is tried instead.

The front are the trials that no other dominates. A step from one of them changes one parameter to the value beside it,
more often the lower: fewer bits in one layer, or fewer steps. Every other such step is from a start, as long as one is
in the front. So good starts are improved where they stand, which an estimator of all trials does not see to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from intsnn.exploration.exploration import non_dominated

Indices = Mapping[str, int]  # parameter -> which of its values
_STEPS_AWAY = 100  # at most, from a student that was tried
_STEPS = (-1, -1, -1, 1)  # from the front


def distributions_of(sizes: Mapping[str, int]) -> dict[str, BaseDistribution]:
    """The parameters of a study: of each, the number of one of its values, in their order."""
    return {name: IntDistribution(0, size - 1) for name, size in sizes.items()}


class StartingSampler(BaseSampler):
    """The starts in their order; then draws of the estimator that no trial has tried, as far as there are any.

    Args:
        sizes: parameter -> how many values it has.
        starts: the first trials; each parameter has a value.
        seed: of all draws.
    """

    def __init__(self, sizes: Mapping[str, int], starts: Sequence[Indices], *, seed: int) -> None:
        self._sizes, self._starts, self._seed = sizes, starts, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters (Optuna's own signature)."""
        return distributions_of(self._sizes)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of a new trial (Optuna's own signature)."""
        before = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
        drawn = [one for one in before if one.state is not TrialState.FAIL]  # those were never drawn to the end
        if len(drawn) < len(self._starts):
            return dict(self._starts[len(drawn)])
        numbers = np.random.default_rng((self._seed, len(drawn)))
        if len(drawn) % 2 == 0:
            front = self._front(study, drawn)
            starts = [one for one in front if one in self._starts]
            steps = self._steps(starts if numbers.integers(2) else front, drawn) or self._steps(front, drawn)
            if steps:
                return dict(steps[int(numbers.integers(len(steps)))])
        estimator = TPESampler(seed=int(numbers.integers(2**31)), n_startup_trials=0)
        found = {name: estimator.sample_independent(study, trial, name, one) for name, one in search_space.items()}
        return self._untried(found, [one.params for one in drawn], numbers)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for (Optuna's own signature)."""
        raise AssertionError(f"{param_name} is drawn with all others")

    def _front(self, study: Study, drawn: Sequence[FrozenTrial]) -> list[Indices]:
        """Students that no other dominates."""
        ended = [one for one in drawn if one.state is TrialState.COMPLETE]
        if not ended:
            return []
        signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
        free = non_dominated(np.array([one.values for one in ended]) * signs).tolist()
        return [one.params for one in itertools.compress(ended, free)]

    def _steps(self, students: Sequence[Indices], drawn: Sequence[FrozenTrial]) -> list[Indices]:
        """Students that no trial has, a step away from one of these; each step down counts thrice."""
        tried = [one.params for one in drawn]
        return [
            student
            for one in students
            for name, size in self._sizes.items()
            for step in _STEPS
            if 0 <= (value := one[name] + step) < size and (student := {**one, name: value}) not in tried
        ]

    def _untried(
        self, found: dict[str, int], tried: Sequence[Mapping[str, Any]], numbers: np.random.Generator
    ) -> dict[str, int]:
        """The values, or those of a neighbour that no trial has; as they are where every student was tried."""
        if len({tuple(sorted(one.items())) for one in tried}) >= math.prod(self._sizes.values()):
            return found
        names = list(self._sizes)
        for _ in range(_STEPS_AWAY):
            if found not in tried:
                break
            name = names[numbers.integers(len(names))]
            moved = found[name] + (1 if numbers.integers(2) else -1)
            found = {**found, name: min(max(moved, 0), self._sizes[name] - 1)}
        return found

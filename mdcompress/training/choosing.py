"""The epochs of a training -> the one whose network is kept: the best by a criterion, of those that are not refused.

An epoch is refused by what it and the start did alone, so that one network is held while a training goes on: the best
so far stays that, whatever epochs follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from mdcompress.errors import TrainingError
from mdcompress.recipe.distilling import Criterion, Guard
from mdcompress.training.history import EpochRecord

# One standard error, one-sided: the rule by which Breiman et al. 1984 ("Classification and Regression Trees", 3.4.3)
# call two models equally good. At 0.05 an epoch could lose 4 of 4 differing samples and pass: the burden is the epoch's
CHANCE = 0.16


@dataclass(frozen=True)
class Choice:
    """How an epoch is chosen.

    by: the highest accuracy on validation samples, of equals the lowest loss on the labels; or the lowest sum of the
    trained losses there. Of equals the earliest. guard: whether an epoch is refused that is less accurate than the
    start by more than chance (`is_less_accurate`).
    """

    by: Criterion = "accuracy"
    guard: Guard = "none"


BY_ACCURACY = Choice()


@dataclass(frozen=True)
class Kept:
    """The epoch that is kept, beside the others that people ask about; refused: the numbers of those that were."""

    kept: EpochRecord
    most_accurate: EpochRecord
    lowest_loss: EpochRecord
    refused: tuple[int, ...]


def best_epoch(history: Sequence[EpochRecord], choice: Choice = BY_ACCURACY) -> EpochRecord:
    """The epoch that is kept: the best candidate by the criterion that is not refused."""
    start = _start(history)
    allowed = (record for record in _candidates(history) if not _is_refused(record, start, choice))
    return max(allowed, key=lambda record: _rank(record, choice.by))


def what_was_kept(history: Sequence[EpochRecord], choice: Choice) -> Kept:
    """The epoch that is kept, the best candidate by either criterion, and which were refused."""
    start, candidates = _start(history), _candidates(history)
    return Kept(
        kept=best_epoch(history, choice),
        most_accurate=max(candidates, key=lambda record: _rank(record, "accuracy")),
        lowest_loss=max(candidates, key=lambda record: _rank(record, "loss")),
        refused=tuple(record.epoch for record in candidates if _is_refused(record, start, choice)),
    )


def epochs_without_gain(history: Sequence[EpochRecord], choice: Choice = BY_ACCURACY) -> int:
    """How many candidates have passed since the best one; 0 before the first."""
    candidates = _candidates(history)
    return len(candidates) - 1 - candidates.index(best_epoch(candidates, choice)) if candidates else 0


def is_less_accurate(record: EpochRecord, start: EpochRecord) -> bool:
    """Whether an epoch is less accurate on validation than the start, by more than chance.

    It has fewer right answers, and P(at most g of g + l) < 0.16 where each of them is as likely gained as lost:
    g samples that gained right answers and l that lost some, over all T together (McNemar's test, exact and one-sided).

    Raises:
        TrainingError: they were validated on other numbers of samples.
    """
    if record.validation_accuracy >= start.validation_accuracy:
        return False
    gained, lost = _changed(record, start)
    return chance_of_at_most(gained, gained + lost) < CHANCE


def chance_of_at_most(successes: int, tries: int) -> float:
    """P(X <= successes), X the heads of `tries` throws of a fair coin; 1 for no throw."""
    return sum(math.comb(tries, heads) for heads in range(successes + 1)) / (1 << tries)


def _candidates(history: Sequence[EpochRecord]) -> list[EpochRecord]:
    return [record for record in history if record.candidate]


def _start(history: Sequence[EpochRecord]) -> EpochRecord | None:
    """Epoch 0, where the network as it came can be the result."""
    return history[0] if history and history[0].epoch == 0 else None


def _is_refused(record: EpochRecord, start: EpochRecord | None, choice: Choice) -> bool:
    match choice.guard:
        case "accuracy":
            return start is not None and is_less_accurate(record, start)
        case "none":
            return False
        case _:
            assert_never(choice.guard)


def _rank(record: EpochRecord, by: Criterion) -> tuple[float, ...]:
    """Higher is better."""
    match by:
        case "accuracy":
            return (record.validation_accuracy, -record.validation_loss, -record.epoch)
        case "loss":
            total = record.validation_total
            assert total is not None  # of a student
            return (-total, -record.epoch)
        case _:
            assert_never(by)


def _changed(record: EpochRecord, start: EpochRecord) -> tuple[int, int]:
    """How many samples have more right answers than at the start, and how many fewer; answers at each T count."""
    now, before = ([score.right for score in each.validation] for each in (record, start))
    sizes = {len(right) for right in [*now, *before]}
    if len(sizes) != 1:
        raise TrainingError(
            f"validation must have the same samples after every epoch (epoch {record.epoch}: {sorted(sizes)} samples)",
            hints=["give a list, a DataLoader or mdcompress.data.Batches that does not drop samples"],
        )
    sums = [[sum(map(int, answers)) for answers in zip(*each, strict=True)] for each in (now, before)]
    changes = [after - first for after, first in zip(*sums, strict=True)]
    return sum(change > 0 for change in changes), sum(change < 0 for change in changes)

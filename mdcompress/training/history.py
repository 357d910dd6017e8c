"""What happens in a training -> records: one a step, one an epoch; and their file, a CSV with a line an epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from intsnn.files import write_atomically


@dataclass(frozen=True)
class Resumed:
    """A checkpoint was found: training goes on after `step` of `epoch`. `history`: the epochs done before.

    threads: how many torch had when the state was written (0: not known) and has now. With another number sums are
    added up in another order, and the last bits of what is trained differ.
    """

    epoch: int
    step: int
    history: tuple[EpochRecord, ...]
    threads: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step; epoch and step count from 1. `steps`: how many the epoch has. `loss`: mean over its T."""

    epoch: int
    epochs: int
    step: int
    steps: int
    learning_rate: float
    loss: float


@dataclass(frozen=True)
class Validation:
    """What validation gave at T = `time_steps`; accuracy in [0, 1].

    `loss`: cross-entropy with the labels. `total`: the losses that are trained, with their weights; None where the best
    epoch is that of the highest accuracy.
    """

    time_steps: int
    accuracy: float
    loss: float
    total: float | None = None


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1; epoch 0 is the network as it came, scored before it was trained (`untrained`).

    `losses`: means over the epoch's samples by name: total, task, logits, membrane, membrane/<neuron>; none of epoch 0.
    `train_accuracy`: of the batches as they were trained on; None of epoch 0. `learning_rate`: that of the last step.
    `candidate`: whether its network can be the result, as it cannot where it had more bits than planned
    (`distill.gradual`).
    """

    epoch: int
    epochs: int
    learning_rate: float
    losses: Mapping[str, float]
    train_accuracy: float | None
    validation: tuple[Validation, ...]
    seconds: float = field(compare=False)
    candidate: bool = True

    @property
    def validation_accuracy(self) -> float:
        """Mean over the time steps that are validated."""
        return math.fsum(score.accuracy for score in self.validation) / len(self.validation)

    @property
    def validation_loss(self) -> float:
        """Mean over the time steps that are validated."""
        return math.fsum(score.loss for score in self.validation) / len(self.validation)

    @property
    def validation_total(self) -> float | None:
        """Mean over the time steps that are validated; None where the best epoch is that of the highest accuracy."""
        totals = [score.total for score in self.validation if score.total is not None]
        return math.fsum(totals) / len(totals) if totals else None


def untrained(validation: tuple[Validation, ...], *, epochs: int) -> EpochRecord:
    """Epoch 0 of a training of so many epochs, of a network that can be the result as it came."""
    return EpochRecord(0, epochs, 0.0, {}, None, validation, seconds=0.0)


@dataclass(frozen=True)
class Stopped:
    """The training ended after `epoch`, since no epoch after `best` was better."""

    epoch: int
    best: int


Event = Resumed | StepRecord | EpochRecord | Stopped
Progress = Callable[[Event], None]


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """The candidate with the lowest validation total, where there is one; of equals the earliest.

    Else the one with the highest validation accuracy; of equals the lowest validation loss, then the earliest.
    """

    def rank(record: EpochRecord) -> tuple[float, ...]:
        total = record.validation_total
        scores = (record.validation_accuracy, -record.validation_loss) if total is None else (-total,)
        return (*scores, -record.epoch)

    return max((record for record in history if record.candidate), key=rank)


def epochs_without_gain(history: Sequence[EpochRecord]) -> int:
    """How many candidates have passed since the best one; 0 before the first."""
    candidates = [record for record in history if record.candidate]
    return len(candidates) - 1 - candidates.index(best_epoch(candidates)) if candidates else 0


def write_history(history: Iterable[EpochRecord], path: Path) -> None:
    """Write one line an epoch, numbers as Python spells them, so that they read back equal.

    Columns: epoch, learning_rate, a loss each, train_accuracy; for each t validation_accuracy_T<t>,
    validation_loss_T<t> and, where it decides, validation_total_T<t>; best, 1 for the epoch that the trained network
    holds; seconds. Epoch 0 has no losses and train_accuracy.
    """
    records = list(history)
    rows = [_row(record) for record in records]
    best = best_epoch(records).epoch if records else None
    for record, row in zip(records, rows, strict=True):
        row["best"] = "1" if record.epoch == best else "0"
        row["seconds"] = f"{record.seconds:.2f}"
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _row(record: EpochRecord) -> dict[str, str]:
    row = {"epoch": str(record.epoch), "learning_rate": repr(record.learning_rate)}
    row |= {name: repr(loss) for name, loss in record.losses.items()}
    if record.train_accuracy is not None:
        row["train_accuracy"] = repr(record.train_accuracy)
    for score in record.validation:
        row[f"validation_accuracy_T{score.time_steps}"] = repr(score.accuracy)
        row[f"validation_loss_T{score.time_steps}"] = repr(score.loss)
        if score.total is not None:
            row[f"validation_total_T{score.time_steps}"] = repr(score.total)
    return row

"""What happens in a training -> records: one a step, one an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


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

    `loss`: cross-entropy with the labels. Of a student besides: `total`, the losses that are trained, with their
    weights; `right`, a 1 for each sample that it answers rightly and a 0 for each other, in their order; `rate`, spikes
    per neuron and step.
    """

    time_steps: int
    accuracy: float
    loss: float
    total: float | None = None
    right: str = ""
    rate: float | None = None


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1; epoch 0 is the network as it came, scored before it was trained (`untrained`).

    `losses`: means over the epoch's samples by name: total, task, logits, membrane, membrane/<neuron>, …; none at 0.
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
        """Mean over the time steps that are validated; None of a float network."""
        return _mean([score.total for score in self.validation])

    @property
    def validation_rate(self) -> float | None:
        """Spikes per neuron and step, mean over the time steps that are validated; None of a float network."""
        return _mean([score.rate for score in self.validation])


def _mean(found: Sequence[float | None]) -> float | None:
    """Of those that are there; None where none is."""
    values = [value for value in found if value is not None]
    return math.fsum(values) / len(values) if values else None


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

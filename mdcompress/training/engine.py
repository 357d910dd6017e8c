"""A job (network, objective, data, settings) -> the network at its best epoch: the loop under every training here."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from mdcompress.data.inputs import on_device
from mdcompress.errors import CheckpointError, TrainingError
from mdcompress.modes import to_evaluation_mode, to_training_mode, train_with_frozen_norms
from mdcompress.processes import ALONE, Processes
from mdcompress.student.weights import restore
from mdcompress.training.averaging import decay_after, holding, snapshot, update_average
from mdcompress.training.checkpoint import (
    EMPTY_TALLY,
    Identity,
    Tally,
    TrainingState,
    read_checkpoint,
    write_checkpoint,
)
from mdcompress.training.choosing import BY_ACCURACY, Choice, best_epoch, epochs_without_gain
from mdcompress.training.determinism import Batch, reproducible, seed_step, seeded_batches
from mdcompress.training.fitting import Place, misfit
from mdcompress.training.history import (
    EpochRecord,
    Event,
    Progress,
    Resumed,
    StepRecord,
    Stopped,
    Validation,
    untrained,
)
from mdcompress.training.optimization import (
    clip_gradient,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from mdcompress.training.parallel import share, sum_gradients, whole_batch
from mdcompress.training.scoring import Score
from mdcompress.training.statistics import global_statistics

if TYPE_CHECKING:
    from mdcompress.recipe import TrainSpec

_SECONDS_UNREAD = 0.5  # how long losses may stay on the device: reading them waits for the steps before


@dataclass(frozen=True)
class PassLoss:
    """The loss of one forward pass. `total` carries the gradient; `parts` names it and its parts; `correct` of N."""

    total: Tensor
    parts: Mapping[str, Tensor]
    correct: Tensor


class Objective(Protocol):
    """What is minimised: the loss of each pass over a batch (one pass for each T the network is trained at).

    x is on the network's device, y where the loader left it. Epochs count from 1.
    """

    def __call__(self, x: Tensor, y: Tensor, *, epoch: int) -> Iterator[PassLoss]:
        """One loss for each pass. Each is an optimizer step, which is done before the next loss is computed."""
        ...


class Stages(Protocol):
    """What changes in a network from one epoch to the next; everything about it follows from the number of epochs."""

    def is_last(self, done: int) -> bool:
        """Whether the network at the end of the epoch after `done` epochs can be the result."""
        ...

    def began(self, done: int) -> int:
        """How many epochs were done when the stage of the epoch after `done` epochs began."""
        ...

    def hold(self, done: int) -> None:
        """Make the network what it is inside the epoch after `done` epochs; its values stay."""
        ...

    def begin(self, done: int) -> bool:
        """`hold`, and change the values where a stage begins here; whether one does."""
        ...


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where the state goes, every how many steps (besides every epoch), and what the training is."""

    path: Path
    every: int
    identity: Identity

    def __post_init__(self) -> None:
        if self.every < 1:
            raise TrainingError(
                f"checkpoint_every must be at least 1 step (got {self.every})", hints=["50 steps cost next to nothing"]
            )

    @classmethod
    def of(
        cls, path: Path | None, every: int | None, settings: TrainSpec, identity: Identity
    ) -> CheckpointPolicy | None:
        """The policy of a caller who may leave the interval to the settings; None where no state is written."""
        return None if path is None else cls(path, settings.checkpoint_every if every is None else every, identity)


@dataclass(frozen=True)
class Job:
    """One training. `network` is trained in place; `scores` are taken at the end of an epoch, one after the other.

    `processes`: those that share each batch; `train` gives every one of them the whole batch, and what a score settles
    is settled by each with its share. `stages`: what changes in the network between epochs, if anything.
    `start_counts`: whether the network as it comes can be the result: it is scored as epoch 0. `choice`: which epoch is
    kept.
    """

    network: nn.Module
    objective: Objective
    train: Iterable[Batch]
    scores: Sequence[Score]
    epochs: int
    settings: TrainSpec
    seed: int
    device: torch.device
    checkpoint: CheckpointPolicy | None
    progress: Progress | None
    processes: Processes = ALONE
    stages: Stages | None = None
    start_counts: bool = False
    choice: Choice = BY_ACCURACY


def run_job(job: Job) -> None:
    """Train; afterwards the network holds its best epoch (`best_epoch`) and is in evaluation mode.

    With `settings.ema` the average of the weights is what is validated, compared and kept; with `settings.patience` the
    training ends after so many epochs without a better one.

    Raises:
        TrainingError: data that cannot be walked twice, or NaN in a loss.
        CheckpointError: see `checkpoint`.

    An exception, KeyboardInterrupt among them, leaves the last checkpoint as it is: it is whole.
    """
    with reproducible(job.device, deterministic=job.settings.deterministic):
        loop = _Loop(job)
        loop.start()
        while not loop.finished:
            loop.train_epoch()
        loop.finish()


@dataclass(frozen=True)
class _PassFigures:
    """What one pass was worth, still on the device: names of the losses; their values and the number right; norm."""

    names: tuple[str, ...]
    whole: Tensor
    norm: Tensor


@dataclass(frozen=True)
class _Unread:
    """A step whose figures nobody has read yet."""

    step: int
    rate: float
    samples: int
    passes: list[_PassFigures]


class _Loop:
    """The state of a running job; epoch and step count from 1, `step` is the last one done in `epoch`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.steps = count_batches(job.train)
        self.optimizer = make_optimizer(job.network, job.settings.optimizer)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.epoch, self.step, self.tally = 1, 0, EMPTY_TALLY
        self.unread: list[_Unread] = []
        self.broken = torch.zeros((), device=job.device)
        self.history: tuple[EpochRecord, ...] = ()
        self.best: dict[str, Tensor] = {}
        self.average = {} if job.settings.ema is None else snapshot(job.network)
        remeasured = any(score.remeasure is not None for score in job.scores)
        self.recent: deque[Batch] = deque(maxlen=job.settings.batch_norm.remeasure if remeasured else 0)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough of them without a better one."""
        patience = self.job.settings.patience
        waited = patience is not None and epochs_without_gain(self.history, self.job.choice) >= patience
        return self.epoch > self.job.epochs or waited

    def start(self) -> None:
        """Go on from the checkpoint where there is one; else write the first, so that a bad path fails now."""
        policy = self.job.checkpoint
        if policy is not None and self.job.processes.broadcast(policy.path.exists()):
            state = read_checkpoint(policy.path, identity=policy.identity)
            self._restore(state, policy.path)
            threads = (state.threads, torch.get_num_threads())
            self._report(Resumed(self.epoch, self.step, self.history, threads))
        else:
            self._save()
        if self.job.start_counts and not self.history and (self.epoch, self.step) == (1, 0):
            self._enter(untrained(self._scored(), epochs=self.job.epochs), snapshot(self.job.network))
            self._report(self.history[-1])

    def train_epoch(self) -> None:
        """The steps of the epoch that are not done yet, then validation."""
        self._enter_epoch()
        seen, started, settled = 0, time.monotonic(), time.monotonic()
        for step, (x, y) in seeded_batches(self.job.train, seed=self.job.seed, epoch=self.epoch):
            seen = step
            self.recent.append((x, y))
            if step <= self.step:
                continue  # done before the interruption; walked over so that the loader is where it was
            self._train_step(step, on_device(x, self.job.device), y)
            started = self._account(started)
            if self._is_saved_now() or time.monotonic() - settled > _SECONDS_UNREAD:
                self._settle()
                settled = time.monotonic()
        self._settle()
        if seen < self.step or seen == 0:
            raise TrainingError(
                f"epoch {self.epoch} must give the batches it gave before (now {seen}, before {self.step})",
                hints=["training data must be the same at every walk: a list, a DataLoader or mdcompress.data.Batches"],
            )
        self._finish_epoch(started)

    def finish(self) -> None:
        """Load the best epoch."""
        if self.epoch <= self.job.epochs:
            self._report(Stopped(self.epoch - 1, best_epoch(self.history, self.job.choice).epoch))
        restore(self.job.network, self.best)
        to_evaluation_mode(self.job.network)

    def _enter_epoch(self) -> None:
        stages, done = self.job.stages, self.epoch - 1
        if stages is not None and self.step > 0:
            stages.hold(done)
        elif stages is not None and stages.begin(done) and self.average:
            self.average = snapshot(self.job.network)  # of the stage before, whose ranges are other ones
        self.recent.clear()
        if self._norms_are_frozen():
            train_with_frozen_norms(self.job.network)
        else:
            to_training_mode(self.job.network)

    def _norms_are_frozen(self) -> bool:
        frozen_after = self.job.settings.batch_norm.freeze_after
        return frozen_after is not None and self.epoch > frozen_after

    def _stage_began(self) -> int:
        """How many epochs were done when the average began."""
        return 0 if self.job.stages is None else self.job.stages.began(self.epoch - 1)

    def _train_step(self, step: int, x: Tensor, y: Tensor) -> None:
        """One step, of which nothing is read back; `_settle` does that."""
        done = (self.epoch - 1) * self.steps + step - 1
        rate = learning_rate(self.job.settings, done=done, total=self.job.epochs * self.steps)
        set_learning_rate(self.optimizer, rate)
        self.unread.append(_Unread(step, rate, len(y), self._descend(step, x, y)))
        if self.job.settings.ema is not None:
            averaged = done - self.steps * self._stage_began()
            update_average(self.average, self.job.network, decay=decay_after(averaged, self.job.settings.ema))
        self.step = step

    def _descend(self, step: int, x: Tensor, y: Tensor) -> list[_PassFigures]:
        """One optimizer step for each pass over the batch, with gradients summed over processes."""
        processes, figures = self.job.processes, []
        mine = share(processes, x, y)
        if processes.size > 1:
            seed_step(self.job.seed, self.epoch, step, rank=processes.rank)  # other samples, other dropout
        with global_statistics(processes):
            for loss in self.job.objective(mine.x, mine.y, epoch=self.epoch):
                whole = whole_batch(processes, mine, loss.parts, loss.correct)
                self.optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss.total * mine.weight)
                sum_gradients(processes, self.trained)
                norm = clip_gradient(self.trained, self.job.settings.grad_clip)
                self._hold_back_unless_finite(whole.sum() + norm)
                self.optimizer.step()
                figures.append(_PassFigures(tuple(loss.parts), whole, norm))
        return figures

    def _hold_back_unless_finite(self, figures: Tensor) -> None:
        """From the first figure that is not finite on no step changes the network, on the device's own word.

        What fused optimizers have for scaled losses: they leave all as it is where their `found_inf` is 1.
        """
        self.broken = torch.maximum(self.broken, (~torch.isfinite(figures)).float())
        self.optimizer.found_inf = self.broken  # type: ignore[attr-defined]  # as GradScaler sets it

    def _settle(self) -> None:
        """Read what the last steps were worth, check it, add it up and report it; write the state where it is time."""
        unread, self.unread = self.unread, []
        for each in unread:
            losses = []
            for figures in each.passes:
                *values, correct = figures.whole.tolist()
                parts = dict(zip(figures.names, values, strict=True))
                self._require_finite(parts, each.step)
                self._require_finite({"gradient's norm": float(figures.norm)}, each.step)
                self.tally = _add(self.tally, parts, round(correct), each.samples)
                losses.append(parts["total"])
            record = StepRecord(self.epoch, self.job.epochs, each.step, self.steps, each.rate, statistics.fmean(losses))
            if each is unread[-1] and self._is_saved_now():
                self._save()
            self._report(record)

    def _finish_epoch(self, started: float) -> None:
        with holding(self.job.network, self.average) if self.average else contextlib.nullcontext():
            validation, candidate = self._scored(), snapshot(self.job.network)
        self._account(started)
        samples = self.tally.samples
        record = EpochRecord(
            epoch=self.epoch,
            epochs=self.job.epochs,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            losses={name: loss / samples for name, loss in self.tally.losses.items()},
            train_accuracy=self.tally.correct / samples,
            validation=validation,
            seconds=self.tally.seconds,
            candidate=self.job.stages is None or self.job.stages.is_last(self.epoch - 1),
        )
        self._enter(record, candidate)
        self.epoch, self.step, self.tally = self.epoch + 1, 0, EMPTY_TALLY
        self._save()
        self._report(record)

    def _scored(self) -> tuple[Validation, ...]:
        """The scores of the network, each found by one process and told to all."""
        found = list[Validation]()
        for score in self.job.scores:
            self._remeasure(score)
            mine = score.validate() if self.job.processes.rank == 0 else None
            validations = self.job.processes.broadcast(mine)
            assert validations is not None
            for each in validations:
                name = f"validation loss at T={each.time_steps}"
                self._require_finite({name: each.loss, f"{name}, as trained": each.total or 0.0}, self.step)
            found.extend(validations)
        return tuple(found)

    def _enter(self, record: EpochRecord, candidate: dict[str, Tensor]) -> None:
        """Put an epoch and its network into the history; the network is kept where it is the best so far."""
        self.history = (*self.history, record)
        if record.candidate and best_epoch(self.history, self.job.choice) is record:
            self.best = candidate

    def _remeasure(self, score: Score) -> None:
        """Every process does it: all have the same network afterwards."""
        processes = self.job.processes
        if score.remeasure is not None and self.recent and not self._norms_are_frozen():
            with torch.no_grad(), global_statistics(processes):
                score.remeasure([on_device(share(processes, x, y).x, self.job.device) for x, y in self.recent])

    def _account(self, started: float) -> float:
        """Add the time since `started` to the epoch; now."""
        now = time.monotonic()
        tally = self.tally
        self.tally = replace(tally, seconds=tally.seconds + now - started)
        return now

    def _require_finite(self, values: Mapping[str, float], step: int) -> None:
        for name in sorted(values, key=lambda name: name == "total"):  # the part that broke, before the sum it breaks
            if not math.isfinite(values[name]):
                raise TrainingError(
                    f"the loss must stay finite: {name} is {values[name]} in epoch {self.epoch}, step {step}",
                    hints=["lower optimizer.lr, or limit the gradient with grad_clip", "look for NaN in the data"],
                )

    def _report(self, event: Event) -> None:
        if self.job.progress is not None and self.job.processes.rank == 0:
            self.job.progress(event)

    # ------------------------------------------------------------------ checkpoint

    def _is_saved_now(self) -> bool:
        return self.job.checkpoint is not None and self.step % self.job.checkpoint.every == 0

    def _save(self) -> None:
        policy = self.job.checkpoint
        if policy is None or self.job.processes.rank > 0:
            return
        state = TrainingState(
            epoch=self.epoch,
            step=self.step,
            tally=self.tally,
            history=self.history,
            model=self.job.network.state_dict(),
            best=self.best,
            optimizer=optimizer_tensors(self.optimizer),
            average=self.average,
            threads=torch.get_num_threads(),
        )
        write_checkpoint(policy.path, state, identity=policy.identity)

    def _restore(self, state: TrainingState, path: Path) -> None:
        place = Place(epochs=self.job.epochs, steps=self.steps, averages=self.job.settings.ema is not None)
        own = self.job.network.state_dict()
        if words := misfit(state, model=own, optimizer=self.optimizer, parameters=self.trained, place=place):
            raise CheckpointError(
                f"{path} does not fit the network and its training: {words}", hints=["move the file away to start anew"]
            )
        restore(self.job.network, state.model)
        load_optimizer_tensors(self.optimizer, state.optimizer)
        for name, tensor in self.average.items():
            tensor.copy_(state.average[name])
        self.epoch, self.step, self.tally, self.history = state.epoch, state.step, state.tally, state.history
        self.best = dict(state.best)


def count_batches(batches: Iterable[Batch]) -> int:
    """Batches an epoch has: their `len`, or one walk where they have none. TrainingError for an iterator, and for 0."""
    if isinstance(batches, Iterator):
        raise TrainingError(
            f"training data must be walked once an epoch, a {type(batches).__name__} only gives them once",
            hints=["pass a list, a DataLoader or mdcompress.data.Batches"],
        )
    count = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
    if count == 0:
        raise TrainingError("training data must have at least one batch (got none)", hints=["look at the data section"])
    return count


def _add(tally: Tally, parts: Mapping[str, float], correct: int, samples: int) -> Tally:
    losses = {name: tally.losses.get(name, 0.0) + value * samples for name, value in parts.items()}
    return replace(tally, losses=losses, correct=tally.correct + correct, samples=tally.samples + samples)

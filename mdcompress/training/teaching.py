"""train_network(network, …) -> the float network trained on the labels: the teacher of a later distillation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mdcompress.adapters.state import run_time_first
from mdcompress.data.inputs import on_device
from mdcompress.evaluation import check_labels, mean_logits
from mdcompress.losses import task_loss
from mdcompress.processes import ALONE, Processes
from mdcompress.recipe import TeacherSpec, TrainSpec
from mdcompress.recipe.keys import keys_not_read_by
from mdcompress.runs.manifest import Stage
from mdcompress.training.determinism import Batch, reproducible
from mdcompress.training.devices import usable_device
from mdcompress.training.distillation import DEFAULT_SETTINGS, check_steps
from mdcompress.training.engine import CheckpointPolicy, Job, PassLoss, count_batches, run_job
from mdcompress.training.history import Progress
from mdcompress.training.identity import structure_digest, training_items
from mdcompress.training.layout import lay_out_for
from mdcompress.training.own_neurons import own_neurons_at_once
from mdcompress.training.scoring import float_scores

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def train_network(
    network: NetworkT,
    *,
    train: Iterable[Batch],
    validate: Iterable[Batch],
    spec: TeacherSpec,
    settings: TrainSpec = DEFAULT_SETTINGS,
    seed: int = 0,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
    processes: Processes = ALONE,
) -> NetworkT:
    """Train `network` in place to the cross-entropy of its mean answer; returned is the same object, at its best epoch.

    With `spec.time_steps` a batch is an optimizer step for each listed T, in turn, on the batch's first T steps; the
    best epoch is that of the highest mean accuracy over them. Batch norms are then scored with the statistics of each
    T, measured over the epoch's last batches; the network has those of the last T, and `with_statistics` finds those
    of another.

    Args:
        network: any network [T, N, ...] -> [N, K] or [T, N, K].
        train: batches (x [T, N, ...], y [N]) that can be walked once an epoch; `set_epoch(1..E)` is called if there.
        validate: batches to choose the epoch by, as in `distill`.
        spec: the recipe's `teacher` section.
        settings: the recipe's `train` section; its optimizer and batch_norm are the student's and have no part in it.
        seed: start of all random numbers; the same seed gives the same bits on the same machine.
        checkpoint: file that holds the whole state; one that exists is resumed. Its folder must exist.
        checkpoint_every: steps between writes; the end of an epoch writes too. None: `settings.checkpoint_every`.
        progress: called with Resumed, StepRecord and EpochRecord as they happen.
        device: where to train; the network stays there.
        processes: as in `distill`.

    Returns:
        `network` itself, at its best epoch.

    Raises:
        TrainingError: no loss can be trained, or one is NaN.
        CheckpointError: the checkpoint is damaged, or of another training.
        DataError: there is no batch, or it cannot be walked again.
    """
    device = usable_device(device)
    network.to(device)
    own = teacher_settings(spec, settings)
    identity = {
        "kind": "training of a float network",
        "network": structure_digest(network),
        **{f"teacher.{key}": str(value) for key, value in spec if key != "optimizer"},  # that one is in `settings`
        **training_items(own),
        "seed": str(seed),
        "processes": str(processes.size),
        "batches": str(count_batches(train)),
    }
    if device.type != "cpu":
        with reproducible(device):
            first, _ = next(iter(train))
        lay_out_for(device, network, on_device(first[:, :2], device))
    job = Job(
        network=network,
        objective=_Task(network, spec),
        train=train,
        scores=float_scores(network, validate, spec.time_steps),
        epochs=spec.epochs,
        settings=own,
        seed=seed,
        device=device,
        checkpoint=CheckpointPolicy.of(checkpoint, checkpoint_every, settings, identity),
        progress=progress,
        processes=processes,
    )
    with own_neurons_at_once(network):
        run_job(job)
    return network


def teacher_settings(spec: TeacherSpec, settings: TrainSpec) -> TrainSpec:
    """What of the recipe's `train` section holds for a float network; keys of the student alone have their defaults."""
    of_student = {key: TrainSpec.model_fields[key].default for key in keys_not_read_by(TrainSpec, Stage.TRAIN)}
    return settings.model_copy(update={**of_student, "optimizer": spec.optimizer})


class _Task:
    """The objective: cross-entropy with the labels, at each T."""

    def __init__(self, network: nn.Module, spec: TeacherSpec) -> None:
        self._network, self._spec = network, spec

    def __call__(self, x: Tensor, y: Tensor, *, epoch: int) -> Iterator[PassLoss]:
        """The loss of x [T_max, N, ...], y [N] at each T, the same in every epoch."""
        for steps in self._spec.time_steps or (len(x),):
            check_steps(steps, x, key="teacher.time_steps")
            # bfloat16 has float32's range: unlike float16 it needs no scaling of the loss, one more state to keep
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self._spec.autocast == "bfloat16"):
                output = run_time_first(self._network, x[:steps])
            logits = mean_logits(output.float())
            check_labels(logits, y)  # where they are: on the host no step waits for them
            y = y.to(x.device, non_blocking=True)
            loss = task_loss(logits[None], y)
            yield PassLoss(loss, {"total": loss}, (logits.detach().argmax(1) == y).sum())

"""distill(student, teacher=…) -> the student trained under its float teacher; the teacher is not changed."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mdcompress.errors import TrainingError
from mdcompress.evaluation import Metrics, check_labels, evaluate_at, mean_logits
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.losses import LossParts, Moments, distillation_loss, mean_rate, own_moments
from mdcompress.planning import plan_to_json
from mdcompress.processes import ALONE, Processes
from mdcompress.recipe import DistillSpec, TrainSpec
from mdcompress.student import Observation, Student
from mdcompress.student.observation import observe
from mdcompress.training.choosing import Choice
from mdcompress.training.determinism import Batch
from mdcompress.training.devices import usable_device
from mdcompress.training.engine import CheckpointPolicy, Job, PassLoss, count_batches, run_job
from mdcompress.training.gradual import GradualBits
from mdcompress.training.history import Progress, Validation
from mdcompress.training.identity import spec_items, structure_digest, text_digest, training_items, value_digest
from mdcompress.training.observed_teacher import Teacher, remembering
from mdcompress.training.other_teacher import OtherTeacher
from mdcompress.training.scoring import student_scores
from mdcompress.training.statistics import moments_over

DEFAULT_SETTINGS = TrainSpec()


def distill(
    student: Student,
    *,
    teacher: nn.Module | OtherTeacher | None,
    train: Iterable[Batch],
    validate: Iterable[Batch],
    spec: DistillSpec,
    settings: TrainSpec = DEFAULT_SETTINGS,
    seed: int = 0,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
    processes: Processes = ALONE,
) -> Student:
    """Train `student` in place to the losses of `spec`; returned is the same object, at its best epoch.

    Best is the highest validation accuracy (mean over the T of `spec.time_steps`), then the lowest loss, then the
    earliest epoch; with `spec.best: loss` the lowest sum of the trained losses on validation, of the epochs that
    `spec.guard` does not refuse. The student as it came is epoch 0, so that none comes back worse by that. With
    `spec.weights: keep` weights and their ranges are not trained; afterwards they can be, as before.

    A batch is an optimizer step for each listed T, in turn, on the batch's first T steps. The teacher runs on all
    steps; at fewer, potentials and rates that are aligned by first steps are those of the teacher at T, with the
    statistics of the first T steps of the first batches of epoch 1 (`with_statistics`). With 0 epochs the student is
    returned as it came. With stages of falling bits in `spec.gradual` best is epoch 0 or one of the last stage; the
    student comes with its planned bits.

    Args:
        student: a calibrated student.
        teacher: the float network it was traced from (or a finer student), or another network (`OtherTeacher`); None
            where no loss needs one. `spec.teacher` is for the command line, which builds it.
        train: batches (x [T, N, ...], y [N]) that can be walked once an epoch; `set_epoch(1..E)` is called if there.
        validate: batches to choose the epoch by.
        spec: the recipe's `distill` section. Without `time_steps` the student is trained on all steps of the batches;
            with several it is trained for all of them (`students: each` is for the command line: one call for each T).
        settings: the recipe's `train` section.
        seed: start of all random numbers; the same seed gives the same bits on the same machine.
        checkpoint: file that holds the whole state; one that exists is resumed. Its folder must exist.
        checkpoint_every: steps between writes; the end of an epoch writes too. None: `settings.checkpoint_every`.
        progress: called with Resumed, StepRecord and EpochRecord as they happen.
        device: where to train; the student stays there, the teacher is copied there.
        processes: what `join_processes` gave, where torchrun started several; they share each batch. Rank 0 writes.

    Returns:
        `student` itself, at its best epoch.

    Raises:
        TrainingError: no loss can be trained, or one is NaN.
        CheckpointError: the checkpoint is damaged, or of another training.
        DataError: there is no batch, or it cannot be walked again.
    """
    device = usable_device(device)
    student.to(device)
    if spec.epochs == 0:
        return student.eval()
    stages = GradualBits(student, spec.gradual)
    target = Teacher.of(teacher, student, spec, train, seed, device)
    examined = remembering(target, validate, student.graph, spec)
    validated = _Distillation(student, examined, spec, own_moments).validations
    steps = {"seed": str(seed), "processes": str(processes.size), "batches": str(count_batches(train))}
    identity = {**_identity(student, target, spec, settings), **steps}
    job = Job(
        network=student,
        objective=_Distillation(student, target, spec, moments_over(processes)),
        train=train,
        scores=student_scores(student, validate, spec.time_steps, validated),
        epochs=spec.epochs,
        settings=settings,
        seed=seed,
        device=device,
        checkpoint=CheckpointPolicy.of(checkpoint, checkpoint_every, settings, identity),
        progress=progress,
        processes=processes,
        stages=stages,
        start_counts=True,
        choice=choice_of(spec),
    )
    with _weights_kept(student) if spec.weights == "keep" else contextlib.nullcontext():
        run_job(job)
    return student


def choice_of(spec: DistillSpec) -> Choice:
    """How a distillation chooses the epoch that it keeps."""
    return Choice(spec.best, spec.guard)


def _identity(student: Student, target: Teacher | None, spec: DistillSpec, settings: TrainSpec) -> dict[str, str]:
    """What a checkpoint's training must have in common with this one: networks, plan and recipe."""
    return {
        "kind": "distillation",
        "network": structure_digest(student),
        "plan": text_digest(plan_to_json(student.plan)),
        "teacher": "none" if target is None else value_digest(target.network),
        **spec_items("distill", spec),
        **training_items(settings),
    }


@contextlib.contextmanager
def _weights_kept(student: Student) -> Iterator[None]:
    """Inside, no weight and no range of one is trained."""
    layers = [each for each in student.modules() if isinstance(each, QuantSynapse)]
    kept = [parameter for layer in layers for parameter in layer.weight_parameters() if parameter.requires_grad]
    for parameter in kept:
        parameter.requires_grad_(False)
    try:
        if not any(parameter.requires_grad for parameter in student.parameters()):
            raise TrainingError(
                "distill.weights: keep must leave something to train (this student has weights alone: no batch norm or "
                "bias, no learned range of a membrane)",
                hints=["write `weights: train`, or `membrane: {scale: learned}` in `quantize`"],
            )
        yield
    finally:
        for parameter in kept:
            parameter.requires_grad_(True)


class _Distillation:
    """The objective: `distillation_loss` at each T."""

    def __init__(self, student: Student, teacher: Teacher | None, spec: DistillSpec, moments_of: Moments) -> None:
        self._student, self._teacher, self._spec, self._moments_of = student, teacher, spec, moments_of

    def __call__(self, x: Tensor, y: Tensor, *, epoch: int) -> Iterator[PassLoss]:
        """The loss of x [T_max, N, ...], y [N] at each T."""
        target, spec = self._target(x), _of_epoch(self._spec, epoch)
        for steps in self._spec.time_steps or (len(x),):
            check_steps(steps, x, key="distill.time_steps")
            seen, loss = self._losses(x, y, steps, target, spec)
            right = (seen.logits.detach().mean(0).argmax(1) == y.to(x.device, non_blocking=True)).sum()
            yield PassLoss(loss.total, loss.named(), right)

    def validations(self, batches: Iterable[Batch], time_steps: Sequence[int | None]) -> tuple[Validation, ...]:
        """Accuracy and all losses of the student as it is evaluated, at each T, in one walk; no gradient.

        The sum is that of the last epoch, for every epoch, so that they can be compared.

        One process does it, however many train: moments are of its batches.
        """
        sums, spec = [_Sums() for _ in time_steps], _of_epoch(self._spec, self._spec.epochs)
        turn = itertools.cycle(sums)
        target: Observation | None = None

        def answer(x: Tensor, y: Tensor, steps: int) -> Tensor:
            nonlocal target
            own = next(turn)
            if own is sums[0]:  # the teacher runs on all steps, once a batch
                target = self._target(x)
            seen, loss = self._losses(x, y, steps, target, spec)
            own.add(seen, loss, y, rate=mean_rate(seen, self._student.graph))
            return seen.output

        metrics = evaluate_at(self._student, batches, time_steps, answer=answer)
        return tuple(own.validation(found) for own, found in zip(sums, metrics, strict=True))

    def _target(self, x: Tensor) -> Observation | None:
        self._student.require_shape(x)
        return None if self._teacher is None else self._teacher.observe(x)

    def _losses(
        self, x: Tensor, y: Tensor, steps: int, target: Observation | None, spec: DistillSpec
    ) -> tuple[Observation, LossParts]:
        """What the student does in the first `steps` steps of x, and its losses; `target`: the teacher on all of x."""
        graph, beside = self._student.graph, None
        seen = observe(self._student, graph, x[:steps])
        check_labels(seen.logits[0], y)  # where they are: on the host no step waits for them
        y = y.to(x.device, non_blocking=True)
        if self._teacher is not None and target is not None:
            beside = self._teacher.beside(steps, x, target, spec)
        return seen, distillation_loss(seen, beside, y=y, graph=graph, spec=spec, moments_of=self._moments_of)


def _of_epoch(spec: DistillSpec, epoch: int) -> DistillSpec:
    """The losses of an epoch, counted from 1: membranes have weight 0 after theirs."""
    membrane = spec.membrane
    if membrane is None or membrane.epochs is None or epoch <= membrane.epochs:
        return spec
    return spec.model_copy(update={"membrane": membrane.model_copy(update={"weight": 0.0})})


@dataclass
class _Sums:
    """Over the batches of one validation at one T."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    right: list[Tensor] = field(default_factory=list)
    rates: list[Tensor] = field(default_factory=list)

    def add(self, seen: Observation, loss: LossParts, y: Tensor, *, rate: Tensor) -> None:
        """Add a batch."""
        for name, part in loss.named().items():
            self.losses[name] = self.losses.get(name, torch.zeros_like(part)) + part * len(y)
        self.rates.append(rate * len(y))
        self.right.append(mean_logits(seen.output).argmax(1) == y)

    def validation(self, metrics: Metrics) -> Validation:
        """The sums as means."""
        losses = {name: float(loss) / metrics.samples for name, loss in self.losses.items()}
        _require_finite(losses, metrics.time_steps)
        return Validation(
            time_steps=metrics.time_steps,
            accuracy=metrics.accuracy,
            loss=metrics.loss,
            total=losses["total"],
            right="".join(map(str, torch.cat(self.right).int().tolist())),
            rate=float(torch.stack(self.rates).sum()) / metrics.samples,
        )


def _require_finite(losses: Mapping[str, float], time_steps: int) -> None:
    """TrainingError for the part that is not, before the sum that it breaks."""
    for name, loss in sorted(losses.items(), key=lambda named: named[0] == "total"):
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss must stay finite: {name} is {loss} on validation samples at T={time_steps}",
                hints=["lower optimizer.lr", "look for NaN in the data and in the teacher's answers"],
            )


def check_steps(steps: int, x: Tensor, *, key: str) -> None:
    """TrainingError where a batch x [T, N, ...] has fewer steps than a network is to be trained for."""
    if steps > len(x):
        raise TrainingError(
            f"{key} must be at most the {len(x)} steps of the data (got {steps})",
            hints=["load the data with more steps (data.time_steps), or leave the larger numbers out"],
        )

"""distill(student, teacher=…) -> the student trained under its float teacher; the teacher is not changed."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mdcompress.calibration.norm_statistics import has_statistics, with_statistics
from mdcompress.data.inputs import on_device
from mdcompress.errors import TrainingError
from mdcompress.evaluation import check_labels, evaluate, mean_logits
from mdcompress.graph import SnnGraph
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.losses import LossParts, Moments, distillation_loss, layer_weights, mean_rate, own_moments
from mdcompress.modes import tensors_of, to_evaluation_mode
from mdcompress.planning import plan_to_json
from mdcompress.processes import ALONE, Processes
from mdcompress.recipe import DistillSpec, MembraneLossSpec, RateLossSpec, TrainSpec
from mdcompress.student import Observation, Student
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from mdcompress.tracing.unwrapping import unwrapped
from mdcompress.training.choosing import Choice
from mdcompress.training.determinism import Batch, reproducible, seeded_batches
from mdcompress.training.devices import usable_device
from mdcompress.training.engine import CheckpointPolicy, Job, PassLoss, count_batches, run_job
from mdcompress.training.gradual import GradualBits
from mdcompress.training.history import Progress, Validation
from mdcompress.training.identity import spec_items, structure_digest, text_digest, training_items, value_digest
from mdcompress.training.layout import lay_out_for
from mdcompress.training.other_teacher import OtherTeacher
from mdcompress.training.scoring import student_scores
from mdcompress.training.statistics import moments_over

STATISTICS_BATCHES = 8  # of epoch 1, for a teacher at fewer steps
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
    target = _Teacher.of(teacher, student, spec, train, seed, device)
    validated = _Distillation(student, target, spec, own_moments).validation
    every = settings.checkpoint_every if checkpoint_every is None else checkpoint_every
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
        checkpoint=None if checkpoint is None else CheckpointPolicy(checkpoint, every, identity),
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


def _identity(student: Student, target: _Teacher | None, spec: DistillSpec, settings: TrainSpec) -> dict[str, str]:
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


@dataclass(frozen=True)
class _Teacher:
    """A network to learn from, its trace, and what it is at the fewer steps of some students.

    other: it, where it is not the student's own float network; student: then the student's graph. Its trace is None
    where its answers alone are compared.
    """

    network: nn.Module
    graph: SnnGraph | None
    at: Mapping[int, nn.Module]
    other: OtherTeacher | None = None
    student: SnnGraph | None = None

    @classmethod
    def of(
        cls,
        teacher: nn.Module | OtherTeacher | None,
        student: Student,
        spec: DistillSpec,
        train: Iterable[Batch],
        seed: int,
        device: torch.device,
    ) -> _Teacher | None:
        """The teacher on the device; TrainingError where it is missing or does not fit the student."""
        if spec.logits is None and spec.membrane is None and spec.rates is None:
            return None
        if teacher is None:
            raise TrainingError(
                "distill.logits, membrane and rates compare with a teacher (got none)",
                hints=["give teacher=, the float network", "or switch them off, e.g. `logits: null`, `membrane: null`"],
            )
        if isinstance(teacher, OtherTeacher):
            return cls._of_other(teacher.on(device), student, spec, train, seed, device)
        if not isinstance(teacher, Student):
            teacher = _fitted(teacher, student.graph)
        own = teacher.graph if isinstance(teacher, Student) else _traced(teacher, student.graph)
        graph = own.named_as(student.graph)
        _check_fits(graph, student.graph, spec)
        network = copy.deepcopy(unwrapped(teacher)).to(device)
        to_evaluation_mode(network)
        if not isinstance(network, Student):
            lay_out_for(device, network, torch.zeros(graph.time_steps, 2, *graph.input.shape, device=device))
        return cls(network, graph, _at_fewer_steps(network, spec, train, seed, device))

    @classmethod
    def _of_other(
        cls,
        other: OtherTeacher,
        student: Student,
        spec: DistillSpec,
        train: Iterable[Batch],
        seed: int,
        device: torch.device,
    ) -> _Teacher:
        compared = _compared(student.graph, spec)
        with reproducible(device):
            first, _ = next(iter(train))
        other.check(on_device(first, device), math.prod(student.graph.readout.shape))
        if not compared:
            return cls(other.network, None, {}, other, student.graph)
        if other.reads == "mean":
            raise TrainingError(
                "membranes and rates are compared with those of a teacher that reads every step (it reads the mean)",
                hints=["an ANN has none: write `membrane: null` and `rates: null`, and learn from its answers"],
            )
        graph = _traced(other.network, student.graph)
        other.check_neurons(graph, student.graph, compared)
        at = _at_fewer_steps(other.network, spec, train, seed, device)
        return cls(other.network, graph, at, other, student.graph)

    def observe(self, x: Tensor) -> Observation:
        """What the teacher does on x; no gradient."""
        return self._observed(self.network, x)

    def beside(self, steps: int, x: Tensor, seen: Observation, spec: DistillSpec) -> Observation:
        """What a student of `steps` steps is compared with; `seen`: what the teacher does on all of x."""
        if steps not in self.at or steps == len(x):
            return seen
        own = self._observed(self.at[steps], x[:steps])
        near = {section: loss is not None and loss.align == "first_steps" for section, loss in _layer_losses(spec)}
        return replace(
            seen,
            potentials=own.potentials if near["membrane"] else seen.potentials,
            spikes=own.spikes if near["rates"] else seen.spikes,
        )

    def _observed(self, network: nn.Module, x: Tensor) -> Observation:
        if self.graph is None:
            assert self.other is not None
            return self.other.answers_alone(x)
        with torch.no_grad():
            seen = observe(network, self.graph, x)
        if self.other is None or self.student is None:
            return seen
        return self.other.named_as_students(seen, self.graph, self.student)


def _at_fewer_steps(
    network: nn.Module, spec: DistillSpec, train: Iterable[Batch], seed: int, device: torch.device
) -> dict[int, nn.Module]:
    """The network with the statistics of the first T steps, for each listed T below all steps; where that is needed."""
    if spec.time_steps is None or not _aligned_by_first_steps(spec) or not has_statistics(network):
        return {}
    with reproducible(device):
        first = itertools.islice(seeded_batches(train, seed=seed, epoch=1), STATISTICS_BATCHES)
        inputs = [on_device(x, device) for _, (x, _) in first]
    fewer = [steps for steps in spec.time_steps if any(steps < len(x) for x in inputs)]
    return {steps: with_statistics(network, [x[:steps] for x in inputs]) for steps in fewer}


def _layer_losses(spec: DistillSpec) -> tuple[tuple[str, MembraneLossSpec | RateLossSpec | None], ...]:
    return (("membrane", spec.membrane), ("rates", spec.rates))


def _aligned_by_first_steps(spec: DistillSpec) -> bool:
    return any(loss is not None and loss.align == "first_steps" for _, loss in _layer_losses(spec))


class _Distillation:
    """The objective: `distillation_loss` at each T."""

    def __init__(self, student: Student, teacher: _Teacher | None, spec: DistillSpec, moments_of: Moments) -> None:
        self._student, self._teacher, self._spec, self._moments_of = student, teacher, spec, moments_of

    def __call__(self, x: Tensor, y: Tensor) -> Iterator[PassLoss]:
        """The loss of x [T_max, N, ...], y [N] at each T."""
        target = self._target(x)
        for steps in self._spec.time_steps or (len(x),):
            check_steps(steps, x, key="distill.time_steps")
            seen, loss = self._losses(x, y, steps, target)
            right = (seen.logits.detach().mean(0).argmax(1) == y.to(x.device, non_blocking=True)).sum()
            yield PassLoss(loss.total, loss.named(), right)

    def validation(self, batches: Iterable[Batch], time_steps: int | None) -> Validation:
        """Accuracy and all losses in one pass, of the student as it is evaluated; no gradient.

        One process does it, however many train: moments are of its batches.
        """
        sums, right, rates = dict[str, Tensor](), list[Tensor](), list[Tensor]()

        def answer(x: Tensor, y: Tensor, steps: int) -> Tensor:
            seen, loss = self._losses(x, y, steps, self._target(x))
            for name, part in loss.named().items():
                sums[name] = sums.get(name, torch.zeros_like(part)) + part * len(y)
            rates.append(mean_rate(seen, self._student.graph) * len(y))
            right.append(mean_logits(seen.output).argmax(1) == y)
            return seen.output

        metrics = evaluate(self._student, batches, time_steps=time_steps, answer=answer)
        losses = {name: float(loss) / metrics.samples for name, loss in sums.items()}
        _require_finite(losses, metrics.time_steps)
        return Validation(
            time_steps=metrics.time_steps,
            accuracy=metrics.accuracy,
            loss=metrics.loss,
            total=losses["total"],
            right="".join(map(str, torch.cat(right).int().tolist())),
            rate=float(torch.stack(rates).sum()) / metrics.samples,
        )

    def _target(self, x: Tensor) -> Observation | None:
        self._student.require_shape(x)
        return None if self._teacher is None else self._teacher.observe(x)

    def _losses(self, x: Tensor, y: Tensor, steps: int, target: Observation | None) -> tuple[Observation, LossParts]:
        """What the student does in the first `steps` steps of x, and its losses; `target`: the teacher on all of x."""
        graph, spec, beside = self._student.graph, self._spec, None
        seen = observe(self._student, graph, x[:steps])
        check_labels(seen.logits[0], y)  # where they are: on the host no step waits for them
        y = y.to(x.device, non_blocking=True)
        if self._teacher is not None and target is not None:
            beside = self._teacher.beside(steps, x, target, spec)
        return seen, distillation_loss(seen, beside, y=y, graph=graph, spec=spec, moments_of=self._moments_of)


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


def _fitted(teacher: nn.Module, graph: SnnGraph) -> nn.Module:
    """The teacher as it takes [T, N, ...]: as it came, or as `compress` found that it wants to be called."""
    device = next((tensor.device for tensor in tensors_of(teacher).values()), None)
    image = torch.linspace(0, 1, 2 * math.prod(graph.input.shape), device=device).reshape(2, *graph.input.shape)
    return fit(teacher, image.expand(graph.time_steps, *image.shape)).network


def _traced(teacher: nn.Module, graph: SnnGraph) -> SnnGraph:
    device = next((tensor.device for tensor in tensors_of(teacher).values()), None)
    return trace(teacher, torch.zeros(graph.time_steps, 2, *graph.input.shape, device=device))


def _compared(student: SnnGraph, spec: DistillSpec) -> tuple[str, ...]:
    """The names of the student's neuron layers that a loss compares with the teacher's."""
    sections = ((section, loss) for section, loss in _layer_losses(spec) if loss is not None)
    return tuple(dict.fromkeys(name for each, loss in sections for name in layer_weights(student, loss, section=each)))


def _check_fits(teacher: SnnGraph, student: SnnGraph, spec: DistillSpec) -> None:
    shapes = {node.name: node.shape for node in teacher}
    for name in _compared(student, spec):
        shape = student.node(name).shape
        if shapes.get(name) != shape:
            raise TrainingError(
                f"the teacher must have a neuron layer {name!r} of shape {shape} to compare with "
                f"(it has {shapes.get(name, 'none of that name')})",
                hints=["give the float network the student was traced from, or narrow `match`"],
            )
    if teacher.readout.shape != student.readout.shape:
        raise TrainingError(
            f"teacher and student must have the same classes (logits {teacher.readout.shape}, {student.readout.shape})",
            hints=["give the float network the student was traced from"],
        )

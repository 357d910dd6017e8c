"""A float network, a finer student or another network, and a student -> the teacher that its losses compare it with."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mdcompress.calibration.norm_statistics import has_statistics, with_statistics
from mdcompress.data.inputs import on_device
from mdcompress.errors import TrainingError
from mdcompress.graph import SnnGraph
from mdcompress.losses import layer_weights
from mdcompress.modes import tensors_of, to_evaluation_mode
from mdcompress.recipe import DistillSpec, MembraneLossSpec, RateLossSpec
from mdcompress.student import Observation, Student
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from mdcompress.tracing.unwrapping import unwrapped
from mdcompress.training.answers import LIMIT_BYTES, Answers, Compared
from mdcompress.training.determinism import Batch, reproducible, seeded_batches
from mdcompress.training.layout import lay_out_for
from mdcompress.training.other_teacher import OtherTeacher

STATISTICS_BATCHES = 8  # of epoch 1, for a teacher at fewer steps


@dataclass(frozen=True)
class Teacher:
    """A network to learn from, its trace, and what it is at the fewer steps of some students.

    other: it, where it is not the student's own float network; student: then the student's graph. Its trace is None
    where its answers alone are compared. known: what it has shown on samples, and what it has at fewer steps.
    """

    network: nn.Module
    graph: SnnGraph | None
    at: Mapping[int, nn.Module]
    other: OtherTeacher | None = None
    student: SnnGraph | None = None
    known: Mapping[nn.Module, Answers] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        teacher: nn.Module | OtherTeacher | None,
        student: Student,
        spec: DistillSpec,
        train: Iterable[Batch],
        seed: int,
        device: torch.device,
    ) -> Teacher | None:
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
    ) -> Teacher:
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
            membranes=own.membranes if near["membrane"] else seen.membranes,
            spikes=own.spikes if near["rates"] else seen.spikes,
        )

    def _observed(self, network: nn.Module, x: Tensor) -> Observation:
        known = self.known.get(network)
        return self.run(network, x) if known is None else known.of(x, functools.partial(self.run, network))

    def run(self, network: nn.Module, x: Tensor) -> Observation:
        """What one of its networks does on x; no gradient."""
        if self.graph is None:
            assert self.other is not None
            return self.other.answers_alone(x)
        with torch.no_grad():
            seen = observe(network, self.graph, x)
        if self.other is None or self.student is None:
            return seen
        return self.other.named_as_students(seen, self.graph, self.student)


def remembering(
    teacher: Teacher | None, batches: Iterable[Batch], student: SnnGraph, spec: DistillSpec
) -> Teacher | None:
    """The same teacher, with a memory of what it shows on these batches, where it is known how many there are."""
    if teacher is None:
        return None
    names = {
        section: () if loss is None else tuple(layer_weights(student, loss, section=section))
        for section, loss in _layer_losses(spec)
    }
    after = spec.membrane is not None and spec.membrane.potential == "after_reset"
    before_reset, after_reset = ((), names["membrane"]) if after else (names["membrane"], ())
    compared, count = Compared(before_reset, names["rates"], after_reset), _count(batches)
    networks = (teacher.network, *teacher.at.values())
    limit = LIMIT_BYTES // len(networks)
    return replace(teacher, known={each: Answers(count, compared, limit_bytes=limit) for each in networks})


def _count(batches: Iterable[Batch]) -> int:
    """How many there are; 0 where that takes a walk, as of a DataLoader of an IterableDataset."""
    try:
        return len(batches) if isinstance(batches, Sized) else 0
    except TypeError:
        return 0


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

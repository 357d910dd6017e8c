"""What a student returns and what its teacher returns -> losses. Pure functions; no gradient flows into a teacher.

Letters as in `graph.py`: T steps (T_s the student's, T_t >= T_s the teacher's), N batch, K classes. The formulas are
this project's choices; each names where its form comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from mdcompress.errors import TrainingError
from mdcompress.graph import NeuronModel, NodeKind, SnnGraph, typical
from mdcompress.patterns import match_names

if TYPE_CHECKING:
    from mdcompress.observation import Observation
    from mdcompress.recipe import DistillSpec, MembraneLossSpec

Over = Literal["mean", "steps"]
Distance = Literal["mse", "cosine"]
Normalize = Literal["threshold", "variance", "none"]
Align = Literal["first_steps", "mean", "last_step"]

SILENT_NORM = 1e-2  # in thresholds: a shorter potential vector has no direction worth copying; bounds the gradient
VARIANCE_FLOOR = 1e-4  # in thresholds squared: a teacher layer that never moves must not divide by zero


@dataclass(frozen=True)
class LossParts:
    """A loss and what it is made of, each a scalar. `total` is the weighted sum; the parts carry no weight.

    A part that is switched off is None. `membrane` is the mean of `membrane_layers`, which is keyed by neuron name.
    """

    total: Tensor
    task: Tensor | None
    logits: Tensor | None
    membrane: Tensor | None
    membrane_layers: Mapping[str, Tensor]

    def named(self) -> dict[str, Tensor]:
        """The parts that are on, by the names of the history: total, task, logits, membrane, membrane/<neuron>."""
        parts = {"total": self.total, "task": self.task, "logits": self.logits, "membrane": self.membrane}
        layers = {f"membrane/{name}": loss for name, loss in self.membrane_layers.items()}
        return {name: loss for name, loss in parts.items() if loss is not None} | layers


def task_loss(logits: Tensor, y: Tensor, *, on: Over = "mean") -> Tensor:
    """Cross-entropy with the labels.

    mean:  L = CE(1/T sum_t z_t, y)      (MS-ResNet, Hu et al. 2024)
    steps: L = 1/T sum_t CE(z_t, y)      (TET, Deng et al. 2022)

    Args:
        logits: z, shape [T, N, K].
        y: classes, int64, shape [N].
        on: whether time is averaged before or after the cross-entropy.
    """
    match on:
        case "mean":
            return functional.cross_entropy(logits.mean(0), y)
        case "steps":
            return functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)))
        case _:
            assert_never(on)


def logit_loss(student: Tensor, teacher: Tensor, *, temperature: float = 4.0, on: Over = "mean") -> Tensor:
    """Divergence of the softened answers (Hinton et al. 2015), averaged over the batch.

    KD(z_s, z_t) = tau^2 * 1/N sum_n KL(softmax(z_t/tau) || softmax(z_s/tau))
    mean:  L = KD(mean over T_s of z_s, mean over T_t of z_t): a student of few steps learns the teacher's full answer
    steps: L = 1/T_s sum_{t<T_s} KD(z_s[t], z_t[t]): step by step, the form of "temporal decoupling" (ICML 2025)

    Args:
        student: z_s, shape [T_s, N, K].
        teacher: z_t, shape [T_t, N, K], T_t >= T_s.
        temperature: tau > 0; tau -> infinity gives 1/(2K) * squared distance of the centred logits.
        on: whether time is averaged before or after the divergence.
    """
    teacher = _comparable(teacher, student)
    match on:
        case "mean":
            student, teacher = student.mean(0), teacher.mean(0)
        case "steps":
            student, teacher = student.flatten(0, 1), teacher[: len(student)].flatten(0, 1)
        case _:
            assert_never(on)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def membrane_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    threshold: float,
    distance: Distance = "mse",
    normalize: Normalize = "threshold",
    align: Align = "first_steps",
) -> Tensor:
    """Distance of one layer's membrane potentials, the idea of MD-SNN (arXiv 2512.04443).

    mse:    L = mean_{t,n,c..} (h_s - h_t)^2 / d,   d = theta^2 | variance of h_t over all its elements | 1
    cosine: L = mean_{t,n} 1/2 |u_s - u_t|^2,       u = h / max(|h|, theta/100) over c.. (= 1 - cos of the angle)

    Args:
        student: h_s before reset in real units, shape [T_s, N, ...].
        teacher: h_t, shape [T_t, N, ...] with T_t >= T_s; no gradient flows into it.
        threshold: theta of the layer.
        distance: mse or cosine.
        normalize: d of mse: threshold (theta^2), variance (of the teacher, after alignment; at least 1e-4 theta^2) or
            none. The cosine is free of scale already.
        align: first_steps compares h_s[t] with h_t[t] for t < T_s (causal: needs no later teacher step); mean compares
            means over time; last_step compares the last step of each.
    """
    student, teacher = _align(student, _comparable(teacher, student), align)
    match distance:
        case "mse":
            return (student - teacher).square().mean() / _divisor(teacher, threshold, normalize)
        case "cosine":
            difference = _directions(student, threshold) - _directions(teacher, threshold)
            return difference.square().sum(-1).mean() / 2
        case _:
            assert_never(distance)


def distillation_loss(
    student: Observation, teacher: Observation | None, *, y: Tensor, graph: SnnGraph, spec: DistillSpec
) -> LossParts:
    """L = w_task * task + w_logits * logits + w_membrane * membrane, over the parts the recipe switches on.

    membrane is the mean over the matched neuron layers, so that its weight means the same for networks of any depth.

    Args:
        student: what `observe` saw of the student, T_s steps.
        teacher: what it saw of the teacher, T_t >= T_s steps; None where neither logits nor membrane is on.
        y: classes, int64, shape [N].
        graph: the student's graph; thresholds and neuron names are read off it.
        spec: the `distill` section of a recipe.
    """
    task = None if spec.task is None else task_loss(student.logits, y, on=spec.task.on)
    logits = None
    if spec.logits is not None:
        target = _needed(teacher, "logits").logits
        logits = logit_loss(student.logits, target, temperature=spec.logits.temperature, on=spec.logits.on)
    layers: dict[str, Tensor] = {}
    if spec.membrane is not None:
        layers = _membrane_layers(student, _needed(teacher, "membrane"), graph, spec.membrane)
    membrane = torch.stack(list(layers.values())).mean() if layers else None
    weighted = [
        section.weight * loss
        for section, loss in ((spec.task, task), (spec.logits, logits), (spec.membrane, membrane))
        if section is not None and loss is not None
    ]
    if not weighted:
        raise TrainingError(
            "distill: at least one of task, logits and membrane must be on (got none)",
            hints=["give one of the sections back, e.g. `task: {weight: 1.0}`"],
        )
    return LossParts(torch.stack(weighted).sum(), task, logits, membrane, layers)


def compared_neurons(graph: SnnGraph, spec: MembraneLossSpec) -> tuple[str, ...]:
    """Names of the neuron layers whose potentials are compared, in graph order. Each pattern must match one.

    Neurons without a finite threshold (leaky readouts) are no part of it: their potential is the logit.
    """
    neurons = (node.name for node in graph.of_kind(NodeKind.NEURON))
    names = tuple(name for name in neurons if math.isfinite(typical(_model(graph, name).threshold)))
    for pattern in (spec.match,) if isinstance(spec.match, str) else spec.match:
        if not match_names(pattern, names):
            raise TrainingError(
                f"distill.membrane.match must match at least one neuron layer that fires (got {pattern!r})",
                hints=[f"they are: {', '.join(names) or '(none)'}", "use '**' for all of them"],
            )
    return match_names(spec.match, names)


def _membrane_layers(
    student: Observation, teacher: Observation, graph: SnnGraph, spec: MembraneLossSpec
) -> dict[str, Tensor]:
    losses = {}
    for name in compared_neurons(graph, spec):
        losses[name] = membrane_loss(
            student.potentials[name],
            teacher.potentials[name],
            threshold=typical(_model(graph, name).threshold),
            distance=spec.distance,
            normalize=spec.normalize,
            align=spec.align,
        )
    return losses


def _model(graph: SnnGraph, name: str) -> NeuronModel:
    model = graph.node(name).spec
    assert isinstance(model, NeuronModel)
    return model


def _needed(teacher: Observation | None, part: str) -> Observation:
    if teacher is None:
        raise TrainingError(
            f"distill.{part} compares with a teacher, and none is given",
            hints=["give `teacher=`, the float network", f"or switch the part off with `{part}: null`"],
        )
    return teacher


def _align(student: Tensor, teacher: Tensor, align: Align) -> tuple[Tensor, Tensor]:
    match align:
        case "first_steps":
            return student, teacher[: len(student)]
        case "mean":
            return student.mean(0, keepdim=True), teacher.mean(0, keepdim=True)
        case "last_step":
            return student[-1:], teacher[-1:]
        case _:
            assert_never(align)


def _comparable(teacher: Tensor, student: Tensor) -> Tensor:
    """The teacher without its gradient; TrainingError unless it has the student's shape per step, and T_t >= T_s."""
    if len(teacher) < len(student) or teacher.shape[1:] != student.shape[1:]:
        raise TrainingError(
            "the teacher must have the student's shape per step, and at least its steps "
            f"(teacher {list(teacher.shape)}, student {list(student.shape)})",
            hints=["run the teacher on all T steps of the batch, the student on the first of them"],
        )
    return teacher.detach()


def _divisor(teacher: Tensor, threshold: float, normalize: Normalize) -> Tensor | float:
    match normalize:
        case "threshold":
            return threshold**2
        case "variance":
            return teacher.var(correction=0).clamp_min(VARIANCE_FLOOR * threshold**2)
        case "none":
            return 1.0
        case _:
            assert_never(normalize)


def _directions(potentials: Tensor, threshold: float) -> Tensor:
    """Unit vectors per step and sample, [T, N, F]; vectors shorter than theta/100 are not stretched to length 1."""
    flat = potentials.flatten(2)
    length = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    directions: Tensor = flat / length.clamp_min(SILENT_NORM * threshold)
    return directions

"""What `observe` saw of student and teacher, and the recipe's `distill` section -> the loss that is minimised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor

from mdcompress.distances import Moments, own_moments
from mdcompress.errors import TrainingError
from mdcompress.graph import Carries, NeuronModel, SnnGraph, operations_per_spike, typical
from mdcompress.losses.parts import logit_loss, membrane_loss, rate_loss, sparsity_loss, task_loss
from mdcompress.recipe.patterns import match_names

if TYPE_CHECKING:
    from mdcompress.recipe import DistillSpec, LayerLossSpec, MembraneLossSpec, RateLossSpec, SparsitySpec
    from mdcompress.student import Observation

STAGE_ENDS = "@stage_ends"  # the role in `match`: see `stage_ends`


@dataclass(frozen=True)
class LossParts:
    """A loss and what it is made of, each a scalar. `total` is the weighted sum; the parts carry no weight.

    A part that is switched off is None. `membrane` and `rates` are weighted means of `membrane_layers` and
    `rate_layers`, which are keyed by neuron name; `sparsity_layers` are the firing rates that `sparsity` is made of.
    """

    total: Tensor
    task: Tensor | None
    logits: Tensor | None
    membrane: Tensor | None
    membrane_layers: Mapping[str, Tensor]
    rates: Tensor | None = None
    rate_layers: Mapping[str, Tensor] = field(default_factory=dict)
    sparsity: Tensor | None = None
    sparsity_layers: Mapping[str, Tensor] = field(default_factory=dict)

    def named(self) -> dict[str, Tensor]:
        """The parts that are on, as the history names them: total, task, …, membrane/<neuron>, …"""
        parts = {
            "total": self.total,
            "task": self.task,
            "logits": self.logits,
            "membrane": self.membrane,
            "rates": self.rates,
            "sparsity": self.sparsity,
        }
        layers = {f"membrane/{name}": loss for name, loss in self.membrane_layers.items()}
        layers |= {f"rates/{name}": loss for name, loss in self.rate_layers.items()}
        layers |= {f"sparsity/{name}": rate for name, rate in self.sparsity_layers.items()}
        return {name: loss for name, loss in parts.items() if loss is not None} | layers


def distillation_loss(
    student: Observation,
    teacher: Observation | None,
    *,
    y: Tensor,
    graph: SnnGraph,
    spec: DistillSpec,
    moments_of: Moments = own_moments,
) -> LossParts:
    """L = the sum of task, logits, membrane, rates and sparsity, each times its weight, over those switched on.

    membrane and rates are sum_l w_l L_l / sum_l w_l over the matched neuron layers l, so that their weights mean the
    same for networks of any depth.

    Args:
        student: what `observe` saw of the student, T_s steps.
        teacher: what it saw of the teacher, T_t >= T_s steps; None where task is the only part.
        y: classes, int64, shape [N].
        graph: the student's graph; thresholds and neuron names are read off it.
        spec: the `distill` section of a recipe.
        moments_of: mean and variance of potentials, over more than this batch where processes share one.
    """
    task = None if spec.task is None else task_loss(student.logits, y, on=spec.task.on)
    logits, membrane, rates, sparsity = None, None, None, None
    membrane_layers: dict[str, Tensor] = {}
    rate_layers: dict[str, Tensor] = {}
    sparsity_layers: dict[str, Tensor] = {}
    if spec.logits is not None:
        target = _needed(teacher, "logits").logits
        logits = logit_loss(student.logits, target, temperature=spec.logits.temperature, on=spec.logits.on)
    if spec.membrane is not None:
        membrane_layers = _membrane_layers(student, _needed(teacher, "membrane"), graph, spec.membrane, moments_of)
        membrane = _weighted_mean(membrane_layers, layer_weights(graph, spec.membrane, section="membrane"))
    if spec.rates is not None:
        rate_layers = _rate_layers(student, _needed(teacher, "rates"), graph, spec.rates)
        rates = _weighted_mean(rate_layers, layer_weights(graph, spec.rates, section="rates"))
    if spec.sparsity is not None:
        sparsity_layers = _firing_rates(student, compared_neurons(graph, spec.sparsity, section="sparsity"))
        sparsity = _sparsity(sparsity_layers, graph, spec.sparsity)
    weighted = [
        section.weight * loss
        for section, loss in (
            (spec.task, task), (spec.logits, logits), (spec.membrane, membrane), (spec.rates, rates),
            (spec.sparsity, sparsity),
        )
        if section is not None and loss is not None
    ]  # fmt: skip
    if not weighted:
        raise TrainingError(
            "distill: at least one of task, logits, membrane and rates must be on (got none)",
            hints=["give one of the sections back, e.g. `task: {weight: 1.0}`"],
        )
    return LossParts(
        torch.stack(weighted).sum(), task, logits, membrane, membrane_layers, rates, rate_layers, sparsity,
        sparsity_layers,
    )  # fmt: skip


def compared_neurons(graph: SnnGraph, spec: LayerLossSpec, *, section: str = "membrane") -> tuple[str, ...]:
    """Names of the neuron layers that a loss compares, in graph order. Each pattern must match one.

    Neurons without a finite threshold (leaky readouts) are no part of it: their potential is the logit.
    """
    names = firing_neurons(graph)
    found = {name for pattern in spec.patterns for name in _matching(graph, names, pattern, f"distill.{section}.match")}
    return tuple(name for name in names if name in found)


def layer_weights(graph: SnnGraph, spec: LayerLossSpec, *, section: str) -> dict[str, float]:
    """The weight of each compared layer: that of the last pattern of `layer_weights` that matches it, else 1."""
    names = compared_neurons(graph, spec, section=section)
    weights = _by_layer(graph, names, spec.layer_weights, key=f"distill.{section}.layer_weights", otherwise=1.0)
    if not any(weights.values()):
        raise TrainingError(
            f"distill.{section}.layer_weights must leave a layer a weight above 0 (all {len(names)} have 0)",
            hints=[f"give one a weight, or switch the part off with `{section}: null`"],
        )
    return weights


def mean_rate(seen: Observation, graph: SnnGraph) -> Tensor:
    """Spikes per neuron and step, over all neurons that fire (0 where none does); a scalar without a gradient."""
    spikes = [seen.spikes[name].detach() for name in firing_neurons(graph)]
    if not spikes:
        return seen.logits.new_zeros(())
    return torch.stack([each.sum() for each in spikes]).sum() / sum(each.numel() for each in spikes)


def firing_neurons(graph: SnnGraph) -> tuple[str, ...]:
    """Names of the neuron layers that fire, in graph order."""
    spiking = (node for node in graph.of(NeuronModel) if node.carries is Carries.SPIKES)
    return tuple(node.name for node in spiking if math.isfinite(typical(node.spec.threshold)))


def stage_ends(graph: SnnGraph) -> tuple[str, ...]:
    """The last firing layer of each run of layers of one shape: where a network's stages end.

    In an MS-ResNet these are the neurons that read the finished residual stream of a stage (its four points, as in
    "overhaul" feature distillation, Heo et al. 2019); a plain VGG has one before each change of channels or pooling.
    """
    names = firing_neurons(graph)
    shapes = [graph.node(name).shape for name in names]
    return tuple(
        name for name, shape, following in zip(names, shapes, [*shapes[1:], None], strict=True) if shape != following
    )


def layer_threshold(graph: SnnGraph, name: str) -> float:
    """The threshold that stands for a neuron layer."""
    models = {node.name: node.spec for node in graph.of(NeuronModel)}
    return typical(models[name].threshold)


def _matching(graph: SnnGraph, names: tuple[str, ...], pattern: str, key: str) -> tuple[str, ...]:
    """The names that a pattern or the role @stage_ends selects; TrainingError where there is none."""
    if pattern == STAGE_ENDS:
        matched = tuple(name for name in stage_ends(graph) if name in names)
    else:
        matched = match_names(pattern, names)
    if not matched:
        raise TrainingError(
            f"{key} must match at least one neuron layer that fires (got {pattern!r})",
            hints=[f"they are: {', '.join(names) or '(none)'}", f"use '**' for all of them, or '{STAGE_ENDS}'"],
        )
    return matched


def _membrane_layers(
    student: Observation, teacher: Observation, graph: SnnGraph, spec: MembraneLossSpec, moments_of: Moments
) -> dict[str, Tensor]:
    match spec.potential:
        case "before_reset":
            own, theirs = student.potentials, teacher.potentials
        case "after_reset":
            own, theirs = student.membranes, teacher.membranes
        case _:
            assert_never(spec.potential)
    return {
        name: membrane_loss(
            own[name],
            theirs[name],
            threshold=layer_threshold(graph, name),
            distance=spec.distance,
            normalize=spec.normalize,
            align=spec.align,
            pool=spec.pool,
            moments_of=moments_of,
        )
        for name in compared_neurons(graph, spec)
    }


def _rate_layers(student: Observation, teacher: Observation, graph: SnnGraph, spec: RateLossSpec) -> dict[str, Tensor]:
    return {
        name: rate_loss(student.spikes[name], teacher.spikes[name], align=spec.align, unit=spec.unit)
        for name in compared_neurons(graph, spec, section="rates")
    }


def _firing_rates(seen: Observation, names: Sequence[str]) -> dict[str, Tensor]:
    """Spikes per neuron and step."""
    return {name: seen.spikes[name].mean() for name in names}


def _sparsity(rates: Mapping[str, Tensor], graph: SnnGraph, spec: SparsitySpec) -> Tensor:
    key = "distill.sparsity.layer_targets"
    return sparsity_loss(
        rates,
        targets=_by_layer(graph, tuple(rates), spec.layer_targets, key=key, otherwise=spec.target),
        weights=layer_weights(graph, spec, section="sparsity"),
        neurons=_counted_neurons(graph, spec, tuple(rates)),
        per=spec.per,
    )


def _counted_neurons(graph: SnnGraph, spec: SparsitySpec, names: Sequence[str]) -> dict[str, float]:
    """How much each layer counts in the rate of the network: its neurons, or the operations if all of them fire."""
    neurons = {name: float(math.prod(graph.node(name).shape)) for name in names}
    if spec.per != "operations":
        return neurons
    caused = operations_per_spike(graph)
    counted = {name: count * caused[name] for name, count in neurons.items()}
    if not any(counted.values()):
        raise TrainingError(
            f"distill.sparsity.per: operations must have a layer whose spikes reach a synapse (got {', '.join(names)})",
            hints=["match other layers, or write `per: network`"],
        )
    return counted


def _by_layer(
    graph: SnnGraph, names: tuple[str, ...], given: Mapping[str, float], *, key: str, otherwise: float
) -> dict[str, float]:
    """The number of each layer: that of the last pattern that matches it."""
    found = dict.fromkeys(names, otherwise)
    for pattern, value in given.items():
        found |= dict.fromkeys(_matching(graph, names, pattern, key), value)
    return found


def _weighted_mean(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """sum_l w_l L_l / sum_l w_l."""
    weighted = [loss if weights[name] == 1.0 else weights[name] * loss for name, loss in losses.items()]
    total = torch.stack(weighted).sum()
    return total / math.fsum(weights.values())


def _needed(teacher: Observation | None, part: str) -> Observation:
    if teacher is None:
        raise TrainingError(
            f"distill.{part} compares with a teacher, and none is given",
            hints=["give `teacher=`, the float network", f"or switch the part off with `{part}: null`"],
        )
    return teacher

"""Norms of a synapse: one batch norm for all steps, one for each step (BNTT), or one with a factor a step (TEBN).

Where steps differ, mean, variance, gain and offset are [T, C] in place of [C].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, assert_never

import torch
from torch import Tensor, nn

from mdcompress.graph import AffineSpec, SynapseSpec
from mdcompress.layers.norms import (
    Affine,
    BatchNorm,
    adopt_norm,
    batch_statistics,
    make_norm,
    norm_affine,
    running_statistics,
)


class StepNorms(nn.Module):
    """A batch norm for every step, with statistics of its own (Kim and Panda 2021, BNTT).

    Args:
        names: of the network's norm at each step; steps of one name share one norm.
        channels: C; map_axes: how many axes follow the channels.
    """

    def __init__(self, names: Sequence[str], channels: int, map_axes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(make_norm(channels, map_axes) for _ in dict.fromkeys(names))
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        self._places = tuple(places[name] for name in names)

    @property
    def of_step(self) -> tuple[BatchNorm, ...]:
        """The norm of each step."""
        found = []
        for place in self._places:
            norm = self.norms[place]
            assert isinstance(norm, BatchNorm)
            found.append(norm)
        return tuple(found)


class ScaledNorm(nn.Module):
    """One batch norm whose output has a learned factor for each step, k_t*(g*x + b) (Duan et al. 2022, TEBN)."""

    def __init__(self, steps: int, channels: int, map_axes: int) -> None:
        super().__init__()
        self.norm = make_norm(channels, map_axes)
        self.scale = nn.Parameter(torch.ones(steps))


Norm: TypeAlias = BatchNorm | StepNorms | ScaledNorm
NormSource: TypeAlias = BatchNorm | tuple[BatchNorm, ...]  # the network's: one, or one for each step
Statistics: TypeAlias = tuple[Tensor, Tensor]  # mean and variance, [C] or [T, C]


class NormOwner(Protocol):
    """A layer with a norm that others may share."""

    norm: Norm | None


def norm_layer(spec: SynapseSpec | AffineSpec, channels: int, map_axes: int) -> Norm | None:
    """The norm that a spec names; None where it names none."""
    if spec.batch_norm is None:
        return None
    if spec.step_norms:
        return StepNorms(spec.step_norms, channels, map_axes)
    return ScaledNorm(spec.step_scales, channels, map_axes) if spec.step_scales else make_norm(channels, map_axes)


def adopt(norm: Norm, source: NormSource) -> None:
    """Give `norm` the parameters and statistics of the network's."""
    match norm, source:
        case StepNorms(), tuple():
            for own, given in zip(norm.of_step, source, strict=True):
                adopt_norm(own, given)
        case ScaledNorm(), BatchNorm():
            adopt_norm(norm.norm, source)
            norm.scale.copy_(source.get_parameter("scale"))
        case BatchNorm(), BatchNorm():
            adopt_norm(norm, source)
        case _:
            raise AssertionError("the norm was made for the graph, and the graph read off the network")


def plain_norms(norm: Norm) -> tuple[BatchNorm, ...]:
    """The batch norms that it is made of."""
    match norm:
        case StepNorms():
            return tuple(dict.fromkeys(norm.of_step))
        case ScaledNorm(norm=one) | (BatchNorm() as one):
            return (one,)
        case _:
            assert_never(norm)


def follows_batches(norm: Norm) -> bool:
    """Whether the norm takes its statistics from the batch: not in evaluation, nor where it is frozen in training.

    Nor where it stands for constants of the network, which have no statistics to follow.
    """
    return norm.training and all(own.training and own.track_running_stats for own in plain_norms(norm))


def statistics_in_use(norm: Norm) -> Statistics:
    """Running mean and variance: what evaluation uses."""
    match norm:
        case StepNorms():
            return _stacked([running_statistics(own) for own in norm.of_step])
        case ScaledNorm(norm=one) | (BatchNorm() as one):
            return running_statistics(one)
        case _:
            assert_never(norm)


def statistics_of(norm: Norm, values: Tensor, scale: Tensor, offset: Tensor | None) -> Statistics:
    """Mean and variance of values*scale + offset over the batch [T, N, C, ...]; running ones are updated too."""
    match norm:
        case StepNorms():
            steps = zip(norm.of_step, torch.split(values, 1), strict=True)
            return _stacked([batch_statistics(own, step, scale, offset) for own, step in steps])
        case ScaledNorm(norm=one) | (BatchNorm() as one):
            return batch_statistics(one, values, scale, offset)
        case _:
            assert_never(norm)


def affine_of(norm: Norm, statistics: Statistics) -> Affine:
    """Gain and offset, [C] or [T, C], under given statistics."""
    match norm:
        case StepNorms():
            rows = [norm_affine(own, *step) for own, *step in zip(norm.of_step, *statistics, strict=True)]
            return Affine(torch.stack([row.gain for row in rows]), torch.stack([row.offset for row in rows]))
        case ScaledNorm():
            affine, factors = norm_affine(norm.norm, *statistics), norm.scale[:, None]
            return Affine(factors * affine.gain, factors * affine.offset)
        case BatchNorm():
            return norm_affine(norm, *statistics)
        case _:
            assert_never(norm)


def _stacked(steps: Sequence[Statistics]) -> Statistics:
    return torch.stack([mean for mean, _ in steps]), torch.stack([variance for _, variance in steps])

"""QuantSynapse: synapse and batch norm as integers, spikes in, currents out.

acc = sum q_w * s;  j = (acc*M_c + B_c) >> S  with  M_c = g*s_w*s_in/s_f, B_c = b/s_f  (numerics: FORMAT.md, "Requant").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from mdcompress.graph import SynapseSpec
from mdcompress.layers.constants import constant
from mdcompress.layers.norms import Affine
from mdcompress.layers.quantizers import (
    BrevitasLayer,
    IntegerWeight,
    change_weight_policy,
    fit_weight_range,
    integer_weight,
    quantized_layer,
)
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.layers.requant import RequantConstants, requant_constants, requantized
from mdcompress.layers.step_norms import (
    Norm,
    NormOwner,
    NormSource,
    Statistics,
    adopt,
    affine_of,
    follows_batches,
    norm_layer,
    statistics_in_use,
    statistics_of,
)
from mdcompress.layers.sums import EXACT_IN_FLOAT32, TRAINING, exact_arithmetic, exchanged, window_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdcompress.recipe import BatchNormPolicy, WeightPolicy

FloatTransposed: TypeAlias = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
FloatSynapse: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | FloatTransposed | nn.Linear


class FloatWeights(Protocol):
    """What holds float weights: a torch layer, or those of a neuron that has its own."""

    @property
    def weight(self) -> Tensor:
        """Of the spec's weight shape."""
        ...

    @property
    def bias(self) -> Tensor | None:
        """[C], if any."""
        ...


@dataclass(frozen=True)
class SynapseIntegers:
    """All integers of one synapse layer."""

    weight: Tensor
    requant: RequantConstants


def output_first(module: FloatWeights, spec: SynapseSpec) -> Tensor:
    """A layer's weight [Co, Ci/groups, *kernel] or [O, I], also of a transposed convolution.

    A linear layer that maps tokens is a convolution in the graph: [O, I, 1].
    """
    if isinstance(module, FloatTransposed):
        return exchanged(module.weight, module.groups)
    return module.weight[..., None] if module.weight.dim() == 2 and spec.operator == "conv1d" else module.weight


class QuantSynapse(nn.Module):
    """A convolution or linear layer with its batch norm, on integers.

    Args:
        spec: geometry of the layer.
        weight: policy of the weight; batch_norm: policy of requantization and norm.
        largest_input: the largest absolute integer its input can hold (1 for spikes, k^2 after sum pooling).
        sharing: the layer, at another place of the network, whose weights these are; it alone stores them.
        norm_of: likewise, whose norm it is.
    """

    layer: BrevitasLayer
    norm: Norm | None

    def __init__(
        self,
        spec: SynapseSpec,
        *,
        weight: WeightPolicy,
        batch_norm: BatchNormPolicy,
        largest_input: int,
        sharing: QuantSynapse | None = None,
        norm_of: NormOwner | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.weight_policy, self.norm_policy = spec, weight, batch_norm
        self.largest_input = largest_input
        self.folds = batch_norm.mode == "fold" and spec.batch_norm is not None
        stored = replace(spec, bias=True) if self.folds else spec
        self.shares = sharing is not None
        if sharing is None:
            self.layer = quantized_layer(stored, weight)
        else:
            object.__setattr__(self, "layer", sharing.layer)  # not nn.Module's: it would be stored twice
        if norm_of is not None and not self.folds:
            object.__setattr__(self, "norm", norm_of.norm)
        else:
            self.norm = None if self.folds else norm_layer(spec, spec.weight_shape[0], len(spec.weight_shape) - 2)

    def adopt(self, module: FloatWeights, norm: NormSource | None) -> None:
        """Copy the float weights (and fold the norm into them where the policy says so); fit the weight range.

        Not where they are shared: there is the norm alone to copy.
        """
        if self.shares:
            self.adopt_norm(norm)
            return
        with torch.no_grad():
            weight, bias = output_first(module, self.spec).detach().clone(), module.bias
            if self.folds:
                assert norm is not None and not isinstance(norm, tuple), "planning folds no norm that differs by step"
                affine = affine_of(norm, statistics_in_use(norm))
                weight = weight * affine.gain.view(-1, *(1 for _ in weight.shape[1:]))
                bias = affine.offset if bias is None else affine.offset + affine.gain * bias
            self.layer.weight.copy_(weight)
            if bias is not None:
                self.layer.bias.copy_(bias)
        self.adopt_norm(norm)
        self.fit_range()
        self.layer.quant_weight()

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """What the integers of the weight are made of: the weight itself, and its range where it is learned."""
        yield self.layer.weight
        yield from self.layer.weight_quant.parameters()

    def change_weight_policy(self, policy: WeightPolicy) -> None:
        """Other bits for the same weights; a range that is not their largest is fitted anew by `fit_range`."""
        self.weight_policy = policy
        if not self.shares:
            change_weight_policy(self.layer, policy)

    def fit_range(self) -> None:
        """The weight range with the least squared error on the weights as they are."""
        if not self.shares:
            fit_weight_range(self.layer, self.weight_policy)

    def adopt_norm(self, norm: NormSource | None) -> None:
        """Copy the float norm, where there is one that is not folded."""
        with torch.no_grad():
            if self.norm is not None:
                assert norm is not None
                adopt(self.norm, norm)

    def forward(self, x: Tensor, input_scale: float | Tensor, unit: Tensor) -> Tensor:
        """Integers x [T, N, ...] to integer currents [T, N, ...] in units of `unit` (a real scalar)."""
        weight = integer_weight(self.layer)
        reach = self._reach(weight)
        sums = self._accumulate(x.flatten(0, 1), weight, reach)
        accumulator = sums.reshape(*x.shape[:2], *sums.shape[1:])
        statistics = self._batch_statistics(accumulator, _scaled(weight.scale, input_scale)) if self.training else None
        accumulator = accumulator if self.training else accumulator.double()
        real = self._real_map(weight, statistics, input_scale, unit)
        return requantized(accumulator, *real, reach, self.norm_policy)

    def integers(self, input_scale: float | Tensor, unit: Tensor) -> SynapseIntegers:
        """The integers that evaluation uses and export writes, from running statistics."""
        weight = integer_weight(self.layer)
        return SynapseIntegers(weight.values, self._constants(weight, input_scale, unit))

    def recurrence(self, unit: Tensor) -> RecurrentIntegers:
        """The layer as a neuron's recurrent synapse, with currents in units of `unit`; gradients flow into it."""
        weight = integer_weight(self.layer)
        constants = self._constants(weight, 1.0, unit)
        return RecurrentIntegers(self.spec, weight.values, constants.multiplier, constants.bias, constants.factor)

    def gain(self) -> Tensor:
        """The real factor of each channel, g of the batch norm or 1, [C] or [T, C] (from running statistics)."""
        return self._affine(None).gain

    def current_bound(self, input_scale: float | Tensor) -> float:
        """No current of this layer can be larger, in real units (from running statistics)."""
        weight, affine = integer_weight(self.layer), self._affine(None)
        bound = self._reach(weight) * weight.scale * input_scale
        return float((bound * affine.gain.abs() + affine.offset.abs()).detach().max())

    @torch.no_grad()
    def _reach(self, weight: IntegerWeight) -> Tensor:
        """The largest |acc| that each row of integers allows, [C]."""
        reach: Tensor = torch.linalg.vector_norm(weight.values, 1, dim=[*range(1, weight.values.dim())])
        return reach if self.largest_input == 1 else reach * self.largest_input

    def _accumulate(self, x: Tensor, weight: IntegerWeight, reach: Tensor) -> Tensor:
        how = TRAINING if self.training else exact_arithmetic(self._largest_sum(reach), x.device)
        x, values = x.to(how.dtype), weight.values.to(how.dtype)
        if self.spec.operator != "conv2d":
            return window_sums(self.spec, x, values, how.form)
        # channels beside each other: half the time of a convolution, and constants of channels lie along a row
        x = x.contiguous(memory_format=torch.channels_last)
        return window_sums(self.spec, x, values, how.form).contiguous(memory_format=torch.channels_last)

    def _largest_sum(self, reach: Tensor) -> float:
        """A bound of |acc|: what the weight's word allows; where that is much, what its integers do, as read back."""
        widest = max(map(abs, self.layer.integer_limits)) * math.prod(self.spec.weight_shape[1:]) * self.largest_input
        return widest if widest < EXACT_IN_FLOAT32 else float(reach.max())

    def _batch_statistics(self, accumulator: Tensor, scale: Tensor) -> Statistics | None:
        """Mean and variance of acc*scale over this batch; running statistics are updated on the way. None: those."""
        if self.norm is None or not follows_batches(self.norm):
            return None
        return statistics_of(self.norm, accumulator, scale, self.layer.bias)

    def _affine(self, statistics: Statistics | None) -> Affine:
        bias = self.layer.bias
        if self.norm is None:
            gain = torch.ones(self.spec.weight_shape[0], device=self.layer.weight.device)
            return Affine(gain, torch.zeros_like(gain) if bias is None else bias)
        affine = affine_of(self.norm, statistics or statistics_in_use(self.norm))
        return affine if bias is None else Affine(affine.gain, affine.offset + affine.gain * bias)

    def _constants(self, weight: IntegerWeight, input_scale: float | Tensor, unit: Tensor) -> RequantConstants:
        real = self._real_map(weight, None, input_scale, unit)
        return requant_constants(*real, self._reach(weight), self.norm_policy)

    def _real_map(
        self, weight: IntegerWeight, statistics: Statistics | None, input_scale: float | Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """m = g*s_w*s_in/s_f and b/s_f."""
        affine, per_unit = self._affine(statistics), _scaled(unit.reciprocal(), input_scale)
        return affine.gain * weight.scale * per_unit, affine.offset / unit


def _scaled(values: Tensor, scale: float | Tensor) -> Tensor:
    if isinstance(scale, Tensor):
        return values * scale
    return values if scale == 1.0 else values * constant(scale, values)

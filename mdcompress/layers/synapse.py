"""QuantSynapse: weight layer and batch norm as integers, spikes in, currents out.

acc = sum q_w * s;  j = (acc*M_c + B_c) >> S  with  M_c = g*s_w*s_in/lsb, B_c = b/lsb  (numerics: FORMAT.md, "Requant").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdcompress.graph import SynapseSpec
from mdcompress.layers.integer_ops import requantize
from mdcompress.layers.norms import (
    Affine,
    BatchNorm,
    adopt_norm,
    batch_statistics,
    make_norm,
    norm_affine,
    running_statistics,
)
from mdcompress.layers.recurrence import Recurrence
from mdcompress.layers.requant import RequantConstants, requant_constants
from mdcompress.quantizers import IntegerWeight, fit_weight_range, integer_weight, weight_layer

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy, WeightPolicy

_EXACT_IN_FLOAT32 = 2**24  # sums of integers below this are exact in float32 in any order
_CONVOLUTIONS = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}

FloatSynapse: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


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


class QuantSynapse(nn.Module):
    """A convolution or linear layer with its batch norm, on integers.

    Args:
        spec: geometry of the layer.
        weight: policy of the weight; batch_norm: policy of requantization and norm.
        largest_input: the largest absolute integer its input can hold (1 for spikes, k^2 after sum pooling).
    """

    def __init__(
        self, spec: SynapseSpec, *, weight: WeightPolicy, batch_norm: BatchNormPolicy, largest_input: int
    ) -> None:
        super().__init__()
        self.spec, self.weight_policy, self.norm_policy = spec, weight, batch_norm
        self.largest_input = largest_input
        self.folds = batch_norm.mode == "fold" and spec.batch_norm is not None
        stored = replace(spec, bias=True) if self.folds else spec
        self.layer = weight_layer(stored, weight)
        channels = spec.weight_shape[0]
        has_norm = spec.batch_norm is not None and not self.folds
        self.norm = make_norm(channels, len(spec.weight_shape) - 2) if has_norm else None

    def adopt(self, module: FloatWeights, norm: BatchNorm | None) -> None:
        """Copy the float weights (and fold the norm into them where the policy says so); fit the weight range."""
        with torch.no_grad():
            weight, bias = module.weight.detach().clone(), module.bias
            if self.folds:
                assert norm is not None
                affine = norm_affine(norm, *running_statistics(norm))
                weight = weight * affine.gain.view(-1, *(1 for _ in weight.shape[1:]))
                bias = affine.offset if bias is None else affine.offset + affine.gain * bias
            self.layer.weight.copy_(weight)
            if bias is not None:
                self.layer.bias.copy_(bias)
            if self.norm is not None:
                assert norm is not None
                adopt_norm(self.norm, norm)
        fit_weight_range(self.layer, self.weight_policy)
        self.layer.quant_weight()

    def forward(self, x: Tensor, input_scale: float, unit: Tensor) -> Tensor:
        """Integers x [T, N, ...] to integer currents [T, N, ...] in units of `unit` (a real scalar)."""
        weight = integer_weight(self.layer)
        accumulator = self._accumulate(x.flatten(0, 1), weight)
        statistics = self._batch_statistics(accumulator, weight.scale * input_scale) if self.training else None
        constants = self._constants(weight, statistics, input_scale, unit)
        view = (1, -1, *(1 for _ in accumulator.shape[2:]))
        dtype = accumulator.dtype if self.training else torch.float64
        current = requantize(
            accumulator.to(dtype),
            constants.multiplier.to(dtype).view(view),
            constants.bias.to(dtype).view(view),
            constants.shift,
        )
        return current.reshape(*x.shape[:2], *current.shape[1:])

    def integers(self, input_scale: float, unit: Tensor) -> SynapseIntegers:
        """The integers that evaluation uses and export writes, from running statistics."""
        weight = integer_weight(self.layer)
        return SynapseIntegers(weight.values, self._constants(weight, None, input_scale, unit))

    def recurrence(self, unit: Tensor) -> Recurrence:
        """The layer as a neuron's recurrent synapse, with currents in units of `unit`; gradients flow into it."""
        weight = integer_weight(self.layer)
        constants = self._constants(weight, None, 1.0, unit)
        return Recurrence(self.spec, weight.values, constants.multiplier, constants.bias, constants.shift)

    def gain(self) -> Tensor:
        """The real factor of each channel, g of the batch norm or 1, [C] (from running statistics)."""
        return self._affine(None).gain

    def current_bound(self, input_scale: float) -> float:
        """No current of this layer can be larger, in real units (from running statistics)."""
        weight, affine = integer_weight(self.layer), self._affine(None)
        bound = weight.values.detach().abs().flatten(1).sum(1) * self.largest_input * weight.scale * input_scale
        return float((bound * affine.gain.abs() + affine.offset.abs()).detach().max())

    def _accumulate(self, x: Tensor, weight: IntegerWeight) -> Tensor:
        bound = float(weight.values.detach().abs().flatten(1).sum(1).max()) * self.largest_input
        # not on a GPU: TF32 keeps 11 bits of a factor, and a Winograd convolution sums fractions
        exact = bound <= _EXACT_IN_FLOAT32 and x.device.type == "cpu"
        dtype = torch.float32 if self.training or exact else torch.float64
        values, x = weight.values.to(dtype), x.to(dtype)
        if self.spec.operator == "linear":
            return F.linear(x, values)
        spec = self.spec
        convolve = _CONVOLUTIONS[spec.operator]
        accumulator: Tensor = convolve(x, values, None, spec.stride, spec.padding, spec.dilation, spec.groups)
        return accumulator

    def _batch_statistics(self, accumulator: Tensor, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of acc*scale over this batch; running statistics are updated on the way."""
        if self.norm is None:
            return None
        return batch_statistics(self.norm, accumulator, scale, self.layer.bias)

    def _affine(self, statistics: tuple[Tensor, Tensor] | None) -> Affine:
        bias = self.layer.bias
        if self.norm is None:
            gain = torch.ones(self.spec.weight_shape[0], device=self.layer.weight.device)
            return Affine(gain, torch.zeros_like(gain) if bias is None else bias)
        affine = norm_affine(self.norm, *(statistics or running_statistics(self.norm)))
        return affine if bias is None else Affine(affine.gain, affine.offset + affine.gain * bias)

    def _constants(
        self, weight: IntegerWeight, statistics: tuple[Tensor, Tensor] | None, input_scale: float, unit: Tensor
    ) -> RequantConstants:
        affine = self._affine(statistics)
        multiplier = affine.gain * weight.scale * (input_scale / unit)
        bound = weight.values.detach().abs().flatten(1).sum(1) * self.largest_input
        return requant_constants(multiplier, affine.offset / unit, bound, self.norm_policy)

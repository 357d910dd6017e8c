"""QuantSynapse: weight layer and batch norm as integers, spikes in, currents out.

acc = sum q_w * s;  j = (acc*M_c + B_c) >> S  with  M_c = g*s_w*s_in/lsb, B_c = b/lsb  (numerics: FORMAT.md, "Requant").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from intsnn.arithmetic import ACCUMULATOR_LIMIT, IntType
from mdcompress.graph import SynapseSpec
from mdcompress.layers.integer_ops import requantize
from mdcompress.quantizers import IntegerWeight, fit_weight_range, integer_weight, weight_layer

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy, WeightPolicy

_EXACT_IN_FLOAT32 = 2**24  # sums of integers below this are exact in float32 in any order
_LARGEST_SHIFT = 30  # an int32 shift


@dataclass(frozen=True)
class Affine:
    """y = gain*acc_real + offset per channel: batch norm or bias, [C] each, in real units."""

    gain: Tensor
    offset: Tensor


@dataclass(frozen=True)
class RequantConstants:
    """Integer-valued M [C] and B [C] (rounding half included) and the shift S; differentiable in M and B."""

    multiplier: Tensor
    bias: Tensor
    shift: int


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
        norm_class = nn.BatchNorm2d if spec.operator == "conv2d" else nn.BatchNorm1d
        self.norm = norm_class(channels) if spec.batch_norm is not None and not self.folds else None

    def adopt(self, module: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d | None) -> None:
        """Copy the float weights (and fold the norm into them where the policy says so); fit the weight range."""
        with torch.no_grad():
            weight, bias = module.weight.detach().clone(), module.bias
            if self.folds:
                assert norm is not None
                affine = _norm_affine(norm, *_running_statistics(norm))
                weight = weight * affine.gain.view(-1, *(1 for _ in weight.shape[1:]))
                bias = affine.offset if bias is None else affine.offset + affine.gain * bias
            self.layer.weight.copy_(weight)
            if bias is not None:
                self.layer.bias.copy_(bias)
            if self.norm is not None:
                assert norm is not None
                self._adopt_norm(norm)
        fit_weight_range(self.layer, self.weight_policy)
        self.layer.quant_weight()

    def _adopt_norm(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        assert self.norm is not None
        self.norm.eps, self.norm.momentum = norm.eps, norm.momentum
        mean, variance = _running_statistics(norm)
        self.norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        self.norm.running_var.copy_(variance)  # type: ignore[union-attr]
        if norm.affine:
            self.norm.weight.copy_(norm.weight)
            self.norm.bias.copy_(norm.bias)

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
        return F.conv2d(x, values, None, spec.stride, spec.padding, spec.dilation, spec.groups)

    def _batch_statistics(self, accumulator: Tensor, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of acc*scale over this batch; running statistics are updated on the way."""
        if self.norm is None:
            return None
        axes = [0, *range(2, accumulator.dim())]
        variance, mean = torch.var_mean(accumulator, dim=axes, correction=0)
        mean, variance = mean * scale, variance * scale.square()
        if self.layer.bias is not None:
            mean = mean + self.layer.bias
        count = accumulator.numel() // accumulator.shape[1]
        _update_running(self.norm, mean.detach(), variance.detach() * count / max(count - 1, 1))
        return mean, variance

    def _affine(self, statistics: tuple[Tensor, Tensor] | None) -> Affine:
        bias = self.layer.bias
        if self.norm is None:
            gain = torch.ones(self.spec.weight_shape[0], device=self.layer.weight.device)
            return Affine(gain, torch.zeros_like(gain) if bias is None else bias)
        affine = _norm_affine(self.norm, *(statistics or _running_statistics(self.norm)))
        return affine if bias is None else Affine(affine.gain, affine.offset + affine.gain * bias)

    def _constants(
        self, weight: IntegerWeight, statistics: tuple[Tensor, Tensor] | None, input_scale: float, unit: Tensor
    ) -> RequantConstants:
        affine = self._affine(statistics)
        multiplier = affine.gain * weight.scale * (input_scale / unit)
        bound = weight.values.detach().abs().flatten(1).sum(1) * self.largest_input
        return requant_constants(multiplier, affine.offset / unit, bound, self.norm_policy)


def requant_constants(
    multiplier: Tensor, bias: Tensor, accumulator_bound: Tensor, policy: BatchNormPolicy
) -> RequantConstants:
    """Round a real affine map of the accumulator to integers M, B and a shift.

    M = round(m*2^S) in `scale_bit_width` signed bits (or +-2^k) and B = round(b*2^S) in `shift_bit_width` signed bits,
    both on a power-of-two grid where they are larger than that; B then gets 2^(S-1), so that the floor shift rounds
    half up. S is the largest shift at which M fits its bits and A*|M| + |B| < 2^30, for the accumulator bound A.

    Args:
        multiplier: m [C], real.
        bias: b [C], real, in output units.
        accumulator_bound: A [C], the proved bound of |acc|.
        policy: bit widths and mode.
    """
    multiplier, bias = multiplier.double(), bias.double()  # B and its 2^(S-1) together need more than 24 bits
    reach = accumulator_bound.double().clamp_min(1.0)  # a channel of zeros still has an M that must fit its word
    shift = _largest_shift(multiplier.detach(), bias.detach(), reach, policy)
    factor = 2.0**shift
    if policy.mode == "power_of_two":
        rounded = _round_to_power_of_two(multiplier * factor)
    else:
        rounded = _round_to_grid(multiplier * factor, policy.scale_bit_width)
    half = 2.0 ** (shift - 1) if shift > 0 else 0.0
    return RequantConstants(rounded, _round_to_grid(bias * factor, policy.shift_bit_width) + half, shift)


def _largest_shift(m: Tensor, b: Tensor, accumulator_bound: Tensor, policy: BatchNormPolicy) -> int:
    largest_m = max(float(m.abs().max()), 2.0**-_LARGEST_SHIFT)
    if policy.mode == "power_of_two":
        fills, growth = _LARGEST_SHIFT, math.sqrt(2.0)  # rounding to a power of two can grow |M| by sqrt(2)
    else:
        fills, growth = math.floor(math.log2((_largest_word(policy.scale_bit_width) + 0.5) / largest_m)), 1.0
    b_growth = 1.0 + 1.0 / _largest_word(policy.shift_bit_width)  # rounding to a grid
    largest_current = float((accumulator_bound * m.abs() * growth + b.abs() * b_growth).max())
    room = (ACCUMULATOR_LIMIT - 2 - float(accumulator_bound.max())) / (largest_current + 1.0)
    return max(0, min(fills, math.floor(math.log2(max(room, 1.0))), _LARGEST_SHIFT))


def _round_to_power_of_two(values: Tensor) -> Tensor:
    """Sign(v) * 2^round(log2|v|), 0 below 1/sqrt(2): integers that a shift can multiply by."""
    exponent = round_ste(values.abs().clamp_min(2.0**-_LARGEST_SHIFT).log2())
    return torch.where(exponent < 0, values * 0.0, values.sign() * exponent.exp2())


def _round_to_grid(values: Tensor, bit_width: int) -> Tensor:
    """Round to multiples of 2^G, G >= 0 the least for which every value rounds into `bit_width` signed bits."""
    limit = _largest_word(bit_width)
    largest = float(values.detach().abs().max())
    grid = 2.0 ** max(0, math.ceil(math.log2(max(largest, 1e-9) / (limit + 0.5))))
    rounded: Tensor = round_ste((values / grid).clamp(-limit, limit))
    return rounded * grid


def _largest_word(bit_width: int) -> int:
    return IntType(bit_width, signed=True).high


def _norm_affine(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> Affine:
    """g = gamma / sqrt(var + eps), b = beta - g*mean."""
    gain = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        gain = gain * norm.weight
    offset = -gain * mean
    return Affine(gain, offset + norm.bias if norm.affine else offset)


def _running_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def _update_running(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    weight = 1.0 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    running_mean, running_variance = _running_statistics(norm)
    running_mean.lerp_(mean, weight)
    running_variance.lerp_(variance, weight)

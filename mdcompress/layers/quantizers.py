"""Brevitas quantizers from policies. The only file that touches Brevitas injectors.

A quantizer here owns bits, range and rounding of a *value*; the integers it yields are what every layer computes with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import brevitas.nn as qnn
import torch
from brevitas.core.function_wrapper import CeilSte
from brevitas.core.quant import BinaryQuant
from brevitas.core.stats import AbsMax
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.inject.enum import (
    BitWidthImplType,
    FloatToIntImplType,
    QuantType,
    RestrictValueType,
    ScalingImplType,
    ScalingPerOutputType,
    StatsOp,
)
from brevitas.quant.solver import ActQuantSolver, WeightQuantSolver
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from intsnn.weight_bits import TERNARY_BITS
from mdcompress.graph import SynapseSpec
from mdcompress.layers.step_sizes import SMALLEST_SCALE, StepSize

if TYPE_CHECKING:
    from mdcompress.recipe import MembranePolicy, WeightPolicy

_RANGE_CANDIDATES = 96  # fractions of the largest absolute weight tried by the least-squares search
_SMALLEST_RANGE = 0.05  # the last of them
_POWER_CANDIDATES = 6  # powers of two from the largest weight's down: 2^-5 is below the smallest range
_CACHED = 65_536  # weights that are searched at once: they stay in a core's cache while 96 ranges are tried
_EXACT = 1e-10  # of the weights' squares: what float32 loses of weights that are integers times a scale
_ON_GRID, _ON_GRID_LEAST = 1e-4, 8  # how far from an integer such a weight may lie; weights that are no chance
_WITHIN = 0.49  # how far from an integer a weight may lie that shall round to it, whatever float32 makes of it

BrevitasLayer: TypeAlias = qnn.QuantConv1d | qnn.QuantConv2d | qnn.QuantConv3d | qnn.QuantLinear
_CONVOLUTIONS = {3: qnn.QuantConv1d, 4: qnn.QuantConv2d, 5: qnn.QuantConv3d}  # by the axes of the weight


@dataclass(frozen=True)
class IntegerWeight:
    """w ~ values * scale: integers carried in float, of the weight's shape, and [1] or [C]. Differentiable."""

    values: Tensor
    scale: Tensor


def quantized_layer(spec: SynapseSpec, policy: WeightPolicy) -> BrevitasLayer:
    """A Brevitas layer that holds the weight and its quantizer; its own forward is not used."""
    with torch.random.fork_rng(devices=[]):  # Brevitas draws initial weights; the caller's random numbers stay theirs
        layer = _brevitas_layer(spec, _weight_quantizer(policy))
    nn.init.ones_(layer.weight)  # so that the scale made next is the same in every process
    layer.quant_weight()  # creates the scale parameter, so that state dicts hold it from the start
    _prepare_range(layer, policy)
    return layer.to(memory_format=torch.channels_last) if layer.weight.dim() == 4 else layer  # as maps are laid out


def _prepare_range(layer: BrevitasLayer, policy: WeightPolicy) -> None:
    """Say what the weight rounds to, and what divides the range; fix that of `mse` policies."""
    layer.integer_limits, layer.step_size = weight_limits(policy), None
    if policy.range == "max":
        return
    parameter = _scaling(layer).value
    if policy.range == "mse":
        parameter.requires_grad_(False)
    layer.step_size = StepSize(
        _levels_of_a_range(policy),
        count=layer.weight.numel() // parameter.numel(),
        largest=weight_limits(policy)[1],
        trained="log2_range" if policy.scale == "power_of_two" else "range",
    )


def _levels_of_a_range(policy: WeightPolicy) -> int:
    """What Brevitas divides a range by: the size of the smallest integer, or 2^(b-1) for powers of two."""
    low, high = weight_limits(policy)
    if policy.bit_width == 1:
        return 1
    return high + 1 if policy.scale == "power_of_two" else -low


def _brevitas_layer(spec: SynapseSpec, quantizer: type) -> BrevitasLayer:
    shape = spec.weight_shape
    if spec.operator == "linear":
        return qnn.QuantLinear(shape[1], shape[0], bias=spec.bias, weight_quant=quantizer)
    return _CONVOLUTIONS[
        len(shape)
    ](  # of a transposed convolution too, whose output channels stand first here
        in_channels=shape[1] * spec.groups,
        out_channels=shape[0],
        kernel_size=shape[2:],
        stride=spec.stride,
        padding=spec.padding,
        dilation=spec.dilation,
        groups=spec.groups,
        bias=spec.bias,
        weight_quant=quantizer,
    )


def change_weight_policy(layer: BrevitasLayer, policy: WeightPolicy) -> None:
    """Quantize the layer's weight by another policy of the same granularity and scale, with the range that fits it.

    Weight and range stay the Parameters that they are, so that an optimizer goes on with them.
    """
    parameter = None if policy.range == "max" else _scaling(layer).value
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        proxy = type(layer.weight_quant)(layer, _weight_quantizer(policy)).to(layer.weight.device)
        layer.weight_quant = proxy
        kept = layer.weight.detach().clone()
        layer.weight.fill_(1.0)
        layer.quant_weight()
        _prepare_range(layer, policy)
        layer.weight.copy_(kept)
    if parameter is not None:
        _scaling(layer).value = parameter


def integer_weight(layer: BrevitasLayer) -> IntegerWeight:
    """The layer's weight as integers and scale."""
    scale, (low, high) = _weight_scale(layer), layer.integer_limits
    if isinstance(layer.weight_quant.tensor_quant, BinaryQuant):
        return IntegerWeight(_Signs.apply(layer.weight), scale.flatten())
    return IntegerWeight(_Levels.apply(layer.weight, scale, low, high), scale.flatten())


def _weight_scale(layer: BrevitasLayer) -> Tensor:
    """s, broadcasting against the weight: of a range of its own, or as Brevitas finds it in the largest weight."""
    if layer.step_size is not None:
        step: Tensor = layer.step_size(_scaling(layer).value)
        return step
    quantizer = layer.weight_quant.tensor_quant
    if isinstance(quantizer, BinaryQuant):
        scale: Tensor = quantizer.scaling_impl(layer.weight)
    else:
        threshold = quantizer.int_scaling_impl(quantizer.msb_clamp_bit_width_impl())
        scale = quantizer.scaling_impl(layer.weight, threshold)
    return scale


class _Signs(torch.autograd.Function):
    """Forward 1 where w >= 0, else -1; backward straight through, as Brevitas' BinaryQuant."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _Levels(torch.autograd.Function):
    """Forward q = clip(round(w/s), low, high), what Brevitas' IntQuant rounds to; backward its: 0 where clipped."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        rounded = (weight / scale).round_()
        ctx.save_for_backward(rounded, weight, scale)
        ctx.limits = (low - 0.5, high + 0.5)
        return rounded.clamp(low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rounded, weight, scale = ctx.saved_tensors
        inside = torch.ops.aten.hardtanh_backward(gradients[0], rounded, *ctx.limits)  # g where low <= q <= high
        to_scale = None
        if ctx.needs_input_grad[1]:
            to_scale = (inside * weight).sum_to_size(scale.shape) / -(scale * scale)
        return inside / scale if ctx.needs_input_grad[0] else None, to_scale, None, None


def fit_weight_range(layer: BrevitasLayer, policy: WeightPolicy) -> None:
    """Set the clipping range of `mse` and `learned` policies to the least squared error on the layer's weight."""
    if policy.range == "max":
        return
    with torch.no_grad():
        rows = layer.weight.detach().flatten(1) if policy.granularity == "per_channel" else layer.weight.reshape(1, -1)
        scale = least_squares_scale(rows, policy)
        parameter, current = _scaling(layer).value, integer_weight(layer).scale
        if policy.scale == "power_of_two":  # the parameter is log2 of the range; Brevitas rounds it up
            parameter.copy_((scale.log2() + (parameter.flatten().ceil() - current.log2())).round().view_as(parameter))
        else:
            parameter.copy_((scale * (parameter.flatten() / current)).view_as(parameter))


def set_integer_weight(layer: BrevitasLayer, policy: WeightPolicy, values: Tensor, scale: Tensor) -> None:
    """Give the layer integers (of the weight's shape, within its limits) and, per row, a scale.

    The weight that is stored, and trained on, is the nearest to the one before that rounds to these integers. A layer
    with one scale, or with powers of two, keeps its own.
    """
    with torch.no_grad():
        if policy.granularity == "per_channel" and policy.scale == "float":
            parameter, current = _scaling(layer).value, integer_weight(layer).scale
            parameter.copy_((scale.to(parameter) * (parameter.flatten() / current)).view_as(parameter))
        own = integer_weight(layer).scale.reshape(-1, *(1 for _ in layer.weight.shape[1:]))
        values, (low, high) = values.to(layer.weight), weight_limits(policy)
        least = torch.where(values > low, values - _WITHIN, -torch.inf) * own
        most = torch.where(values < high, values + _WITHIN, torch.inf) * own
        layer.weight.copy_(layer.weight.maximum(least).minimum(most))


def least_squares_scale(rows: Tensor, policy: WeightPolicy) -> Tensor:
    """For each row the scale s that minimises sum (w - s*clip(round(w/s)))^2 over a grid of ranges, shape [rows].

    Weights that are integers times a scale already, as those of a Brevitas layer, keep it where the policy holds them.
    One bit: s = mean|w| is the closed form (Rastegari et al. 2016, eq. 6).
    """
    few = torch.split(rows, max(1, _CACHED // rows.shape[1]))
    return torch.cat([_least_squares_scale(part, policy) for part in few])


def _least_squares_scale(rows: Tensor, policy: WeightPolicy) -> Tensor:
    if policy.bit_width == 1:
        first = rows.abs().mean(dim=1).clamp_min(SMALLEST_SCALE)
    else:
        first = rows.abs().amax(dim=1).clamp_min(SMALLEST_SCALE) / weight_limits(policy)[1]
    best, least = first, torch.full_like(first, float("inf"))
    for scale in _candidate_scales(first, policy):
        error = _fake_quantize(rows, scale[:, None], policy).sub_(rows).square_().sum(dim=1)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    inexact = least > _EXACT * rows.square().sum(dim=1)
    if policy.scale == "float" and policy.bit_width != 1 and bool(inexact.any()):
        own = _own_scale(rows, weight_limits(policy)[1])
        best = torch.where(inexact & (own > 0), own, best)
    return best


def _own_scale(rows: Tensor, largest: int) -> Tensor:
    """The scale of which all weights of a row are integers up to `largest`, the largest such; 0 where there is none."""
    reach = rows.abs().amax(dim=1)
    found = torch.zeros_like(reach)
    for integer in range(largest, 0, -1):
        levels = rows / (reach / integer).clamp_min(SMALLEST_SCALE)[:, None]
        on_grid = (levels - levels.round()).abs().amax(dim=1) <= _ON_GRID
        found = torch.where(on_grid, reach / integer, found)
    return torch.where((rows != 0).sum(dim=1) >= _ON_GRID_LEAST, found, torch.zeros_like(found))


def _candidate_scales(first: Tensor, policy: WeightPolicy) -> Iterator[Tensor]:
    """The scales that are tried, each [rows]: from `first`, at which nothing is clipped, down to clipping most."""
    if policy.scale == "power_of_two":
        largest_power = first.log2().ceil()
        yield from ((largest_power - lower).exp2() for lower in range(_POWER_CANDIDATES))
    elif policy.bit_width == 1:
        yield first
    else:
        fractions = torch.linspace(1.0, _SMALLEST_RANGE, _RANGE_CANDIDATES)
        yield from (first * float(fraction) for fraction in fractions)


def weight_limits(policy: WeightPolicy) -> tuple[int, int]:
    """Smallest and largest weight integer of a policy."""
    if policy.bit_width == 1:
        return -1, 1
    bits = 2 if policy.bit_width == TERNARY_BITS else int(policy.bit_width)
    high = 2 ** (bits - 1) - 1
    narrow = policy.narrow_range or policy.bit_width == TERNARY_BITS
    return (-high if narrow else -high - 1), high


def _fake_quantize(rows: Tensor, scale: Tensor, policy: WeightPolicy) -> Tensor:
    if policy.bit_width == 1:
        return torch.where(rows >= 0, scale, -scale)
    low, high = weight_limits(policy)
    return (rows / scale).round_().clamp_(low, high).mul_(scale)


def _scaling(layer: BrevitasLayer) -> Any:
    return layer.weight_quant.tensor_quant.scaling_impl


def _weight_quantizer(policy: WeightPolicy) -> type:
    power_of_two = policy.scale == "power_of_two"
    settings: dict[str, object] = {
        "quant_type": QuantType.INT,
        "bit_width_impl_type": BitWidthImplType.CONST,
        "bit_width": 2 if policy.bit_width == TERNARY_BITS else int(policy.bit_width),  # narrow 2 bits are {-1, 0, 1}
        "narrow_range": weight_limits(policy)[0] == -weight_limits(policy)[1],
        "signed": True,
        "zero_point_impl": ZeroZeroPoint,
        "float_to_int_impl_type": FloatToIntImplType.ROUND,
        "scaling_impl_type": (ScalingImplType.STATS if policy.range == "max" else ScalingImplType.PARAMETER_FROM_STATS),
        "scaling_stats_op": StatsOp.MAX,
        "scaling_min_val": SMALLEST_SCALE,
        "scaling_per_output_type": (
            ScalingPerOutputType.CHANNEL if policy.granularity == "per_channel" else ScalingPerOutputType.TENSOR
        ),
        "restrict_scaling_type": RestrictValueType.POWER_OF_TWO if power_of_two else RestrictValueType.FP,
    }
    if policy.bit_width == 1:
        settings |= {"quant_type": QuantType.BINARY, "scaling_stats_op": StatsOp.AVE}
    if power_of_two:
        settings["restrict_value_float_to_int_impl"] = CeilSte
    if power_of_two and policy.bit_width != 1:
        settings |= {"scaling_stats_impl": _LargestReach, "largest_integer": weight_limits(policy)[1]}
    return type("WeightQuantizer", (WeightQuantSolver,), settings)


class _LargestReach(nn.Module):
    """max|w| * (q+1)/q with q the largest integer.

    Brevitas divides a power-of-two range by q+1, so that without the factor the largest weight could be clipped (with
    2 bits to half of itself).
    """

    def __init__(self, stats_reduce_dim: int | None, largest_integer: int) -> None:
        super().__init__()
        self.largest, self.reach = AbsMax(stats_reduce_dim), (largest_integer + 1) / largest_integer

    def forward(self, weight: Tensor) -> Tensor:
        """[rows, ...] -> [rows]."""
        largest: Tensor = self.largest(weight) * self.reach
        return largest


class MembraneQuantizer(nn.Module):
    """Owns s_v, the real value of one stored membrane unit: s_v = range / 2^(N-1), learned or calibrated.

    Args:
        policy: N, and whether the range is learned.
        initial_range: the range before calibration.
        neurons: how many neurons of a sample s_v rounds; it balances the gradient (`step_sizes`).
    """

    def __init__(self, policy: MembranePolicy, *, initial_range: float, neurons: int = 1) -> None:
        super().__init__()
        self._neurons = neurons
        self.identity = self._quantizer(policy, initial_range)

    def _quantizer(self, policy: MembranePolicy, initial_range: float) -> qnn.QuantIdentity:
        quantizer = type(
            "MembraneActQuantizer",
            (ActQuantSolver,),
            {
                "quant_type": QuantType.INT,
                "bit_width_impl_type": BitWidthImplType.CONST,
                "bit_width": policy.bit_width,
                "signed": True,
                "narrow_range": False,
                "zero_point_impl": ZeroZeroPoint,
                "float_to_int_impl_type": FloatToIntImplType.FLOOR,
                "scaling_impl_type": ScalingImplType.PARAMETER,
                "scaling_init": initial_range,
                "scaling_min_val": SMALLEST_SCALE,
                "scaling_per_output_type": ScalingPerOutputType.TENSOR,
                "restrict_scaling_type": RestrictValueType.FP,
            },
        )
        identity = qnn.QuantIdentity(act_quant=quantizer)
        half = 2 ** (policy.bit_width - 1)
        _membrane_scaling(identity).value.requires_grad_(policy.scale == "learned")
        self._step_size = StepSize(half, count=self._neurons, largest=half - 1)
        return identity

    @property
    def _range(self) -> nn.Parameter:
        parameter: nn.Parameter = _membrane_scaling(self.identity).value
        return parameter

    def change_policy(self, policy: MembranePolicy) -> None:
        """Other bits for the same range, which stays the Parameter that it is."""
        parameter = self._range
        self.identity = self._quantizer(policy, 1.0).to(parameter.device)
        _membrane_scaling(self.identity).value = parameter

    def scale(self) -> Tensor:
        """s_v, a positive scalar; differentiable where the policy says learned."""
        return self._step_size(self._range)

    def set_range(self, value: float) -> None:
        """Set the stored range [-value, value), in real units."""
        with torch.no_grad():
            self._range.fill_(value)


def _membrane_scaling(identity: qnn.QuantIdentity) -> Any:
    return identity.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl

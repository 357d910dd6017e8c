"""A real affine map of an accumulator as integers: j = (acc*M_c + B_c) >> S (FORMAT.md, "Requant").

All of it is computed where the tensors are: no number is read back from a device.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from intsnn.arithmetic import ACCUMULATOR_LIMIT, IntType
from mdcompress.errors import CalibrationError
from mdcompress.layers.constants import constant
from mdcompress.zoo.steps import steps_of

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy

_LARGEST_SHIFT = 30  # an int32 shift
_LARGEST_ROOM = 2.0**_LARGEST_SHIFT


@dataclass(frozen=True)
class RequantConstants:
    """Integer-valued M and B [C] or [T, C] (rounding half included), differentiable, and 2^S, one element."""

    multiplier: Tensor
    bias: Tensor
    factor: Tensor

    @property
    def shift(self) -> int:
        """S, read from the device."""
        return round(math.log2(float(self.factor)))


def requant_constants(
    multiplier: Tensor, bias: Tensor, accumulator_bound: Tensor, policy: BatchNormPolicy
) -> RequantConstants:
    """Round a real affine map of the accumulator to integers M, B and a shift.

    M = round(m*2^S) in `scale_bit_width` signed bits (or +-2^k) and B = round(b*2^S) in `shift_bit_width` signed bits,
    both on a power-of-two grid where they are larger than that; B then gets 2^(S-1), so that the floor shift rounds
    half up. S is the largest shift at which M fits its bits and A*|M| + |B| < 2^30, for the accumulator bound A.
    Rounding is passed straight through; what a grid clips is not.

    Args:
        multiplier: m [C] or [T, C], real.
        bias: b, likewise, in output units.
        accumulator_bound: A [C], the proved bound of |acc|.
        policy: bit widths and mode.

    Raises:
        CalibrationError: m, b or A is not finite. Not where gradients are recorded, since the look waits for the
            device: a training step then has a gradient that is not finite either, which its loop refuses.
    """
    return RequantConstants(*_Constants.apply(*_checked(multiplier, bias, accumulator_bound), policy))


def requantized(
    accumulator: Tensor, multiplier: Tensor, bias: Tensor, accumulator_bound: Tensor, policy: BatchNormPolicy
) -> Tensor:
    """j = (acc*M + B) >> S with the constants of m and b, in acc's type; differentiable as acc*m + b with M for m.

    Args:
        accumulator: acc [T, N, C, ...].
        multiplier: as in `requant_constants`; so are the others, and what is raised.
        bias: see there.
        accumulator_bound: see there.
        policy: see there.
    """
    real = _checked(multiplier, bias, accumulator_bound)
    currents: Tensor = _Requantized.apply(accumulator, *real, policy)
    return currents


def _checked(multiplier: Tensor, bias: Tensor, accumulator_bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same; CalibrationError where they are not finite."""
    named = {"multiplier": multiplier, "offset": bias, "accumulator's bound": accumulator_bound}
    for name, values in () if torch.is_grad_enabled() else named.items():
        if not bool(torch.isfinite(values).all()):
            raise CalibrationError(
                f"a layer's {name} must be finite in integers (got {float(values.detach().abs().max())}): its weights, "
                "its norm's statistics or its inputs are too large or too far apart",
                hints=["look for weights above 1e15 and variances near 0", "scale the data to about [0, 1]"],
            )
    return multiplier, bias, accumulator_bound


class _Constants(torch.autograd.Function):
    """Forward M, B and 2^S of m, b and A; backward dM/dm = dB/db = 2^S, but 0 where a grid clips."""

    @staticmethod
    def forward(
        ctx: Any, multiplier: Tensor, bias: Tensor, reach: Tensor, policy: BatchNormPolicy
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = _rounded(multiplier, bias, reach, policy)
        ctx.save_for_backward(found.slope * found.factor)
        ctx.types = (multiplier.dtype, bias.dtype)
        ctx.mark_non_differentiable(found.factor)
        m, b = found.integers.unbind()
        return m.clone(), b.clone(), found.factor  # no views of each other: autograd tracks each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        to_m, to_b = ((each * one).to(dtype) for each, one, dtype in zip(gradients, slope, ctx.types, strict=False))
        return to_m, to_b, None, None


class _Requantized(torch.autograd.Function):
    """Forward floor(acc*M*2^-S + B*2^-S); backward that without the floor, and of M and B as in `_Constants`."""

    @staticmethod
    def forward(
        ctx: Any, accumulator: Tensor, multiplier: Tensor, bias: Tensor, reach: Tensor, policy: BatchNormPolicy
    ) -> Tensor:
        found = _rounded(multiplier, bias, reach, policy)
        scaled = torch.empty_like(found.integers, dtype=accumulator.dtype)
        torch.div(found.integers, found.factor, out=scaled)  # exact: a power of two
        factor, offset = steps_of(_over_steps(scaled, accumulator))
        ctx.save_for_backward(accumulator, factor, found.slope)
        return torch.addcmul(offset, accumulator, factor).floor_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        accumulator, factor, slope = ctx.saved_tensors
        (gradient,) = gradients
        of_m, of_b = steps_of(slope)
        summed = [axis for axis, size in enumerate(factor.shape) if size == 1]  # of [1 or T, 1, C, 1, ...]
        to_m, to_b, to_accumulator = None, None, None
        if ctx.needs_input_grad[1]:
            to_m = (gradient * accumulator).sum(summed).view(of_m.shape).mul_(of_m)
        if ctx.needs_input_grad[2]:
            to_b = gradient.sum(summed).view(of_b.shape).mul_(of_b)
        if ctx.needs_input_grad[0]:
            to_accumulator = gradient * factor
        return to_accumulator, to_m, to_b, None, None


def _over_steps(constants: Tensor, values: Tensor) -> Tensor:
    """Constants [2, C], or [2, T, C], against values [T, N, C, ...]."""
    steps = constants.shape[1] if constants.dim() == 3 else 1
    return constants.view(2, steps, 1, constants.shape[-1], *(1 for _ in values.shape[3:]))


@dataclass(frozen=True)
class _Rounded:
    """M and B, [2, ...]; their slopes in m and b, over 2^S, in the type of m; 2^S."""

    integers: Tensor
    slope: Tensor
    factor: Tensor


def _rounded(multiplier: Tensor, bias: Tensor, reach: Tensor, policy: BatchNormPolicy) -> _Rounded:
    """The integers of m, b [C] or [T, C] and A [C]; float64: B and its 2^(S-1) together need more than 24 bits."""
    real = torch.empty((2, *multiplier.shape), dtype=torch.float64, device=multiplier.device)
    for row, values in zip(steps_of(real), (multiplier, bias), strict=True):
        row.copy_(values)
    limits = _limits(policy, real.dim(), real.device)
    size = real.abs()
    largest = size.amax([*range(1, real.dim())], keepdim=True)
    reach = torch.empty_like(reach, dtype=real.dtype).copy_(reach).clamp_min_(1.0)
    factor = _factor(size, largest, reach, limits, policy)
    values = real * factor
    grid = _grid(largest * factor, limits)
    levels = values / grid
    clipped = levels.clamp(limits.lowest, limits.highest)
    slope = torch.eq(clipped, levels, out=torch.empty_like(real, dtype=multiplier.dtype))
    integers = clipped.round_().mul_(grid)
    if policy.mode == "power_of_two":
        integers[0], slope[0] = _to_power_of_two(values[0])
    integers[1].add_((factor * constant(0.5, factor)).floor_())  # 2^(S-1), and 0 where S is 0
    return _Rounded(integers, slope, factor)


def _factor(size: Tensor, largest: Tensor, reach: Tensor, limits: _Limits, policy: BatchNormPolicy) -> Tensor:
    """2^S of |m| and |b|, [2, ...]: S the largest at which neither M nor a current is too large."""
    of_m, of_b = steps_of(size * limits.growth)
    largest_current = torch.addcmul(of_b, reach, of_m).max()
    one = constant(1.0, reach)
    room = (constant(ACCUMULATOR_LIMIT - 2, reach) - reach.max()) / (largest_current + one)
    if policy.mode != "power_of_two":
        fits = constant(_largest_word(policy.scale_bit_width) + 0.5, reach) / largest[0].clamp_min(2.0**-_LARGEST_SHIFT)
        room = torch.minimum(room, fits.view(()))
    # S = floor(log2 room): the mantissa in [1/2, 1) leaves 2^(S+1)
    return _twice_the_power(room.clamp(1.0, _LARGEST_ROOM)) * constant(0.5, room)


def _grid(largest: Tensor, limits: _Limits) -> Tensor:
    """2^G of each row, G >= 0 the least at which the largest value of the row rounds into its word."""
    ratio = largest / limits.beyond
    below = ratio.nextafter(constant(0.0, ratio))  # G = ceil(log2 ratio), exact for powers of two too
    return _twice_the_power(below.clamp_min(0.5))


def _twice_the_power(values: Tensor) -> Tensor:
    """2^(floor(log2 v) + 1), exact: v over its mantissa."""
    return values / torch.frexp(values).mantissa


def _to_power_of_two(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sign(v) * 2^round(log2|v|), integers that a shift can multiply by, 0 below 1/sqrt(2); and their slope."""
    size = values.abs().clamp_min(2.0**-_LARGEST_SHIFT)
    exponent = size.log2().round()
    rounded = torch.where(exponent < 0, 0.0, values.sign() * exponent.exp2())
    return rounded, rounded.abs() / size


@dataclass(frozen=True)
class _Limits:
    """Of M and B, [2, 1, ...] each: the words' ends, half a unit beyond, and how much rounding can make of a value."""

    lowest: Tensor
    highest: Tensor
    beyond: Tensor
    growth: Tensor


@functools.lru_cache(maxsize=64)
def _limits(policy: BatchNormPolicy, axes: int, device: torch.device) -> _Limits:
    words = [float(_largest_word(bits)) for bits in (policy.scale_bit_width, policy.shift_bit_width)]
    growth = [math.sqrt(2.0) if policy.mode == "power_of_two" else 1.0, 1.0 + 1.0 / words[1]]
    with torch.inference_mode(False):
        highest, grown = (
            torch.tensor(values, dtype=torch.float64, device=device).view(2, *(1 for _ in range(axes - 1)))
            for values in (words, growth)
        )
        return _Limits(-highest, highest, highest + 0.5, grown)


def _largest_word(bit_width: int) -> int:
    return IntType(bit_width, signed=True).high

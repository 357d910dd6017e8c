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

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy

_LARGEST_SHIFT = 30  # an int32 shift


@dataclass(frozen=True)
class RequantConstants:
    """Integer-valued M and B [C] or [T, C] (rounding half included), differentiable, and the shift S, one element."""

    multiplier: Tensor
    bias: Tensor
    shift: Tensor


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
    multiplier, bias = multiplier.double(), bias.double()  # B and its 2^(S-1) together need more than 24 bits
    reach = accumulator_bound.double().clamp_min(1.0)  # a channel of zeros still has an M that must fit its word
    if not torch.is_grad_enabled():
        _require_finite({"multiplier": multiplier, "offset": bias, "accumulator's bound": reach})
    return RequantConstants(*_Rounded.apply(multiplier, bias, reach, policy))


def _require_finite(named: dict[str, Tensor]) -> None:
    for name, values in named.items():
        if not bool(torch.isfinite(values).all()):
            raise CalibrationError(
                f"a layer's {name} must be finite in integers (got {float(values.detach().abs().max())}): its weights, "
                "its norm's statistics or its inputs are too large or too far apart",
                hints=["look for weights above 1e15 and variances near 0", "scale the data to about [0, 1]"],
            )


class _Rounded(torch.autograd.Function):
    """Forward M, B and S of m, b and A; backward dM/dm = dB/db = 2^S, but 0 where a grid clips."""

    @staticmethod
    def forward(
        ctx: Any, multiplier: Tensor, bias: Tensor, reach: Tensor, policy: BatchNormPolicy
    ) -> tuple[Tensor, Tensor, Tensor]:
        real = torch.stack([multiplier, bias])
        shift = _largest_shift(real, reach, policy)
        factor, limits = torch.exp2(shift), _limits(policy, real.dim(), real.device)
        values = real * factor
        grid = _grid(values, limits)
        levels = values / grid
        clipped = levels.clamp(-limits, limits)
        rounded, slope = clipped.round() * grid, (clipped == levels) * factor
        if policy.mode == "power_of_two":
            rounded[0], slope[0] = _to_power_of_two(values[0], factor)
        rounded[1] += torch.where(shift > 0, factor / 2, 0.0)
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(shift)
        return rounded[0], rounded[1], shift

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch annotates it nowhere
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope[0], gradients[1] * slope[1], None, None


def _largest_shift(real: Tensor, accumulator_bound: Tensor, policy: BatchNormPolicy) -> Tensor:
    """S for m and b, [2, ...]; float64, one element."""
    m, b = real.abs().unbind()
    growth = math.sqrt(2.0) if policy.mode == "power_of_two" else 1.0  # what rounding can make of |M|
    b_growth = 1.0 + 1.0 / _largest_word(policy.shift_bit_width)  # rounding to a grid
    largest_current = (accumulator_bound * m * growth + b * b_growth).max()
    room = (ACCUMULATOR_LIMIT - 2 - accumulator_bound.max()) / (largest_current + 1.0)
    shift = _floor_log2(room.clamp_min(1.0)).clamp_max(_LARGEST_SHIFT)
    if policy.mode != "power_of_two":
        largest_m = m.max().clamp_min(2.0**-_LARGEST_SHIFT)
        shift = shift.minimum(_floor_log2((_largest_word(policy.scale_bit_width) + 0.5) / largest_m))
    return shift.clamp_min(0).double()


def _grid(values: Tensor, limits: Tensor) -> Tensor:
    """2^G of each row, G >= 0 the least for which every value of the row rounds into [-limit, limit]."""
    largest = values.abs().flatten(1).amax(1).clamp_min(1e-9).view(limits.shape)
    mantissa, exponent = torch.frexp(largest / (limits + 0.5))
    return torch.exp2((exponent - (mantissa == 0.5).int()).clamp_min(0).double())  # ceil(log2), exact


def _floor_log2(values: Tensor) -> Tensor:
    """floor(log2(v)), exact: v = mantissa * 2^exponent with a mantissa in [1/2, 1)."""
    return torch.frexp(values).exponent - 1


def _to_power_of_two(values: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Sign(v) * 2^round(log2|v|), integers that a shift can multiply by, 0 below 1/sqrt(2); and their slope."""
    size = values.abs().clamp_min(2.0**-_LARGEST_SHIFT)
    exponent = size.log2().round()
    rounded = torch.where(exponent < 0, 0.0, values.sign() * exponent.exp2())
    return rounded, rounded.abs() / size * factor


@functools.lru_cache(maxsize=64)
def _limits(policy: BatchNormPolicy, axes: int, device: torch.device) -> Tensor:
    """The largest word of M and of B, [2, 1, ...]."""
    words = [_largest_word(policy.scale_bit_width), _largest_word(policy.shift_bit_width)]
    with torch.inference_mode(False):
        return torch.tensor(words, dtype=torch.float64, device=device).view(2, *(1 for _ in range(axes - 1)))


def _largest_word(bit_width: int) -> int:
    return IntType(bit_width, signed=True).high

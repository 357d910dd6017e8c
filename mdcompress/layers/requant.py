"""A real affine map of an accumulator as integers: j = (acc*M_c + B_c) >> S (FORMAT.md, "Requant")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor

from intsnn.arithmetic import ACCUMULATOR_LIMIT, IntType
from mdcompress.errors import CalibrationError

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy

_LARGEST_SHIFT = 30  # an int32 shift


@dataclass(frozen=True)
class RequantConstants:
    """Integer-valued M [C] and B [C] (rounding half included) and the shift S; differentiable in M and B."""

    multiplier: Tensor
    bias: Tensor
    shift: int


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

    Raises:
        CalibrationError: m, b or A is not finite.
    """
    multiplier, bias = multiplier.double(), bias.double()  # B and its 2^(S-1) together need more than 24 bits
    reach = accumulator_bound.double().clamp_min(1.0)  # a channel of zeros still has an M that must fit its word
    for name, values in (("multiplier", multiplier), ("offset", bias), ("accumulator's bound", reach)):
        if not bool(torch.isfinite(values).all()):
            raise CalibrationError(
                f"a layer's {name} must be finite in integers (got {float(values.detach().abs().max())}): its weights, "
                "its norm's statistics or its inputs are too large or too far apart",
                hints=["look for weights above 1e15 and variances near 0", "scale the data to about [0, 1]"],
            )
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

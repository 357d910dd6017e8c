"""The integer neuron from differentiable parts: what the layers' own gradients through time are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mdcompress.layers.integer_ops import NeuronIntegers
from mdcompress.zoo.neurons import surrogate_derivative


def floored(x: Tensor, shift: int) -> Tensor:
    result: Tensor = StraightFloor.apply(x * 2.0**-shift)
    return result


def clipped(x: Tensor, half: int) -> Tensor:
    """Clip with a gradient of 1 at the ends, where torch.clamp has none."""
    return torch.where((x >= -half) & (x < half), x, x.detach().clamp(-half, half - 1))


class StraightFloor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Atan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, offset: int) -> Tensor:
        ctx.save_for_backward(x, theta)
        ctx.offset = offset
        return (x >= theta).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """f(x/theta - 1), both without the offset that they carry for rounding."""
        x, theta = (tensor - ctx.offset for tensor in ctx.saved_tensors)
        slope = gradient * surrogate_derivative(x / theta - 1.0, "atan") / theta
        return slope, -(slope * x / theta).sum_to_size(theta.shape), None


class Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, levels: Tensor, rounds: bool, most: int) -> Tensor:
        ctx.save_for_backward((levels >= 0.5) & (levels <= most + 0.5))
        return (levels.round() if rounds else levels.floor()).clamp(0, most)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def composed(
    current: Tensor, n: NeuronIntegers, *, recurrent: Callable[[Tensor], Tensor] = torch.zeros_like
) -> tuple[Tensor, Tensor]:
    """The integer neuron from differentiable parts: autograd goes through time by itself."""
    half = 2 ** (n.bit_width - 1)
    zero = torch.zeros_like(current[0])
    v, i, s = zero + n.initial, zero, zero
    spikes, potentials = [], []
    for j in current:
        j = j + recurrent(s)
        y = j if n.synapse_leak is None else n.synapse_leak * i + j + n.synapse_drive
        x = n.leak * v + y + n.drive
        if n.timing == "after_leak":
            x = x - n.soft_amount * s.detach()
        if n.timing == "masked":
            x = torch.where(s > 0, n.reset_value, x)
        if n.floor == "before_fire":
            x = torch.where(x >= n.floor_value, x, n.floor_value)
        compared = x
        if n.rearm == "double":
            compared = x - n.level * (v > (n.level * 2.0**-n.guard_bits).floor()).to(x.dtype)
        if n.spike == "binary":
            s = Atan.apply(compared, n.threshold, n.rounding_offset)
        else:
            s = Count.apply((x - n.threshold + n.level) / n.level, n.spike == "round", n.max_spikes)
        spikes.append(s)
        potentials.append(x)
        if n.timing == "same_step" and n.reset == "hard":
            x = torch.where(s > 0, n.reset_value, x)
        if n.timing == "same_step" and n.reset == "soft":
            x = x - n.soft_amount * s.detach()
        if n.floor == "after_reset":
            x = torch.where(x > n.floor_value, x, n.floor_value)
        v = clipped(floored(x, n.guard_bits), half)
        i = clipped(floored(y, n.synapse_shift), half)
    return torch.stack(spikes), torch.stack(potentials)


LEARNED = ("threshold", "level", "soft_amount", "drive", "reset_value", "floor_value", "synapse_drive")

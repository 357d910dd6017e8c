"""Integer operations carried in float tensors: exact forward, straight-through backward.

Each is one line of FORMAT.md. In float64 (evaluation) every value is below 2^53 and therefore exact; in float32
(training) large products round, which only perturbs a gradient step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdcompress.graph import ResetKind
from mdcompress.zoo.neurons import surrogate_derivative


class _Requantize(torch.autograd.Function):
    """Forward floor((acc*M + B) / 2^S); backward that of (acc*M + B) / 2^S."""

    @staticmethod
    def forward(ctx: Any, accumulator: Tensor, multiplier: Tensor, bias: Tensor, shift: int) -> Tensor:
        ctx.save_for_backward(accumulator, multiplier)
        ctx.shift, ctx.bias_shape = shift, bias.shape
        return torch.addcmul(bias, accumulator, multiplier).mul_(2.0**-shift).floor_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        accumulator, multiplier = ctx.saved_tensors
        gradient = gradients[0] * 2.0**-ctx.shift
        to_multiplier = (gradient * accumulator).sum_to_size(multiplier.shape)
        return gradient * multiplier, to_multiplier, gradient.sum_to_size(ctx.bias_shape), None


def requantize(accumulator: Tensor, multiplier: Tensor, bias: Tensor, shift: int) -> Tensor:
    """j = (acc*M + B) >> S; M and B broadcast against acc."""
    result: Tensor = _Requantize.apply(accumulator, multiplier, bias, shift)
    return result


@dataclass(frozen=True)
class NeuronIntegers:
    """The integers of a neuron layer, in fine units lsb (`intsnn.IntNeuron` has the equations).

    threshold, soft_amount, drive, reset_value: integer-valued tensors [1], differentiable in the scale.
    """

    leak: int
    guard_bits: int
    bit_width: int
    reset: ResetKind
    initial: int
    threshold: Tensor
    soft_amount: Tensor
    drive: Tensor
    reset_value: Tensor


@dataclass(frozen=True)
class Firing:
    """A neuron layer over a sequence, all [T, ...]: spikes, potentials before reset (fine units), stored membranes."""

    spikes: Tensor
    potentials: Tensor
    membranes: Tensor


class _IntegrateAndFire(torch.autograd.Function):
    """Forward: the integer neuron over T. Backward: through time, with a surrogate for the comparison.

    The shift and the stored word pass gradients straight through (inside the word's range); the reset decision is
    not differentiated, as usual for hard and soft reset alike.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        threshold: Tensor,
        soft_amount: Tensor,
        drive: Tensor,
        reset_value: Tensor,
        integers: NeuronIntegers,
    ) -> tuple[Tensor, Tensor, Tensor]:
        low, high = -(2 ** (integers.bit_width - 1)), 2 ** (integers.bit_width - 1) - 1
        spikes, potentials = torch.empty_like(current), torch.empty_like(current)
        membranes, kept = torch.empty_like(current), torch.empty(current.shape, dtype=torch.bool, device=current.device)
        v = torch.full_like(current[0], integers.initial)
        for t, j in enumerate(current):
            x = torch.add(j, v, alpha=integers.leak) + drive
            fires = x >= threshold
            potentials[t], spikes[t] = x, fires
            if integers.reset == "hard":
                x = torch.where(fires, reset_value, x)
            elif integers.reset == "soft":
                x = x - soft_amount * spikes[t]
            unclipped = (x * 2.0**-integers.guard_bits).floor_()
            v = unclipped.clamp(low, high)
            membranes[t] = v
            kept[t] = v == unclipped
        ctx.save_for_backward(threshold, spikes, potentials, kept)
        ctx.integers = integers
        ctx.shapes = (threshold.shape, soft_amount.shape, drive.shape, reset_value.shape)
        ctx.mark_non_differentiable(membranes)
        return spikes, potentials, membranes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        threshold, spikes, potentials, kept = ctx.saved_tensors
        integers: NeuronIntegers = ctx.integers
        to_spikes, to_potentials = gradients[0], gradients[1]
        surrogate = to_spikes * surrogate_derivative((potentials - threshold) / threshold, "atan") / threshold
        to_current = torch.empty_like(spikes)
        to_soft = torch.zeros((), dtype=spikes.dtype, device=spikes.device)
        to_reset = torch.zeros_like(to_soft)
        to_v = torch.zeros_like(spikes[0])
        for t in range(len(spikes) - 1, -1, -1):
            after_reset = to_v * kept[t] * 2.0**-integers.guard_bits
            if integers.reset == "soft":
                to_soft = to_soft - (after_reset * spikes[t]).sum()
            elif integers.reset == "hard":
                to_reset = to_reset + (after_reset * spikes[t]).sum()
                after_reset = after_reset * (1.0 - spikes[t])
            to_current[t] = surrogate[t] + to_potentials[t] + after_reset
            to_v = to_current[t] * integers.leak
        threshold_shape, soft_shape, drive_shape, reset_shape = ctx.shapes
        return (
            to_current,
            -surrogate.sum_to_size(threshold_shape),
            to_soft.expand(soft_shape),
            to_current.sum_to_size(drive_shape),
            to_reset.expand(reset_shape),
            None,
        )


def integrate_and_fire(current: Tensor, integers: NeuronIntegers) -> Firing:
    """Run the integer neuron on currents [T, N, ...] (integers in fine units)."""
    dtype = current.dtype
    constants = (integers.threshold, integers.soft_amount, integers.drive, integers.reset_value)
    spikes, potentials, membranes = _IntegrateAndFire.apply(
        current, *(constant.to(dtype) for constant in constants), integers
    )
    return Firing(spikes, potentials, membranes)

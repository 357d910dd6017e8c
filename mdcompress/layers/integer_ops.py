"""Integer operations carried in float tensors: exact forward, straight-through backward.

Each is one line of FORMAT.md. In float64 (evaluation) every value is below 2^53 and therefore exact; in float32
(training) large products round, which only perturbs a gradient step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdcompress.graph import FloorKind, Rearm, ResetKind, ResetTiming, SpikeKind


class _Requantize(torch.autograd.Function):
    """Forward floor((acc*M + B) / 2^S); backward that of (acc*M + B) / 2^S."""

    @staticmethod
    def forward(ctx: Any, accumulator: Tensor, multiplier: Tensor, bias: Tensor, factor: Tensor | float) -> Tensor:
        ctx.save_for_backward(accumulator, multiplier)
        ctx.factor, ctx.bias_shape = factor, bias.shape
        return torch.addcmul(bias, accumulator, multiplier).div_(factor).floor_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        accumulator, multiplier = ctx.saved_tensors
        gradient = gradients[0] / ctx.factor
        to_multiplier = (gradient * accumulator).sum_to_size(multiplier.shape)
        return gradient * multiplier, to_multiplier, gradient.sum_to_size(ctx.bias_shape), None


def requantize(accumulator: Tensor, multiplier: Tensor, bias: Tensor, factor: Tensor | float) -> Tensor:
    """j = (acc*M + B) >> S with 2^S = factor; M and B broadcast against acc, in its type."""
    result: Tensor = _Requantize.apply(accumulator, multiplier, bias, factor)
    return result


@dataclass(frozen=True)
class NeuronIntegers:
    """The integers of a neuron layer, in units of s_f s_f (`intsnn.IntNeuron` has the equations and the same names).

    leak, synapse_leak: integers, a number or a tensor [C]; synapse_leak is None without a synaptic state. initial: what
    is stored before the first step, one number. threshold, level, soft_amount, drive, reset_value, floor_value,
    synapse_drive: tensors [1] or [C], differentiable in the scale. What the options do not read is a zero.
    rounding_offset: the part of threshold and potential that is there for rounding; the backward pass takes it off
    again.
    """

    leak: Tensor | float
    synapse_leak: Tensor | float | None
    synapse_shift: int
    guard_bits: int
    bit_width: int
    initial: Tensor | int
    reset: ResetKind
    timing: ResetTiming
    spike: SpikeKind
    max_spikes: int
    floor: FloorKind
    rearm: Rearm
    threshold: Tensor
    level: Tensor
    soft_amount: Tensor
    drive: Tensor
    reset_value: Tensor
    floor_value: Tensor
    synapse_drive: Tensor
    rounding_offset: int = 0


@dataclass(frozen=True)
class Firing:
    """A neuron layer over a sequence, all [T, ...]: spikes, potentials before reset (in s_f), stored membranes."""

    spikes: Tensor
    potentials: Tensor
    membranes: Tensor

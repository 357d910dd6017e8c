"""Integer operations carried in float tensors: exact forward, straight-through backward.

Each is one line of FORMAT.md. In float64 (evaluation) every value is below 2^53 and therefore exact; in float32
(training) large products round, which only perturbs a gradient step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdcompress.graph import FloorKind, Rearm, ResetKind, ResetTiming, SpikeKind


class _Requantize(torch.autograd.Function):
    """Forward floor((acc*M + B) / 2^S); backward that of (acc*M + B) / 2^S. `view`: M and B against the accumulator."""

    @staticmethod
    def forward(
        ctx: Any, accumulator: Tensor, multiplier: Tensor, bias: Tensor, shift: Tensor | int, view: Sequence[int] | None
    ) -> Tensor:
        step = torch.exp2(-shift) if isinstance(shift, Tensor) else 2.0**-shift  # exact: a power of two
        factor, offset = (_against(accumulator, values * step, view) for values in (multiplier, bias))
        ctx.save_for_backward(accumulator, factor)
        ctx.step, ctx.shapes, ctx.dtype = step, (multiplier.shape, bias.shape, offset.shape), multiplier.dtype
        return torch.addcmul(offset, accumulator, factor).floor_()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch annotates it nowhere
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        accumulator, factor = ctx.saved_tensors
        (gradient,), (of_multiplier, of_bias, offset) = gradients, ctx.shapes
        to_accumulator, to_multiplier, to_bias = None, None, None
        if ctx.needs_input_grad[1]:
            summed = (gradient * accumulator).sum_to_size(factor.shape)
            to_multiplier = (summed.to(ctx.dtype) * ctx.step).reshape(of_multiplier)
        if ctx.needs_input_grad[2]:
            to_bias = (gradient.sum_to_size(offset).to(ctx.dtype) * ctx.step).reshape(of_bias)
        if ctx.needs_input_grad[0]:
            to_accumulator = gradient * factor
        return to_accumulator, to_multiplier, to_bias, None, None


def requantize(
    accumulator: Tensor, multiplier: Tensor, bias: Tensor, shift: Tensor | int, *, view: Sequence[int] | None = None
) -> Tensor:
    """j = (acc*M + B) >> S, in the accumulator's type.

    Args:
        accumulator: acc, of any shape.
        multiplier: M, and bias: B; they broadcast against acc, in the shape `view` where there is one.
        shift: S.
        view: see there.
    """
    result: Tensor = _Requantize.apply(accumulator, multiplier, bias, shift, view)
    return result


def _against(values: Tensor, constants: Tensor, view: Sequence[int] | None) -> Tensor:
    constants = constants.to(values.dtype)
    return constants if view is None else constants.reshape(view)


@dataclass(frozen=True)
class NeuronIntegers:
    """The integers of a neuron layer, in units of s_f s_f (`intsnn.IntNeuron` has the equations and the same names).

    leak, synapse_leak: integers, a number or a tensor [C]; synapse_leak is None without a synaptic state.
    initial: what is stored before the first step, a tensor of one element. threshold, level, soft_amount, drive, reset_value, floor_value, synapse_drive: likewise, differentiable in the
    scale. What the options do not read is a zero. rounding_offset: the part of threshold and potential that is there
    for rounding; the backward pass takes it off again.
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

"""A trained range -> the step that divides it, with a gradient scaled so that steps and weights move alike.

LSQ (Esser et al. 2020, eq. 4): a step s that rounds N numbers gathers N gradients; their sum times g = 1/sqrt(N*Q), Q
the largest integer, makes the relative update of s about that of the weights. What is trained here is not s but the
range that s divides into levels, or its logarithm. For a parameter p with s = f(p) the factor is g / f'(p)^2: an SGD
step on p then moves s by f'(p) dp = -lr * g * dL/ds, which is LSQ's own step.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdcompress.layers.constants import constant

Trained = Literal["range", "log2_range"]
SMALLEST_SCALE = 1e-10  # a channel of zeros still has a scale


class StepSize:
    """s = |p|/d, or s = 2^ceil(p)/d for a logarithm, differentiable in p; at least 1e-10/d.

    Args:
        divisor: d.
        count: N, how many numbers one step rounds.
        largest: Q, the largest integer that they become.
        trained: whether p is the range or its logarithm.
    """

    def __init__(self, divisor: float, *, count: int, largest: int, trained: Trained = "range") -> None:
        self.divisor, self.trained = divisor, trained
        self.gradient_scale = lsq_scale(count, largest)

    def __call__(self, parameter: Tensor) -> Tensor:
        """The step of each p, of its shape."""
        step: Tensor = _Step.apply(parameter, self)
        return step

    def reach(self, parameter: Tensor) -> Tensor:
        """What is divided: |p|, or 2^ceil(p)."""
        reached = parameter.abs() if self.trained == "range" else parameter.ceil().exp2()
        return reached.clamp_min(SMALLEST_SCALE)

    def to_parameter(self, gradient: Tensor, parameter: Tensor, step: Tensor) -> Tensor:
        """The gradient of p from that of s: times ds/dp and g / f'(p)^2, with f'(p) = +-1/d, or 2^p ln 2 / d."""
        if self.trained == "range":
            return gradient * torch.copysign(constant(self.gradient_scale * self.divisor, parameter), parameter)
        slope = parameter.exp2() * (math.log(2.0) / self.divisor)
        return gradient * step * math.log(2.0) * self.gradient_scale / slope.square()


def lsq_scale(count: int, largest: int) -> float:
    """LSQ's g = 1 / sqrt(N*Q)."""
    return 1.0 / math.sqrt(count * largest)


class _Step(torch.autograd.Function):
    """Forward s; backward LSQ's gradient."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, size: StepSize) -> Tensor:
        step = size.reach(parameter) / constant(size.divisor, parameter)
        ctx.save_for_backward(parameter, step)
        ctx.size = size
        return step

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        size: StepSize = ctx.size
        return size.to_parameter(gradients[0], *ctx.saved_tensors), None

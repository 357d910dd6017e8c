"""The gradient of a learned step size, scaled so that steps and weights move alike (LSQ, Esser et al. 2020, eq. 4).

A step s that rounds N numbers gathers N gradients. LSQ multiplies their sum by g = 1/sqrt(N*Q), Q the largest integer:
then the relative update of s is about that of the weights. What is trained here is not s but the range that s divides
into levels, or its logarithm. For a parameter p with s = f(p) the factor is g / f'(p)^2: an SGD step on p then moves s
by f'(p) dp = -lr * g * dL/ds, which is LSQ's own step.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

Trained = Literal["range", "log2_range"]


class StepGradient(nn.Module):
    """Passes the trained parameter of a step size on as it is, and its gradient times g / f'(p)^2.

    Args:
        divisor: d in s = p/d, or in s = 2^p/d for a logarithm.
        count: N, how many numbers one step rounds.
        largest: Q, the largest integer that they become.
        trained: whether p is the range or its logarithm.
    """

    def __init__(self, divisor: float, *, count: int, largest: int, trained: Trained = "range") -> None:
        super().__init__()
        self.divisor, self.trained = divisor, trained
        self.scale = lsq_scale(count, largest)

    def forward(self, parameter: Tensor) -> Tensor:
        """The parameter itself."""
        slope = self.slope(parameter.detach())
        passed: Tensor = _Scaled.apply(parameter, self.scale / slope.square())
        return passed

    def slope(self, parameter: Tensor) -> Tensor:
        """f'(p): 1/d, or s*ln 2 for a logarithm."""
        if self.trained == "range":
            return torch.full_like(parameter, 1.0 / self.divisor)
        return parameter.exp2() * (math.log(2.0) / self.divisor)


def lsq_scale(count: int, largest: int) -> float:
    """LSQ's g = 1 / sqrt(N*Q)."""
    return 1.0 / math.sqrt(count * largest)


class _Scaled(torch.autograd.Function):
    """Forward p; backward the gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None

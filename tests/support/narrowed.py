"""What torch says may be missing, where a test knows that it is there."""

from __future__ import annotations

from torch import Tensor

from mdcompress.layers.norms import BatchNorm, running_statistics


def gradient(parameter: Tensor) -> Tensor:
    """The gradient of a tensor that learns."""
    assert parameter.grad is not None
    return parameter.grad


def batch_norm(module: object) -> BatchNorm:
    """A module that is a batch norm."""
    assert isinstance(module, BatchNorm)
    return module


def statistics(module: object) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a batch norm, [C] each."""
    return running_statistics(batch_norm(module))

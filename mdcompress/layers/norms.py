"""Batch norm as an affine map per channel, with batch statistics in training and running ones afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import handle_torch_function, has_torch_function_unary

from mdcompress.layers.constants import constant

BatchNorm: TypeAlias = _BatchNorm
_CHANNELS = 2  # the axis, in [T, N, C, ...]
_CLASSES = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Affine:
    """y = gain*acc_real + offset per channel: batch norm or bias, [C] each, in real units."""

    gain: Tensor
    offset: Tensor


def make_norm(channels: int, map_axes: int) -> BatchNorm:
    """A batch norm for tensors [N, C, ...] with so many axes after the channels."""
    return _CLASSES[map_axes](channels)


def adopt_norm(norm: BatchNorm, source: BatchNorm) -> None:
    """Give `norm` the parameters and statistics of `source`; constants, which follow no batch, stay constants."""
    norm.eps, norm.momentum, norm.track_running_stats = source.eps, source.momentum, source.track_running_stats
    mean, variance = running_statistics(source)
    norm.running_mean.copy_(mean)  # type: ignore[union-attr]
    norm.running_var.copy_(variance)  # type: ignore[union-attr]
    if source.affine:
        norm.weight.copy_(source.weight)
        if source.bias is not None:  # snnTorch and SpikingJelly take the bias off their norms through time
            norm.bias.copy_(source.bias)


def norm_affine(norm: BatchNorm, mean: Tensor, variance: Tensor) -> Affine:
    """g = gamma / sqrt(var + eps), b = beta - g*mean."""
    gain = torch.rsqrt(variance + constant(norm.eps, variance))
    if norm.affine:
        gain = gain * norm.weight
    offset = -gain * mean
    return Affine(gain, offset + norm.bias if norm.affine and norm.bias is not None else offset)


def running_statistics(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance that evaluation uses, [C] each."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def batch_statistics(norm: BatchNorm, values: Tensor, scale: Tensor, offset: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of values*scale + offset over the batch [T, N, C, ...]; running statistics are updated too."""
    mean, variance, count = channel_moments(values)
    mean, variance = mean * scale, variance * (scale * scale)
    if offset is not None:
        mean = mean + offset
    _update_running(norm, mean, variance, count)
    return mean, variance


def channel_moments(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and (biased) variance of each channel of [T, N, C, ...], [C] each, and of how many values; differentiable.

    Where processes share a batch, theirs are those of all (`mdcompress.training.statistics`).
    """
    if has_torch_function_unary(values):
        shared: tuple[Tensor, Tensor, int] = handle_torch_function(channel_moments, (values,), values)
        return shared
    mean, variance = _Moments.apply(values)
    return mean, variance, values.numel() // values.shape[_CHANNELS]


class _Moments(torch.autograd.Function):
    """m = mean(x), v = mean((x - m)^2) in two sums; backward dx = g_m/n + 2 g_v (x - m)/n in one pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        axes = [axis for axis in range(values.dim()) if axis != _CHANNELS]
        count = constant(values.numel() // values.shape[_CHANNELS], values)
        mean = values.sum(axes, keepdim=True).div_(count)
        distances = values - mean
        variance = distances.mul_(distances).sum(axes).div_(count)
        ctx.save_for_backward(values, mean)
        return mean.view(-1), variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values, mean = ctx.saved_tensors
        count = constant(values.numel() // mean.numel(), values)
        to_mean, slope = (gradient.view(mean.shape) / count for gradient in gradients)
        slope.mul_(constant(2.0, slope))
        return torch.addcmul(to_mean - slope * mean, values, slope)


@torch.no_grad()
def _update_running(norm: BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch of `count` values a channel, its variance without bias."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    weight = 1.0 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    running_mean, running_variance = running_statistics(norm)
    running_mean.lerp_(mean, weight)
    running_variance.lerp_(variance * constant(count / max(count - 1, 1), variance), weight)

"""Batch norm over the samples of all processes: the statistics of the global batch, with gradients through them.

torch's SyncBatchNorm does not run on a CPU, and a student computes its own statistics. Both are met where they are
called: `functional.batch_norm` of a float network in training, and `channel_moments` of a student's layers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mdcompress.layers.norms import channel_moments
from mdcompress.losses import Moments, own_moments
from mdcompress.processes import Processes


@contextlib.contextmanager
def global_statistics(processes: Processes) -> Iterator[None]:
    """Inside, batch norms in training mode, a student's too, see the batches of all processes as one."""
    with contextlib.nullcontext() if processes.size == 1 else _GlobalStatistics(processes):
        yield


def moments(values: Tensor, axes: Sequence[int], processes: Processes) -> tuple[Tensor, Tensor, int]:
    """Mean and (biased) variance over `axes` (from 0) and all processes, and of how many values; differentiable.

    Two sums, of the values and then of squared distances from their mean, in float64.
    """
    count = math.prod(values.shape[axis] for axis in axes)
    own = values.sum(tuple(axes), dtype=torch.float64)
    total = _Summed.apply(torch.cat([own.flatten(), own.new_tensor([count])]), processes)
    everywhere = int(total[-1])
    mean = (total[:-1] / everywhere).view_as(own)
    view = [1 if axis in axes else size for axis, size in enumerate(values.shape)]
    squares = (values - mean.to(values.dtype).view(view)).square().sum(tuple(axes), dtype=torch.float64)
    variance = _Summed.apply(squares, processes) / everywhere
    return mean.to(values.dtype), variance.to(values.dtype), everywhere


def moments_over(processes: Processes) -> Moments:
    """What the losses on moments ask for: mean and variance over the last axis and all processes."""
    if processes.size == 1:
        return own_moments
    return lambda values: moments(values, (values.dim() - 1,), processes)[:2]


def unbiased(count: int) -> float:
    """n / (n - 1), what a biased variance is multiplied by; 1 for one value."""
    return count / max(count - 1, 1)


class _Summed(torch.autograd.Function):
    """Forward the sum over processes; backward the sum of what each one's loss asks of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.sum(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.sum(gradients[0].contiguous()), None


class _GlobalStatistics(TorchFunctionMode):
    """Answers batch norms and `channel_moments` over all processes."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is functional.batch_norm and named.get("training", args[5] if len(args) > 5 else False):
            return self._batch_norm(*args, **named)
        if func is channel_moments:
            return moments(args[0], [0, 1, *range(3, args[0].dim())], self._processes)
        return func(*args, **named)

    def _batch_norm(
        self,
        input: Tensor,  # the names are those of functional.batch_norm
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        axes = [0, *range(2, input.dim())]
        mean, variance, count = moments(input, axes, self._processes)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            running_var.lerp_(variance.detach().to(running_var.dtype) * unbiased(count), momentum)
        view = [1, -1, *(1 for _ in axes[1:])]
        gain = torch.rsqrt(variance + eps) if weight is None else weight * torch.rsqrt(variance + eps)
        offset = -mean * gain if bias is None else bias - mean * gain
        return input * gain.to(input.dtype).view(view) + offset.to(input.dtype).view(view)

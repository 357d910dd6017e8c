"""Batch norm over the samples of all processes: the statistics of the global batch, with gradients through them.

torch's SyncBatchNorm does not run on a CPU, and a student computes its own statistics. Both are met where they call
torch: `functional.batch_norm` of a float network in training, and `torch.var_mean` inside a student's layers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from mdcompress.losses import Moments, own_moments
from mdcompress.modes import modules_of
from mdcompress.processes import Processes
from mdcompress.student import Student


@contextlib.contextmanager
def global_statistics(network: nn.Module, processes: Processes) -> Iterator[None]:
    """Inside, batch norms of `network` in training mode see the batches of all processes as one."""
    if processes.size == 1:
        yield
        return
    mode = _GlobalStatistics(processes)
    layers = _norm_layers(network) if isinstance(network, Student) else ()
    handles = [layer.register_forward_pre_hook(mode.enter_layer) for layer in layers]
    handles += [layer.register_forward_hook(mode.leave_layer) for layer in layers]
    try:
        with mode:
            yield
    finally:
        for handle in handles:
            handle.remove()


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
    """Answers batch norms and, inside a student's layer, `var_mean` over all processes."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes
        self._before: dict[_BatchNorm, Tensor] | None = None  # running variances; None outside a student's layer
        self._counts = (1, 1)  # values of the last statistics: here, in all processes

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
        if func is torch.var_mean and self._before is not None:
            return self._var_mean(args[0], **named)
        return func(*args, **named)

    def enter_layer(self, layer: nn.Module, _inputs: object) -> None:
        """A student's layer begins."""
        norms = [each for each in layer.children() if isinstance(each, _BatchNorm)]
        self._before = {norm: norm.running_var.clone() for norm in norms if norm.running_var is not None}

    def leave_layer(self, _layer: nn.Module, _inputs: object, _output: object) -> None:
        """It ends: its running variance took n/(n-1) of this process's n; put that of all in its place.

        r' = k + (1-k) n/(n-1) v with k = (1 - m) r  ->  k + (r' - k) * [N/(N-1)] / [n/(n-1)]
        """
        assert self._before is not None
        here, everywhere = self._counts
        for norm, before in self._before.items():
            if norm.training and norm.running_var is not None and norm.num_batches_tracked is not None:
                momentum = 1.0 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
                kept = before * (1.0 - momentum)
                factor = unbiased(everywhere) / unbiased(here)
                norm.running_var.copy_(kept + (norm.running_var - kept) * factor)
        self._before = None

    def _var_mean(self, values: Tensor, *, dim: Sequence[int], correction: int) -> tuple[Tensor, Tensor]:
        assert correction == 0
        mean, variance, everywhere = moments(values, dim, self._processes)
        self._counts = (math.prod(values.shape[axis] for axis in dim), everywhere)
        return variance, mean

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


def _norm_layers(network: nn.Module) -> tuple[nn.Module, ...]:
    """The modules that hold a batch norm of their own."""
    modules = modules_of(network).values()
    return tuple(module for module in modules if any(isinstance(each, _BatchNorm) for each in module.children()))

"""TrainSpec and parameters -> optimizer, learning rate of each step, and the optimizer's state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor, nn

from mdcompress.errors import TrainingError

if TYPE_CHECKING:
    from mdcompress.recipe import OptimizerSpec, TrainSpec


def make_optimizer(network: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD over the trainable parameters; only matrices and kernels decay.

    Vectors, whatever their number of axes (biases, batch norm, learned scales [C,1,1,1]), do not: decay would pull a
    scale towards 0, which is no simpler a network (as in timm and in LSQ's code).
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError(
            f"{type(network).__name__} must have parameters that can be trained (all are frozen, or there are none)",
            hints=["call requires_grad_(True) on what shall be trained"],
        )
    groups = [
        {"params": [p for p in trainable if _is_kernel(p)], "weight_decay": spec.weight_decay},
        {"params": [p for p in trainable if not _is_kernel(p)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match spec.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=spec.lr, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=spec.lr, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, fused=True)
        case _:
            assert_never(spec.name)


def learning_rate(settings: TrainSpec, *, done: int, total: int) -> float:
    """The rate of the step after `done` of `total` steps.

    cosine: lr * (1 + cos(pi * done/total)) / 2   (Loshchilov & Hutter 2017, without restarts);  constant: lr
    """
    match settings.schedule:
        case "cosine":
            return settings.optimizer.lr * (1.0 + math.cos(math.pi * min(done / total, 1.0))) / 2.0
        case "constant":
            return settings.optimizer.lr
        case _:
            assert_never(settings.schedule)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state as `<parameter's number>/<name>` -> tensor, e.g. `0/exp_avg`. Parameters without gradient have none."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, entries in state.items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; rates and decay stay those of `optimizer`.

    A tensor of a parameter's shape is laid out as the parameter is: fused optimizers walk both in memory's order.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        parameter = parameters[int(number)].detach()
        fits = value.shape == parameter.shape
        state.setdefault(int(number), {})[name] = torch.empty_like(parameter).copy_(value) if fits else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def clip_gradient(parameters: Iterable[nn.Parameter], limit: float | None) -> Tensor:
    """Scale the gradient to norm `limit` where it is longer (None: never); its norm before, in L2, one element."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    on_cpu = all(parameter.device.type == "cpu" for parameter in trained)
    foreach = False if on_cpu else None  # torch's own choice reads the norm back for each tensor on a CPU
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None], foreach=foreach)
    if limit is not None:
        nn.utils.clip_grads_with_norm_(trained, limit, norm, foreach=foreach)
    return norm


def _is_kernel(parameter: Tensor) -> bool:
    return parameter.dim() > 1 and parameter.numel() > max(parameter.shape)

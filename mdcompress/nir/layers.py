"""A NIR node without memory -> a torch module that takes one step of a batch, [N, *shape]."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdcompress.nir.neurons import refused

_MOST_SIZE = 65_535  # of windows, steps, edges and groups: larger ones ask for memory that no map needs

FloatWeights: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d


def layer_of(name: str, node: Any) -> nn.Module:
    """The module of an Affine, Linear, Conv, pooling, Scale or Flatten node; TraceError names any other."""
    match type(node).__name__:
        case "Affine" | "Linear" | "Conv1d" | "Conv2d":
            return weights_of(name, node)
        case "SumPool2d":
            return SumPool2d(*_window(node))
        case "AvgPool2d":
            return nn.AvgPool2d(*_window(node))
        case "Scale":
            return _scale_of(name, np.asarray(node.scale, np.float64))
        case "Flatten":
            return _flatten_of(_axis(node.start_dim), _axis(node.end_dim))
        case "Delay":
            raise refused(name, "Delay", "a graph of integers keeps no tensor for later steps", "train without delays")
        case kind:
            raise refused(name, kind, "it has no canonical form", f"the nodes that have one: {', '.join(_KNOWN)}")


_KNOWN = (
    "Input", "Output", "Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Scale", "Flatten", "IF",
    "LIF", "CubaLIF", "LI", "I", "CubaLI", "Threshold",
)  # fmt: skip


class SumPool2d(nn.Module):
    """The sum over windows of a map [N, C, H, W]."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """An average times the size of the window: both are exact on counts below 2^24 / size."""
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding) * math.prod(self.kernel)


class Factor(nn.Module):
    """y = factor * x with one positive factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.factor


def weights_of(name: str, node: Any) -> FloatWeights:
    """A synapse with the node's arrays, in torch's default type; without a bias where that is 0."""
    weight = _tensor(node.weight)
    bias = _tensor(node.bias) if np.any(np.asarray(getattr(node, "bias", 0))) else None
    kind = type(node).__name__
    rank = {"Affine": 0, "Linear": 0, "Conv1d": 1, "Conv2d": 2}[kind]
    if weight.dim() != rank + 2:
        raise refused(
            name, kind, f"its weight must have {rank + 2} axes (it has {weight.dim()})",
            "flatten what it reads, and give it one matrix",
        )  # fmt: skip
    module: FloatWeights
    if rank == 0:
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        (groups,), window = _sizes(node.groups, 1), tuple(weight.shape[2:])
        padding = node.padding if isinstance(node.padding, str) else _sizes(node.padding, rank, least=0)
        geometry = (window, _sizes(node.stride, rank), padding, _sizes(node.dilation, rank), groups)
        make: Any = nn.Conv1d if rank == 1 else nn.Conv2d
        module = make(weight.shape[1] * groups, weight.shape[0], *geometry, bias=bias is not None)
    with torch.no_grad():
        module.weight.copy_(weight)
        if module.bias is not None and bias is not None:
            module.bias.copy_(bias)
    return module


def _scale_of(name: str, scale: np.typing.NDArray[np.float64]) -> nn.Module:
    """One positive factor, or a norm with fixed statistics where channels have their own."""
    if scale.size and (scale == scale.flat[0]).all() and scale.flat[0] > 0:
        return Factor(float(scale.flat[0]))
    rows = scale.reshape(scale.shape[0], -1) if scale.ndim else scale.reshape(1, -1)
    if not (rows == rows[:, :1]).all() or scale.ndim not in (1, 3):
        raise refused(
            name, "Scale", "its factors differ within a channel", "give a channel one factor, or scale the weights"
        )
    norm = nn.BatchNorm1d(len(rows), eps=0.0) if scale.ndim == 1 else nn.BatchNorm2d(len(rows), eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(_tensor(rows[:, 0]))
    return norm


def _flatten_of(start: int, end: int) -> nn.Module:
    """NIR counts the axes of a sample, torch those of a batch."""
    return nn.Flatten(*(axis + 1 if axis >= 0 else axis for axis in (start, end)))


def _axis(value: Any) -> int:
    """The number of an axis; ValueError where it is none."""
    number = float(value)
    if not number.is_integer():
        raise ValueError(f"an axis must be an integer (got {number})")
    return int(number)


def _tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64), dtype=torch.get_default_dtype())


def _window(node: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Size, stride and padding of a pooling node."""
    (height, width), (down, right) = _sizes(node.kernel_size, 2), _sizes(node.stride, 2)
    above, left = _sizes(node.padding, 2, least=0)
    return (height, width), (down, right), (above, left)


def _sizes(value: Any, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """One integer per axis, of a number or an array; ValueError where it is none."""
    values = np.broadcast_to(np.asarray(value, np.float64).reshape(-1), rank)
    if not ((values >= least) & (values <= _MOST_SIZE) & (values == np.floor(values))).all():
        raise ValueError(f"sizes must be integers from {least} to {_MOST_SIZE} (got {values.tolist()})")
    return tuple(int(size) for size in values)

"""A network given as its layers and its forward: a test says both in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn


class Layer(nn.Module):
    """A layer as a forward sees it: called with tensors, it gives one. No layer is made of it."""

    __call__: Callable[..., Tensor]
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor


class Layers(nn.Module):
    """A network whose layers are named at run time."""

    def __getattr__(self, name: str) -> Layer:
        return cast("Layer", super().__getattr__(name))  # a test knows what layers it has given


class Net(Layers):
    """Layers by name, and a forward that is given the network and x."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


Forward = Callable[[Net, Tensor], object]


def fold(layer: nn.Module | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer of [N, ...] applied to [T, N, ...]: time is folded into the batch."""
    y: Tensor = layer(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])

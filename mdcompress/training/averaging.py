"""The weights of a training -> their exponential moving average, which is validated and kept in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mdcompress.student.weights import restore


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def decay_after(steps: int, decay: float) -> float:
    """The decay of the update after so many earlier ones: d_n = min(d, (1 + n) / (10 + n)).

    The ramp is that of TensorFlow's ExponentialMovingAverage: a short training is not averaged with its start.
    """
    return min(decay, (1 + steps) / (10 + steps))


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], network: nn.Module, *, decay: float) -> None:
    """e <- d e + (1 - d) w for weights, scales and running statistics, in place; integers are those of the network.

    A constant stays what it is to the last bit, since e + (1 - d)(w - e) is e where w = e.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1.0 - decay)
        else:
            average[name].copy_(tensor)


@contextlib.contextmanager
def holding(network: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """The network with another state inside, and with its own again afterwards."""
    own = snapshot(network)
    restore(network, state)
    try:
        yield
    finally:
        restore(network, own)

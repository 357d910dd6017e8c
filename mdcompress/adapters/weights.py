"""The weights inside a neuron as torch layers: one weight for each neuron, linear layers multiplied out, a sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.refusals import RECURRENT, Refusal
from mdcompress.graph import Numbers, TensorShape, channel_values

_SAMPLES = 16  # on which a function of the user's must be the weighted sum that it seems to be


class OneToOne(nn.Module):
    """Every neuron reads its own last spikes alone, times one weight for the layer or one per channel.

    given: the shape of the tensor that held the weights, None where they are numbers. misfit: why another shape of it
    than `fits` asks for is refused.
    """

    def __init__(self, weights: Numbers, given: tuple[int, ...] | None = None, *, misfit: Refusal = RECURRENT) -> None:
        super().__init__()
        self.weights, self.given, self.misfit = weights, given, misfit

    def fits(self, shape: TensorShape) -> bool:
        """Whether there is one weight for all spikes of `shape`, (C, ...), or one per channel, as torch broadcasts it.

        A tensor [C] beside maps [N, C, H, W] would have a weight for every column.
        """
        count = len(channel_values(self.weights))
        if count == 1 or self.given is None:
            return count in (1, shape[0])
        channels = len(self.given) - len(shape)  # the axis that meets that of the channels
        return channels >= 0 and self.given[channels] == count == shape[0]

    def forward(self, spikes: Tensor) -> Tensor:
        """[N, C, ...] to the same shape."""
        weight = torch.tensor(channel_values(self.weights), dtype=spikes.dtype, device=spikes.device)
        return spikes * weight.reshape(-1, *(1 for _ in spikes.shape[2:]))


def weighted_sum(function: Any) -> tuple[float, float] | None:
    """(a, b) where function(y, x) is a*y + b*x with b > 0, elementwise; None where it is anything else."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.randn(2, _SAMPLES, _SAMPLES, generator=generator, dtype=torch.float64)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    try:
        with torch.no_grad():
            from_spikes, from_input, found = function(one, zero), function(zero, one), function(y, x)
    except Exception:  # the user's own function: whatever it raises, it is no sum of two tensors
        return None
    if not all(isinstance(value, Tensor) for value in (from_spikes, from_input, found)):
        return None
    a, b = float(from_spikes.sum()), float(from_input.sum())
    is_sum = found.shape == x.shape and torch.allclose(found, a * y + b * x, rtol=0.0, atol=1e-12)
    return (a, b) if is_sum and b > 0 else None


def composed(layers: list[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of linear layers, one after the other, as of one: W = W_n ... W_1, multiplied in float64."""
    if len(layers) == 1:
        (only,) = layers
        return only.weight.detach(), None if only.bias is None else only.bias.detach()
    weight = torch.eye(layers[0].in_features, dtype=torch.float64, device=layers[0].weight.device)
    bias = torch.zeros(layers[0].in_features, dtype=torch.float64, device=layers[0].weight.device)
    for layer in layers:
        weight, bias = layer.weight.detach().double() @ weight, layer.weight.detach().double() @ bias
        if layer.bias is not None:
            bias = bias + layer.bias.detach().double()
    biased = any(layer.bias is not None for layer in layers)
    dtype = layers[0].weight.dtype
    return weight.to(dtype), bias.to(dtype) if biased else None


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of these tensors, which are not copied."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer

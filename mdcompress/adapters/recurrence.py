"""What a neuron does to its input and to its own last spikes before it integrates them, as plain torch layers.

Most neurons do nothing to their input. Those that hold weights (Norse's recurrent cells and LILinearCell,
SpikingJelly's recurrent containers) do the same as a linear layer before a neuron: `input_layer`. What the spikes of
the step before add to the currents of a step is `recurrent_layer`: a linear layer, a convolution, one weight for each
neuron (`OneToOne`), or the submodule that the neuron names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import fresh_copy, has_base, library_class, numbers
from mdcompress.adapters.simulation import Recurrence
from mdcompress.graph import NeuronModel, Numbers, TensorShape, per_channel

LINEAR_CONTAINER, ELEMENTWISE_CONTAINER = "LinearRecurrentContainer", "ElementWiseRecurrentContainer"
_NORSE_RECURRENT = ("SNNRecurrent", "SNNRecurrentCell")
_NORSE_WEIGHTED = (*_NORSE_RECURRENT, "LILinearCell")
_SAMPLES = 16  # on which a function of the user's must be the weighted sum that it seems to be


class OneToOne(nn.Module):
    """Every neuron reads its own last spikes alone, times one weight for the layer or one per channel.

    given: the shape of the tensor that held the weights, None where they are numbers.
    """

    def __init__(self, weights: Numbers, given: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.weights, self.given = weights, given

    def fits(self, shape: TensorShape) -> bool:
        """Whether there is one weight for all spikes of `shape`, (C, ...), or one per channel, as torch broadcasts it.

        A tensor [C] beside maps [N, C, H, W] would have a weight for every column.
        """
        count = len(per_channel(self.weights))
        if count == 1 or self.given is None:
            return count in (1, shape[0])
        channels = len(self.given) - len(shape)  # the axis that meets that of the channels
        return channels >= 0 and self.given[channels] == count == shape[0]

    def forward(self, spikes: Tensor) -> Tensor:
        """[N, C, ...] to the same shape."""
        weight = torch.tensor(per_channel(self.weights), dtype=spikes.dtype, device=spikes.device)
        return spikes * weight.reshape(-1, *(1 for _ in spikes.shape[2:]))


def input_layer(module: Any) -> nn.Linear | None:
    """The weights that a neuron applies to its input by itself; None where it reads currents."""
    if has_base(module, "norse", _NORSE_WEIGHTED):
        return _linear(module.input_weights, None)
    if library_class(module, "spikingjelly") == LINEAR_CONTAINER:
        weight, bias = _contained(module)
        return _linear(weight[:, : -module.sub_module_out_features], bias)
    return None


def recurrent_layer(module: Any, model: NeuronModel) -> nn.Module:
    """What maps the spikes of a step, [N, ...], to what they add to the next step's currents."""
    assert model.recurrent is not None, "only a recurrent neuron has one"
    if has_base(module, "norse", _NORSE_RECURRENT):
        return _linear(module.recurrent_weights, None)
    match library_class(module, "spikingjelly"):
        case "LinearRecurrentContainer":
            return _linear(_contained(module)[0][:, -module.sub_module_out_features :], None)
        case "ElementWiseRecurrentContainer":
            factors = weighted_sum(module.element_wise_function)
            assert factors is not None, "described only where it is a weighted sum"
            return OneToOne(factors[0] / factors[1])
    found: nn.Module = module.get_submodule(model.recurrent)
    if library_class(found, "snntorch") == "RecurrentOneToOne":
        weights: Any = found.V
        return OneToOne(numbers(weights), tuple(weights.shape))
    return found


def read_currents(module: Any) -> None:
    """Let a copy of a neuron that holds input weights read currents: they become the identity."""
    if has_base(module, "norse", _NORSE_WEIGHTED):
        module.input_weights = nn.Parameter(torch.eye(len(module.input_weights), dtype=torch.float64))
        if hasattr(module, "recurrent_weights"):  # no parameter, and not copied as one, where it was given
            module.recurrent_weights = nn.Parameter(module.recurrent_weights.detach().cpu().double())
    elif library_class(module, "spikingjelly") == LINEAR_CONTAINER:
        held = contained_layers(module)
        assert held is not None, "described only where it holds such layers"
        weight = _contained(module)[0][:, -module.sub_module_out_features :]
        module.rc = _linear(torch.cat([torch.eye(len(weight), dtype=weight.dtype), weight], dim=1), None)
        module.sub_module = held[1]


def recurrence_of(module: nn.Module, model: NeuronModel) -> Recurrence | None:
    """`recurrent_layer` as a function of float64 spikes that keeps their shape; None for a neuron without one."""
    if model.recurrent is None:
        return None
    layer = fresh_copy(recurrent_layer(module, model))
    return lambda spikes: layer.to(spikes.device)(spikes).reshape(spikes.shape)


def with_recurrence(currents: Tensor, spikes: Tensor, recurrence: Recurrence | None) -> Tensor:
    """The currents [T, N, ...] of a neuron, with what its own spikes [T, N, ...] of the step before add to each step.

    Fed its own spikes, every neuron of a layer can be compared alone: what one rounds does not reach the others.
    """
    if recurrence is None:
        return currents
    before = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
    return currents + recurrence(before.flatten(0, 1)).reshape(currents.shape)


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


def contained_layers(module: Any) -> tuple[tuple[nn.Linear, ...], nn.Module] | None:
    """The linear layers and the neuron, last, of what a recurrent container holds; None where it holds other things."""
    held = module.sub_module
    parts = list(held) if isinstance(held, nn.Sequential) else [held]
    before = [part for part in parts[:-1] if not isinstance(part, nn.Identity | nn.Dropout)]
    if not parts or not all(isinstance(part, nn.Linear) for part in before):
        return None
    return tuple(part for part in before if isinstance(part, nn.Linear)), parts[-1]


def _contained(module: Any) -> tuple[Tensor, Tensor | None]:
    """The container's weights on (input, last spikes), and those of the linear layers that follow, as one layer."""
    held = contained_layers(module)
    assert held is not None, "described only where it holds such layers"
    return composed([module.rc, *held[0]])


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


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer

"""The weights inside a neuron as synapses of the graph: `<neuron>.input` and `<neuron>.recurrent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdcompress.adapters.base import fresh_copy
from mdcompress.adapters.recurrence import input_layer, recurrent_layer
from mdcompress.adapters.refusals import RECURRENT
from mdcompress.adapters.weights import OneToOne, composed
from mdcompress.errors import TraceError
from mdcompress.graph import (
    ActivationSpec,
    Carries,
    NeuronModel,
    RecurrentSpec,
    SnnGraph,
    SnnNode,
    SynapseOperator,
    SynapseSpec,
    TensorShape,
    channel_values,
)
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.specs import linear_spec

_OPERATORS: tuple[SynapseOperator, ...] = ("linear", "conv1d", "conv2d", "conv3d")  # by the axes of a map
_SAMPLES, _ROUNDING = 8, 1e-5  # random spikes; of the largest current, what weights multiplied out may lose
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class RecurrentSynapse:
    """What a neuron's last spikes pass through: the spec, and the float weights."""

    spec: SynapseSpec
    weight: Tensor
    bias: Tensor | None


def recurrent_synapse(name: str, module: nn.Module, model: NeuronModel, *, shape: TensorShape) -> RecurrentSynapse:
    """The recurrent layer of neuron `name`, which spikes with `shape`; TraceError where no integer neuron has it.

    One weight per neuron is a linear layer of C groups, weight [C, 1], on features, and on maps a convolution of C
    groups with a kernel of 1.
    """
    layer = recurrent_layer(module, model)
    if isinstance(layer, OneToOne) and not layer.fits(shape):
        raise TraceError(
            f"neuron {name!r} with spikes {shape} cannot become integers: {layer.misfit.reason} (it has the shape "
            f"{layer.given})",
            hints=[layer.misfit.hint],
        )
    found = _read_off(layer, shape)
    if found is None or not _is_the_same(found, layer, shape):
        raise TraceError(
            f"neuron {name!r} with spikes {shape} cannot become integers: {RECURRENT.reason} (it is {layer})",
            hints=[RECURRENT.hint],
        )
    return found


def add_recurrent(
    ledger: Ledger, name: str, module: nn.Module, model: NeuronModel, *, shape: TensorShape
) -> str | None:
    """Write the node of a neuron's recurrent layer, which reads nothing of the same step; None without one."""
    if model.recurrent is None:
        return None
    spec = RecurrentSpec(recurrent_synapse(name, module, model, shape=shape).spec)
    return ledger.write(recurrent_name(name), spec, (), shape=shape, carries=Carries.CURRENT)


def add_input(ledger: Ledger, name: str, layer: nn.Linear, source: Tracked) -> Tracked:
    """Write the node of the weights that a neuron applies to its input."""
    node = ledger.node(source.node)
    if len(node.shape) != 1:
        raise ledger.error(f"neuron {name!r} holds weights for features, and reads {node.shape}", "flatten before it")
    if node.carries is Carries.CURRENT:  # weights that read currents read them as small integers
        digits = source.tensor.view_as(source.tensor)
        base = f"{source.node}.digits"
        source = ledger.write_function(base, ActivationSpec(), [source], digits, carries=Carries.SPIKES)
    with torch.no_grad():
        currents: Tensor = layer(source.tensor)
    return ledger.write_module(input_name(name), linear_spec(layer), [source], currents, carries=Carries.CURRENT)


def recurrent_name(neuron: str) -> str:
    """The node of a neuron's recurrent weights."""
    return f"{neuron}.recurrent"


def input_name(neuron: str) -> str:
    """The node of the weights that a neuron applies to its input."""
    return f"{neuron}.input"


def own_input_layer(graph: SnnGraph, modules: Mapping[str, nn.Module], node: SnnNode) -> nn.Linear | None:
    """The float weights of a synapse that is part of a neuron; None where it is a module of its own."""
    for neuron in graph.of(NeuronModel):
        if node.name in neuron.inputs and node.name == input_name(neuron.name) and neuron.name in modules:
            return input_layer(modules[neuron.name])
    return None


def _read_off(layer: nn.Module, shape: TensorShape) -> RecurrentSynapse | None:
    """The weights of a layer that keeps `shape`, as its class says; None where it is none that is known."""
    if isinstance(layer, OneToOne):
        return _one_to_one(layer, shape)
    transparent = (*_TRANSPARENT, nn.Flatten) if len(shape) == 1 else _TRANSPARENT
    parts = [part for part in _flattened(layer) if not isinstance(part, transparent)]
    linear = [each for each in parts if isinstance(each, nn.Linear)]
    if len(shape) == 1 and linear and linear == parts:
        weight, bias = composed(linear)
        return RecurrentSynapse(_plain("linear", weight, bias), weight, bias)
    match parts:
        case [nn.Conv1d() | nn.Conv2d() | nn.Conv3d() as convolution] if convolution.weight.dim() == len(shape) + 1:
            weight, bias = convolution.weight.detach(), convolution.bias
            spec = replace(_plain(_OPERATORS[len(shape) - 1], weight, bias), groups=convolution.groups)
            return RecurrentSynapse(spec, weight, None if bias is None else bias.detach())
        case _:
            return None


def _plain(operator: SynapseOperator, weight: Tensor, bias: Tensor | None) -> SynapseSpec:
    """The spec of a layer that keeps the shape of what it reads: stride 1, no dilation, padding (kernel - 1)/2."""
    kernel = tuple(weight.shape[2:]) or (1, 1)
    ones, half = (1,) * len(kernel), tuple(size // 2 for size in kernel)
    return SynapseSpec(operator, tuple(weight.shape), ones, half, ones, 1, bias is not None, None)


def _is_the_same(found: RecurrentSynapse, layer: nn.Module, shape: TensorShape) -> bool:
    """Whether the layer itself gives on random spikes what the weights that were read off give."""
    if any(size % 2 == 0 for size in found.spec.weight_shape[2:]):
        return False
    generator = torch.Generator().manual_seed(0)
    spikes = torch.randint(0, 2, (_SAMPLES, *shape), generator=generator).double()
    weight = found.weight.detach().cpu().double()
    bias = None if found.bias is None else found.bias.cpu().double()
    with torch.no_grad():
        own = fresh_copy(layer)(spikes).reshape(spikes.shape)
        if found.spec.operator == "linear":
            read = spikes * weight[:, 0] if found.spec.groups > 1 else F.linear(spikes, weight, bias)
        else:
            convolve = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}[found.spec.operator]
            read = convolve(spikes, weight, bias, padding=found.spec.padding, groups=found.spec.groups)
    return own.shape == read.shape and bool((own - read).abs().max() <= _ROUNDING * own.abs().max())


def _flattened(layer: nn.Module) -> list[nn.Module]:
    if type(layer) is not nn.Sequential:
        return [layer]
    return [part for child in layer for part in _flattened(child)]


def _one_to_one(layer: OneToOne, shape: TensorShape) -> RecurrentSynapse:
    channels, values = shape[0], channel_values(layer.weights)
    weight = torch.tensor(values * (channels // len(values))).reshape(channels, *(1 for _ in shape))
    spec = replace(_plain(_OPERATORS[len(shape) - 1], weight, None), groups=channels)
    return RecurrentSynapse(spec, weight, None)

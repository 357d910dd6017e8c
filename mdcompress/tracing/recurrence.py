"""The weights inside a neuron as weight layers of the graph: `<neuron>.input` and `<neuron>.recurrent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcompress.adapters.recurrence import OneToOne, composed, input_layer, recurrent_layer
from mdcompress.adapters.refusals import RECURRENT
from mdcompress.errors import TraceError
from mdcompress.graph import Carries, NeuronModel, NodeKind, SnnGraph, SnnNode, SynapseSpec, TensorShape, per_channel
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.specs import SynapseOperator, conv_spec, linear_spec

_OPERATORS: tuple[SynapseOperator, ...] = ("linear", "conv1d", "conv2d", "conv3d")  # by the axes of a map
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
    if isinstance(layer, OneToOne):
        return _one_to_one(layer, shape)
    parts = [part for part in _flattened(layer) if not isinstance(part, _TRANSPARENT)]
    if len(shape) == 1:
        linear = [part for part in parts if isinstance(part, nn.Linear)]
        if linear and all(isinstance(part, nn.Linear | nn.Flatten) for part in parts):
            weight, bias = composed(linear)
            spec = SynapseSpec("linear", shape * 2, (1, 1), (0, 0), (1, 1), 1, bias is not None, None)
            return RecurrentSynapse(spec, weight, bias)
    elif len(parts) == 1 and isinstance(parts[0], nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _convolution(name, parts[0], shape)
    raise _refused(name, " then ".join(type(part).__name__ for part in parts) or "nothing", shape)


def add_recurrent(
    ledger: Ledger, name: str, module: nn.Module, model: NeuronModel, *, shape: TensorShape, here: Tracked
) -> Tracked:
    """Write the node of a neuron's recurrent layer, which reads nothing of the same step; `here`: its currents."""
    spec = recurrent_synapse(name, module, model, shape=shape).spec
    written = ledger.write(
        recurrent_name(name), NodeKind.RECURRENT, (), shape=shape, carries=Carries.CURRENT, spec=spec
    )
    return Tracked(here.tensor, written, here.position, here.version)


def add_input(ledger: Ledger, name: str, layer: nn.Linear, source: Tracked) -> Tracked:
    """Write the node of the weights that a neuron applies to its input."""
    node = ledger.node(source.node)
    if len(node.shape) != 1:
        raise ledger.error(f"neuron {name!r} holds weights for features, and reads {node.shape}", "flatten before it")
    if node.carries is Carries.CURRENT:  # weights that read currents read them as small integers
        digits = source.tensor.view_as(source.tensor)
        source = ledger.write_function(
            f"{source.node}.digits", NodeKind.DIGITIZER, [source], digits, carries=Carries.SPIKES
        )
    with torch.no_grad():
        currents: Tensor = layer(source.tensor)
    spec = linear_spec(layer)
    return ledger.write_module(
        input_name(name), NodeKind.SYNAPSE, [source], currents, carries=Carries.CURRENT, spec=spec
    )


def recurrent_name(neuron: str) -> str:
    """The node of a neuron's recurrent weights."""
    return f"{neuron}.recurrent"


def input_name(neuron: str) -> str:
    """The node of the weights that a neuron applies to its input."""
    return f"{neuron}.input"


def own_input_layer(graph: SnnGraph, modules: Mapping[str, nn.Module], node: SnnNode) -> nn.Linear | None:
    """The float weights of a synapse that is part of a neuron; None where it is a module of its own."""
    for reader in graph.readers(node.name):
        if reader.kind is NodeKind.NEURON and node.name == input_name(reader.name) and reader.name in modules:
            return input_layer(modules[reader.name])
    return None


def _flattened(layer: nn.Module) -> list[nn.Module]:
    if type(layer) is not nn.Sequential:
        return [layer]
    return [part for child in layer for part in _flattened(child)]


def _one_to_one(layer: OneToOne, shape: TensorShape) -> RecurrentSynapse:
    channels, axes = shape[0], 2 if len(shape) == 1 else len(shape) - 1
    values = per_channel(layer.weights)
    weight = torch.tensor(values * (channels // len(values))).reshape(channels, *(1 for _ in shape))
    windows = (1,) * axes, (0,) * axes, (1,) * axes
    spec = SynapseSpec(_OPERATORS[len(shape) - 1], tuple(weight.shape), *windows, channels, False, None)
    return RecurrentSynapse(spec, weight, None)


def _convolution(name: str, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, shape: TensorShape) -> RecurrentSynapse:
    def error(what: str, hint: str) -> TraceError:
        return TraceError(f"neuron {name!r}: the recurrent convolution {what}", hints=[hint])

    spec = conv_spec("weight", layer, error)
    kernel, ones = spec.weight_shape[2:], (1,) * len(spec.stride)
    keeps = all(size % 2 for size in kernel) and spec.padding == tuple(size // 2 for size in kernel)
    if (spec.stride, spec.dilation) != (ones, ones) or not keeps or spec.weight_shape[0] != shape[0]:
        raise _refused(name, f"{layer}", shape)
    return RecurrentSynapse(spec, layer.weight.detach(), None if layer.bias is None else layer.bias.detach())


def _refused(name: str, seen: str, shape: TensorShape) -> TraceError:
    what = f"neuron {name!r} with spikes {shape} cannot become integers: {RECURRENT.reason} (it is {seen})"
    return TraceError(what, hints=[RECURRENT.hint])

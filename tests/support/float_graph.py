"""An SnnGraph run in floats, with the weights of the network it was traced from: what tracing claims, step by step.

Written apart from the product: it knows the graph's nodes and torch's functions, and nothing of how either was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdcompress.adapters import simulate
from mdcompress.adapters.recurrence import input_layer, recurrent_layer
from mdcompress.adapters.state import run_fresh
from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    Carries,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    NeuronModel,
    PoolSpec,
    ReadoutSpec,
    RecurrentSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SnnGraph,
    SnnNode,
    SumSpec,
    SynapseSpec,
    TransposeSpec,
)
from mdcompress.modes import modules_of


@dataclass(frozen=True)
class FloatRun:
    """The answer, and every neuron's spikes [T, N, ...]."""

    answer: Tensor
    spikes: dict[str, Tensor]


def run_float_graph(graph: SnnGraph, network: nn.Module, x: Tensor) -> FloatRun:
    """Run x [T, N, ...] through the graph."""
    modules = modules_of(network)
    values: dict[str, Tensor] = {graph.input.name: x}
    for node in graph.nodes[1:]:
        if not isinstance(node.spec, RecurrentSpec):  # its neuron runs it
            values[node.name] = _evaluate(node, modules, [values[name] for name in node.inputs if name in values])
    spikes = {node.name: values[node.name] for node in graph.of(NeuronModel) if node.carries is Carries.SPIKES}
    return FloatRun(values[graph.readout.name], spikes)


def assert_float_parity(graph: SnnGraph, network: nn.Module, x: Tensor, *, silent: tuple[str, ...] = ()) -> int:
    """The graph and the network's own modules give the same spikes and the same answer; returns how many spikes.

    silent: neurons that may stay without a spike; every other must fire.
    """
    spiking = [node for node in graph.of(NeuronModel) if node.carries is Carries.SPIKES]
    seen: dict[str, list[Tensor]] = {node.module: [] for node in spiking}
    modules = modules_of(network)
    handles = [modules[name].register_forward_hook(_keeper(seen[name])) for name in seen]
    with torch.no_grad():
        answer = run_fresh(network, x)
        found = run_float_graph(graph, network, x)
    for handle in handles:
        handle.remove()
    for node in spiking:
        name, calls = node.name, seen[node.module]
        own = _over_time([calls[call] for call in node.calls] or calls, x, modules[node.module])
        differing = (own != found.spikes[name]).sum()
        assert differing == 0, f"{name}: {differing} of {own.numel()} spikes differ"
        assert name in silent or own.sum() > 0, f"{name} is silent"
    torch.testing.assert_close(found.answer.to(answer.dtype), answer, rtol=1e-4, atol=1e-5)
    return int(sum(float(spikes.sum()) for spikes in found.spikes.values()))


def _keeper(calls: list[Tensor]) -> Callable[[nn.Module, object, object], None]:
    def keep(_: nn.Module, __: object, output: object) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        assert isinstance(spikes, Tensor)
        calls.append(spikes.view_as(spikes))  # whose shape nobody changes in place

    return keep


def _over_time(calls: list[Tensor], x: Tensor, module: nn.Module) -> Tensor:
    time_steps, batch = x.shape[:2]
    if len(calls) == time_steps and calls[0].shape[0] == batch:
        return torch.stack(calls)
    (value,) = calls
    if not any(base.__module__.startswith("sinabs.") for base in type(module).__mro__):
        return value
    by_sample = value if value.shape[:2] == (batch, time_steps) else value.view(batch, time_steps, *value.shape[1:])
    return by_sample.transpose(0, 1)


def _evaluate(node: SnnNode, modules: dict[str, nn.Module], inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    match node.spec:
        case SynapseSpec() as spec:
            module = modules.get(node.module) or input_layer(modules[node.name.removesuffix(".input")])
            assert module is not None
            y = _folded(x, partial(_weighted, module, spec))
            return _norm_of(spec, modules, y)
        case AffineSpec() as spec:
            return _norm_of(spec, modules, x)
        case NeuronModel() as model:
            recurrent = None if model.recurrent is None else recurrent_layer(modules[node.module], model)
            found = simulate(model, x, recurrent=recurrent)
            return (found.spikes if node.carries is Carries.SPIKES else found.membranes).to(x.dtype)
        case PoolSpec() as spec:
            return _folded(x, partial(_pooled, spec))
        case MultiplySpec(mode=mode):
            return (1 - x) * inputs[1] if mode == "inhibit" else x * inputs[1]
        case ScaleSpec(factor=factor):
            return x * factor
        case SumSpec(axis=axis):
            return x.sum(2 + axis, keepdim=True)
        case TransposeSpec(permutation=permutation):
            return x.permute(0, 1, *(2 + axis for axis in permutation))
        case SliceSpec(axis=axis, start=start, stop=stop):
            return x.narrow(2 + axis, start, stop - start)
        case ReadoutSpec(mode=mode):
            return {"steps": x, "mean": x.mean(0), "sum": x.sum(0), "max": x.amax(0), "last": x[-1]}[mode]
        case AddSpec():
            return inputs[0] + inputs[1]
        case ConcatSpec():
            return torch.cat(inputs, 2)
        case MatMulSpec():
            return inputs[0] @ inputs[1]
        case FlattenSpec() | ReshapeSpec():
            return x.reshape(*x.shape[:2], *node.shape)
        case ActivationSpec():  # in floats, nothing is rounded
            return x
        case InputSpec() | RecurrentSpec():
            raise AssertionError(node)
        case _:
            assert_never(node.spec)


def _folded(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    y = function(x.flatten(0, 1))
    return y.view(*x.shape[:2], *y.shape[1:])


def _weighted(module: nn.Module, spec: SynapseSpec, x: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor | None)
    if isinstance(module, nn.Linear) and spec.operator == "conv1d":
        return F.linear(x.transpose(-1, -2), weight, bias).transpose(-1, -2)
    if spec.operator == "linear":
        return F.linear(x, weight, bias)
    if spec.is_transposed:
        transpose: Callable[..., Tensor] = getattr(F, spec.operator)
        return transpose(x, weight, bias, spec.stride, spec.padding, spec.output_padding, spec.groups, spec.dilation)
    convolve = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}[spec.operator]
    return convolve(x, weight, bias, spec.stride, spec.padding, spec.dilation, spec.groups)


def _norm_of(spec: SynapseSpec | AffineSpec, modules: dict[str, nn.Module], x: Tensor) -> Tensor:
    if spec.step_norms:
        return torch.stack([_normed(modules[name], step) for name, step in zip(spec.step_norms, x, strict=True)])
    if spec.batch_norm is None:
        return x
    y = _folded(x, partial(_normed, modules[spec.batch_norm]))
    if spec.step_scales:
        scale = modules[spec.batch_norm].scale
        assert isinstance(scale, Tensor)
        y = y * scale.view(-1, *(1 for _ in y.shape[1:]))
    return y


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(norm, _BatchNorm)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


def _pooled(spec: PoolSpec, x: Tensor) -> Tensor:
    rank = len(spec.kernel)
    largest: list[Callable[..., Tensor]] = [F.max_pool1d, F.max_pool2d, F.max_pool3d]
    mean: list[Callable[..., Tensor]] = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]
    pool = (largest if spec.mode == "max" else mean)[rank - 1]
    return pool(x, spec.kernel, spec.stride, spec.padding)

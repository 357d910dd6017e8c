"""observe(network, graph, x): what a network does inside — per-step logits, spikes, membrane potentials.

One function for the float teacher (forward hooks and the canonical neuron) and for the student, so that losses and
reports compare like with like.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mdcompress.adapters import simulate
from mdcompress.graph import (
    AffineSpec,
    Carries,
    NeuronModel,
    NodeKind,
    PoolSpec,
    ReadoutSpec,
    ScaleSpec,
    SnnGraph,
    SnnNode,
    TensorShape,
)
from mdcompress.layers.rearranging import rearrange
from mdcompress.tracing.calling import calling_of, takes_batch_first
from mdcompress.tracing.state import first_tensor, run_fresh

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from mdcompress.adapters.simulation import Recurrence


@dataclass(frozen=True)
class Observation:
    """What one forward pass showed, in real units.

    output: what the network returned; logits: per step [T, N, K]; potentials: membrane before reset, by neuron name,
    [T, N, *shape]; spikes: likewise.
    """

    output: Tensor
    logits: Tensor
    potentials: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor]


def observe(network: nn.Module, graph: SnnGraph, x: Tensor) -> Observation:
    """Run `network` on x [T, N, ...] and watch it. `graph` is its trace. Gradients flow through a student's values.

    A float network starts from a fresh state and is left in one. Where it averages over time before its last layer,
    every step's logits are that average.
    """
    from mdcompress.student import Student

    if isinstance(network, Student):
        return network.observe(x)
    modules = dict(network.named_modules())
    readout, neurons = graph.readout, graph.of_kind(NodeKind.NEURON)
    assert isinstance(readout.spec, ReadoutSpec)
    source = graph.node(readout.inputs[0])
    reads_membrane = source.kind is NodeKind.NEURON and source.carries is Carries.CURRENT
    needs_logits = readout.spec.mode != "steps" and not reads_membrane
    heads = {node.name: _module_of(node, modules) for node in _heads(graph, source)} if needs_logits else {}
    with _captured(modules, [node.name for node in neurons], heads) as seen:
        output = run_fresh(network, x)
    potentials, spikes, logits = {}, {}, output
    for node in neurons:
        assert isinstance(node.spec, NeuronModel)
        module = modules[node.name]
        first = calling_of(module).axes in (("N", "T"), ("NT",))
        currents = _over_time(seen.currents[node.name], x, node.shape, batch_first=first)
        simulation = simulate(node.spec, currents, recurrent=_recurrence(module, node.spec))
        potentials[node.name], spikes[node.name] = simulation.potentials, simulation.spikes
        if node is source and reads_membrane:
            logits = simulation.membranes
    first = any(takes_batch_first(module) for module in modules.values())
    if needs_logits:
        written = {
            name: _over_time(calls, x, graph.node(name).shape, batch_first=first)
            for name, calls in seen.written.items()
        }
        logits = _replayed(graph, source, {graph.input.name: x, **written})
    return Observation(output, logits, potentials, spikes)


def _over_time(calls: Sequence[Tensor], x: Tensor, shape: TensorShape, *, batch_first: bool) -> Tensor:
    """What a module's calls read or wrote, as [T, N, *shape]; x: the network's input, [T, N, ...]."""
    time_steps, batch = x.shape[:2]
    first = calls[0]
    if first.dim() == len(shape) + 2:
        return first.transpose(0, 1) if batch_first else first
    if len(calls) > 1 or time_steps == 1:
        return torch.stack(list(calls))
    if first.shape[0] == batch:  # after the mean over time
        return first.expand(time_steps, *first.shape)
    if batch_first:
        return first.reshape(batch, time_steps, *shape).transpose(0, 1)
    return first.reshape(time_steps, batch, *shape)


def _recurrence(module: nn.Module, model: NeuronModel) -> Recurrence | None:
    if model.recurrent is None:
        return None
    synapse = module.get_submodule(model.recurrent)
    return lambda spikes: synapse(spikes).reshape(spikes.shape)


def _heads(graph: SnnGraph, node: SnnNode) -> Iterator[SnnNode]:
    """The last nodes before `node`, or itself, that a module of the network writes; it follows without parameters."""
    if _is_written_by_module(node):
        yield node
    else:
        for name in node.inputs:
            yield from _heads(graph, graph.node(name))


def _is_written_by_module(node: SnnNode) -> bool:
    if node.kind is NodeKind.AFFINE:
        return isinstance(node.spec, AffineSpec) and node.spec.batch_norm is not None
    return node.kind in (NodeKind.SYNAPSE, NodeKind.NEURON)


def _module_of(node: SnnNode, modules: Mapping[str, nn.Module]) -> nn.Module:
    """The module whose output a node's tensor is: a norm's where one follows."""
    return modules[getattr(node.spec, "batch_norm", None) or node.name]


def _replayed(graph: SnnGraph, node: SnnNode, written: Mapping[str, Tensor]) -> Tensor:
    """A node's tensor [T, N, *shape] from those that modules wrote, in real units."""
    if node.name in written:
        return written[node.name]
    inputs = [_replayed(graph, graph.node(name), written) for name in node.inputs]
    match node.spec:
        case ScaleSpec(factor=factor):
            return factor * inputs[0]
        case PoolSpec(mode="average", kernel=kernel):
            return rearrange(node, inputs) / math.prod(kernel)
        case AffineSpec():  # spikes taken as currents
            return inputs[0]
        case _:
            return inputs[0] if node.kind is NodeKind.DIGITIZER else rearrange(node, inputs)


@dataclass(frozen=True)
class _Seen:
    """What hooks saw, call by call: the currents of every neuron, and what the last layers wrote."""

    currents: dict[str, list[Tensor]]
    written: dict[str, list[Tensor]]


@contextlib.contextmanager
def _captured(
    modules: Mapping[str, nn.Module], neurons: Sequence[str], heads: Mapping[str, nn.Module]
) -> Iterator[_Seen]:
    seen = _Seen({name: [] for name in neurons}, {name: [] for name in heads})
    handles: list[RemovableHandle] = []

    def watch_currents(name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.currents[name].append(inputs[0])

        handles.append(modules[name].register_forward_pre_hook(keep))

    def watch_output(name: str, module: nn.Module) -> None:
        def keep(_: nn.Module, __: object, output: object) -> None:
            seen.written[name].append(first_tensor(output))

        handles.append(module.register_forward_hook(keep))

    try:
        for name in neurons:
            watch_currents(name)
        for name, module in heads.items():
            watch_output(name, module)
        yield seen
    finally:
        for handle in handles:
            handle.remove()

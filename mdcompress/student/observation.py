"""observe(network, graph, x): what a network does inside — per-step logits, spikes, membrane potentials.

One function for the float teacher (forward hooks and the canonical neuron) and for the student, so that losses and
reports compare like with like.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor, nn

from mdcompress.adapters import simulate
from mdcompress.adapters.recurrence import input_layer, recurrent_layer
from mdcompress.adapters.state import first_tensor, run_fresh
from mdcompress.adapters.users import carried
from mdcompress.errors import TraceError
from mdcompress.graph import (
    AffineSpec,
    FlattenSpec,
    MovingSpec,
    NeuronModel,
    PoolSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SnnGraph,
    SnnNode,
    SumSpec,
    SynapseSpec,
    TensorShape,
    TransposeSpec,
)
from mdcompress.layers.rearranging import rearrange
from mdcompress.modes import modules_of
from mdcompress.student.observed import Observation
from mdcompress.tracing.batch_first import takes_batch_first
from mdcompress.tracing.unwrapping import uncompiled, unwrapped

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from mdcompress.adapters.simulation import RecurrentMap


def observe(network: nn.Module, graph: SnnGraph, x: Tensor) -> Observation:
    """Run a network and watch it: per-step logits, spikes, and membrane potentials before the reset, in real units.

    A float network starts from a fresh state and is left in one. Where it averages over time before its last layer,
    every step's logits are that average. Gradients flow through a student's values.

    Args:
        network: a float network, or a student.
        graph: its trace.
        x: float [T, N, ...].

    Returns:
        output as the network gives it; logits [T, N, K]; potentials and spikes by neuron name, [T, N, *shape].

    Raises:
        TraceError: the network is not the one that was traced.
        InputError: x has not the shape that a student takes.
    """
    from mdcompress.student.student import Student

    if isinstance(network, Student):
        return network.observe(x)
    network = unwrapped(network)
    modules, adapters = modules_of(network), carried(network)
    readout, neurons = graph.readout, graph.of(NeuronModel)
    (source, between), membrane = graph.answer, graph.membrane_readout
    heads = () if readout.spec.mode == "steps" or membrane is not None else _logit_modules(source, modules)
    with uncompiled(), _captured(modules, {node.module for node in neurons}, heads) as seen:
        output = run_fresh(network, x)
    potentials, spikes, logits = {}, {}, output
    for node in neurons:
        module = modules[node.module]
        first = takes_batch_first(module, adapters)
        layer, calls = input_layer(module), _calls_of(node, seen.currents, graph, x)
        calls = calls if layer is None else [layer(read) for read in calls]
        currents = _over_time(calls, x, node.shape, batch_first=first)
        simulation = simulate(node.spec, currents, recurrent=_recurrence(module, node.spec))
        potentials[node.name], spikes[node.name] = simulation.potentials, simulation.spikes
        if node is membrane:
            logits = _moved(between, simulation.membranes)
    first = any(takes_batch_first(module, adapters) for module in modules.values())
    if heads:
        tokens = heads == (source.module,) and isinstance(modules[source.module], nn.Linear) and len(source.shape) > 1
        shape = source.shape[::-1] if tokens else source.shape  # the module maps (L, C), the graph's node (C, L)
        head = _over_time(seen.logits, x, shape, batch_first=first)
        logits = _moved(between, head.transpose(-1, -2) if tokens else head)
    return Observation(output, logits, potentials, spikes)


def _calls_of(node: SnnNode, calls: Mapping[str, Sequence[Tensor]], graph: SnnGraph, x: Tensor) -> Sequence[Tensor]:
    """The currents of a neuron's calls; of one in several places those of this place."""
    if not node.calls:
        return calls[node.module]
    if len(x) != graph.time_steps:
        raise TraceError(
            f"the neuron {node.module!r} stands in several places, which are told apart at {graph.time_steps} steps "
            f"(got {len(x)})",
            hints=["give as many steps as the network was traced with, or every place a neuron of its own"],
        )
    return [calls[node.module][call] for call in node.calls]


def _over_time(calls: Sequence[Tensor], x: Tensor, shape: TensorShape, *, batch_first: bool) -> Tensor:
    """What a module's calls read or wrote, as [T, N, *shape]; x: the network's input, [T, N, ...]."""
    time_steps, batch = x.shape[:2]
    first = calls[0]
    if first.dim() == len(shape) + 2:
        return first.transpose(0, 1) if batch_first else first
    if len(calls) > 1 or time_steps == 1:
        return torch.stack(list(calls))
    if first.numel() == batch * math.prod(shape):  # after the mean over time
        return first.expand(time_steps, *first.shape)
    if batch_first:
        return first.reshape(batch, time_steps, *shape).transpose(0, 1)
    return first.reshape(time_steps, batch, *shape)


def _recurrence(module: nn.Module, model: NeuronModel) -> RecurrentMap | None:
    if model.recurrent is None:
        return None
    synapse = recurrent_layer(module, model)
    return lambda spikes: synapse(spikes).reshape(spikes.shape)


def _moved(nodes: Sequence[SnnNode[MovingSpec]], x: Tensor) -> Tensor:
    """Real values [T, N, ...] through nodes that only move them."""
    for node in nodes:
        x = rearrange(node.spec, node.shape, [x])
        match node.spec:
            case PoolSpec(mode="average", kernel=kernel):
                x = x / math.prod(kernel)
            case ScaleSpec(factor):
                x = x * factor
            case PoolSpec() | SumSpec() | TransposeSpec() | ReshapeSpec() | SliceSpec() | FlattenSpec():
                pass
            case _:
                assert_never(node.spec)
    return x


def _logit_modules(source: SnnNode, modules: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """The module whose output the readout reduces over time, or those of all steps."""
    names: tuple[str, ...] = (source.module,)
    spec = source.spec
    if isinstance(spec, SynapseSpec | AffineSpec) and spec.batch_norm is not None:
        names = spec.step_norms or (spec.batch_norm,)
    if any(name not in modules for name in names):
        raise TraceError(
            f"per-step logits are read where the readout stands, but it follows {source.name!r} ({source.kind})",
            hints=["end the network with a linear layer or a neuron, then the mean over time"],
        )
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class _Seen:
    """What hooks saw: the currents of every neuron's calls, and the outputs of the last layer's."""

    currents: dict[str, list[Tensor]]
    logits: list[Tensor]


@contextlib.contextmanager
def _captured(modules: Mapping[str, nn.Module], neurons: Collection[str], heads: Sequence[str]) -> Iterator[_Seen]:
    seen = _Seen({name: [] for name in neurons}, [])
    handles: list[RemovableHandle] = []

    def watch_currents(name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.currents[name].append(inputs[0])

        handles.append(modules[name].register_forward_pre_hook(keep))

    def keep_logits(_: nn.Module, __: object, output: object) -> None:
        logits = first_tensor(output)
        seen.logits.append(logits.view_as(logits))  # a container may give the output itself another axis in place

    try:
        for name in neurons:
            watch_currents(name)
        for head in heads:
            handles.append(modules[head].register_forward_hook(keep_logits))
        yield seen
    finally:
        for handle in handles:
            handle.remove()

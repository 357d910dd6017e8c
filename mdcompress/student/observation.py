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
from mdcompress.student.observed import Computed, Observation
from mdcompress.tracing.batch_first import takes_batch_first
from mdcompress.tracing.unwrapping import uncompiled, unwrapped
from mdcompress.zoo.neurons import IF, LIF

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from mdcompress.adapters.simulation import RecurrentMap, Simulation


def observe(network: nn.Module, graph: SnnGraph, x: Tensor) -> Observation:
    """Run a network and watch it: per-step logits, spikes, and membrane potentials before the reset, in real units.

    The network runs in the mode it is in: call `.eval()` first, unless it is being trained. A float network starts from
    a fresh state and is left in one. Where it averages over time before its last layer, every step's logits are that
    average. Gradients flow through a student's values.

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
    with uncompiled(), _captured(modules, neurons, heads) as seen:
        output = run_fresh(network, x)
    calls = {node.name: _calls_of(node, seen.calls, graph, x) for node in neurons}

    def simulated(name: str) -> Simulation:
        node = by_name[name]
        module = modules[node.module]
        if (run := _whole_run(calls[name], x, node.shape)) is not None:
            return run
        layer, currents = input_layer(module), [call.currents for call in calls[name]]
        read = currents if layer is None else [layer(each) for each in currents]
        over_time = _over_time(read, x, node.shape, batch_first=takes_batch_first(module, adapters))
        return simulate(node.spec, over_time, recurrent=_recurrence(module, node.spec))

    by_name = {node.name: node for node in neurons}
    simulations = Computed(by_name, simulated)
    potentials = Computed(by_name, lambda name: simulations[name].potentials)
    spikes = Computed(by_name, lambda name: simulations[name].spikes)
    logits = output if membrane is None else _moved(between, simulations[membrane.name].membranes)
    if heads:
        first = graph.head_batch_first
        if first is None:
            first = any(takes_batch_first(module, adapters) for module in modules.values())
        tokens = heads == (source.module,) and isinstance(modules[source.module], nn.Linear) and len(source.shape) > 1
        shape = source.shape[::-1] if tokens else source.shape  # the module maps (L, C), the graph's node (C, L)
        head = _over_time(seen.logits, x, shape, batch_first=first)
        logits = _moved(between, head.transpose(-1, -2) if tokens else head)
    membranes = Computed(by_name, lambda name: simulations[name].membranes)
    return Observation(output, logits, potentials, spikes, membranes)


@dataclass(frozen=True)
class _Call:
    """What a neuron read when it was called, and what it did where that was recorded."""

    currents: Tensor
    run: Simulation | None = None


def _calls_of(node: SnnNode, calls: Mapping[str, Sequence[_Call]], graph: SnnGraph, x: Tensor) -> Sequence[_Call]:
    """A neuron's calls; of one in several places those of this place."""
    if not node.calls:
        return calls[node.module]
    if len(x) != graph.time_steps:
        raise TraceError(
            f"the neuron {node.module!r} stands in several places, which are told apart at {graph.time_steps} steps "
            f"(got {len(x)})",
            hints=["give as many steps as the network was traced with, or every place a neuron of its own"],
        )
    return [calls[node.module][call] for call in node.calls]


def _whole_run(calls: Sequence[_Call], x: Tensor, shape: TensorShape) -> Simulation | None:
    """What the neuron did, where one call was all steps and was recorded."""
    run = calls[0].run
    return run if len(calls) == 1 and run is not None and run.spikes.shape == (*x.shape[:2], *shape) else None


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
    """What hooks saw: every neuron's calls, and the outputs of the last layer's."""

    calls: dict[str, list[_Call]]
    logits: list[Tensor]


@contextlib.contextmanager
def _captured(
    modules: Mapping[str, nn.Module], neurons: Collection[SnnNode[NeuronModel]], heads: Sequence[str]
) -> Iterator[_Seen]:
    models = {node.module: node.spec for node in neurons}
    seen = _Seen({name: [] for name in models}, [])
    recorded = {name for name in models if _is_own(modules[name]) and not torch.is_grad_enabled()}
    handles: list[RemovableHandle] = []

    def watch_currents(name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.calls[name].append(_Call(inputs[0]))

        handles.append(modules[name].register_forward_pre_hook(keep))

    def record(name: str) -> None:
        """Run the neuron once: as its description, which is what its own forward computes, to the last bit."""

        def forward(currents: Tensor) -> Tensor:
            run = simulate(models[name], currents)
            seen.calls[name].append(_Call(currents, run))
            return run.spikes

        modules[name].__dict__["forward"] = forward

    def keep_logits(_: nn.Module, __: object, output: object) -> None:
        logits = first_tensor(output)
        seen.logits.append(logits.view_as(logits))  # a container may give the output itself another axis in place

    try:
        for name in models:
            (record if name in recorded else watch_currents)(name)
        for head in heads:
            handles.append(modules[head].register_forward_hook(keep_logits))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for name in recorded:
            modules[name].__dict__.pop("forward", None)


def _is_own(module: nn.Module) -> bool:
    """Whether the neuron's own forward stands in `mdcompress.zoo`, and in nothing put over it."""
    return type(module) in (LIF, IF) and "forward" not in module.__dict__

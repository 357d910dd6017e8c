"""observe(network, graph, x): what a network does inside — per-step logits, spikes, membrane potentials.

One function for the float teacher (forward hooks and the canonical neuron) and for the student, so that losses and
reports compare like with like.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mdcompress.adapters import simulate
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, NodeKind, ReadoutSpec, SnnGraph, SynapseSpec

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


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
    """Run `network` on x [T, N, ...] and watch it. `graph` is its trace. Gradients flow through a student's values."""
    from mdcompress.student import Student

    if isinstance(network, Student):
        return network.observe(x)
    modules = dict(network.named_modules())
    seen: dict[str, Tensor] = {}
    neurons = graph.of_kind(NodeKind.NEURON)
    with _captured(modules, [node.name for node in neurons], _logit_module(graph), seen):
        output = network(x)
    potentials, spikes = {}, {}
    for node in neurons:
        assert isinstance(node.spec, NeuronModel)
        simulation = simulate(node.spec, seen[node.name])
        potentials[node.name], spikes[node.name] = simulation.potentials, simulation.spikes
    readout = graph.readout.spec
    assert isinstance(readout, ReadoutSpec)
    logits = output if readout.mode == "steps" else seen["logits"]
    if logits.shape[:2] != x.shape[:2]:
        logits = logits.unflatten(0, x.shape[:2])
    return Observation(output, logits, potentials, spikes)


def _logit_module(graph: SnnGraph) -> str:
    """The module whose output the readout averages over time."""
    source = graph.node(graph.readout.inputs[0])
    if isinstance(source.spec, SynapseSpec):
        return source.spec.batch_norm or source.name
    if isinstance(source.spec, NeuronModel):
        return source.name
    raise TraceError(
        f"per-step logits are read where the readout stands, but it follows {source.name!r} ({source.kind.value})",
        hints=["end the network with a linear layer or a neuron, then the mean over time"],
    )


@contextlib.contextmanager
def _captured(
    modules: Mapping[str, nn.Module], neurons: list[str], logit_module: str, seen: dict[str, Tensor]
) -> Iterator[None]:
    handles: list[RemovableHandle] = []

    def currents_of(name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0]

        handles.append(modules[name].register_forward_pre_hook(keep))

    def logits_of(name: str) -> None:
        def keep(_: nn.Module, __: object, output: Tensor) -> None:
            seen["logits"] = output

        handles.append(modules[name].register_forward_hook(keep))

    try:
        for name in neurons:
            currents_of(name)
        logits_of(logit_module)
        yield
    finally:
        for handle in handles:
            handle.remove()

"""Nodes and graph, and what the nodes of a graph are to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, TypeGuard, overload

from typing_extensions import TypeVar

from mdcompress.graph.neuron import NeuronModel
from mdcompress.graph.specs import (
    AffineSpec,
    MovingSpec,
    NodeKind,
    NodeSpec,
    ReadoutSpec,
    SynapseSpec,
    TensorShape,
)

SpecT = TypeVar("SpecT", bound=NodeSpec, default=NodeSpec, covariant=True)
OtherSpecT = TypeVar("OtherSpecT", bound=NodeSpec)


class Carries(Enum):
    """What a tensor means: input values, spikes (or sums of spikes), or currents on their way to a neuron."""

    INPUT = "input"
    SPIKES = "spikes"
    CURRENT = "current"


@dataclass(frozen=True)
class SnnNode(Generic[SpecT]):
    """One layer: the user's name for it, what it is, what it reads, the per-sample shape it writes, and its meaning.

    A recurrent neuron reads two nodes, its currents and its recurrent weights. Those, a `RecurrentSpec`, read nothing
    of the same step: the graph has no loops, and only that neuron, at the step after, gives them their input.

    `of`: the module that it stands for, where that stands in several places (name, name_2, …); else None. Nodes of one
    synapse share its weights. `calls`: which calls of a neuron module are this place's; (): all of them.
    """

    name: str
    spec: SpecT
    inputs: tuple[str, ...]
    shape: TensorShape
    carries: Carries
    of: str | None = None
    calls: tuple[int, ...] = ()

    @property
    def kind(self) -> NodeKind:
        """The word for what it is."""
        return self.spec.kind

    @property
    def module(self) -> str:
        """The qualified name of the network's module that it stands for, if it stands for one."""
        return self.of or self.name


@dataclass(frozen=True)
class SnnGraph:
    """Nodes in execution order: one input first, one readout last. `time_steps`: T of the traced sample.

    `head_batch_first`: whether the module from which the answer is read writes the batch before time, [N, T, ...] or
    [N*T, ...]; None where nobody has seen it, as in a student's file.
    """

    nodes: tuple[SnnNode, ...]
    time_steps: int
    head_batch_first: bool | None = field(default=None, compare=False)

    def __iter__(self) -> Iterator[SnnNode]:
        return iter(self.nodes)

    def node(self, name: str) -> SnnNode:
        """The node of that name (KeyError: our own bug)."""
        return {node.name: node for node in self.nodes}[name]

    @overload
    def of(self, spec: type[SpecT], /) -> tuple[SnnNode[SpecT], ...]: ...
    @overload
    def of(self, spec: type[SpecT], other: type[OtherSpecT], /) -> tuple[SnnNode[SpecT | OtherSpecT], ...]: ...
    def of(self, *specs: type[Any]) -> tuple[SnnNode[Any], ...]:
        """The nodes of one type of spec, or of either of two, in order."""
        return tuple(node for node in self.nodes if isinstance(node.spec, specs))

    @property
    def before_readout(self) -> tuple[SnnNode, ...]:
        """All nodes but the readout, in order."""
        return self.nodes[:-1]

    @property
    def answer(self) -> tuple[SnnNode, tuple[SnnNode[MovingSpec], ...]]:
        """The last node that computes before the readout, and the nodes between that only move what it wrote."""
        between: list[SnnNode[MovingSpec]] = []
        node = self.node(self.readout.inputs[0])
        while moves(node):
            between.append(node)
            node = self.node(node.inputs[0])
        return node, tuple(reversed(between))

    @property
    def membrane_readout(self) -> SnnNode[NeuronModel] | None:
        """The neuron whose membrane is the answer; None where spikes or currents are."""
        answer, _ = self.answer
        return next((node for node in self.membranes if node is answer), None)

    @property
    def membranes(self) -> tuple[SnnNode[NeuronModel], ...]:
        """The neurons that write their membranes, not spikes."""
        return tuple(node for node in self.of(NeuronModel) if node.carries is Carries.CURRENT)

    def neuron_behind(self, recurrent: SnnNode) -> SnnNode[NeuronModel]:
        """The neuron that recurrent weights belong to."""
        (neuron,) = (node for node in self.of(NeuronModel) if recurrent.name in node.inputs)
        return neuron

    def readers(self, name: str) -> tuple[SnnNode, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

    def places(self, node: SnnNode) -> tuple[SnnNode, ...]:
        """The nodes that stand for the same module, itself included, in order."""
        return tuple(other for other in self.nodes if other.module == node.module and other.kind == node.kind)

    def named_as(self, other: SnnGraph) -> SnnGraph:
        """This graph with the names of `other` for its nodes, where the two differ in names alone; else as it is.

        Its modules keep theirs. Versions named networks in wrappers, and neurons that they read off code, otherwise.
        """
        own, others = [node.name for node in self.nodes], [node.name for node in other.nodes]
        if own == others or len(own) != len(others):
            return self
        names = dict(zip(own, others, strict=True))
        renamed = tuple(
            replace(node, name=names[node.name], inputs=tuple(names[name] for name in node.inputs), of=node.module)
            for node in self.nodes
        )
        same = all(_role(one) == _role(two) for one, two in zip(renamed, other.nodes, strict=True))
        return replace(self, nodes=renamed) if same else self

    @property
    def fixed_steps(self) -> int | None:
        """The number of steps that it runs for alone, because a norm differs from step to step; None: any number."""
        specs = [node.spec for node in self.of(SynapseSpec, AffineSpec)]
        return self.time_steps if any(spec.step_norms or spec.step_scales for spec in specs) else None

    @property
    def input(self) -> SnnNode:
        """The input node."""
        return self.nodes[0]

    @property
    def readout(self) -> SnnNode[ReadoutSpec]:
        """The readout node."""
        return self.of(ReadoutSpec)[-1]


def _role(node: SnnNode) -> tuple[object, ...]:
    """What a node is in its graph, whatever modules bear its parts."""
    return node.name, node.kind, node.inputs, node.shape, node.carries


def moves(node: SnnNode) -> TypeGuard[SnnNode[MovingSpec]]:
    """Whether a node only reorders, sums or scales one tensor."""
    return isinstance(node.spec, MovingSpec)

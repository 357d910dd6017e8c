"""The integer graph: typed nodes over integers, the one thing that training lowers to and everything here consumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, assert_never

from intsnn.errors import GraphError
from intsnn.graph.nodes import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Synapse,
)

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # of version 1 the weights lie in bytes; nothing else differs
NodeT = TypeVar("NodeT", bound=IntNode)
Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class IntGraph:
    """Nodes in an order in which every input stands before its reader: one IntInput first, one IntReadout last.

    `metadata`: free text about origin (recipe, policy, tool version); no arithmetic depends on it.
    """

    nodes: tuple[IntNode, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        object.__setattr__(self, "_derived", {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntGraph):
            return NotImplemented
        return self.nodes == other.nodes and dict(self.metadata) == dict(other.metadata)

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[IntNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def node(self, name: str) -> IntNode:
        """The node of that name; GraphError where there is none."""
        by_name: dict[str, IntNode] = self.__dict__["_by_name"]
        if name not in by_name:
            raise GraphError(f"the integer graph has no node {name!r}", hints=[f"it has: {', '.join(by_name)}"])
        return by_name[name]

    def derived(self, work_out: Callable[[IntGraph], Derived]) -> Derived:
        """What follows from the graph alone, worked out once: nodes and their arrays never change."""
        known: dict[object, Derived] = self.__dict__["_derived"]
        if work_out not in known:
            known[work_out] = work_out(self)
        return known[work_out]

    def of_type(self, kind: type[NodeT]) -> tuple[NodeT, ...]:
        """The nodes of one type, in order; a recurrent neuron is a neuron too."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    @cached_property
    def input(self) -> IntInput:
        """The input node."""
        return self.of_type(IntInput)[0]

    @cached_property
    def output(self) -> IntReadout:
        """The readout node."""
        return self.of_type(IntReadout)[0]

    @cached_property
    def neurons(self) -> tuple[IntNeuron, ...]:
        """The neuron nodes, in order."""
        return self.of_type(IntNeuron)

    @cached_property
    def synapses(self) -> tuple[Synapse, ...]:
        """The synapses, in order."""
        return tuple(node for node in self.nodes if isinstance(node, Synapse))

    @property
    def all_synapses(self) -> tuple[Synapse, ...]:
        """The synapses, in order, and of each recurrent neuron its recurrent one (`<neuron>.recurrent`)."""
        found: list[Synapse] = []
        for node in self.nodes:
            match node:
                case IntConv() | IntConvTranspose() | IntLinear():
                    found.append(node)
                case IntRecurrentNeuron():
                    found.append(self._with_own_name(node.recurrent_synapse))
                    self._with_own_name(node.recurrent_requant)
                case IntInput() | IntRequant() | IntNeuron() | IntPool() | IntAdd() | IntConcat() | IntMultiply():
                    continue
                case IntMatMul() | IntSum() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
                    continue
                case _:
                    assert_never(node)
        return tuple(found)

    @cached_property
    def time_steps(self) -> int | None:
        """T, where a requant has one row per step and so fixes it; else None: any T."""
        arrays = (array for node in self.of_type(IntRequant) for array in (node.multiplier, node.bias))
        return next((len(array) for array in arrays if array.ndim == 2), None)

    def _with_own_name(self, part: NodeT) -> NodeT:
        """A part of a recurrent neuron; GraphError where a node has taken its name."""
        by_name: dict[str, IntNode] = self.__dict__["_by_name"]
        if part.name in by_name:
            hint = "it is the name of a part of a recurrent neuron: rename the node"
            raise GraphError(f"no node may be called {part.name!r} (got a {by_name[part.name].kind})", hints=[hint])
        return part

    def readers(self, name: str) -> tuple[IntNode, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

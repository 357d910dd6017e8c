"""A graph as stages: a node that moves, pools or sums, with the nodes behind it that work value by value.

What a stage keeps to itself is never stored: a convolution, its requant, the residual current and the neuron are one
loop over the places of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intsnn.emission.storage import Store
from intsnn.graph import (
    IntAdd,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntLinear,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntRecurrentNeuron,
    IntRequant,
    Synapse,
)

ValueByValue = IntRequant | IntNeuron | IntAdd | IntMultiply


@dataclass
class Stage:
    """head: the node that is not value by value, if any. tail: those that are, in order. reads: stored tensors read.

    stored: tensors of this stage that a later one reads.
    """

    index: int
    head: IntNode | None
    tail: list[ValueByValue] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> list[IntNode]:
        """All nodes, in order."""
        return [*([] if self.head is None else [self.head]), *self.tail]

    @property
    def synapse(self) -> Synapse | None:
        """The head, where it is a synapse."""
        return self.head if isinstance(self.head, IntConv | IntConvTranspose | IntLinear) else None

    @property
    def recurrent(self) -> IntRecurrentNeuron | None:
        """The neuron that reads its own spikes of the step before, if there is one."""
        return next((node for node in self.tail if isinstance(node, IntRecurrentNeuron)), None)

    def reads(self, graph: IntGraph) -> list[str]:
        """The tensors of earlier stages that it reads in memory, each once."""
        own = {node.name for node in self.nodes}
        read = (name for node in self.nodes for name in read_names(graph, node))
        return [name for name in dict.fromkeys(read) if name not in own]


def read_names(graph: IntGraph, node: IntNode) -> tuple[str, ...]:
    """The tensors that a node reads in memory: a linear layer behind a flatten reads the map itself."""
    if isinstance(node, IntLinear) and len(node.shape) == 1:
        before = graph.node(node.inputs[0])
        if isinstance(before, IntFlatten) and 2 <= len(graph.node(before.inputs[0]).shape) <= 4:
            return before.inputs
    return node.inputs


def stages(graph: IntGraph, stored: Mapping[str, Store]) -> list[Stage]:
    """The stages of a graph, each behind those it reads."""
    found: list[Stage] = []
    stage_of: dict[str, Stage] = {}
    for node in graph:
        stage = _stage_for(node, found, stage_of, stored)
        stage_of[node.name] = stage
    for node in graph:
        if isinstance(node, IntFlatten) and not any(node.name in read_names(graph, each) for each in graph):
            continue  # its readers read through it
        for name in read_names(graph, node):
            source = stage_of[name]
            if (source is not stage_of[node.name] or node is source.head) and name not in source.stored:
                source.stored.append(name)
    return found


def is_value_by_value(node: IntNode, stored: Mapping[str, Store]) -> bool:
    """Whether each value that it writes depends on the values at the same place alone."""
    if isinstance(node, IntRequant | IntNeuron):
        return True
    if isinstance(node, IntAdd | IntMultiply):
        return all(stored[name].shape == node.shape for name in node.inputs)
    return False


def _stage_for(node: IntNode, found: list[Stage], stage_of: Mapping[str, Stage], stored: Mapping[str, Store]) -> Stage:
    if isinstance(node, IntRequant | IntNeuron | IntAdd | IntMultiply) and is_value_by_value(node, stored):
        last = max((stage_of[name] for name in node.inputs), key=lambda stage: stage.index)
        fits = last.head is None or last.synapse is not None
        fits = fits and stored[node.name].order == stored[last.nodes[0].name].order
        if fits and not (last.recurrent and isinstance(node, IntRecurrentNeuron)):
            last.tail.append(node)
            return last
        found.append(Stage(len(found), None, [node]))
        return found[-1]
    found.append(Stage(len(found), node))
    return found[-1]

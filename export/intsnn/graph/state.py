"""Which tensors of a graph depend on the input of their own step alone."""

from __future__ import annotations

from intsnn.graph.graph import IntGraph
from intsnn.graph.nodes import IntNeuron, IntReadout, IntRequant


def stateless_tensors(graph: IntGraph) -> frozenset[str]:
    """Names of the tensors that are the same in two steps in which the graph's input is.

    No neuron, no readout and no norm by step lies between the input and such a tensor.
    """
    found: set[str] = set()
    for node in graph:
        by_step = isinstance(node, IntRequant) and max(node.multiplier.ndim, node.bias.ndim) == 2
        kept = isinstance(node, IntNeuron | IntReadout) or by_step
        if not kept and all(name in found for name in node.inputs):
            found.add(node.name)
    return frozenset(found)

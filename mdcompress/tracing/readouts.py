"""What may stand between a neuron whose membrane is the answer and the readout: what moves, sums or scales it."""

from __future__ import annotations

from mdcompress.graph import SnnGraph
from mdcompress.graph.graph import moves
from mdcompress.tracing.specs import ErrorMaker


def check_membranes_end(graph: SnnGraph, error: ErrorMaker) -> None:
    """TraceError where anything but the readout computes with a membrane."""
    for neuron in graph.membranes:
        waiting = list(graph.readers(neuron.name))
        while waiting:
            node = waiting.pop()
            if node is not graph.readout and not moves(node):
                raise error(
                    f"{node.name!r} ({node.kind}) reads the membrane of the neuron {neuron.name!r}, which is "
                    "the answer of a network and nothing further",
                    "let a neuron without spikes be the last layer; between layers use one that fires",
                )
            waiting += graph.readers(node.name)

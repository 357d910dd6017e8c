"""What a crossbar chip is priced for: a graph with anything else is refused, never priced as if it were free."""

from __future__ import annotations

from intsnn.errors import HardwareError
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntTranspose,
)

_WIRING = IntInput | IntFlatten | IntConcat | IntReshape | IntSlice | IntTranspose  # places of values, no operation


def require_priced(graph: IntGraph) -> None:
    """Raise HardwareError with every node whose operations have no price."""
    found = [f"  {node.name}: {unpriced}" for node in graph if (unpriced := _unpriced(node)) is not None]
    if found:
        message = "the hardware model must have a price for every node of the graph (got nodes without one)"
        hint = "the graph is exact and runs in onnxruntime; price a network without these nodes, or go without a price"
        raise HardwareError("\n".join([message, *found]), hints=[hint])


def _unpriced(node: IntNode) -> str | None:
    """What of a node has no price; None where it has one."""
    match node:
        case IntRecurrentNeuron():
            return "a recurrent synapse"
        case IntNeuron():
            return _unpriced_option(node)
        case IntRequant() if node.multiplier.ndim == 2 or node.bias.ndim == 2:
            return "a requant with one row per step"
        case IntReadout(mode="max"):
            return "a maximum over time"
        case IntConv() | IntLinear() | IntRequant() | IntPool() | IntAdd() | IntReadout():
            return None
        case _:
            return None if isinstance(node, _WIRING) else f"a node of kind {node.kind!r}"


def _unpriced_option(node: IntNeuron) -> str | None:
    """A late reset is the same subtraction or selection as an early one; everything else is more work."""
    options = {
        f"spikes in levels ({node.spike})": node.spike != "binary",
        f"a floor of the potential ({node.floor})": node.floor != "none",
        "a double rearm": node.rearm == "double",
        "a synaptic state": node.has_synapse,
    }
    found = [words for words, used in options.items() if used]
    return f"a neuron with {' and '.join(found)}" if found else None

"""An integer graph -> who waits for whom: which rows of its inputs each row of a node needs.

A row is one index of the second axis of the per-sample shape, H of (C, H, W), L of (C, L); a vector is one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
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
    Rearrangement,
    Shape,
)


@dataclass(frozen=True)
class Flow:
    """How a node's rows follow from those of what it reads.

    needs: for each row written, how many rows of every input must exist (from the first; of an input with fewer rows,
    all). partners: nodes without a flow of their own that work on each row before it does, one after the other: a
    recurrent synapse and its neuron, of which each needs what the other wrote in the step before.
    """

    name: str
    inputs: tuple[str, ...]
    needs: tuple[int, ...]
    partners: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """All that work on a row, in turn."""
        return (*self.partners, self.name)


def flows_of(graph: IntGraph) -> tuple[Flow, ...]:
    """The flow of every node, in the order of the graph, input and wiring included."""
    return tuple(Flow(node.name, node.inputs, _needed_rows(graph, node), _partners(node)) for node in graph)


def _partners(node: IntNode) -> tuple[str, ...]:
    return (node.recurrent_synapse.name,) if isinstance(node, IntRecurrentNeuron) else ()


def _needed_rows(graph: IntGraph, node: IntNode) -> tuple[int, ...]:
    """For each row r written: r + 1 rows, those a window reaches, or all where the node sees its inputs as a whole.

    A window reaches row r*stride + (k - 1)*dilation - padding, a transposed one floor((r + padding) / stride); padding
    itself waits for nothing, the first row always. A matrix product waits for both operands as a whole.
    """
    rows = _rows(node.shape)
    if isinstance(node, IntInput):
        return (0,) * rows
    read = graph.node(node.inputs[0]).shape
    available = max(_rows(graph.node(name).shape) for name in node.inputs)
    match node:
        case IntConv():
            reach = (node.kernel[0] - 1) * node.dilation[0] - node.padding[0]
            last = [row * node.stride[0] + reach for row in range(rows)]
        case IntPool():
            last = [row * node.stride[0] + node.kernel[0] - 1 - node.padding[0] for row in range(rows)]
        case IntConvTranspose():
            last = [(row + node.padding[0]) // node.stride[0] for row in range(rows)]
        case IntSlice(axis=1):
            last = [row + node.start for row in range(rows)]
        case IntRequant() | IntNeuron() | IntAdd() | IntConcat() | IntMultiply() | IntReadout():
            last = list(range(rows))
        case IntLinear() | IntSum() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            last = list(range(rows)) if _goes_row_by_row(node, read) else [available - 1] * rows
        case IntMatMul():
            last = [available - 1] * rows
        case _:
            assert_never(node)
    return tuple(min(max(row, 0), available - 1) + 1 for row in last)


def _goes_row_by_row(node: IntLinear | IntSum | Rearrangement, read: Shape) -> bool:
    """Whether row r of the output needs no more than row r of its input."""
    match node:
        case IntSlice():
            return True
        case IntLinear():
            return len(read) != 2  # on (L, D) the sum runs along the rows themselves
        case IntSum():
            return node.axis != 1
        case IntTranspose():
            return len(read) == 1 or node.permutation[1] == 1
        case IntReshape() | IntFlatten():
            return read[:2] == node.shape[:2]
        case _:
            assert_never(node)


def _rows(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else 1

"""An integer graph -> what it asks of any crossbar chip: weight layers, digital operations, and who waits for whom.

No hardware yet. Widths come from the graph's proved bounds, so nothing is wider than the network needs; `widths.py`
gives the same demand words of other widths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType
from intsnn.errors import HardwareError
from intsnn.graph import (
    IntAdd,
    IntConv,
    IntGraph,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    Shape,
    Synapse,
)
from intsnn.hardware.items import Item
from intsnn.hardware.words import joined, word_bits
from intsnn.priced_nodes import require_priced
from intsnn.tensors import Carries, bounds, carries


@dataclass(frozen=True)
class WeightLayer:
    """A convolution or linear layer (K = 1). Sizes are its own, before any pooling.

    positions: output positions Ho*Wo; kernel: K; groups: G; in_per_group, out_per_group: Ci/G, Co/G; inputs: values
    read; input_bits: bits of one of them; weight_bits: bits of a weight b_w, 1.58 for three values; narrow_range:
    whether every weight lies in +-(2^(b_w-1) - 1), so that a magnitude takes one bit less than a weight.
    """

    name: str
    kind: str
    shape: Shape
    positions: int
    kernel: int
    groups: int
    in_per_group: int
    out_per_group: int
    inputs: int
    input_bits: int
    weight_bits: float
    narrow_range: bool

    @property
    def magnitude_bits(self) -> int:
        """Bits of a weight without its sign, at least 1: b_w - 1, or b_w where a weight of the layer is -2^(b_w-1)."""
        return max(1, math.ceil(self.weight_bits) - int(self.narrow_range))


@dataclass(frozen=True)
class Operation:
    """An item that a digital node runs `per_element` times for each element and step.

    word: bits of its operands. by: bits of the other operand, where that has a width of its own (a product).
    """

    item: Item
    per_element: int
    word: float
    by: float | None = None

    @property
    def bits(self) -> float:
        """The width it is priced at: the word, or the geometric mean of a product's two."""
        return self.word if self.by is None else math.sqrt(self.word * self.by)


@dataclass(frozen=True)
class DigitalNode:
    """A neuron, requantization, pool, sum or readout.

    reads: what its inputs carry. state_bits: bits of each element's membrane or running sum, read and written in every
    step (0: none). waiting_bits: bits of each element's operands that wait in a buffer until the last one is there
    (0: none). clocked: whether it takes time of its own; a requantization is a pipeline stage of its reader.
    """

    name: str
    kind: str
    shape: Shape
    reads: Carries
    operations: tuple[Operation, ...]
    state_bits: int = 0
    waiting_bits: int = 0
    clocked: bool = True

    @property
    def elements(self) -> int:
        """Elements of a step."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Flow:
    """How a node's rows follow from those of what it reads. A row is one index of H of (C, H, W); else there is one.

    needs: for each row written, how many rows of every input must exist (from the first).
    """

    name: str
    inputs: tuple[str, ...]
    needs: tuple[int, ...]


@dataclass(frozen=True)
class Demand:
    """Everything a chip has to place, in the order of the graph; `flows` has every node, input and flatten included."""

    nodes: tuple[WeightLayer | DigitalNode, ...]
    flows: tuple[Flow, ...]

    @property
    def layers(self) -> tuple[WeightLayer, ...]:
        """The weight layers, in order."""
        return tuple(node for node in self.nodes if isinstance(node, WeightLayer))

    @property
    def digital(self) -> tuple[DigitalNode, ...]:
        """All other nodes that cost something, in order."""
        return tuple(node for node in self.nodes if isinstance(node, DigitalNode))


def demand_of(graph: IntGraph) -> Demand:
    """What a legal graph asks for.

    Raises:
        HardwareError: the graph has no weight layer, or a node without a price.
    """
    if not graph.synapses:
        raise HardwareError(
            "a crossbar chip needs a weight layer (the graph has none)",
            hints=["give a graph with a conv or linear node"],
        )
    require_priced(graph)
    proved, carried = bounds(graph), carries(graph)
    nodes = (
        _weight_layer(graph, node, proved) if isinstance(node, Synapse) else _digital(node, proved, carried)
        for node in graph
    )
    flows = tuple(Flow(node.name, node.inputs, _needed_rows(graph, node)) for node in graph)
    return Demand(tuple(node for node in nodes if node is not None), flows)


def _weight_layer(graph: IntGraph, node: Synapse, proved: Mapping[str, Bounds]) -> WeightLayer:
    groups, kernel, positions = _geometry(node)
    return WeightLayer(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        positions=positions,
        kernel=kernel,
        groups=groups,
        in_per_group=int(node.weight.shape[1]),
        out_per_group=int(node.weight.shape[0]) // groups,
        inputs=math.prod(graph.node(node.inputs[0]).shape),
        input_bits=word_bits(proved[node.inputs[0]]),
        weight_bits=node.bit_width,
        narrow_range=int(node.weight.min()) > -(2 ** (math.ceil(node.bit_width) - 1)),
    )


def _geometry(node: Synapse) -> tuple[int, int, int]:
    """Groups G, kernel positions K, output positions."""
    if isinstance(node, IntConv):
        return node.groups, int(np.prod(node.weight.shape[2:])), math.prod(node.shape[1:])
    return 1, 1, math.prod(node.shape[:-1])


def _digital(node: IntNode, proved: Mapping[str, Bounds], carried: Mapping[str, Carries]) -> DigitalNode | None:
    read = [proved[name] for name in node.inputs]
    about = (node.name, node.kind, node.shape, carried[node.inputs[0] if node.inputs else node.name])
    match node:
        case IntNeuron():
            return DigitalNode(*about, _neuron_operations(node, read[0]), state_bits=node.bit_width)
        case IntRequant():
            return DigitalNode(*about, _requant_operations(node, read[0]), clocked=False)
        case IntPool():
            item, width = (Item.POOL_ADD, proved[node.name]) if node.mode == "sum" else (Item.POOL_COMPARE, read[0])
            return DigitalNode(*about, (Operation(item, math.prod(node.kernel) - 1, word_bits(width)),))
        case IntAdd():
            operation = Operation(Item.RESIDUAL_ADD, len(read) - 1, word_bits(proved[node.name]))
            waiting = sum(word_bits(interval) for interval in read[:-1])
            return DigitalNode(*about, (operation,), waiting_bits=waiting)
        case IntReadout(mode="sum"):
            sum_bits = word_bits(proved[node.name])
            return DigitalNode(*about, (Operation(Item.READOUT_ADD, 1, sum_bits),), state_bits=sum_bits)
        case _:
            return None


def _neuron_operations(node: IntNeuron, current: Bounds) -> tuple[Operation, ...]:
    """Additions of D*v (D in signed digits, wiring if it has one), + j, + c and - rho; one comparison, one register.

    Where D differs between channels, the one that takes the most additions.
    """
    stored = IntType(node.bit_width, signed=True)
    largest = int(node.leak.max())
    leaked = Bounds(largest * stored.low, largest * stored.high)
    drive = Bounds(int(node.drive.min()), int(node.drive.max()))
    width = word_bits(joined(leaked, current, drive))
    leak_additions = max(0, max(signed_digits(leak) for leak in node.leak.tolist()) - 1)
    adds = leak_additions + (largest != 0) + bool(node.drive.any()) + (node.reset == "soft")
    counts = ((Item.NEURON_ADD, adds), (Item.NEURON_COMPARE, 1), (Item.NEURON_STORE, 1))
    return tuple(Operation(item, count, width) for item, count in counts)


def signed_digits(value: int) -> int:
    """Non-zero digits of the non-adjacent form, the fewest powers of two that add up to the value: 7 = 8 - 1 has 2."""
    return (value ^ (3 * value)).bit_count()


def _requant_operations(node: IntRequant, accumulator: Bounds) -> tuple[Operation, ...]:
    """One product unless every M_c is a power of two, one addition unless every B_c is 0."""
    operations = []
    if not all(abs(m).bit_count() <= 1 for m in node.multiplier.tolist()):
        product = Operation(Item.REQUANTIZE_MULTIPLY, 1, word_bits(accumulator), by=word_bits(_hull(node.multiplier)))
        operations.append(product)
    if node.bias.any():
        reach = accumulator.magnitude * int(np.abs(node.multiplier).max()) + int(np.abs(node.bias).max())
        operations.append(Operation(Item.REQUANTIZE_ADD, 1, word_bits(Bounds(-reach, reach))))
    return tuple(operations)


def _hull(values: IntArray) -> Bounds:
    return Bounds(int(values.min()), int(values.max()))


def _needed_rows(graph: IntGraph, node: IntNode) -> tuple[int, ...]:
    """For each row r written: r + 1 rows, those a window reaches, or all where the node sees its input as a whole.

    A window reaches row r*stride + (k - 1)*dilation - padding; padding itself waits for nothing, the first row always.
    """
    rows = _rows(node.shape)
    if not node.inputs:
        return (0,) * rows
    available = _rows(graph.node(node.inputs[0]).shape)
    match node:
        case IntConv():
            reach = (int(node.weight.shape[2]) - 1) * node.dilation[0] - node.padding[0]
            return tuple(min(max(row * node.stride[0] + reach, 0), available - 1) + 1 for row in range(rows))
        case IntPool():
            reach = node.kernel[0] - 1 - node.padding[0]
            return tuple(min(max(row * node.stride[0] + reach, 0), available - 1) + 1 for row in range(rows))
        case IntLinear() | IntRequant() | IntNeuron() | IntAdd() | IntReadout() if rows == available:
            return tuple(range(1, rows + 1))
        case _:
            return (available,) * rows


def _rows(shape: Shape) -> int:
    return shape[1] if len(shape) == 3 else 1

"""An integer graph -> what it asks of any crossbar chip: synapses, digital operations, and who waits for whom.

No hardware yet. Widths come from the graph's proved bounds, so nothing is wider than the network needs; `widths.py`
gives the same demand words of other widths. What each node becomes:

    conv, conv_transpose, linear     a synapse; a transposed convolution is the convolution over its spread input
    recurrent_neuron                 a synapse that reads the spikes of the step before, a requantization, a neuron
    neuron, requant, pool, add, sum, multiply, readout     a digital node (operations.py)
    matmul                           a digital node: both operands are activations, so none of them lies on cells
    flatten, reshape, transpose, slice, concat, readout of every or the last step     wiring and addresses, no cost
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from intsnn.activity.occupancy import sharing
from intsnn.arithmetic import Bounds, joined, word_bits
from intsnn.errors import HardwareError
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
    Shape,
    Synapse,
)
from intsnn.graph.bounds import TensorRole, bounds, carries, read_bounds, recurrent_bounds
from intsnn.graph.state import stateless_tensors
from intsnn.graph.windows import weight_rows
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Buffers
from intsnn.mapping.flows import Flow, flows_of
from intsnn.mapping.operations import (
    Operation,
    gate_operations,
    hull,
    matrix_product_operations,
    neuron_operations,
    requant_operations,
    spike_bits,
)
from intsnn.mapping.reloading import Written


@dataclass(frozen=True)
class SynapseDemand:
    """A convolution or linear layer (K = 1). Sizes are its own, before any pooling.

    positions: output positions, Ho*Wo; windows: places at which the kernel is applied, the same, or the input's places
    of a transposed convolution; kernel: K; groups: G; in_per_group, out_per_group: Ci/G, Co/G; inputs: values read;
    input_bits: bits of one of them; weight_bits: bits of a weight b_w, 1.58 for three values; narrow_range: whether
    every weight lies in +-(2^(b_w-1) - 1), so that a magnitude takes one bit less than a weight. of_the_input: whether
    it reads the network's input through nodes without state, so that what it sums is the same in each step where the
    input is.
    """

    name: str
    kind: str
    shape: Shape
    positions: int
    windows: int
    kernel: int
    groups: int
    in_per_group: int
    out_per_group: int
    inputs: int
    input_bits: int
    weight_bits: float
    narrow_range: bool
    of_the_input: bool = False

    @property
    def magnitude_bits(self) -> int:
        """Bits of a weight without its sign, at least 1: b_w - 1, or b_w where a weight of the layer is -2^(b_w-1)."""
        return max(1, math.ceil(self.weight_bits) - int(self.narrow_range))

    def is_held_by(self, buffers: Buffers) -> bool:
        """Whether a chip keeps the layer's sums for the steps in which the network's input stays the same."""
        return self.of_the_input and buffers.constant_input == "hold"


@dataclass(frozen=True)
class StateWord:
    """A word that each element reads and writes in every step.

    A membrane or synaptic state, a running sum or maximum, or the spikes that a late reset needs.
    """

    holds: Literal["membrane", "sum", "spikes"]
    bits: int


@dataclass(frozen=True)
class Operand:
    """A tensor that waits in a buffer beside its node until all operands are there.

    values: of `bits` each; reads: how often each is read in a step. kept: whether a register can keep what is read for
    all of these reads. moved: whether it is spikes or counts that come over the interconnect, as to a synapse.
    """

    values: int
    bits: int
    reads: int = 1
    kept: bool = False
    moved: bool = False


@dataclass(frozen=True)
class Table:
    """Constants that change from step to step: a step reads its own of `rows` rows, of `words` words and `row_bits`."""

    rows: int = 0
    words: int = 0
    row_bits: int = 0


NO_TABLE = Table()


@dataclass(frozen=True)
class DigitalNode:
    """Any node that is no synapse and costs something.

    inputs: the tensors it reads, and `reads` what the first of them carries. clocked: whether it takes time of its own;
    a requantization is a pipeline stage of its reader. pairs: pairs of activations that a matrix product multiplies.
    """

    name: str
    kind: str
    shape: Shape
    inputs: tuple[str, ...]
    reads: TensorRole
    operations: tuple[Operation, ...]
    states: tuple[StateWord, ...] = ()
    operands: tuple[Operand, ...] = ()
    table: Table = NO_TABLE
    clocked: bool = True
    pairs: int = 0

    @property
    def elements(self) -> int:
        """Elements of a step."""
        return math.prod(self.shape)

    @property
    def state_bits(self) -> int:
        """Bits of each element's state words."""
        return sum(word.bits for word in self.states)

    @property
    def waiting_bits(self) -> int:
        """Bits of all waiting operands."""
        return sum(operand.values * operand.bits for operand in self.operands)


@dataclass(frozen=True)
class Demand:
    """Everything a chip has to place, in the order of the graph.

    flows, written: of every node, input and flatten included: whom it waits for, and what it writes in a step.
    """

    nodes: tuple[SynapseDemand | DigitalNode, ...]
    flows: tuple[Flow, ...]
    written: Mapping[str, Written]

    @property
    def layers(self) -> tuple[SynapseDemand, ...]:
        """The synapses, in order."""
        return tuple(node for node in self.nodes if isinstance(node, SynapseDemand))

    @property
    def digital(self) -> tuple[DigitalNode, ...]:
        """All other nodes that cost something, in order."""
        return tuple(node for node in self.nodes if isinstance(node, DigitalNode))


def demand_of(graph: IntGraph) -> Demand:
    """What a legal graph asks for.

    Raises:
        HardwareError: the graph has no synapse.
    """
    if not graph.all_synapses:
        raise HardwareError(
            "a crossbar chip needs a synapse (the graph has none)",
            hints=["give a graph with a conv or linear node"],
        )
    facts = _Facts(graph, bounds(graph), read_bounds(graph), carries(graph), stateless_tensors(graph))
    written = {
        node.name: Written(math.prod(node.shape), word_bits(facts.proved[node.name]), facts.is_wide(node.name))
        for node in graph
    }
    return Demand(tuple(part for node in graph for part in _parts(node, facts)), flows_of(graph), written)


@dataclass(frozen=True)
class _Facts:
    """A graph with the intervals of its tensors, of what its synapses read, and what its tensors carry."""

    graph: IntGraph
    proved: Mapping[str, Bounds]
    read: Mapping[str, Bounds]
    carried: Mapping[str, TensorRole]
    stateless: frozenset[str]

    def is_wide(self, name: str) -> bool:
        """Whether a tensor holds accumulators or currents, no spikes or counts of them."""
        return self.carried[name] is not TensorRole.VALUES

    def of_inputs(self, node: IntNode) -> list[Bounds]:
        return [self.proved[name] for name in node.inputs]

    def shapes(self, node: IntNode) -> list[Shape]:
        return [self.graph.node(name).shape for name in node.inputs]

    def digital(self, node: IntNode, operations: tuple[Operation, ...]) -> DigitalNode:
        return DigitalNode(node.name, node.kind, node.shape, node.inputs, self.carried[node.inputs[0]], operations)


def _parts(node: IntNode, facts: _Facts) -> Iterator[SynapseDemand | DigitalNode]:
    """What a node becomes: one part, three of a recurrent neuron, none of wiring."""
    match node:
        case IntConvTranspose():
            yield replace(_synapse_demand(node, facts), windows=math.prod(facts.shapes(node)[0][1:]))
        case IntConv() | IntLinear():
            yield _synapse_demand(node, facts)
        case IntRecurrentNeuron():
            seen = recurrent_bounds(node)
            yield _synapse_demand(node.recurrent_synapse, facts)
            yield _requant(node.recurrent_requant, TensorRole.ACCUMULATOR, seen.accumulator.hull)
            yield _neuron(node, facts, joined(*facts.of_inputs(node), seen.current.hull))
        case IntNeuron():
            yield _neuron(node, facts, *facts.of_inputs(node))
        case IntRequant():
            yield _requant(node, facts.carried[node.inputs[0]], *facts.of_inputs(node))
        case IntPool() | IntSum() | IntAdd() | IntMultiply() | IntMatMul() | IntReadout():
            yield from _combined(node, facts)
        case IntInput() | IntConcat() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return
        case _:
            assert_never(node)


def _combined(
    node: IntPool | IntSum | IntAdd | IntMultiply | IntMatMul | IntReadout, facts: _Facts
) -> Iterator[DigitalNode]:
    """Of a node that brings values together, over places, tensors or steps; a readout of single steps does not."""
    read, written = facts.of_inputs(node), facts.proved[node.name]
    match node:
        case IntPool(mode="sum"):
            yield facts.digital(node, (Operation(Item.POOL_ADD, math.prod(node.kernel) - 1, word_bits(written)),))
        case IntPool():
            yield facts.digital(node, (Operation(Item.POOL_COMPARE, math.prod(node.kernel) - 1, word_bits(read[0])),))
        case IntSum():
            summed = facts.shapes(node)[0][node.axis]
            yield facts.digital(node, (Operation(Item.POOL_ADD, summed - 1, word_bits(written)),))
        case IntAdd():
            sums = facts.digital(node, (Operation(Item.RESIDUAL_ADD, len(read) - 1, word_bits(written)),))
            waiting = tuple(Operand(sums.elements, word_bits(interval)) for interval in read[:-1])
            yield replace(sums, operands=waiting)
        case IntMultiply():
            gates = facts.digital(node, gate_operations(node, *read))
            values = math.prod(facts.shapes(node)[0])
            yield replace(gates, operands=(Operand(values, word_bits(read[0]), gates.elements // values),))
        case IntMatMul():
            yield _matrix_product(node, facts)
        case IntReadout(mode="sum" | "max"):
            bits = word_bits(written)
            item = Item.READOUT_ADD if node.mode == "sum" else Item.POOL_COMPARE
            yield replace(facts.digital(node, (Operation(item, 1, bits),)), states=(StateWord("sum", bits),))
        case IntReadout():
            return
        case _:
            assert_never(node)


def _synapse_demand(node: Synapse, facts: _Facts) -> SynapseDemand:
    groups, in_per_group, kernel = sharing(node)
    out_per_group = weight_rows(node).shape[1]
    positions = math.prod(node.shape) // (groups * out_per_group)
    return SynapseDemand(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        positions=positions,
        windows=positions,
        kernel=kernel,
        groups=groups,
        in_per_group=in_per_group,
        out_per_group=out_per_group,
        inputs=math.prod(facts.graph.node(node.inputs[0]).shape),
        input_bits=word_bits(facts.read[node.name]),
        weight_bits=node.bit_width,
        narrow_range=int(node.weight.min()) > -(2 ** (math.ceil(node.bit_width) - 1)),
        of_the_input=node.inputs[0] in facts.stateless,
    )


def _neuron(node: IntNeuron, facts: _Facts, current: Bounds) -> DigitalNode:
    """A membrane, a synaptic state of the same width, and the last spikes where the reset comes late."""
    states = [StateWord("membrane", node.bit_width)] * (1 + node.has_synapse)
    if node.timing != "same_step":
        states.append(StateWord("spikes", spike_bits(node)))
    return replace(facts.digital(node, neuron_operations(node, current)), states=tuple(states))


def _requant(node: IntRequant, reads: TensorRole, accumulator: Bounds) -> DigitalNode:
    by_step = [values for values in (node.multiplier, node.bias) if values.ndim == 2]
    return DigitalNode(
        *(node.name, node.kind, node.shape, node.inputs, reads),
        requant_operations(node, accumulator),
        table=Table(
            rows=max((len(values) for values in by_step), default=0),
            words=sum(values.shape[1] for values in by_step),
            row_bits=sum(values.shape[1] * word_bits(hull(values)) for values in by_step),
        ),
        clocked=False,
    )


def _matrix_product(node: IntMatMul, facts: _Facts) -> DigitalNode:
    """(..., n, d) @ (..., d, m): a register keeps a row of the left operand while the right one passes by."""
    (left, right), (rows, columns) = facts.of_inputs(node), facts.shapes(node)
    product = facts.digital(node, matrix_product_operations(node, left, right, terms=rows[-1]))
    operands = (
        Operand(math.prod(rows), word_bits(left), reads=columns[-1], kept=True, moved=True),
        Operand(math.prod(columns), word_bits(right), reads=rows[-2], moved=True),
    )
    return replace(product, operands=operands, pairs=product.elements * rows[-1])

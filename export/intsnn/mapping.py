"""An integer graph and a crossbar description -> arrays, PEs and tiles of each weight layer, lanes of every other node.

For a layer with G groups, K = kh*kw, b_w weight bits, cells of b_c bits and arrays of X_r rows and X_c columns:

    P   = 1 (offset) | 2 (differential)                     columns of opposite sign
    S   = ceil(b_w / b_c) (offset) | ceil((b_w - 1) / b_c), at least 1 (differential)          weight slices
    kernel_split:  rows = Ci/G,    K_a = K, a PE is K arrays        im2col:  rows = K*Ci/G,  K_a = 1, a PE is an array
    N_r = ceil(rows / X_r),  N_c = ceil((Co/G)*S*P / X_c)           blocks of rows and of columns
    G_a = min(G, floor(X_r / rows), floor(X_c / ((Co/G)*S*P))), at least 1    groups in one array, as diagonal blocks
    PEs = ceil(G / G_a)*N_r*N_c;  arrays = K_a*PEs;  tiles = ceil(PEs / PEs of a tile)
    utilisation = Co*(Ci/G)*K*S*P / (arrays*X_r*X_c), at most 1

Linear layers are 1x1 kernels. Output sizes are a convolution's own, before any pooling. Widths come from the graph's
proved bounds, so nothing is wider than the network needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as ByName
from dataclasses import dataclass

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType
from intsnn.errors import HardwareError
from intsnn.graph import IntAdd, IntConv, IntGraph, IntNeuron, IntNode, IntPool, IntReadout, IntRequant, Synapse
from intsnn.hardware.items import Item
from intsnn.hardware.spec import Crossbar, HardwareSpec
from intsnn.hardware.words import joined, word_bits
from intsnn.tensors import bounds


@dataclass(frozen=True)
class LayerMapping:
    """One weight layer on arrays.

    positions: output positions Ho*Wo; kernel: K; groups: G; in_per_group, out_per_group: Ci/G, Co/G;
    input_bits: bits of an input value, fed one after another; rows: used rows of each array row block (N_r entries);
    array_kernel: K_a; column_blocks: N_c; groups_per_array: G_a; slices: S; polarity: P.
    """

    name: str
    positions: int
    kernel: int
    groups: int
    in_per_group: int
    out_per_group: int
    inputs: int
    input_bits: int
    slices: int
    polarity: int
    array_kernel: int
    rows: tuple[int, ...]
    column_blocks: int
    groups_per_array: int
    pes: int
    tiles: int
    utilisation: float

    @property
    def row_blocks(self) -> int:
        """N_r."""
        return len(self.rows)

    @property
    def arrays(self) -> int:
        """Arrays of the layer."""
        return self.array_kernel * self.pes

    @property
    def out_channels(self) -> int:
        """Co."""
        return self.groups * self.out_per_group

    @property
    def columns(self) -> int:
        """Used columns of one block of rows over all outputs: Co*S*P."""
        return self.out_channels * self.slices * self.polarity

    @property
    def synaptic_operations(self) -> int:
        """Weight x input pairs of one step: positions * Co * K * Ci/G, padding included (dense operations / 2)."""
        return self.positions * self.out_channels * self.kernel * self.in_per_group


@dataclass(frozen=True)
class Operation:
    """An item that a digital node runs `per_element` times for each element and step, on words of `bits` bits."""

    item: Item
    per_element: int
    bits: float


@dataclass(frozen=True)
class DigitalMapping:
    """A neuron, requantization, pool, sum or readout on `lanes` parallel lanes.

    state_bits: bits of each element's membrane or running sum, read and written in every step (0: none).
    waiting_bits: bits of each element's operands that wait in a buffer until the last one is there (0: none).
    clocked: whether it takes time of its own; a requantization is a pipeline stage of the node that reads it.
    """

    name: str
    elements: int
    lanes: int
    operations: tuple[Operation, ...]
    state_bits: int = 0
    waiting_bits: int = 0
    clocked: bool = True

    @property
    def clocks(self) -> int:
        """Clocks of one step."""
        return math.ceil(self.elements / self.lanes) if self.clocked else 0


@dataclass(frozen=True)
class Mapping:
    """The whole graph on one hardware."""

    hardware: HardwareSpec
    layers: tuple[LayerMapping, ...]
    digital: tuple[DigitalMapping, ...]

    @property
    def arrays(self) -> int:
        """Arrays of the chip."""
        return sum(layer.arrays for layer in self.layers)

    @property
    def pes(self) -> int:
        """PEs of the chip."""
        return sum(layer.pes for layer in self.layers)

    @property
    def tiles(self) -> int:
        """Tiles of the chip."""
        return sum(layer.tiles for layer in self.layers)


def map_graph(graph: IntGraph, hardware: HardwareSpec) -> Mapping:
    """Place every node of a legal graph."""
    if not graph.synapses:
        raise HardwareError(
            "a crossbar chip needs a weight layer (the graph has none)",
            hints=["give a graph with a conv or linear node"],
        )
    proved = bounds(graph)
    layers = tuple(
        _map_layer(graph, synapse, hardware, word_bits(proved[synapse.inputs[0]])) for synapse in graph.synapses
    )
    digital = (_map_digital(graph, node, hardware.neuron.parallelism, proved) for node in graph)
    return Mapping(hardware, layers, tuple(node for node in digital if node is not None))


def _map_layer(graph: IntGraph, node: Synapse, hardware: HardwareSpec, input_bits: int) -> LayerMapping:
    crossbar = hardware.crossbar
    groups, kernel, positions = _geometry(node)
    in_per_group, out_per_group = int(node.weight.shape[1]), int(node.weight.shape[0]) // groups
    polarity = 1 if crossbar.encoding == "offset" else 2
    slices = weight_slices(node.bit_width, crossbar)
    array_kernel = kernel if crossbar.mapping == "kernel_split" else 1
    rows = _row_blocks(in_per_group * kernel // array_kernel, crossbar.rows)
    columns = out_per_group * slices * polarity
    column_blocks = math.ceil(columns / crossbar.columns)
    together = max(1, min(groups, crossbar.rows // sum(rows), crossbar.columns // columns))
    pes = math.ceil(groups / together) * len(rows) * column_blocks
    used = groups * in_per_group * kernel * columns
    utilisation = used / (array_kernel * pes * crossbar.rows * crossbar.columns)
    assert 0 < utilisation <= 1, f"{node.name}: utilisation {utilisation}"
    return LayerMapping(
        name=node.name,
        positions=positions,
        kernel=kernel,
        groups=groups,
        in_per_group=in_per_group,
        out_per_group=out_per_group,
        inputs=math.prod(graph.node(node.inputs[0]).shape),
        input_bits=input_bits,
        slices=slices,
        polarity=polarity,
        array_kernel=array_kernel,
        rows=rows,
        column_blocks=column_blocks,
        groups_per_array=together,
        pes=pes,
        tiles=math.ceil(pes / hardware.tile.pe),
        utilisation=utilisation,
    )


def weight_slices(bit_width: float, crossbar: Crossbar) -> int:
    """S: cells of one weight and sign. A ternary weight (1.58 bits) takes 2 bits."""
    magnitude_bits = math.ceil(bit_width) - (1 if crossbar.encoding == "differential" else 0)
    return max(1, math.ceil(magnitude_bits / crossbar.cell.bits))


def _geometry(node: Synapse) -> tuple[int, int, int]:
    """Groups G, kernel positions K, output positions."""
    if isinstance(node, IntConv):
        return node.groups, int(np.prod(node.weight.shape[2:])), node.shape[1] * node.shape[2]
    return 1, 1, math.prod(node.shape[:-1])


def _row_blocks(rows: int, most: int) -> tuple[int, ...]:
    """Rows cut into full blocks and a rest: 130 rows on 64 -> (64, 64, 2)."""
    full, rest = divmod(rows, most)
    return (most,) * full + ((rest,) if rest else ())


def _map_digital(graph: IntGraph, node: IntNode, lanes: int, proved: ByName[str, Bounds]) -> DigitalMapping | None:
    elements, read = math.prod(node.shape), [proved[name] for name in node.inputs]
    lanes = min(lanes, elements)
    match node:
        case IntNeuron():
            return DigitalMapping(node.name, elements, lanes, _neuron_operations(node, read[0]), node.bit_width)
        case IntRequant():
            return DigitalMapping(node.name, elements, lanes, _requant_operations(node, read[0]), clocked=False)
        case IntPool():
            item, width = (Item.POOL_ADD, proved[node.name]) if node.mode == "sum" else (Item.POOL_COMPARE, read[0])
            operation = Operation(item, math.prod(node.kernel) - 1, word_bits(width))
            return DigitalMapping(node.name, elements, lanes, (operation,))
        case IntAdd():
            operation = Operation(Item.RESIDUAL_ADD, len(read) - 1, word_bits(proved[node.name]))
            waiting = sum(word_bits(interval) for interval in read[:-1])
            return DigitalMapping(node.name, elements, lanes, (operation,), waiting_bits=waiting)
        case IntReadout(mode="sum"):
            sum_bits = word_bits(proved[node.name])
            return DigitalMapping(node.name, elements, lanes, (Operation(Item.READOUT_ADD, 1, sum_bits),), sum_bits)
        case _:
            return None


def _neuron_operations(node: IntNeuron, current: Bounds) -> tuple[Operation, ...]:
    """Additions of D*v (D in signed digits, wiring if it has one), + j, + c and - rho; one comparison, one register."""
    stored = IntType(node.bit_width, signed=True)
    leaked = Bounds(node.leak * stored.low, node.leak * stored.high)
    drive = Bounds(int(node.drive.min()), int(node.drive.max()))
    width = word_bits(joined(leaked, current, drive))
    leak_additions = max(0, signed_digits(node.leak) - 1)
    adds = leak_additions + (node.leak != 0) + bool(node.drive.any()) + (node.reset == "soft")
    counts = ((Item.NEURON_ADD, adds), (Item.NEURON_COMPARE, 1), (Item.NEURON_STORE, 1))
    return tuple(Operation(item, count, width) for item, count in counts)


def signed_digits(value: int) -> int:
    """Non-zero digits of the non-adjacent form, the fewest powers of two that add up to the value: 7 = 8 - 1 has 2."""
    return (value ^ (3 * value)).bit_count()


def _requant_operations(node: IntRequant, accumulator: Bounds) -> tuple[Operation, ...]:
    """One product unless every M_c is a power of two, one addition unless every B_c is 0."""
    operations = []
    if not all(abs(m).bit_count() <= 1 for m in node.multiplier.tolist()):
        width = math.sqrt(word_bits(accumulator) * word_bits(_hull(node.multiplier)))
        operations.append(Operation(Item.REQUANTIZE_MULTIPLY, 1, width))
    if node.bias.any():
        reach = accumulator.magnitude * int(np.abs(node.multiplier).max()) + int(np.abs(node.bias).max())
        operations.append(Operation(Item.REQUANTIZE_ADD, 1, word_bits(Bounds(-reach, reach))))
    return tuple(operations)


def _hull(values: IntArray) -> Bounds:
    return Bounds(int(values.min()), int(values.max()))

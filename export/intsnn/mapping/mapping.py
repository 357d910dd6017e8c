"""An integer graph and a crossbar description -> arrays, PEs and tiles of each synapse, lanes of every other node.

For a layer with G groups, K = kh*kw, b_w weight bits, cells of b_c bits and arrays of X_r rows and X_c columns:

    P   = 1 (offset, two's complement) | 2 (differential)                                      columns of opposite sign
    P_c = 2 (differential) | 1 (all others, of a pair subtracted before conversion too)         codes of a slice
    S   = ceil(b_w / b_c) (offset) | ceil(b_m / b_c) (differential) | 1 + ceil((b_2 - 1) / b_c) (two's complement)
                                                                                               weight slices
    b_2 = b_w, at least 2
    b_m = b_w - 1, at least 1; b_w where a weight of the layer is -2^(b_w-1)                   bits of a magnitude
    kernel_split:  rows = Ci/G,    K_a = K, a PE is K arrays        im2col:  rows = K*Ci/G,  K_a = 1, a PE is an array
                   (of every layer, or of each the way that placing.py chooses)
    N_r = ceil(rows / X_r),  N_c = ceil((Co/G)*S*P / X_c)           blocks of rows and of columns
    G_a = min(G, floor(X_r / rows), floor(X_c / ((Co/G)*S*P))), at least 1    groups in one array, as diagonal blocks
    PEs = D*ceil(G / G_a)*N_r*N_c;  arrays = K_a*PEs;  tiles = ceil(PEs / PEs of a tile)
    utilisation = D*Co*(Ci/G)*K*S*P / (arrays*X_r*X_c), at most 1

D copies of a layer work on D positions at a time (duplication.py). Layers that do not fit together take turns, with
D = 1 (reloading.py). Linear layers are 1x1 kernels, recurrent weights a layer of their own beside the one that feeds
the neuron. A transposed convolution lies as the convolution that it is over its input with stride - 1 zeros between the
values: Ci*K rows, every output position a read in which the rows of the zeros stay idle. Products of two activations
(attention) lie on no array, for cells are written once and both operands change in every step: a digital unit
multiplies them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import assert_never

from intsnn.arithmetic import tree_bits
from intsnn.errors import HardwareError
from intsnn.graph import IntGraph
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Crossbar, Placing
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping.demand import Demand, DigitalNode, SynapseDemand, demand_of
from intsnn.mapping.duplication import Replicable, duplicates
from intsnn.mapping.flows import Flow
from intsnn.mapping.operations import in_memory
from intsnn.mapping.placing import placings
from intsnn.mapping.reloading import Reload, part_of, reload_of

__all__ = [
    "DigitalMapping",
    "LayerMapping",
    "Mapping",
    "map_graph",
    "place",
    "place_digital",
    "row_blocks",
    "weight_slices",
]


@dataclass(frozen=True, kw_only=True)
class LayerMapping(SynapseDemand):
    """One synapse on arrays: what it asks for (demand.py), and its place.

    slices: S; polarity: P; codes: P_c; array_kernel: K_a; rows: used rows of each array row block (N_r entries);
    column_blocks: N_c; groups_per_array: G_a; copies: D. PEs and tiles are those of all copies. held_steps: steps that
    one reading of the arrays serves, its sums kept in a buffer: all of them where the input stays the same, else 1.
    """

    slices: int
    polarity: int
    codes: int
    array_kernel: int
    rows: tuple[int, ...]
    column_blocks: int
    groups_per_array: int
    pes: int
    tiles: int
    utilisation: float
    copies: int = 1
    held_steps: int = 1

    @property
    def rounds(self) -> int:
        """Positions that one copy works through in a step: ceil(Ho*Wo / D)."""
        return math.ceil(self.positions / self.copies)

    @property
    def row_blocks(self) -> int:
        """N_r."""
        return len(self.rows)

    @property
    def rows_of_an_array(self) -> int:
        """Used rows of the fullest array, of all groups that share it."""
        return self.rows[0] * self.groups_per_array

    @property
    def packs(self) -> int:
        """Groups of groups that share arrays: ceil(G / G_a)."""
        return math.ceil(self.groups / self.groups_per_array)

    @property
    def pes_of_a_copy(self) -> int:
        """PEs that hold every weight once."""
        return self.packs * self.row_blocks * self.column_blocks

    @property
    def arrays(self) -> int:
        """Arrays of the layer, all copies."""
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
    def converted(self) -> int:
        """Codes of one read of an array for a group: (Co/G)*S*P_c."""
        return self.out_per_group * self.slices * self.codes

    def read_steps(self, time_steps: int) -> int:
        """Of so many steps, those in which the arrays are read: all, or the first where its sums are held."""
        return time_steps // self.held_steps

    @property
    def synaptic_operations(self) -> int:
        """Weight x input pairs of one step: windows * Co * K * Ci/G, padding included (dense operations / 2)."""
        return self.windows * self.out_channels * self.kernel * self.in_per_group


@dataclass(frozen=True, kw_only=True)
class DigitalMapping(DigitalNode):
    """A node that is no synapse (demand.py) on `lanes` parallel lanes."""

    lanes: int

    @property
    def in_memory(self) -> int:
        """Operations of one element inside the memory of its words, one after another; 0 where words are read."""
        return sum(one.per_element for one in self.operations if one.item is Item.MEMBRANE_OPERATION)

    @property
    def clocks(self) -> int:
        """Clocks of one step."""
        return math.ceil(self.elements / self.lanes) * max(1, self.in_memory) if self.clocked else 0


@dataclass(frozen=True)
class Mapping:
    """The whole graph on one hardware. reload: how weights take turns on the arrays; None: all of them stay."""

    hardware: HardwareSpec
    layers: tuple[LayerMapping, ...]
    digital: tuple[DigitalMapping, ...]
    flows: tuple[Flow, ...] = ()
    reload: Reload | None = None

    @property
    def batch(self) -> int:
        """Inferences that one latency serves: those that share the loads of weights where layers take turns."""
        return 1 if self.reload is None else self.reload.samples

    @cached_property
    def groups(self) -> tuple[tuple[LayerMapping, ...], ...]:
        """What is on the arrays at the same time: every layer, or the layers and parts of each group in turn."""
        if self.reload is None:
            return (self.layers,)
        layers = {layer.name: layer for layer in self.layers}
        pes = self.hardware.tile.pe
        return tuple(tuple(part_of(layers[one.layer], one, pes) for one in group) for group in self.reload.groups)

    def on(self, hardware: HardwareSpec) -> Mapping:
        """The same places on a chip of the same arrays, whose converters, timing and prices may be others."""
        found = Mapping(hardware, self.layers, self.digital, self.flows, self.reload)
        vars(found)["groups"] = self.groups  # they depend on none of these, and take a while
        return found

    @property
    def arrays(self) -> int:
        """Arrays of the chip: as many as the group that needs most."""
        return max(sum(layer.arrays for layer in group) for group in self.groups)

    @property
    def pes(self) -> int:
        """PEs of the chip."""
        return max(sum(layer.pes for layer in group) for group in self.groups)

    @property
    def tiles(self) -> int:
        """Tiles of the chip."""
        return max(sum(layer.tiles for layer in group) for group in self.groups)


def map_graph(graph: IntGraph, hardware: HardwareSpec, *, constant_steps: int = 1) -> Mapping:
    """Place every node of a legal graph.

    Args:
        graph: the network.
        hardware: the chip.
        constant_steps: T where the network's input is the same in every step, else 1.

    Raises:
        HardwareError: the graph has no synapse, or the array budget is below one copy of every layer, and weights
            cannot be reloaded.
    """
    return place(demand_of(graph), hardware, constant_steps=constant_steps)


def place(
    demand: Demand,
    hardware: HardwareSpec,
    *,
    constant_steps: int = 1,
    digital: tuple[DigitalMapping, ...] | None = None,
) -> Mapping:
    """Place every node; copies of layers as the hardware's array budget allows.

    Args:
        demand: of the network.
        hardware: the chip.
        constant_steps: T where the network's input is the same in every step, else 1.
        digital: all that is no synapse, where it is placed already: no crossbar changes it.

    Raises:
        HardwareError: the budget is below one copy of every layer, and weights cannot be reloaded.
    """
    ways = placings(demand.layers, hardware.crossbar)
    single = tuple(
        _place_layer(layer, hardware, way, held_steps=constant_steps if layer.is_held_by(hardware.buffers) else 1)
        for layer, way in zip(demand.layers, ways, strict=True)
    )
    digital = place_digital(demand, hardware) if digital is None else digital
    once = sum(layer.arrays for layer in single)
    budget = hardware.duplication.budget(once, array_um2(hardware) if hardware.duplication.is_area else 0.0)
    if budget is None:
        return Mapping(hardware, single, digital, demand.flows)
    if budget < once:
        _require_loading(hardware, once, budget)
        samples = hardware.reload.samples
        turns = reload_of(single, demand.flows, demand.written, budget=budget, samples=samples)
        return Mapping(hardware, single, digital, demand.flows, turns)
    copies = _copies(single, budget, constant_steps)
    layers = tuple(_copied(layer, number, hardware) for layer, number in zip(single, copies, strict=True))
    return Mapping(hardware, layers, digital, demand.flows)


def place_digital(demand: Demand, hardware: HardwareSpec) -> tuple[DigitalMapping, ...]:
    """All that is no synapse, on its lanes."""
    return tuple(_place_digital(node, hardware) for node in demand.digital)


def array_um2(hardware: HardwareSpec) -> float:
    """Area of an array as a budget of area counts it: row drivers, cells, and converters or trees."""
    crossbar = hardware.crossbar
    if crossbar.readout == "accumulator":
        raise HardwareError(
            f"a budget of area needs arrays of one size: accumulators are as wide as each layer's weights "
            f"({hardware.name})",
            hints=["give duplication.arrays as a number of arrays"],
        )
    trees = crossbar.readout == "adder_tree"
    built = (
        (Item.ROW_ACTIVATION, crossbar.rows, None),
        (Item.CELL_READ, crossbar.rows * crossbar.columns, None),
        (Item.ADC_CONVERSION, 0 if trees else crossbar.converters, crossbar.resolution),
        (Item.MUX_SWITCH, 0 if trees else crossbar.converters, None),
        (
            Item.ADDER_TREE_ADD,
            crossbar.converters * (crossbar.rows - 1) if trees else 0,
            tree_bits(crossbar.rows, crossbar.cell.bits),
        ),
    )
    priced = ((hardware.cost(item), item, number, bits) for item, number, bits in built if number)
    each = ((cost and cost.at("area_um2", bits, name=item.value), number) for cost, item, number, bits in priced)
    area = math.fsum(number * one for one, number in each if one)
    if not area:
        raise HardwareError(
            f"a budget of area needs the areas of drivers, cells or converters ({hardware.name} gives none)",
            hints=["give duplication.arrays as a number of arrays"],
        )
    return area


def _require_loading(hardware: HardwareSpec, once: int, budget: int) -> None:
    missing = [item.value for item in (Item.WEIGHT_FETCH, Item.CELL_WRITE) if hardware.cost(item) is None]
    if missing:
        raise HardwareError(
            f"the array budget must hold one copy of every layer, {once:,} arrays (got {budget:,}), or weights must be "
            f"reloaded, for which {hardware.name} prices no {' and no '.join(missing)}",
            hints=[
                f"price {', '.join(missing)} under costs, as rram_64x64_65nm.yaml does",
                "or raise duplication.arrays, or take larger arrays or fewer weight bits",
            ],
        )


def _place_layer(layer: SynapseDemand, hardware: HardwareSpec, way: Placing, *, held_steps: int) -> LayerMapping:
    crossbar = hardware.crossbar
    polarity = crossbar.polarity
    slices = weight_slices(layer, crossbar)
    columns = layer.out_per_group * slices * polarity
    array_kernel = layer.kernel if way == "kernel_split" else 1
    rows = row_blocks(layer.in_per_group * layer.kernel // array_kernel, crossbar.rows)
    column_blocks = math.ceil(columns / crossbar.columns)
    together = max(1, min(layer.groups, crossbar.rows // sum(rows), crossbar.columns // columns))
    pes = math.ceil(layer.groups / together) * len(rows) * column_blocks
    used = layer.groups * layer.in_per_group * layer.kernel * columns
    utilisation = used / (array_kernel * pes * crossbar.rows * crossbar.columns)
    assert 0 < utilisation <= 1, f"{layer.name}: utilisation {utilisation}"
    return LayerMapping(
        **vars(layer),
        slices=slices,
        polarity=polarity,
        codes=polarity // crossbar.columns_of_a_code,
        array_kernel=array_kernel,
        rows=rows,
        column_blocks=column_blocks,
        groups_per_array=together,
        pes=pes,
        tiles=math.ceil(pes / hardware.tile.pe),
        utilisation=utilisation,
        held_steps=held_steps,
    )


def weight_slices(layer: SynapseDemand, crossbar: Crossbar) -> int:
    """S: cells of one weight and sign. A ternary weight (1.58 bits) takes 2 bits."""
    match crossbar.encoding:
        case "offset":
            return math.ceil(math.ceil(layer.weight_bits) / crossbar.cell.bits)
        case "differential" | "analog_differential":
            return math.ceil(layer.magnitude_bits / crossbar.cell.bits)
        case "twos_complement":
            below_the_sign = max(2, math.ceil(layer.weight_bits)) - 1
            return 1 + math.ceil(below_the_sign / crossbar.cell.bits)
        case encoding:
            assert_never(encoding)


def row_blocks(rows: int, most: int) -> tuple[int, ...]:
    """Rows cut into full blocks and a rest: 130 rows on 64 -> (64, 64, 2)."""
    full, rest = divmod(rows, most)
    return (most,) * full + ((rest,) if rest else ())


def _copies(layers: tuple[LayerMapping, ...], budget: int, steps: int) -> tuple[int, ...]:
    """Copies by the reads of all steps, as long as some layers are read once for several."""
    reads = [layer.input_bits * (steps // layer.held_steps) for layer in layers]
    return duplicates(
        [Replicable(layer.positions, number, layer.arrays) for layer, number in zip(layers, reads, strict=True)], budget
    )


def _copied(layer: LayerMapping, copies: int, hardware: HardwareSpec) -> LayerMapping:
    if copies == 1:
        return layer
    pes = layer.pes * copies
    return replace(layer, copies=copies, pes=pes, tiles=math.ceil(pes / hardware.tile.pe))


def _place_digital(node: DigitalNode, hardware: HardwareSpec) -> DigitalMapping:
    """With line buffers, a register keeps what an operand's reads have in common: it is read once."""
    keeps = hardware.buffers.input_reuse == "line_buffer"
    operands = tuple(replace(one, reads=1) if keeps and one.kept else one for one in node.operands)
    lanes = min(hardware.neuron.parallelism, node.elements)
    operations = in_memory(node.operations) if hardware.neuron.membrane == "fused" else node.operations
    return DigitalMapping(**vars(replace(node, operands=operands, operations=operations)), lanes=lanes)

import math
from typing import TypedDict, Unpack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.arithmetic import Bounds, joined, word_bits
from intsnn.errors import HardwareError
from intsnn.graph import IntGraph, IntInput, IntLinear, IntNeuron, IntRequant, Sizes
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding
from intsnn.mapping import DigitalMapping, LayerMapping, map_graph
from intsnn.mapping.operations import signed_digits
from tests.support.crossbar_by_hand import (
    ENCODINGS,
    MAPPINGS,
    CrossbarOptions,
    hardware_spec,
    place_cells,
    small_hardware,
)
from tests.support.graph_builder import Reset
from tests.support.intgraphs import GraphBuilder, residual_graph
from tests.support.wide_graphs import any_graphs

HARDWARE = hardware_spec("rram_64x64_65nm")


def one_conv(
    channels: tuple[int, int], *, kernel: Sizes = (3, 3), groups: int = 1, bit_width: float = 4, bits: int = 1
) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((channels[0], 6, 6), bit_width=bits)
    build.readout(build.conv(x, channels[1], kernel=kernel, groups=groups, bit_width=bit_width))
    return build.graph()


def mapped(graph: IntGraph, **changes: Unpack[CrossbarOptions]) -> LayerMapping:
    return map_graph(graph, small_hardware(rows=64, columns=64, cell_bits=2, **changes)).layers[0]


def test_a_convolution_by_hand() -> None:
    """130 input channels: 3 row blocks; 40 outputs of 2 slices: 2 column blocks; 9 kernel positions."""
    layer = mapped(one_conv((130, 40)))
    assert (layer.slices, layer.polarity, layer.columns) == (2, 1, 80)
    assert (layer.rows, layer.row_blocks, layer.column_blocks) == ((64, 64, 2), 3, 2)
    assert (layer.pes, layer.arrays, layer.tiles) == (6, 54, 1)
    assert layer.utilisation == 130 * 9 * 80 / (54 * 64 * 64)
    assert (layer.positions, layer.inputs, layer.input_bits) == (36, 130 * 36, 1)
    assert layer.synaptic_operations == 36 * 40 * 9 * 130


def test_im2col_by_hand() -> None:
    """130 * 9 = 1170 rows: 19 blocks, the last with 18 rows; a PE is one array."""
    layer = mapped(one_conv((130, 40)), mapping="im2col")
    assert (layer.row_blocks, layer.rows[-1], layer.column_blocks) == (19, 18, 2)
    assert (layer.pes, layer.arrays, layer.tiles) == (38, 38, 5)


def test_differential_columns_by_hand() -> None:
    """4 bits: a magnitude, of 3 bits or 4, in 2 cells, positive and negative: 4 columns for each output."""
    layer = mapped(one_conv((3, 40)), encoding="differential")
    assert (layer.slices, layer.polarity, layer.column_blocks) == (2, 2, 3)


def test_depthwise_groups_share_arrays_as_diagonal_blocks() -> None:
    """One row and two columns a group: 32 groups fill the 64 columns of an array."""
    layer = mapped(one_conv((70, 70), groups=70))
    assert (layer.groups_per_array, layer.pes, layer.arrays) == (32, 3, 27)
    assert layer.utilisation == 70 * 9 * 2 / (27 * 64 * 64)


def test_groups_too_large_to_share_have_arrays_of_their_own() -> None:
    layer = mapped(one_conv((80, 8), groups=2))
    assert (layer.groups_per_array, layer.pes, layer.arrays) == (1, 2, 18)


def test_a_linear_layer_is_a_one_by_one_kernel() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((100,)), 10))
    layer = map_graph(build.graph(), HARDWARE).layers[0]
    assert (layer.kernel, layer.positions, layer.row_blocks, layer.arrays, layer.input_bits) == (1, 1, 2, 2, 8)


@pytest.mark.parametrize(
    ("bit_width", "weights", "cell_bits", "encoding", "slices"),
    [
        (4, [-8, 7], 2, "offset", 2), (4, [-8, 7], 4, "offset", 1), (4, [-8, 7], 1, "offset", 4),
        (8, [-128, 0], 3, "offset", 3), (1, [-1, 1], 1, "offset", 1), (1.58, [-1, 1], 1, "offset", 2),
        (4, [-7, 7], 2, "differential", 2), (4, [-7, 7], 3, "differential", 1), (4, [0, 0], 3, "differential", 1),
        (4, [-8, 7], 2, "differential", 2), (4, [-8, 7], 3, "differential", 2), (4, [-8, 7], 1, "differential", 4),
        (1, [-1, 1], 2, "differential", 1), (1.58, [-1, 1], 1, "differential", 1), (2, [-2, 1], 1, "differential", 2),
        (4, [-8, 7], 2, "analog_differential", 2), (4, [-7, 7], 3, "analog_differential", 1),
        (4, [-8, 7], 1, "twos_complement", 4), (4, [-8, 7], 2, "twos_complement", 3),
        (1, [-1, 1], 2, "twos_complement", 2), (1.58, [-1, 1], 1, "twos_complement", 2),
        (8, [-128, 0], 8, "twos_complement", 2),
    ],
)  # fmt: skip
def test_weight_slices_by_hand(
    bit_width: float, weights: list[int], cell_bits: int, encoding: Encoding, slices: int
) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2,), bit_width=1)
    build.nodes.append(IntLinear("linear", (x,), (1,), np.array([weights]), bit_width))
    build.readout("linear", mode="steps")
    hardware = small_hardware(rows=8, columns=16, cell_bits=cell_bits, encoding=encoding)
    assert map_graph(build.graph(), hardware).layers[0].slices == slices


def test_each_layer_lies_the_way_that_takes_fewer_arrays_by_hand() -> None:
    """64 rows. 3 channels: 9 arrays or 27 rows, 1 array. 64: 9 or 576 rows, 9: split. 70: 18 or 630 rows, 10."""
    ways = [mapped(one_conv((channels, 8)), mapping="auto").array_kernel for channels in (3, 64, 70)]
    assert ways == [1, 9, 1]


def test_the_rule_of_neurosim_by_hand() -> None:
    """Most kernels are 3x3; of them those of 64 rows or more are split: 9 * 8 = 72 rows, not 9 * 3 = 27, nor a 5x5."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((3, 6, 6), bit_width=1)
    for channels, kernel, padding in ((8, 3, 1), (8, 3, 1), (8, 5, 2), (8, 1, 0)):
        conv = build.conv(x, channels, kernel=(kernel, kernel), padding=(padding, padding))
        x = build.neuron(build.requant(conv))
    build.readout(build.conv(x, 2))
    found = map_graph(build.graph(), small_hardware(rows=64, columns=64, cell_bits=2, mapping="neurosim")).layers
    assert [layer.array_kernel for layer in found] == [1, 9, 1, 1, 9]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_arrays_and_utilisation_equal_a_placement_cell_by_cell(data: st.DataObject) -> None:
    graph = data.draw(any_graphs())
    encoding = data.draw(st.sampled_from(ENCODINGS))
    hardware = small_hardware(
        rows=data.draw(st.integers(1, 9)),
        columns=data.draw(st.integers(1, 9)) * (2 if encoding == "analog_differential" else 1),
        cell_bits=data.draw(st.integers(1, 4)),
        encoding=encoding,
        mapping=data.draw(st.sampled_from(MAPPINGS)),
    )
    if not graph.all_synapses:
        with pytest.raises(HardwareError, match="needs a synapse"):
            map_graph(graph, hardware)
        return
    mapping = map_graph(graph, hardware)
    for node, layer in zip(graph.all_synapses, mapping.layers, strict=True):
        cells = place_cells(node, hardware.crossbar)
        assert len({cell[:-3] for cell in cells}) == layer.arrays
        assert len({(cell[:-3], cell[-3], cell[-2]) for cell in cells}) == len(cells), "two weights in one cell"
        size = hardware.crossbar.rows * hardware.crossbar.columns
        assert 0 < layer.utilisation <= 1
        assert layer.utilisation == pytest.approx(len(cells) / (layer.arrays * size))
        assert layer.tiles == math.ceil(layer.pes / hardware.tile.pe)
    assert mapping.arrays == sum(layer.arrays for layer in mapping.layers)
    assert len(mapping.layers) <= mapping.pes <= mapping.tiles * hardware.tile.pe


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from((1, 3)))
def test_more_weight_bits_never_take_fewer_arrays(inputs: int, outputs: int, kernel: int) -> None:
    layers = [
        map_graph(one_conv((inputs, outputs), kernel=(kernel, kernel), bit_width=bits), HARDWARE).layers[0]
        for bits in (1, 2, 4, 8)
    ]
    assert [layer.arrays for layer in layers] == sorted(layer.arrays for layer in layers)


@pytest.mark.parametrize(
    ("value", "digits"), [(0, 0), (1, 1), (4, 1), (3, 2), (6, 2), (7, 2), (11, 3), (15, 2), (21, 3)]
)
def test_signed_digits_by_hand(value: int, digits: int) -> None:
    assert signed_digits(value) == digits


class NeuronChanges(TypedDict, total=False):
    leak: int
    reset: Reset
    drive: int


def neuron_mapping(*, leak: int = 4, reset: Reset = "hard", drive: int = 0, bit_width: int = 4) -> DigitalMapping:
    """Current in [-8, 7]; v in 4 bits."""
    shape, zero = (100,), np.zeros(1, np.int64)
    neuron = IntNeuron(
        "lif",
        ("current",),
        shape,
        leak=np.array([leak]),
        drive=np.array([drive]),
        threshold=np.array([5]),
        reset=reset,
        reset_value=zero,
        soft_amount=np.array([5]),
        guard_bits=2,
        bit_width=bit_width,
        initial=0,
        scale=1.0,
    )
    build = GraphBuilder(np.random.default_rng(0))
    build.nodes = [
        IntInput("input", (), shape, 4, True, 1.0),
        IntRequant("current", ("input",), shape, np.array([1]), zero, 0, 1.0),
        neuron,
    ]
    build.readout(build.linear("lif", 2))
    mapping = map_graph(build.graph(), HARDWARE)
    return next(node for node in mapping.digital if node.name == "lif")


def operations(node: DigitalMapping) -> dict[Item, tuple[float, object]]:
    return {operation.item: (operation.per_element, operation.bits) for operation in node.operations}


def test_a_neuron_with_a_power_of_two_leak_by_hand() -> None:
    """x = 4v + j in [-32 - 8, 28 + 7] needs 7 bits; one addition, one comparison, one register."""
    node = neuron_mapping()
    assert operations(node) == {
        Item.NEURON_ADD: (1, 7), Item.NEURON_COMPARE: (1, 7), Item.NEURON_STORE: (1, 7)
    }  # fmt: skip
    assert (node.state_bits, node.elements, node.lanes, node.clocks) == (4, 100, 64, 2)


@pytest.mark.parametrize(
    ("changes", "additions"),
    [({"leak": 3}, 2), ({"reset": "soft"}, 2), ({"drive": 1}, 2), ({"leak": 0}, 0), ({"leak": 11, "reset": "soft"}, 4)],
)
def test_leak_digits_drive_and_soft_reset_cost_additions(changes: NeuronChanges, additions: int) -> None:
    assert operations(neuron_mapping(**changes))[Item.NEURON_ADD][0] == additions


def requant_mapping(multiplier: list[int], bias: list[int]) -> tuple[Bounds, DigitalMapping]:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.linear(build.input((4,), bit_width=1), 2)
    build.nodes.append(IntRequant("requant", (x,), (2,), np.array(multiplier), np.array(bias), 3, 1.0))
    build.readout("requant")
    graph = build.graph()
    node = next(node for node in map_graph(graph, HARDWARE).digital if node.name == "requant")
    return build.bounds(x).hull, node


def test_a_requantization_multiplies_by_the_geometric_mean_of_its_widths() -> None:
    accumulator, node = requant_mapping([3, 100], [0, 4])
    reach = accumulator.magnitude * 100 + 4
    assert operations(node) == {
        Item.REQUANTIZE_MULTIPLY: (1, pytest.approx(math.sqrt(word_bits(accumulator) * 7))),
        Item.REQUANTIZE_ADD: (1, word_bits(Bounds(-reach, reach))),
    }
    assert node.clocks == 0


def test_powers_of_two_are_shifts_and_a_zero_bias_is_nothing() -> None:
    assert operations(requant_mapping([4, -2], [0, 0])[1]) == {}


def test_residual_sums_pools_and_readouts_have_their_own_operations() -> None:
    mapping = map_graph(residual_graph(), HARDWARE)
    items = {operation.item for node in mapping.digital for operation in node.operations}
    assert {Item.RESIDUAL_ADD, Item.POOL_ADD, Item.POOL_COMPARE, Item.READOUT_ADD} <= items
    add = next(node for node in mapping.digital if node.name.endswith("add"))
    assert add.waiting_bits > 0 and add.state_bits == 0


def test_a_readout_of_every_step_needs_nothing() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((4,)), 2), mode="steps")
    assert map_graph(build.graph(), HARDWARE).digital == ()


def test_joined_intervals_add_their_ends() -> None:
    assert joined(Bounds(-1, 2), Bounds(3, 4)) == Bounds(2, 6)


def test_a_graph_without_weights_cannot_be_mapped() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.input((3,)))
    with pytest.raises(HardwareError, match="needs a synapse"):
        map_graph(build.graph(), HARDWARE)

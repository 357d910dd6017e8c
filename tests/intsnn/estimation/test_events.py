import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, Unpack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import Activity, assume, measure
from intsnn.arithmetic import IntArray, word_bits
from intsnn.errors import HardwareError
from intsnn.estimation.events import count
from intsnn.estimation.gating import cut_of
from intsnn.estimation.sum_widths import partial_sum_bits
from intsnn.execution.interpreter import evaluate
from intsnn.graph import (
    IntConv,
    IntConvTranspose,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntReadout,
    IntRequant,
    Synapse,
)
from intsnn.graph.bounds import bounds
from intsnn.hardware import HardwareSpec
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Readout
from intsnn.mapping import map_graph
from tests.support.crossbar_by_hand import (
    ENCODINGS,
    MAPPINGS,
    CrossbarOptions,
    Row,
    place_cells,
    pulses,
    slices_of,
    small_hardware,
)
from tests.support.hand_made_graphs import still_network
from tests.support.intgraphs import GraphBuilder, random_input
from tests.support.wide_graphs import any_graphs, graphs_of_any_length

ZERO = np.zeros(1, np.int64)
ArrayPlace = tuple[int, int, int, int]  # kernel position, pack of groups, block of rows, block of columns
READOUTS: tuple[Readout, ...] = ("converter", "accumulator")
JOININGS: tuple[Literal["after_sum", "at_array"], ...] = ("after_sum", "at_array")
Word = tuple[int, int | tuple[int, int]]  # pack of groups, and the column, or the output and sign that it belongs to


def two_layers() -> IntGraph:
    """2x2 input of one bit -> 2x2 kernel, 3 outputs, one position -> LIF -> linear 3 -> 2 -> readout."""
    return IntGraph(
        (
            IntInput("input", (), (1, 2, 2), 1, False, 1.0),
            IntConv("conv", ("input",), (3, 1, 1), np.full((3, 1, 2, 2), 3), 4, (1, 1), (0, 0), (1, 1), 1),
            IntRequant("requant", ("conv",), (3, 1, 1), np.array([3]), np.array([4]), 1, 1.0),
            IntNeuron(
                "lif", ("requant",), (3, 1, 1), np.array([2]), ZERO, np.array([1]), "hard", ZERO, ZERO, 1, 4, 0, 1.0
            ),
            IntLinear("fc", ("lif",), (3, 1, 2), np.ones((2, 1), np.int64), 2),
            IntReadout("readout", ("fc",), (3, 1, 2), "sum", 1.0),
        )
    )


def test_two_layers_by_hand() -> None:
    """T = 2, one sample: three active inputs, then none. Arrays of 2 rows and 4 columns, 2-bit cells, lossless: 3 bits.

    conv: 4 kernel positions of 1 row, 3 outputs x 2 slices = 6 columns: 2 column blocks, 2 PEs, 8 arrays.
    fc: reads (3, 1, 1) along its last axis: 3 positions, 1 row, 2 outputs of 1 slice: one array.
    """
    graph = two_layers()
    x = np.array([[1, 1, 0, 1], [0, 0, 0, 0]]).reshape(2, 1, 1, 2, 2)
    counts = count(map_graph(graph, small_hardware(rows=2, columns=4, cell_bits=2)), measure(graph, [x]))
    steps = {(event.node, event.item): event.steps for event in counts.events}
    bits = {(event.node, event.item): event.bits for event in counts.events}
    expected = {
        ("conv", Item.ROW_ACTIVATION): (6, 0),
        ("conv", Item.CELL_READ): (18, 0),
        ("conv", Item.ADC_CONVERSION): (24, 24),
        ("conv", Item.MUX_SWITCH): (24, 24),
        ("conv", Item.PARTIAL_SUM_ADD): (18, 18),
        ("conv", Item.PARTIAL_SUM_STORE): (18, 18),
        ("conv", Item.SHIFT_ADD): (3, 3),
        ("conv", Item.POPCOUNT_ADD): (3, 0),
        ("conv", Item.SIGN_SUBTRACT): (3, 3),
        ("conv", Item.BUFFER_WRITE): (4, 4),
        ("conv", Item.BUFFER_READ): (4, 4),
        ("conv", Item.SPIKE_TRANSFER): (8, 8),
        ("conv", Item.PE_TRANSFER): (80, 80),  # 4 inputs to 2 column blocks; 6 codes of 3 bits from each of 4 positions
        ("requant", Item.REQUANTIZE_MULTIPLY): (3, 3),
        ("requant", Item.REQUANTIZE_ADD): (3, 3),
        ("lif", Item.NEURON_ADD): (3, 3),
        ("lif", Item.NEURON_COMPARE): (3, 3),
        ("lif", Item.NEURON_STORE): (3, 3),
        ("lif", Item.MEMBRANE_READ): (12, 12),
        ("lif", Item.MEMBRANE_WRITE): (12, 12),
        ("fc", Item.ROW_ACTIVATION): (3, 3),  # j = (27 + 4) >> 1, then 4 >> 1 = 2: all three fire in both steps
        ("fc", Item.CELL_READ): (6, 6),
        ("fc", Item.ADC_CONVERSION): (6, 6),
        ("fc", Item.MUX_SWITCH): (6, 6),
        ("fc", Item.POPCOUNT_ADD): (3, 3),
        ("fc", Item.SIGN_SUBTRACT): (6, 6),
        ("fc", Item.BUFFER_WRITE): (3, 3),
        ("fc", Item.BUFFER_READ): (3, 3),
        ("fc", Item.SPIKE_TRANSFER): (6, 6),
        ("readout", Item.READOUT_ADD): (6, 6),
    }
    words = {key: value for key, value in steps.items() if key[0] == "readout" and "MEMBRANE" in key[1].name}
    assert {key: value for key, value in steps.items() if key not in words} == expected
    assert len(words) == 2
    assert bits["conv", Item.ADC_CONVERSION] == 3
    assert bits["conv", Item.PARTIAL_SUM_ADD] == 3 + 2
    assert bits["conv", Item.SHIFT_ADD] == bits["conv", Item.SIGN_SUBTRACT] == 5 + 2
    assert bits["conv", Item.POPCOUNT_ADD] == 3
    assert bits["requant", Item.REQUANTIZE_MULTIPLY] == math.sqrt(4 * 2)  # acc in [0, 12], M = 3
    assert counts.total(Item.ADC_CONVERSION) == 60 and counts.time_steps == 2


def test_instances_of_two_layers_by_hand() -> None:
    graph = two_layers()
    mapping = map_graph(graph, small_hardware(rows=2, columns=4, cell_bits=2, column_mux=4))
    counts = count(mapping, assume(graph, rate=0.5, time_steps=1))
    built = {item: counts.built(item) for item in Item if counts.built(item)}
    assert built.pop(Item.MEMBRANE_BIT) == 3 * 4 + 6 * word_bits(bounds(graph)["readout"])
    assert built == {
        Item.ROW_ACTIVATION: 9 * 2,
        Item.CELL_READ: 9 * 8,
        Item.ADC_CONVERSION: 9,
        Item.MUX_SWITCH: 9,
        Item.PARTIAL_SUM_ADD: 8,
        Item.PARTIAL_SUM_STORE: 8,
        Item.SHIFT_ADD: 8,
        Item.SIGN_SUBTRACT: 9,
        Item.POPCOUNT_ADD: 4 + 1,
        Item.BUFFER_BIT: 4 + 3,
        Item.TILE: 2,
        Item.REQUANTIZE_MULTIPLY: 3,
        Item.REQUANTIZE_ADD: 3,
        Item.NEURON_ADD: 3,
        Item.NEURON_COMPARE: 3,
        Item.NEURON_STORE: 3,
        Item.READOUT_ADD: 6,
    }


def test_accumulators_add_the_weights_of_active_rows_by_hand() -> None:
    """6 inputs of 2 bits, 3 outputs of 4-bit weights: two arrays of 3 rows. T = 2: (3, 0, 0, 2, 0, 0), then nothing.

    Pulses: bit 0 of the first input, bit 1 of the first and the fourth. An accumulator holds 3 rows of 4 bits: 5 bits.
    """
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((6,), bit_width=2), 3, bit_width=4), mode="steps")
    graph = build.graph()
    hardware = small_hardware(
        rows=3, columns=16, cell_bits=1, encoding="twos_complement", joining="at_array", gating="array",
        readout="accumulator",
    )  # fmt: skip
    mapping = map_graph(graph, hardware)
    x = np.array([[3, 0, 0, 2, 0, 0], [0] * 6]).reshape(2, 1, 6)
    counts = count(mapping, measure(graph, [x], cuts=[cut_of(layer) for layer in mapping.layers]))
    steps = {event.item: event.steps for event in counts.events}
    bits = {event.item: event.bits for event in counts.events}
    for item in (Item.ACCUMULATE_ADD, Item.ACCUMULATE_STORE):
        assert steps[item] == (3 * 3, 0) and counts.built(item) == 2 * 4  # 16 columns hold 4 weights
        assert bits[item] == 2 + 3
    assert steps[Item.PARTIAL_SUM_ADD] == (3, 0)  # both arrays have a sum for the upper bit alone
    assert steps[Item.SHIFT_ADD] == (3, 3)  # of two input bits; the slices of a weight are one number
    for item in (Item.ADC_CONVERSION, Item.MUX_SWITCH, Item.ADDER_TREE_ADD):
        assert counts.total(item) == counts.built(item) == 0


def brute_force(node: Synapse, inputs: IntArray, hardware: HardwareSpec, bits: int) -> Counter[Item]:
    """Counts of one synapse in one step of one sample, array by array and pulse by pulse.

    An array is (kernel position, pack of groups, block of rows, block of columns); those of a PE differ in the first.
    """
    arrays: dict[ArrayPlace, list[tuple[int, int, Row]]] = defaultdict(list)
    pes: dict[tuple[int, int, int], set[int]] = defaultdict(set)
    for kernel, pack, row_block, column_block, row, column, source in place_cells(node, hardware.crossbar):
        arrays[kernel, pack, row_block, column_block].append((row, column, source))
        pes[pack, row_block, column_block].add(kernel)
    found, gating, word = Counter[Item](), hardware.crossbar.gating, words_of(node, hardware)
    slices = slices_of(node, hardware.crossbar)
    of_a_code = 2 if hardware.crossbar.encoding == "analog_differential" else 1
    on_bus = {array for array in arrays if len(pes[array[1:]]) > 1}
    fed = sum(len({row for row, _, _ in arrays[array]}) for array in on_bus)
    found[Item.PE_TRANSFER] += fed * feedings(node, inputs, bits)
    for read in pulses(node, inputs, bits=bits):
        found[Item.POPCOUNT_ADD] += sum(read.values())
        active = {array: {row for row, _, source in cells if read[source]} for array, cells in arrays.items()}
        working_pes = {array[1:] for array, rows in active.items() if rows}
        words: dict[Word, set[tuple[int, int]]] = defaultdict(set)  # which (kernel position, block of rows) add to one
        found[Item.ACCUMULATE_ADD] += len(added_weights(arrays, read, word))
        for array, cells in arrays.items():
            found[Item.ROW_ACTIVATION] += len(active[array])
            found[Item.CELL_READ] += sum(read[source] for _, _, source in cells)
            if gating == "none" or (gating == "pe" and array[1:] in working_pes) or active[array]:
                columns = {column // of_a_code * of_a_code for _, column, _ in cells}
                found[Item.ADC_CONVERSION] += len(columns)
                for column in columns:
                    words[word(array, column)].add((array[0], array[2]))
        found[Item.PARTIAL_SUM_ADD] += sum(len(places) - 1 for places in words.values())
        found[Item.PARTIAL_SUM_TRANSFER] += sum(len({rows for _, rows in places}) - 1 for places in words.values())
        sent = sum(len(places) for places in words.values()) if on_bus else 0
        found[Item.PE_TRANSFER] += sent * digits_sent(node, hardware)
        if hardware.crossbar.joining == "at_array" and hardware.crossbar.readout != "accumulator":
            found[Item.SHIFT_ADD] += (slices - 1) * sum(len(places) for places in words.values())
    return found


def added_weights(
    arrays: Mapping[ArrayPlace, list[tuple[int, int, Row]]],
    read: Mapping[Row, int],
    word: Callable[[ArrayPlace, int], Word],
) -> set[tuple[int, int, int, Word]]:
    """The weights in active rows: kernel position, block of rows, row, and the word to which each is added."""
    return {
        (array[0], array[2], row, word(array, column))
        for array, cells in arrays.items()
        for row, column, source in cells
        if read[source]
    }


def words_of(node: Synapse, hardware: HardwareSpec) -> Callable[[ArrayPlace, int], Word]:
    """The word that a column of an array belongs to: itself, or the output and sign whose slices are joined there.

    A weight's columns stand side by side; one that lies on two arrays is joined as if it lay on one.
    """
    crossbar = hardware.crossbar
    signs = 2 if "differential" in crossbar.encoding else 1
    slices = slices_of(node, crossbar)

    def word(array: ArrayPlace, column: int) -> Word:
        column += array[3] * crossbar.columns
        part = column if crossbar.joining == "after_sum" else (column // (slices * signs), column % signs)
        return array[1], part

    return word


def feedings(node: Synapse, inputs: IntArray, bits: int) -> int:
    """How often an array is fed: every bit at every output position, or place of a transposed kernel's input."""
    places = inputs.shape[1:] if isinstance(node, IntConvTranspose) else node.shape[1:]
    return bits * (math.prod(node.shape[:-1]) if isinstance(node, IntLinear) else math.prod(places))


def digits_sent(node: Synapse, hardware: HardwareSpec) -> int:
    """Bits of a word on its way to the PE's adders: a code, and the cells by which joined slices are shifted."""
    bits = hardware.crossbar.resolution
    if hardware.crossbar.joining == "at_array":
        for _ in range(1, slices_of(node, hardware.crossbar)):
            bits += hardware.crossbar.cell.bits
    return bits


def spike_or_word_bits(graph: IntGraph, node: Synapse) -> int:
    """Bits of what a layer reads: a neuron's spikes, which a recurrent layer reads even where it writes potentials."""
    source = graph.node(node.inputs[0])
    if isinstance(source, IntNeuron):
        return math.ceil(math.log2(source.max_spikes + 1))
    return word_bits(bounds(graph)[source.name])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_counts_equal_a_crossbar_read_pulse_by_pulse(data: st.DataObject) -> None:
    graph = data.draw(any_graphs().filter(lambda graph: 0 < len(graph.all_synapses) <= 3))
    x = random_input(graph, time_steps=graph.time_steps or data.draw(st.integers(1, 2)), samples=1)
    encoding = data.draw(st.sampled_from(ENCODINGS))
    readout: Readout = "converter" if encoding == "analog_differential" else data.draw(st.sampled_from(READOUTS))
    hardware = small_hardware(
        rows=data.draw(st.integers(1, 9)),
        columns=data.draw(st.integers(1, 9)) * (2 if encoding == "analog_differential" else 1),
        readout=readout,
        cell_bits=data.draw(st.integers(1, 4)),
        encoding=encoding,
        mapping=data.draw(st.sampled_from(MAPPINGS)),
        gating=data.draw(st.sampled_from(("none", "pe", "array"))),
        joining="at_array" if readout == "accumulator" else data.draw(st.sampled_from(JOININGS)),
    )
    mapping = map_graph(graph, hardware)
    counts = count(mapping, measure(graph, [x], cuts=[cut_of(layer) for layer in mapping.layers]))
    codes = {layer.name: partial_sum_bits(layer, hardware) for layer in mapping.layers}
    steps = {(event.node, event.item): event.steps for event in counts.events}
    for node, read in (step.weight_layer for step in evaluate(graph, x) if step.weight_layer):
        bits, groups = spike_or_word_bits(graph, node), getattr(node, "groups", 1)
        channels = node.shape[-1] if isinstance(node, IntLinear) else node.shape[0]
        positions = math.prod(node.shape) // channels
        for t in range(len(x)):
            expected = brute_force(node, read[t, 0], hardware, bits)
            expected[Item.POPCOUNT_ADD] += positions * groups * (bits - 1)
            expected[Item.PARTIAL_SUM_TRANSFER] *= codes[node.name]
            encoding = hardware.crossbar.encoding
            sums = channels * positions * (2 if encoding == "differential" else 1)
            joined = slices_of(node, hardware.crossbar) if hardware.crossbar.joining == "after_sum" else 1
            expected[Item.SHIFT_ADD] += sums * (joined * bits - 1)
            expected[Item.ADC_CONVERSION] *= readout == "converter"
            expected[Item.MUX_SWITCH] = expected[Item.ADC_CONVERSION]
            expected[Item.ACCUMULATE_ADD] *= readout == "accumulator"
            expected[Item.ACCUMULATE_STORE] = expected[Item.ACCUMULATE_ADD]
            expected[Item.PARTIAL_SUM_STORE] = expected[Item.PARTIAL_SUM_ADD]
            if encoding != "offset":
                expected[Item.POPCOUNT_ADD] = 0
            expected[Item.SIGN_SUBTRACT] = channels * positions if encoding in ("offset", "differential") else 0
            for item, number in expected.items():
                assert steps.get((node.name, item), (0,) * len(x))[t] == number, (node.name, item)


def test_a_layer_that_reads_a_still_input_works_once_by_hand() -> None:
    """Three sums wait for two steps. Width: 2-bit codes, two blocks of rows, 4 slices of 1 bit, 8 input bits.

    In the first step all is as without holding; in the others the sums are read again, and nothing else happens.
    """
    graph = still_network()
    x = np.array([5, 0, 255, 7]).reshape(1, 1, 4).repeat(3, axis=0)
    activity = measure(graph, [x])
    assert activity.constant_input and activity.constant_steps == 3
    found, bits = [], []
    ways: tuple[Literal["repeat", "hold"], ...] = ("repeat", "hold")
    for way in ways:
        hardware = small_hardware(rows=2, columns=8, cell_bits=1, constant_input=way)
        counts = count(map_graph(graph, hardware, constant_steps=3), activity)
        found.append({(event.node, event.item): event.steps for event in counts.events})
        bits.append(counts.built(Item.BUFFER_BIT))
    (repeated, held), first = found, graph.all_synapses[0].name
    width = 2 + 1 + 3 + 7  # codes of 2 rows, two blocks of rows, 4 slices, 8 input bits
    assert bits[1] == bits[0] + 3 * width
    for (node, item), steps in repeated.items():
        if node != first:
            assert held[node, item] == steps
        elif item is Item.BUFFER_WRITE:
            assert held[node, item] == (steps[0] + 3 * width, 0, 0)
        elif item is Item.BUFFER_READ:
            assert held[node, item] == (steps[0], 3 * width, 3 * width)
        else:
            assert held[node, item] == (steps[0], 0, 0)


def test_only_an_input_that_stays_the_same_is_held() -> None:
    graph = still_network()
    x = np.array([5, 0, 255, 7]).reshape(1, 1, 4).repeat(3, axis=0)
    x[2, 0, 1] = 1
    assert measure(graph, [x]).constant_steps == 1
    assert measure(graph, [x[:2], x[1:]]).constant_steps == 1
    assert measure(graph, [x[:2], x[:2]]).constant_steps == 2
    hardware = small_hardware(rows=2, columns=8, cell_bits=1, constant_input="hold")
    assert [layer.held_steps for layer in map_graph(graph, hardware, constant_steps=3).layers] == [3, 1]
    assert [layer.held_steps for layer in map_graph(graph, hardware).layers] == [1, 1]


def dense(inputs: int, *, bits: int = 1) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((inputs,), bit_width=bits), 2, bit_width=2))
    return build.graph()


def test_only_arrays_that_share_a_pe_have_a_bus() -> None:
    """2 channels, 5x5, kernel 3x3 padded, 2 outputs: 25 positions, 9 arrays of 2 rows; 3-bit codes of 2 columns."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((2, 5, 5), bit_width=1), 2, bit_width=2))
    graph = build.graph()
    activity = assume(graph, rate=0.5, time_steps=1)
    code = small_hardware(rows=4, columns=4, cell_bits=2).crossbar.resolution
    assert steps_of(graph, Item.PE_TRANSFER, activity) == (25 * 9 * (2 + 2 * code),)
    assert steps_of(graph, Item.PE_TRANSFER, activity, mapping="im2col") == (0.0,)
    one = dense(6)
    assert steps_of(one, Item.PE_TRANSFER, assume(one, rate=0.5, time_steps=1)) == (0.0,)


def test_slices_that_are_joined_at_the_array_take_fewer_bits_on_the_bus() -> None:
    """4-bit weights in 2-bit cells, 25 positions of 9 arrays: two codes of c bits, or one word of c + 2."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((2, 5, 5), bit_width=1), 2, bit_width=4))
    graph = build.graph()
    activity = assume(graph, rate=0.5, time_steps=1)
    code = small_hardware(rows=4, columns=4, cell_bits=2).crossbar.resolution
    apart, joined = (steps_of(graph, Item.PE_TRANSFER, activity, joining=at) for at in JOININGS)
    assert apart == (25 * 9 * (2 + 2 * 2 * code),)
    assert joined == (25 * 9 * (2 + 2 * (code + 2)),)


def steps_of(graph: IntGraph, item: Item, activity: Activity, **hardware: Unpack[CrossbarOptions]) -> tuple[float, ...]:
    counts = count(map_graph(graph, small_hardware(rows=4, columns=4, cell_bits=2, **hardware)), activity)
    return next((event.steps for event in counts.events if event.item is item), (0.0,))


def test_gated_arrays_convert_only_if_a_row_is_active() -> None:
    """6 rows on 4: blocks of 4 and 2, rows active half the time: 1 - 2^-4 and 1 - 2^-2 of 2 columns each."""
    graph = dense(6)
    gated = steps_of(graph, Item.ADC_CONVERSION, assume(graph, rate=0.5, time_steps=1), gating="array")
    assert gated == pytest.approx([2 * (15 / 16 + 3 / 4)])
    added = steps_of(graph, Item.PARTIAL_SUM_ADD, assume(graph, rate=0.5, time_steps=1), gating="array")
    assert added == pytest.approx([2 * (15 / 16 + 3 / 4) - 2 * 63 / 64])  # outputs without an active row add nothing
    sent = steps_of(graph, Item.PARTIAL_SUM_TRANSFER, assume(graph, rate=0.5, time_steps=1), gating="array")
    hardware = small_hardware(rows=4, columns=4, cell_bits=2)
    bits = partial_sum_bits(map_graph(graph, hardware).layers[0], hardware)
    assert sent == pytest.approx([2 * (15 / 16 + 3 / 4 - 63 / 64) * bits])


def test_a_silent_network_converts_nothing_if_gated_and_everything_if_not() -> None:
    graph = dense(6)
    silent = assume(graph, rate=0, time_steps=1)
    assert steps_of(graph, Item.ADC_CONVERSION, silent, gating="array") == (0.0,)
    assert steps_of(graph, Item.ADC_CONVERSION, silent) == (4.0,)


def test_a_multi_bit_input_is_fed_bit_by_bit() -> None:
    graph = dense(4, bits=8)
    activity = assume(graph, rate=0.5, time_steps=1)
    assert steps_of(graph, Item.ADC_CONVERSION, activity) == (2 * 8,)
    assert steps_of(graph, Item.SHIFT_ADD, activity) == (2 * 7,)
    assert steps_of(graph, Item.ROW_ACTIVATION, activity) == pytest.approx((4 * 4,))


def test_transport_takes_the_form_that_the_description_names() -> None:
    """6 inputs of 1 bit, 3 active on average, address 3 bits, 2 hops."""
    graph = dense(6)
    activity = assume(graph, rate=0.5, time_steps=1)
    assert steps_of(graph, Item.SPIKE_TRANSFER, activity, transport="bitmap") == (12,)
    assert steps_of(graph, Item.SPIKE_TRANSFER, activity, transport="address_event") == (18,)
    assert steps_of(graph, Item.SPIKE_TRANSFER, activity, transport="smaller") == (12,)
    sparse = assume(graph, rate=0.1, time_steps=1)
    assert steps_of(graph, Item.SPIKE_TRANSFER, sparse, transport="smaller") == pytest.approx((0.6 * 3 * 2,))


def test_addresses_of_multi_bit_inputs_carry_their_value() -> None:
    graph = dense(4, bits=8)
    activity = assume(graph, rate=0.5, time_steps=1)
    moved = steps_of(graph, Item.SPIKE_TRANSFER, activity, transport="address_event")
    assert moved == pytest.approx((4 * 255 / 256 * (2 + 8) * 2,))


def test_a_line_buffer_reads_each_input_once() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((2, 5, 5), bit_width=1), 2))
    graph = build.graph()
    activity = assume(graph, rate=0.5, time_steps=1)
    assert steps_of(graph, Item.BUFFER_READ, activity) == (25 * 9 * 2,)
    assert steps_of(graph, Item.BUFFER_READ, activity, input_reuse="line_buffer") == (50,)


def test_an_activity_of_another_size_is_an_error() -> None:
    activity = assume(dense(6), rate=0.5, time_steps=1)
    mapping = map_graph(dense(7), small_hardware(rows=4, columns=4, cell_bits=2))
    with pytest.raises(HardwareError, match="must be of 7 inputs \\(got 6\\)"):
        count(mapping, activity)
    with pytest.raises(HardwareError, match="no layer"):
        count(mapping, replace(activity, synapses=()))


@settings(max_examples=20, deadline=None)
@given(graphs_of_any_length(), st.integers(1, 4))
def test_counts_grow_with_every_step(graph: IntGraph, time_steps: int) -> None:
    mapping = map_graph(graph, small_hardware(rows=8, columns=8, cell_bits=2))
    x = np.full((time_steps + 1, 1, *graph.input.shape), 2 ** (graph.input.bit_width - graph.input.signed) - 1)
    shorter, longer = (count(mapping, measure(graph, [x[:steps]])) for steps in (time_steps, time_steps + 1))
    assert shorter.instances == longer.instances
    for item in Item:
        assert shorter.total(item) <= longer.total(item)
    pairs = itertools.product(shorter.events, longer.events)
    assert all(a.steps == b.steps[:time_steps] for a, b in pairs if (a.node, a.item) == (b.node, b.item))


@settings(max_examples=30, deadline=None)
@given(graphs_of_any_length(), st.integers(1, 12), st.integers(1, 12))
def test_more_rows_never_mean_more_conversions_or_partial_sums(graph: IntGraph, rows: int, more: int) -> None:
    x = np.ones((1, 1, *graph.input.shape), np.int64) - graph.input.signed
    activity = measure(graph, [x])
    few, many = (
        count(map_graph(graph, small_hardware(rows=size, columns=8, cell_bits=2)), activity)
        for size in (rows, rows + more)
    )
    for item in (Item.ADC_CONVERSION, Item.PARTIAL_SUM_ADD, Item.PARTIAL_SUM_STORE):
        assert many.total(item) <= few.total(item)

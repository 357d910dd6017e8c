"""Weights on arrays: against a placement cell by cell, a reading loop by loop, and the exact interpreter."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.analog import load_analog, make_chip, run_analog
from intsnn.analog.arrays import LayerArrays, cut
from intsnn.analog.converters import Converter
from intsnn.analog.inference import analog_sums
from intsnn.arithmetic import IntArray
from intsnn.execution.interpreter import evaluate, run
from intsnn.graph import IntGraph, IntLinear, Synapse
from intsnn.graph.bounds import bounds
from intsnn.hardware import HardwareSpec
from intsnn.hardware.chip import Crossbar, Encoding, KernelMapping
from intsnn.mapping import map_graph
from tests.support.analog_cases import analog, crossbars
from tests.support.crossbar_by_hand import ENCODINGS, MAPPINGS, place_cells, pulses, small_hardware, weights_by_row
from tests.support.intgraphs import GraphBuilder, dense_graph, graph_inputs, random_input, residual_graph
from tests.support.narrowing import present
from tests.support.wide_graphs import weighted_graphs

IDEAL = load_analog("ideal")
ColumnPlace = tuple[int, int, int, int, int]  # the array of a cell, and its column there


def placed_levels(graph: IntGraph, hardware: HardwareSpec) -> dict[str, LayerArrays]:
    """Layer name -> LayerArrays."""
    mapping = map_graph(graph, hardware)
    pairs = zip(graph.all_synapses, mapping.layers, strict=True)
    return {layer.name: cut(node, layer, hardware.crossbar) for node, layer in pairs}


# --- by hand ---------------------------------------------------------------------------------------------------------


def one_linear(weight: list[list[int]], *, bit_width: float) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((np.shape(weight)[1],), bit_width=1)
    build.nodes.append(IntLinear("linear", (x,), (len(weight),), np.array(weight), bit_width))
    build.readout("linear", mode="steps")
    return build.graph()


@pytest.mark.parametrize(
    ("bit_width", "weights", "encoding", "levels", "scale", "offset"),
    [
        (4, [-8, 5], "offset", [[0, 0, 1, 3]], 1, 8),  # 0 = 00 00 and 13 = 11 01, the low digit first
        (4, [-7, 5], "differential", [[0, 3, 0, 1, 1, 0, 1, 0]], 1, 0),  # 7 = 01 11 and 5 = 01 01, + and - side by side
        (
            3,
            [-4, 3],
            "differential",
            [[0, 0, 0, 1, 3, 0, 0, 0]],
            1,
            0,
        ),  # 4 = 01 00 takes a second cell, 3 = 11 does not
        (1, [-1, 1], "offset", [[0, 1]], 2, 1),
        (1, [-1, 1], "differential", [[0, 1, 1, 0]], 1, 0),
        (1.58, [-1, 1], "offset", [[1, 3]], 1, 2),
        (1.58, [-1, 1], "differential", [[0, 1, 1, 0]], 1, 0),
    ],
)
def test_digits_of_weights_by_hand(
    bit_width: float, weights: list[int], encoding: Encoding, levels: list[list[int]], scale: int, offset: int
) -> None:
    graph = one_linear([[weight] for weight in weights], bit_width=bit_width)
    arrays = placed_levels(graph, small_hardware(rows=4, columns=8, cell_bits=2, encoding=encoding))["linear"]
    assert arrays.levels[0, 0, 0].tolist() == levels
    assert (arrays.scale, arrays.offset) == (scale, offset)


@pytest.mark.parametrize("cell_bits", [1, 3])
def test_the_lowest_weight_of_a_format_is_exact_on_differential_columns(cell_bits: int) -> None:
    """-8 of 4 bits has a magnitude of 4 bits: one more slice than a layer without it, in the price as on the chip."""
    hardware = small_hardware(rows=4, columns=8, cell_bits=cell_bits, encoding="differential")
    full, narrow = one_linear([[-8, 7], [1, -8]], bit_width=4), one_linear([[-7, 7], [1, -7]], bit_width=4)
    slices = [map_graph(graph, hardware).layers[0].slices for graph in (full, narrow)]
    assert slices[0] == slices[1] + 1
    x = np.array([[[1, 0], [0, 1], [1, 1]]])
    expected = x @ np.array([[-8, 1], [7, -8]])
    assert np.array_equal(run_analog(make_chip(full, hardware, spec=IDEAL), x).trace.output, expected)
    assert np.array_equal(run(full, x).output, expected)


# --- cell by cell ----------------------------------------------------------------------------------------------------


def code_of(weight: int, bit_width: float, encoding: Encoding, sign: int) -> int:
    """What one column stores of a weight."""
    if encoding == "twos_complement":
        return weight % (1 << max(2, math.ceil(bit_width)))
    if "differential" in encoding:
        return max(weight, 0) if sign == 0 else max(-weight, 0)
    return (weight + 1) // 2 if bit_width == 1 else weight + {1.58: 2}.get(bit_width, 1 << int(bit_width - 1))


def top_bit(node: Synapse) -> int:
    """The sign bit of a two's-complement weight."""
    return max(2, math.ceil(node.bit_width)) - 1


def digit_of(weight: int, node: Synapse, crossbar: Crossbar, *, part: int, parts: int) -> int:
    """What cell `part` of a weight's `parts` holds."""
    signs, cell = (2 if "differential" in crossbar.encoding else 1), crossbar.cell.bits
    code = code_of(weight, node.bit_width, crossbar.encoding, part % signs)
    if crossbar.encoding == "twos_complement":
        if part == parts - 1:
            return code >> top_bit(node)
        code %= 1 << top_bit(node)
    return (code >> (part // signs * cell)) % (1 << cell)


@settings(max_examples=40, deadline=None)
@given(graph=weighted_graphs(), hardware=crossbars())
def test_every_cell_lies_where_a_placement_one_by_one_puts_it(graph: IntGraph, hardware: HardwareSpec) -> None:
    crossbar = hardware.crossbar
    signs = 2 if "differential" in crossbar.encoding else 1
    nodes = {node.name: node for node in graph.all_synapses}
    for name, arrays in placed_levels(graph, hardware).items():
        node, expected = nodes[name], np.zeros_like(arrays.levels)
        weight = weights_by_row(node)
        outputs = arrays.layer.out_per_group
        parts = arrays.layer.slices * signs
        for index, (a, q, n, block, row, column, (g, i, k)) in enumerate(place_cells(node, crossbar)):
            part, o = index % parts, index // parts % outputs
            digit = digit_of(int(weight[g * outputs + o, i, k]), node, crossbar, part=part, parts=parts)
            expected[a, q, n, row, block * crossbar.columns + column] = digit
        assert np.array_equal(arrays.levels, expected), name


def converted(total: int, converter: Converter) -> float:
    """A converter in Python's numbers; ties to even, as np.rint."""
    return converter.step * min(max(round(total / converter.step), converter.lowest), converter.highest)


def read_by_hand(
    node: Synapse, x: IntArray, hardware: HardwareSpec, *, converter: Converter, bits: int, signed: bool
) -> dict[tuple[int, int], float]:
    """Accumulators of one sample [*input shape], as {(position, output): value}, cell by cell and pulse by pulse."""
    crossbar, cells = hardware.crossbar, place_cells(node, hardware.crossbar)
    signs = 2 if "differential" in crossbar.encoding else 1
    weight = weights_by_row(node)
    outputs, parts = len(weight) // max(row[0] + 1 for *_, row in cells), len(cells) // weight.size
    found: dict[tuple[int, int], float] = {}
    reads = pulses(node, x, bits=bits)
    for read, rows in enumerate(reads):
        bit, position = read % bits, read // bits
        sums: dict[ColumnPlace, int] = {}
        meaning: dict[ColumnPlace, tuple[int, int, int]] = {}
        for index, (a, q, n, block, _, column, (g, i, k)) in enumerate(cells):
            part, o = index % parts, index // parts % outputs
            digit = digit_of(int(weight[g * outputs + o, i, k]), node, crossbar, part=part, parts=parts)
            pair = crossbar.encoding == "analog_differential"
            place = (a, q, n, block, column // 2 if pair else column)
            meaning[place] = (g * outputs + o, part // signs, 0 if pair else part % signs)
            sums[place] = sums.get(place, 0) + digit * rows[g, i, k] * (-1 if pair and part % 2 else 1)
        significance = -(2**bit) if signed and bit == bits - 1 else 2**bit
        for place, total in sums.items():
            o, part, sign = meaning[place]
            counts = 2 ** (part * crossbar.cell.bits) * (1 - 2 * sign)
            if crossbar.encoding == "twos_complement" and part == parts - 1:
                counts = -(2 ** top_bit(node))
            value = converted(total, converter) * counts
            found[position, o] = found.get((position, o), 0) + significance * value * (
                2 if binary(node, crossbar) else 1
            )
        if crossbar.encoding == "offset":
            offset = 1 if node.bit_width == 1 else 2 ** (int(np.ceil(node.bit_width)) - 1)
            for (g, _, _), pulse in rows.items():
                for o in range(outputs):
                    found[position, g * outputs + o] -= significance * offset * pulse
    return found


def binary(node: Synapse, crossbar: Crossbar) -> bool:
    return node.bit_width == 1 and crossbar.encoding == "offset"


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    graph=weighted_graphs(),
    hardware=crossbars(),
    converter=st.builds(Converter, step=st.sampled_from((1.0, 1.5, 4.0)), highest=st.integers(1, 7)),
)
def test_clipping_converters_give_what_a_reading_loop_by_loop_gives(
    data: st.DataObject, graph: IntGraph, hardware: HardwareSpec, converter: Converter
) -> None:
    """One layer of a drawn graph at a time, on the inputs that the exact network gives it."""
    chip, proved = make_chip(graph, hardware, spec=IDEAL), bounds(graph)
    if hardware.crossbar.encoding == "analog_differential":
        converter = replace(converter, lowest=-converter.highest)
    layers = {name: replace(layer, converter=converter) for name, layer in chip.layers.items()}
    chip = replace(chip, layers=layers)
    x, spiking = data.draw(graph_inputs(graph))[:, :1], {neuron.name for neuron in graph.neurons}
    for node, read in (step.weight_layer for step in evaluate(graph, x) if step.weight_layer):
        if np.prod(node.shape) < 300:
            bits, signed = chip.layers[node.name].arrays.layer.input_bits, chip.layers[node.name].signed
            assert signed == (proved[node.inputs[0]].low < 0 and node.inputs[0] not in spiking)
            found = read_by_hand(node, read[0, 0], hardware, converter=converter, bits=bits, signed=signed)
            analog_output = analog_sums(chip, {})(node, read)[0, 0]
            rows = analog_output.reshape(len(analog_output), -1).T if node.kind != "linear" else None
            rows = analog_output.reshape(-1, analog_output.shape[-1]) if rows is None else rows
            for position, o in itertools.product(range(rows.shape[0]), range(rows.shape[1])):
                assert rows[position, o] == round(found[position, o]), (node.name, position, o)


# --- the exact network -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), graph=weighted_graphs(), hardware=crossbars(), minimum=st.sampled_from((0.0, 0.5, 13.0)))
def test_ideal_cells_give_every_value_of_the_interpreter(
    data: st.DataObject, graph: IntGraph, hardware: HardwareSpec, minimum: float
) -> None:
    """Every node's output and membrane, for every mapping option and on/off ratio."""
    chip = make_chip(graph, hardware, spec=analog(minimum_us=minimum))
    x = data.draw(graph_inputs(graph))
    on_arrays = evaluate(graph, x, accumulate=analog_sums(chip, {}))
    for exact, found in zip(evaluate(graph, x), on_arrays, strict=True):
        assert np.array_equal(exact.output, found.output), exact.node.name
        assert exact.membrane is None or np.array_equal(exact.membrane, present(found.membrane)), exact.node.name


@pytest.mark.parametrize("graph", [dense_graph(), residual_graph()])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("cell_bits", [1, 2, 3, 8])
def test_ideal_cells_give_a_network_that_fires_its_trace(
    graph: IntGraph, encoding: Encoding, mapping: KernelMapping, cell_bits: int
) -> None:
    x = random_input(graph)
    hardware = small_hardware(rows=16, columns=16, cell_bits=cell_bits, encoding=encoding, mapping=mapping)
    found, exact = run_analog(make_chip(graph, hardware, spec=IDEAL), x).trace, run(graph, x)
    assert np.array_equal(found.output, exact.output)
    for name, spikes in exact.spikes.items():
        assert spikes.any() and np.array_equal(found.spikes[name], spikes)
        assert np.array_equal(found.membranes[name], exact.membranes[name])


def test_large_arrays_are_exact_in_single_precision() -> None:
    """1024 rows of 8-bit cells: sums up to 261,120 levels, and 4 slices joined beyond 2^24."""
    random = np.random.default_rng(0)
    build = GraphBuilder(random)
    build.readout(build.linear(build.input((3000,)), 5, bit_width=8), mode="steps")
    graph = build.graph()
    hardware = small_hardware(rows=1024, columns=64, cell_bits=8)
    x = np.full((1, 2, 3000), 255)
    assert np.array_equal(run_analog(make_chip(graph, hardware, spec=IDEAL), x).trace.output, run(graph, x).output)


def test_many_samples_are_read_in_parts_that_give_the_same() -> None:
    graph = residual_graph()
    x = random_input(graph, samples=40)
    chip = make_chip(graph, small_hardware(rows=8, columns=8, cell_bits=1), spec=IDEAL)
    whole = run_analog(chip, x).trace.output
    assert np.array_equal(whole[7:9], run_analog(chip, x[:, 7:9]).trace.output)
    assert np.array_equal(whole, run(graph, x).output)

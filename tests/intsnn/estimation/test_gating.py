import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import assume, measure, read_activity, write_activity
from intsnn.activity.occupancy import USUAL_SIZES, Cut, usual_cuts
from intsnn.arithmetic import IntArray
from intsnn.errors import HardwareError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.estimation.gating import active_reads, converted_reads, cut_of, every_read, row_rate
from intsnn.execution.interpreter import evaluate
from intsnn.graph import IntGraph, Synapse
from intsnn.hardware import HardwareSpec
from intsnn.hardware.catalogue import Item
from intsnn.mapping import map_graph
from intsnn.report.context import arithmetic_proxy
from intsnn.shares import percent
from tests.support.crossbar_by_hand import Row, place_cells, pulses, small_hardware
from tests.support.hand_made_graphs import still_network
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph
from tests.support.wide_graphs import any_graphs, graphs_of_any_length


def one_conv(channels: int = 4, *, groups: int = 1) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((channels, 3, 3), bit_width=1), channels, groups=groups, bit_width=2))
    return build.graph()


def sparse_input(graph: IntGraph, *pixels: tuple[int, int, int]) -> np.ndarray:
    x = np.zeros((1, 1, *graph.input.shape), np.int64)
    for pixel in pixels:
        x[(0, 0, *pixel)] = 1
    return x


def test_one_spike_in_the_corner_by_hand() -> None:
    """3x3 kernel, padding 1, 3x3 input, 4 channels on blocks of 2: the corner lies in 4 windows.

    9 positions * 9 kernel positions * 2 blocks = 162 array reads; of them 4 are active. 18 PE reads, 4 active. 9
    outputs, 4 with an active row.
    """
    graph = one_conv()
    hardware = small_hardware(rows=2, columns=8, cell_bits=2)
    layer = map_graph(graph, hardware).layers[0]
    (seen,) = measure(graph, [sparse_input(graph, (3, 0, 0))], cuts=[cut_of(layer)]).synapses
    every, active = every_read(layer, 1), active_reads(layer, seen)
    assert (every.arrays.tolist(), every.pes.tolist(), every.outputs.tolist()) == ([162], [18], [9])
    assert (active.arrays.tolist(), active.pes.tolist(), active.outputs.tolist()) == ([4], [4], [4])
    assert active.known_by == "count"
    assert converted_reads(layer, seen, "pe").arrays.tolist() == [4 * 9]
    assert converted_reads(layer, seen, "array").arrays.tolist() == [4]
    assert converted_reads(layer, seen, "none").arrays.tolist() == [162]


def test_an_unrolled_kernel_shares_its_rows_by_hand() -> None:
    """im2col on blocks of 18 rows: channels 0 and 1, channels 2 and 3. One spike in channel 3: 4 reads of block 1."""
    graph = one_conv()
    hardware = small_hardware(rows=18, columns=8, cell_bits=2, mapping="im2col")
    layer = map_graph(graph, hardware).layers[0]
    (seen,) = measure(graph, [sparse_input(graph, (3, 0, 0), (2, 0, 0))], cuts=[cut_of(layer)]).synapses
    active = active_reads(layer, seen)
    assert (active.arrays.tolist(), active.pes.tolist(), active.outputs.tolist()) == ([4], [4], [4])


def test_groups_that_share_an_array_keep_each_other_awake_by_hand() -> None:
    """Four depthwise groups, three to an array of 4 columns: packs of 3 and 1; a spike in channel 1 wakes three."""
    graph = one_conv(groups=4)
    hardware = small_hardware(rows=3, columns=4, cell_bits=2)
    layer = map_graph(graph, hardware).layers[0]
    assert layer.groups_per_array == 3 and cut_of(layer) == Cut("kernel_split", 1, 3)
    (seen,) = measure(graph, [sparse_input(graph, (1, 1, 1))], cuts=[cut_of(layer)]).synapses
    assert active_reads(layer, seen).arrays.tolist() == [9 * 3]
    (last,) = measure(graph, [sparse_input(graph, (3, 1, 1))], cuts=[cut_of(layer)]).synapses
    assert active_reads(layer, last).arrays.tolist() == [9]


def brute_reads(node: Synapse, inputs: IntArray, hardware: HardwareSpec, bits: int) -> tuple[int, int, int]:
    """Array reads, PE reads and outputs with an active row, read by read; each counts once for each of its groups."""
    arrays: dict[tuple[int, ...], set[Row]] = {}
    groups: dict[int, set[int]] = {}
    for kernel, pack, rows, _, _, _, source in place_cells(node, hardware.crossbar):
        arrays.setdefault((kernel, pack, rows), set()).add(source)
        groups.setdefault(pack, set()).add(source[0])
    found = [0, 0, 0]
    for read in pulses(node, inputs, bits=bits):
        active = {array for array, sources in arrays.items() if any(read[source] for source in sources)}
        for index, places in enumerate((active, {one[1:] for one in active}, {one[1:2] for one in active})):
            found[index] += sum(len(groups[one[1] if index == 0 else one[0]]) for one in places)
    return found[0], found[1], found[2]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_counted_reads_equal_a_crossbar_read_by_read_on_sparse_inputs(data: st.DataObject) -> None:
    graph = data.draw(any_graphs().filter(lambda graph: 0 < len(graph.all_synapses) <= 3))
    x = random_input(graph, time_steps=graph.time_steps or 2, samples=1)
    keep = np.random.default_rng(data.draw(st.integers(0, 99))).random(x.shape) < data.draw(
        st.sampled_from((0.05, 0.3))
    )
    x = x * keep
    hardware = small_hardware(
        rows=data.draw(st.integers(1, 9)),
        columns=data.draw(st.integers(1, 9)),
        cell_bits=data.draw(st.integers(1, 4)),
        encoding=data.draw(st.sampled_from(("offset", "differential"))),
        mapping=data.draw(st.sampled_from(("kernel_split", "im2col"))),
    )
    layers = {layer.name: layer for layer in map_graph(graph, hardware).layers}
    activity = measure(graph, [x], cuts=[cut_of(layer) for layer in layers.values()])
    for step in evaluate(graph, x):
        if step.weight_layer is None:
            continue
        node, read = step.weight_layer
        layer = layers[node.name]
        active = active_reads(layer, activity.synapse(layer.name))
        assert active.known_by == "count"
        for t in range(len(x)):
            expected = brute_reads(node, read[t, 0], hardware, layer.input_bits)
            assert (active.arrays[t], active.pes[t], active.outputs[t]) == expected


@settings(max_examples=30, deadline=None)
@given(graphs_of_any_length(), st.sampled_from((0.0, 0.1, 0.5, 1.0)))
def test_less_gating_never_leaves_fewer_reads(graph: IntGraph, rate: float) -> None:
    try:
        activity = assume(graph, rate=rate, time_steps=1)
    except HardwareError:  # a layer reads currents, which no rate describes: nothing to compare
        return
    for layer in map_graph(graph, small_hardware(rows=8, columns=8, cell_bits=2)).layers:
        seen = activity.synapse(layer.name)
        array, pe, none = (float(converted_reads(layer, seen, kind).arrays.sum()) for kind in ("array", "pe", "none"))
        assert array <= pe * (1 + 1e-12) and pe <= none * (1 + 1e-12)
        active = active_reads(layer, seen)
        assert float(active.outputs.sum()) <= float(active.pes.sum()) * (1 + 1e-12)
        if not sum(seen.row_activations):  # the rate is of neurons: an input is taken as dense
            assert array == 0


def test_the_estimate_for_independent_rows_is_the_mean_over_many_inputs() -> None:
    """Where rows are independent, as in a linear layer of random inputs, the count tends to the estimate."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((40,), bit_width=1), 2, bit_width=2))
    graph = build.graph()
    x = (np.random.default_rng(1).random((1, 20_000, 40)) < 0.05).astype(np.int64)
    activity = measure(graph, [x])
    layer = map_graph(graph, small_hardware(rows=16, columns=16, cell_bits=2)).layers[0]
    seen = activity.synapse(layer.name)
    counted, estimated = active_reads(layer, seen), active_reads(layer, replace(seen, occupancy=()))
    assert (counted.known_by, estimated.known_by) == ("count", "estimate")
    assert estimated.arrays == pytest.approx(counted.arrays, rel=0.02)
    assert estimated.outputs == pytest.approx(counted.outputs, rel=0.02)
    assert estimated.arrays == pytest.approx([2 * (1 - 0.95**16) + 1 - 0.95**8], rel=0.02)
    assert row_rate(layer, seen) == pytest.approx([0.05], rel=0.02)


def test_every_measurement_counts_the_usual_arrays_whatever_their_encoding() -> None:
    graph = residual_graph()
    activity = measure(graph, [np.zeros((1, 1, 2, 8, 8), np.int64)])
    for size in USUAL_SIZES:
        for mapping in ("kernel_split", "im2col"):
            for encoding in ("offset", "differential"):
                hardware = small_hardware(rows=size, columns=size, cell_bits=2, mapping=mapping, encoding=encoding)
                for layer in map_graph(graph, hardware).layers:
                    assert active_reads(layer, activity.synapse(layer.name)).known_by == "count"


def test_cuts_a_layer_cannot_have_are_not_counted() -> None:
    graph = one_conv(groups=4)
    more = [Cut("kernel_split", 3, 1), Cut("kernel_split", 1, 9), Cut("im2col", 4, 2), Cut("im2col", 4, 1)]
    (seen,) = measure(graph, [sparse_input(graph)], cuts=more).synapses
    assert [found.cut for found in seen.occupancy] == [*usual_cuts(graph.synapses[0]), Cut("im2col", 4, 1)]


def test_occupancies_are_written_and_read_back(tmp_path: Path) -> None:
    graph = residual_graph()
    activity = measure(graph, [np.ones((2, 1, 2, 8, 8), np.int64)])
    write_activity(activity, tmp_path / "activity.json")
    assert read_activity(tmp_path / "activity.json") == activity
    assert all(synapse.occupancy for synapse in activity.synapses)


def test_gating_lowers_conversions_and_energy_and_not_latency() -> None:
    graph = residual_graph()
    x = np.zeros((2, 1, 2, 8, 8), np.int64)
    x[0, 0, 0, 2, 2] = 9
    activity = measure(graph, [x])
    reports = [
        estimate(graph, activity, small_hardware(rows=64, columns=64, cell_bits=2, gating=gating))
        for gating in ("none", "pe", "array")
    ]
    none, pe, array = (report.energy_pj for report in reports)
    assert array < pe < none
    assert len({report.latency_ns for report in reports}) == 1
    for report, words in zip(reports, ("neither is done", "skips idle PEs", "skips idle arrays"), strict=True):
        (note,) = (note for note in report.notes if note.startswith("What sparsity saves"))
        assert words in note and "counted from the spikes" in note and "sparsity saves no time" in note


@pytest.mark.parametrize(("way", "reads"), [("repeat", 3), ("hold", 1)])
def test_operations_and_the_remark_count_the_steps_that_are_computed_by_hand(
    way: Literal["repeat", "hold"], reads: int
) -> None:
    """4 inputs -> 3 sums -> 2 over 3 steps of one input; 2 of the 3 neurons fire, in the last step.

    Arrays of 2 rows and cells of 1 bit: the first layer has 2 blocks of rows, 8 input bits, 3 x 4 columns. 5 and 0 have
    2 bits that are 1, 255 and 7 have 8: 10 of 16 reads see a spike. The second has 2 blocks and 2 x 4 columns.
    """
    graph = still_network()
    hardware = small_hardware(rows=2, columns=8, cell_bits=1, constant_input=way)
    layers = map_graph(graph, hardware, constant_steps=3).layers
    x = np.array([5, 0, 255, 7]).reshape(1, 1, 4).repeat(3, axis=0)
    activity = measure(graph, [x], cuts=[cut_of(layer) for layer in layers])
    assert [one.spikes for one in activity.neurons] == [(0, 0, 2)]
    report = estimate(graph, activity, hardware)
    assert report.dense_operations == 2 * (12 * reads + 6 * 3)
    assert report.effective_operations == 3 * 3 * reads + 2 * 2
    awake = float(active_reads(layers[1], activity.synapse(layers[1].name)).arrays.sum())
    assert awake == 2, "the two spikes lie in both blocks of rows"
    left = (10 * 12 * reads + awake * 8) / (16 * 12 * reads + 2 * 8 * 3)
    assert any(f"skipping idle arrays {percent(left)}" in note for note in report.notes)
    proxy = arithmetic_proxy(report)
    assert proxy is not None and proxy.ann_pj == pytest.approx(4.6 * (12 + 6))


def test_the_note_names_layers_that_are_only_estimated() -> None:
    graph = residual_graph()
    activity = measure(graph, [np.ones((2, 1, 2, 8, 8), np.int64)])
    first, *rest = activity.synapses
    partly = replace(activity, synapses=(replace(first, occupancy=()), *rest))
    report = estimate(graph, partly, "rram_64x64_65nm")
    assert any(f"rows independent, in {first.name})" in note for note in report.notes)
    idle = next(node.idle_arrays for node in report.nodes if node.name == rest[0].name)
    assert idle is not None and 0 <= idle <= 1


def test_a_tree_adds_rows_minus_one_times_for_a_column_read() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((6,), bit_width=1), 2, bit_width=2))
    graph = build.graph()
    hardware = small_hardware(rows=4, columns=4, cell_bits=2)
    crossbar = hardware.crossbar.model_copy(update={"readout": "adder_tree"})
    counts = count(
        map_graph(graph, hardware.model_copy(update={"crossbar": crossbar})), assume(graph, rate=0.5, time_steps=1)
    )
    assert counts.total(Item.ADDER_TREE_ADD) == 4 * 3
    assert counts.built(Item.ADDER_TREE_ADD) == 2 * 4 * 3
    assert counts.total(Item.ADC_CONVERSION) == counts.built(Item.ADC_CONVERSION) == counts.total(Item.MUX_SWITCH) == 0
    (width,) = {one.bits for one in counts.events if one.item is Item.ADDER_TREE_ADD}
    assert width == (3 + 3 + 4) / 3  # of the results: 2 + 2 bits give 3, twice; 3 + 3 bits give 4


def test_a_mesh_moves_inputs_over_the_chip_and_sums_over_their_layer() -> None:
    """A linear layer on 18 x 1 PEs of one array, 18 tiles of one PE: 2/3 * sqrt(18) hops for both."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((72,), bit_width=1), 2, bit_width=2))
    graph, activity = build.graph(), assume(build.graph(), rate=0.5, time_steps=1)
    hardware = small_hardware(rows=4, columns=4, cell_bits=2)
    document = {**hardware.model_dump(), "tile": {"pe": 1}, "interconnect": {"encoding": "bitmap", "hops": "mesh"}}
    counts = count(map_graph(graph, type(hardware).model_validate(document)), activity)
    hops = 2 / 3 * math.sqrt(18)
    assert counts.total(Item.SPIKE_TRANSFER) == pytest.approx(72 * hops)
    bits = 4 + math.ceil(math.log2(18))
    assert counts.total(Item.PARTIAL_SUM_TRANSFER) == pytest.approx(17 * 2 * bits * hops)


def test_from_a_global_buffer_every_read_travels() -> None:
    graph = one_conv()
    activity = assume(graph, rate=0.5, time_steps=1)
    hardware = small_hardware(rows=8, columns=8, cell_bits=2)
    everywhere = hardware.model_copy(update={"buffers": hardware.buffers.model_copy(update={"place": "global"})})
    local, shared = (count(map_graph(graph, one), activity) for one in (hardware, everywhere))
    assert local.total(Item.SPIKE_TRANSFER) == 36 * 2
    assert shared.total(Item.SPIKE_TRANSFER) == pytest.approx(81 * 4 * 2)

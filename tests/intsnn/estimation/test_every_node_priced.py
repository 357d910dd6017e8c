"""Every node that the integer graph can hold, mapped, counted, timed and priced: by hand, one after the other."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import jsonschema
import numpy as np
import pytest

from intsnn.activity import assume, measure, read_activity, write_activity
from intsnn.analog import load_analog, make_chip, run_analog, shipped_analog
from intsnn.analog.inference import analog_sums
from intsnn.analog.layers import ReadCounts
from intsnn.errors import GraphError, HardwareError, UsageError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.estimation.gating import cut_of
from intsnn.execution.interpreter import run
from intsnn.exploration.design_space import DesignSpace
from intsnn.exploration.exploration import explore
from intsnn.graph import IntGraph, IntRecurrentNeuron
from intsnn.hardware import HardwareSpec, shipped_hardware
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding, KernelMapping
from intsnn.mapping import map_graph
from intsnn.mapping.demand import demand_of
from intsnn.mapping.widths import of_one_width, with_membrane_bits
from intsnn.report import to_html, to_json, to_markdown
from intsnn.report.schema import schema_text
from tests.support.analog_cases import analog, reading
from tests.support.crossbar_by_hand import hardware_spec, small_hardware
from tests.support.graph_builder import GraphBuilder, NeuronOptions, TransposedWindow, Window
from tests.support.hand_made_graphs import (
    attention_graph,
    maps_graph,
    neuron_graph,
    norm_per_step_graph,
    wide_hand_made_graphs,
)
from tests.support.intgraphs import dense_graph, random_input

HARDWARE = small_hardware(rows=8, columns=8, cell_bits=2)
GRAPHS = wide_hand_made_graphs()
OWN_KIND = [name for name in shipped_hardware() if name != "spikesim"]


def totals(graph: IntGraph, x: np.ndarray, *, hardware: HardwareSpec = HARDWARE) -> dict[tuple[str, Item], float]:
    mapping = map_graph(graph, hardware)
    activity = measure(graph, [x], cuts=[cut_of(layer) for layer in mapping.layers])
    return {(event.node, event.item): event.total for event in count(mapping, activity).events}


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_every_graph_has_a_report_whose_parts_are_its_totals(graph: IntGraph) -> None:
    activity = measure(graph, [random_input(graph)])
    for name in OWN_KIND:
        report = estimate(graph, activity, name)
        assert report.energy_pj == pytest.approx(sum(part.energy_pj for part in report.energy), rel=1e-12)
        assert all(part.energy_pj >= 0 for part in report.energy)
        assert {node.name for node in report.nodes if node.arrays} == {layer.name for layer in graph.all_synapses}


def test_a_report_of_attention_fits_its_schema_and_its_pages() -> None:
    graph = attention_graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")
    jsonschema.validate(json.loads(to_json(report)), json.loads(schema_text()))
    products = [node for node in report.nodes if node.kind == "matmul"]
    assert [node.dense_operations for node in products] == [2 * 4 * 2 * 4 * 4 * 2, 2 * 4 * 2 * 4 * 4 * 2]
    assert all(0 <= 2 * node.effective_operations <= node.dense_operations for node in products)
    assert any("product" in part.group for part in report.energy)
    for text in (to_markdown(report), to_html(report)):
        assert products[0].name in text


@pytest.mark.parametrize("name", ["attention", "recurrent", "norm per step", "2-d maps", "floor"])
def test_an_activity_is_written_and_read_again(name: str, tmp_path: Path) -> None:
    activity = measure(GRAPHS[name], [random_input(GRAPHS[name])])
    write_activity(activity, tmp_path / "activity.json")
    assert read_activity(tmp_path / "activity.json") == activity


def test_an_activity_without_a_product_or_of_another_size_is_an_error() -> None:
    graph = attention_graph()
    activity = measure(graph, [random_input(graph)])
    first, *rest = activity.products
    with pytest.raises(HardwareError, match="no matrix product"):
        estimate(graph, replace(activity, products=()), "rram_64x64_65nm")
    with pytest.raises(HardwareError, match=r"must be of 16 values \(got 3\)"):
        count(map_graph(graph, HARDWARE), replace(activity, products=(replace(first, sizes=(3, 16)), *rest)))


# --- synapses ---------------------------------------------------------------------------------------------------


def upsampling() -> IntGraph:
    """(2, 2, 2) of one bit -> transposed 2x2 kernel of stride 2, 3 channels: (3, 4, 4), each output from one input."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2, 2, 2), bit_width=1)
    geometry: TransposedWindow = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "output_padding": (0, 0)}
    build.readout(build.conv_transpose(x, 3, **geometry), mode="steps")
    return build.graph()


def test_a_transposed_convolution_by_hand() -> None:
    """4 kernel positions of 2 rows and 6 columns: 4 arrays. 16 outputs; one active input drives one row in 4 of them.

    Dense operations count what a transposed convolution does, 4 places * 4 kernel positions, not the inserted zeros.
    """
    graph = upsampling()
    (layer,) = map_graph(graph, HARDWARE).layers
    assert (layer.kernel, layer.rows, layer.columns, layer.arrays) == (4, (2,), 6, 4)
    assert (layer.positions, layer.windows, layer.synaptic_operations) == (16, 4, 4 * 4 * 2 * 3)
    x = np.zeros((1, 1, 2, 2, 2), np.int64)
    x[0, 0, 1, 0, 1] = 1
    (name,) = (node.name for node in graph.all_synapses)
    found = totals(graph, x)
    assert found[name, Item.ROW_ACTIVATION] == 4 and found[name, Item.CELL_READ] == 4 * 6
    assert found[name, Item.ADC_CONVERSION] == 16 * 4 * 6
    assert found[name, Item.BUFFER_READ] == 4 * 4 * 2
    gated = totals(graph, x, hardware=small_hardware(rows=8, columns=8, cell_bits=2, gating="array"))
    assert gated[name, Item.ADC_CONVERSION] == 4 * 6, "arrays that see inserted zeros only are idle"
    notes = estimate(graph, measure(graph, [x]), HARDWARE).notes
    assert any("zeros between its values" in note and note.endswith(f"{name}.") for note in notes)


def recurrent_graph(options: NeuronOptions | None = None) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(3))
    x = build.requant(build.linear(build.input((6,), bit_width=1), 5))
    build.readout(build.neuron(x, options=options or NeuronOptions(recurrent="dense")), mode="steps")
    return build.graph()


def test_a_recurrent_synapse_reads_the_spikes_of_the_step_before() -> None:
    graph = recurrent_graph()
    x = random_input(graph, time_steps=4, samples=1)
    activity, (neuron,) = measure(graph, [x]), graph.neurons
    seen, (spikes,) = activity.synapse(f"{neuron.name}.recurrent"), activity.neurons
    assert sum(spikes.spikes) > 0
    assert seen.active_inputs == (0.0, *spikes.spikes[:-1]) == seen.row_pulses


def test_a_recurrent_neuron_has_arrays_a_norm_and_an_addition_of_its_own() -> None:
    graph = recurrent_graph()
    plain = recurrent_graph(NeuronOptions())
    (neuron,), (without,) = graph.neurons, plain.neurons
    mapping = map_graph(graph, HARDWARE)
    assert [layer.name for layer in mapping.layers] == [graph.synapses[0].name, f"{neuron.name}.recurrent"]
    digital = {node.name: node for node in mapping.digital}
    items = {operation.item for operation in digital[f"{neuron.name}.recurrent.requant"].operations}
    assert items == {Item.REQUANTIZE_MULTIPLY, Item.REQUANTIZE_ADD}
    other = {node.name: node for node in map_graph(plain, HARDWARE).digital}[without.name]
    adds = [node.operations[0].per_element for node in (digital[neuron.name], other)]
    assert adds[0] == adds[1] + 1


def test_a_recurrent_layer_of_a_neuron_that_writes_its_potential_still_reads_spikes() -> None:
    options = NeuronOptions(recurrent="dense", output="potential", spike="floor", max_spikes=6)
    graph = recurrent_graph(options)
    layer = map_graph(graph, HARDWARE).layers[1]
    assert layer.input_bits == 3
    assert assume(graph, rate=0.5, time_steps=2).synapse(layer.name).active_inputs[1] > 0


def test_a_name_of_a_part_of_a_recurrent_neuron_is_not_another_nodes() -> None:
    graph = recurrent_graph()
    (neuron,) = graph.neurons
    for part in ("recurrent", "recurrent.requant"):
        taken = replace(graph.output, name=f"{neuron.name}.{part}")
        with pytest.raises(GraphError, match=f"no node may be called '{neuron.name}.{part}'"):
            demand_of(IntGraph((*graph.nodes[:-1], taken)))


# --- digital nodes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("floor of the potential after the reset", [("membrane", 8)]),
        ("synaptic state", [("membrane", 8), ("membrane", 8)]),
        ("hard, masked", [("membrane", 8), ("spikes", 1)]),
        ("floor, after the leak", [("membrane", 8), ("spikes", 2)]),
        ("synaptic state, masked", [("membrane", 8), ("membrane", 8), ("spikes", 1)]),
    ],
)
def test_words_that_a_neuron_keeps_by_hand(kind: str, words: list[tuple[str, int]]) -> None:
    graph = neuron_graph(kind)
    node = next(node for node in demand_of(graph).digital if node.name == graph.neurons[0].name)
    assert [(word.holds, word.bits) for word in node.states] == words
    wide = next(one for one in with_membrane_bits(demand_of(graph), 12).digital if one.name == node.name)
    assert [word.bits for word in wide.states] == [12 if holds == "membrane" else bits for holds, bits in words]
    widest = next(one for one in of_one_width(demand_of(graph), 32).digital if one.name == node.name)
    assert [word.bits for word in widest.states] == [32 if holds == "membrane" else bits for holds, bits in words]


def test_spikes_in_levels_are_fed_bit_by_bit() -> None:
    graph = neuron_graph("floor")
    assert map_graph(graph, HARDWARE).layers[1].input_bits == 4, "up to 15 spikes"


def test_a_norm_by_step_reads_its_row_in_each_step_by_hand() -> None:
    """4 steps; 4 channels with a multiplier and a bias each, then one of each for all channels."""
    graph = norm_per_step_graph()
    demand = {node.name: node for node in demand_of(graph).digital}
    first, second = (demand[node.name] for node in graph if node.kind == "requant")
    assert (first.table.rows, first.table.words, second.table.words) == (4, 8, 2)
    found = totals(graph, random_input(graph, samples=1))
    assert found[first.name, Item.BUFFER_READ] == 4 * first.table.row_bits
    built = count(map_graph(graph, HARDWARE), measure(graph, [random_input(graph)])).instances
    bits = {one.node: one.count for one in built if one.item is Item.BUFFER_BIT}
    assert bits[first.name] == 4 * first.table.row_bits
    wide = {node.name: node for node in of_one_width(demand_of(graph), 32).digital}
    assert wide[first.name].table.row_bits == 8 * 32


def test_a_norm_by_step_fixes_the_number_of_steps() -> None:
    graph = norm_per_step_graph()
    with pytest.raises(UsageError, match=r"time_steps must be 4.*got 3"):
        assume(graph, rate=0.1, time_steps=3)
    hardware = hardware_spec("rram_64x64_65nm")
    found = explore(graph, assume(graph, rate=0.1, time_steps=4), hardware, space=DesignSpace(time_steps=(2, 4)))
    assert [design.point.time_steps for design in found.designs] == [4]
    assert [one.reason for one in found.infeasible] == ["the graph has norms for 4 steps (got 2)"]


@pytest.mark.parametrize(
    ("mode", "item", "state"),
    [("sum", Item.READOUT_ADD, True), ("max", Item.POOL_COMPARE, True), ("last", None, False), ("steps", None, False)],
)
def test_readouts_by_hand(mode: Literal["sum", "max", "last", "steps"], item: Item | None, state: bool) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((4,), bit_width=1), 3), mode=mode)
    digital = map_graph(build.graph(), HARDWARE).digital
    assert bool(digital) == (item is not None)
    for node in digital:
        assert [operation.item for operation in node.operations] == [item] and bool(node.states) == state


# --- expected activity -----------------------------------------------------------------------------------------------


def test_expected_counts_of_products_and_sums_are_the_means_over_all_inputs() -> None:
    """Four independent bits with a chance of 0.3 each, all 16 inputs weighed by their probability."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2, 2), bit_width=1)
    scores = build.matmul(x, x)
    both = build.multiply(build.slice(x, 0, 0, 1), build.slice(x, 0, 1, 2), mode="inhibit")
    build.readout(build.linear(build.flatten(build.concat(scores, both, build.transpose(build.sum(x, 0), 0, 1))), 2))
    graph, rate = build.graph(), 0.3
    expected = assume(graph, rate=rate, time_steps=1)
    inputs = np.array(list(itertools.product((0, 1), repeat=4))).reshape(1, 16, 2, 2)
    chances = [rate ** int(one.sum()) * (1 - rate) ** int(4 - one.sum()) for one in inputs[0]]
    single = [measure(graph, [inputs[:, n : n + 1]]) for n in range(16)]
    for product in expected.products:
        mean = sum(c * one.product(product.name).active_left[0] for c, one in zip(chances, single, strict=True))
        assert product.active_left[0] == pytest.approx(mean)
    (layer,) = expected.synapses
    mean = sum(c * one.synapses[0].input_sum[0] for c, one in zip(chances, single, strict=True))
    # x @ x squares its diagonal, where the operands are one: the assumption takes them as independent
    squares = 2 * (rate - rate**2)
    assert layer.input_sum[0] == pytest.approx(mean - squares)


def test_a_neuron_that_counts_fires_at_the_rate_in_as_many_chances() -> None:
    """Up to 3 spikes, 0.6 on average: three chances of 0.2, so it is silent with 0.8^3."""
    build = GraphBuilder(np.random.default_rng(0))
    options = NeuronOptions(spike="floor", max_spikes=3)
    x = build.neuron(build.requant(build.linear(build.input((4,), bit_width=1), 10)), options=options)
    build.readout(build.linear(x, 2))
    last = assume(build.graph(), rate=0.6, time_steps=1).synapses[-1]
    assert last.input_sum == pytest.approx((6.0,)) and last.active_inputs == pytest.approx((10 * (1 - 0.8**3),))


def test_long_sums_have_the_distribution_of_their_terms() -> None:
    """A sum of 300 8-bit inputs goes through a Fourier transform; its mean is 300 * 127.5."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.sum(build.input((300, 2)), 0), 1))
    (seen,) = assume(build.graph(), rate=0.5, time_steps=1).synapses
    assert seen.input_sum[0] == pytest.approx(2 * 300 * 127.5) and seen.active_inputs[0] == pytest.approx(2)


# --- other rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (attention_graph(), "layers.21.matmul: a product of activations"),
        (maps_graph(2), "transposed: a transposed convolution"),
        (neuron_graph("recurrent", on_map=True), "neuron: a recurrent synapse"),
    ],
)
def test_what_spikesim_has_no_rule_for_is_refused_by_name(graph: IntGraph, message: str) -> None:
    with pytest.raises(HardwareError, match="no rule for") as caught:
        estimate(graph, measure(graph, [random_input(graph)]), "spikesim")
    assert message in caught.value.message


def test_spikesim_knows_images_only_and_says_what_it_leaves_out() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    flat: Window = {"kernel": (3,), "stride": (1,), "padding": (1,), "dilation": (1,)}
    build.readout(build.conv(build.input((2, 5), bit_width=1), 3, **flat))
    with pytest.raises(HardwareError, match="convolutions of images \\(got a kernel of 1 axes\\)"):
        estimate(build.graph(), assume(build.graph(), rate=0.1, time_steps=1), "spikesim")
    graph = neuron_graph("synaptic state", on_map=True)
    notes = estimate(graph, measure(graph, [random_input(graph)]), "spikesim").notes
    assert any(graph.neurons[0].name in note and "one price for a neuron" in note for note in notes)


@pytest.mark.parametrize("name", shipped_analog())
def test_every_analog_description_runs_recurrent_and_transposed_layers(name: str) -> None:
    for graph in (neuron_graph("recurrent", on_map=True), maps_graph(2)):
        x = random_input(graph)
        found = run_analog(make_chip(graph, HARDWARE, spec=load_analog(name), calibration=x), x)
        assert set(found.reads) == {layer.name for layer in graph.all_synapses}
        assert found.trace.output.shape == run(graph, x).output.shape


@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize("mapping", ["kernel_split", "im2col"])
@pytest.mark.parametrize("name", GRAPHS)
def test_ideal_arrays_give_every_value_of_every_node(name: str, mapping: KernelMapping, encoding: Encoding) -> None:
    hardware = small_hardware(rows=16, columns=16, cell_bits=2, mapping=mapping, encoding=encoding)
    graph = GRAPHS[name]
    x = random_input(graph)
    found, exact = run_analog(make_chip(graph, hardware, spec=load_analog("ideal")), x).trace, run(graph, x)
    assert np.array_equal(found.output, exact.output)
    for neuron, membranes in exact.membranes.items():
        assert np.array_equal(found.membranes[neuron], membranes)
        assert np.array_equal(found.spikes[neuron], exact.spikes[neuron])


def test_a_recurrent_layers_read_noise_is_new_in_every_step() -> None:
    """The same spikes in two steps give different sums."""
    graph = recurrent_graph()
    chip = make_chip(graph, HARDWARE, spec=analog(reading=reading(of_maximum=0.3)))
    reads: dict[str, ReadCounts] = {}
    accumulate = analog_sums(chip, reads)
    (neuron,) = graph.neurons
    assert isinstance(neuron, IntRecurrentNeuron)
    ones = np.ones((1, 1, 5), np.int64)
    first, second = (accumulate(neuron.recurrent_synapse, ones) for _ in range(2))
    assert (first != second).any()
    assert reads[neuron.recurrent_synapse.name].row_activations == 2 * 5 * 2  # 5 rows on two blocks of columns


def test_common_graphs_cost_what_they_cost_before() -> None:
    """No new part of the chip is charged to a network of plain neurons."""
    graph = dense_graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")
    assert not [part for part in report.energy if part.group == "product"]
    assert [layer.name for layer in graph.all_synapses] == [layer.name for layer in graph.synapses]

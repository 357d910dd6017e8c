"""What digital nodes are priced for, against a unit that computes the same values by counted operations."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Unpack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import measure
from intsnn.arithmetic import Bounds, word_bits
from intsnn.estimation.events import count
from intsnn.execution.interpreter import Evaluation, evaluate
from intsnn.graph import IntGraph, IntMatMul, IntMultiply, IntNeuron, IntSum
from intsnn.graph.bounds import bounds
from intsnn.hardware.catalogue import Item
from intsnn.mapping import DigitalMapping, map_graph
from tests.support.crossbar_by_hand import CrossbarOptions, InputReuse, small_hardware
from tests.support.descriptions import read_description
from tests.support.digital_by_hand import Part, State, Words, product, products, update
from tests.support.graph_builder import GraphBuilder
from tests.support.hand_made_graphs import NEURON_KINDS, attention_graph, counts_attention_graph, neuron_graph
from tests.support.intgraphs import random_input
from tests.support.naive import Place
from tests.support.wide_graphs import weighted_graphs

HARDWARE = small_hardware(rows=8, columns=8, cell_bits=2)
COUNTED = (Item.NEURON_ADD, Item.NEURON_COMPARE)


def digital(graph: IntGraph) -> dict[str, DigitalMapping]:
    return {node.name: node for node in map_graph(graph, HARDWARE).digital}


def events_of(
    graph: IntGraph, x: np.ndarray, **hardware: Unpack[CrossbarOptions]
) -> dict[tuple[str, Item], tuple[float, ...]]:
    mapping = map_graph(graph, small_hardware(rows=8, columns=8, cell_bits=2, **hardware))
    return {(event.node, event.item): event.steps for event in count(mapping, measure(graph, [x])).events}


def computed(step: Evaluation) -> tuple[Counter[Part], State]:
    """Run a neuron's first sample on the counting unit: the values must be the interpreter's; the most of each part."""
    node, spikes = step.node, step.spikes
    assert isinstance(node, IntNeuron) and spikes is not None
    places = list(itertools.product(*map(range, node.shape)))
    states = {place: State(node.initial) for place in places}
    last: dict[Place, int] = {}
    most: Counter[Part] = Counter()
    for t, current in enumerate(step.inputs[0][:, 0]):
        fired = {}
        for place in places:
            s, potential, unit = update(node, int(current[place]), place, states[place], last)
            assert s == spikes[(t, 0, *place)], (node.name, t, place)
            assert node.output == "spikes" or potential == step.output[(t, 0, *place)]
            fired[place], most = s, most | unit.counts
        last = fired
    return most, states[places[0]]


def check_neuron(step: Evaluation, priced: DigitalMapping) -> None:
    most, state = computed(step)
    operations = {operation.item: operation.per_element for operation in priced.operations}
    for item in COUNTED:
        parts = [number for (_, found), number in most.items() if found is item]
        assert operations[item] == sum(parts), (step.node.name, item)
    assert operations[Item.NEURON_STORE] == 1
    assert priced.state_bits == sum(state.widths.values())


@pytest.mark.parametrize("on_map", [False, True])
@pytest.mark.parametrize("kind", NEURON_KINDS)
def test_every_kind_of_neuron_is_computed_by_the_operations_it_is_priced_for(kind: str, on_map: bool) -> None:
    graph = neuron_graph(kind, on_map=on_map)
    priced, fired = digital(graph), 0
    for step in evaluate(graph, random_input(graph)):
        if isinstance(step.node, IntNeuron) and step.spikes is not None:
            check_neuron(step, priced[step.node.name])
            fired += int(step.spikes.sum())
    assert fired


@pytest.mark.parametrize("kind", NEURON_KINDS)
def test_fused_membranes_do_the_same_operations_in_their_memory_and_read_no_words(kind: str) -> None:
    """An access for each addition and comparison of the unit that computes the values, one after another."""
    graph = neuron_graph(kind)
    x = random_input(graph)
    price = "{bits: [11], energy_pj: 1, area_um2: 1, leakage_uw: 0, interpolation: linear, source: this test}"
    changes = ("neuron.membrane=fused", f"costs.membrane_operation={price}")
    mapping = map_graph(graph, read_description("rram_64x64_65nm", *changes))
    counted = count(mapping, measure(graph, [x]))
    events = {(event.node, event.item): event.steps[0] for event in counted.events}
    built = {(one.node, one.item): one.count for one in counted.instances}
    nodes = {node.name: node for node in mapping.digital}
    for step in evaluate(graph, x):
        if not isinstance(step.node, IntNeuron):
            continue
        most, _ = computed(step)
        name, elements, done = step.node.name, math.prod(step.node.shape), sum(most.values())
        assert events[name, Item.MEMBRANE_OPERATION] == elements * done
        assert built[name, Item.MEMBRANE_OPERATION] == nodes[name].lanes
        assert nodes[name].clocks == math.ceil(elements / nodes[name].lanes) * done
        apart = {Item.MEMBRANE_READ, Item.MEMBRANE_WRITE, Item.NEURON_ADD, Item.NEURON_COMPARE, Item.NEURON_STORE}
        assert not apart & {item for node, item in (*events, *built) if node == name}
        assert (name, Item.MEMBRANE_BIT) in built


@settings(max_examples=60, deadline=None)
@given(weighted_graphs())
def test_drawn_neurons_are_computed_by_the_operations_they_are_priced_for(graph: IntGraph) -> None:
    priced = digital(graph)
    for step in evaluate(graph, random_input(graph, samples=1)):
        if isinstance(step.node, IntNeuron):
            check_neuron(step, priced[step.node.name])


@settings(max_examples=60, deadline=None)
@given(weighted_graphs(), st.sampled_from(("none", "line_buffer")))
def test_drawn_products_gates_and_sums_cost_what_computing_them_takes(graph: IntGraph, reuse: InputReuse) -> None:
    check_products(graph, reuse)


@pytest.mark.parametrize("reuse", ["none", "line_buffer"])
@pytest.mark.parametrize("graph", [attention_graph(), counts_attention_graph()], ids=["spikes", "counts"])
def test_attention_costs_what_computing_it_takes(graph: IntGraph, reuse: InputReuse) -> None:
    assert check_products(graph, reuse) >= 3


def check_products(graph: IntGraph, reuse: InputReuse) -> int:
    """The number of products, gates and sums whose values and counts were compared."""
    x, compared = random_input(graph, samples=1), 0
    steps, proved = events_of(graph, x, input_reuse=reuse), bounds(graph)
    for step in evaluate(graph, x):
        words = [Words.of(proved[name]) for name in step.node.inputs]
        match step.node:
            case IntMatMul():
                expected = matrix_product_by_hand(step, (words[0], words[1]), reuse)
            case IntMultiply(mode=mode):
                expected = gates_by_hand(step, (Words(1, spikes=True) if mode == "inhibit" else words[0], words[1]))
                expected[Item.BUFFER_WRITE] = step.inputs[0][0, 0].size * words[0].bits
                expected[Item.BUFFER_READ] = math.prod(step.node.shape) * words[0].bits
            case IntSum():
                expected = Counter({Item.POOL_ADD: step.inputs[0][0, 0].size - math.prod(step.node.shape)})
            case _:
                continue
        compared += 1
        for item, number in expected.items():
            assert steps.get((step.node.name, item), (0,) * len(x)) == (number,) * len(x), (step.node.name, item)
    return compared


def gates_by_hand(step: Evaluation, words: tuple[Words, Words]) -> Counter[Item]:
    """Of one step, every element by itself, the values checked."""
    counts: Counter[Item] = Counter()
    assert isinstance(step.node, IntMultiply)
    left, right = np.broadcast_arrays(step.inputs[0][0, 0], step.inputs[1][0, 0])
    for a, b, expected in zip(left.ravel(), right.ravel(), step.output[0, 0].ravel(), strict=True):
        a = 1 - int(a) if step.node.mode == "inhibit" else int(a)
        assert product(a, int(b), words, counts) == expected
    return counts


def matrix_product_by_hand(step: Evaluation, words: tuple[Words, Words], reuse: InputReuse) -> Counter[Item]:
    """Of one step; every head by itself, the values checked."""
    left, right = (x[0, 0].reshape(-1, *x.shape[-2:]) for x in step.inputs)
    output = step.output[0, 0].reshape(-1, *step.output.shape[-2:])
    total: Counter[Item] = Counter()
    for a, b, expected in zip(left.tolist(), right.tolist(), output.tolist(), strict=True):
        found, counts = products(a, b, words)
        assert found == expected
        total += counts
        rows, columns, inner = len(a), len(b[0]), len(b)
        total[Item.BUFFER_WRITE] += rows * inner * words[0].bits + inner * columns * words[1].bits
        left_reads = 1 if reuse == "line_buffer" else columns
        total[Item.BUFFER_READ] += left_reads * rows * inner * words[0].bits + rows * inner * columns * words[1].bits
    return total


def one_product(*, heads: int = 1, bits: int = 1) -> IntGraph:
    """x @ x^T of (heads, 3, 2) values, through a linear layer."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((heads, 3, 2), bit_width=bits)
    scores = build.matmul(x, build.transpose(x, 0, 2, 1))
    build.readout(build.linear(build.flatten(scores), 2), mode="steps")
    return build.graph()


def test_an_attention_product_of_spikes_by_hand() -> None:
    """(3, 2) @ (2, 3), 2 heads: 18 sums of 2 ANDs and 1 addition of 1-bit words; 12 values a side, each read thrice."""
    graph = one_product(heads=2)
    x = np.zeros((1, 1, 2, 3, 2), np.int64)
    x[0, 0, 0] = [[1, 1], [0, 1], [0, 0]]
    steps = events_of(graph, x, transport="bitmap")
    product = {item: found for (node, item), found in steps.items() if node == "layers.2.matmul"}
    assert product == {
        Item.PRODUCT_AND: (36,),
        Item.PRODUCT_ADD: (18,),
        Item.BUFFER_WRITE: (24,),
        Item.BUFFER_READ: (2 * 36,),
        Item.SPIKE_TRANSFER: (24 * 2,),  # two hops
    }
    (seen,) = measure(graph, [x]).products
    assert (seen.sizes, seen.active_left, seen.active_right) == ((12, 12), (3,), (3,))
    assert seen.active_pairs == (1 * 1 + 2 * 2,)  # index 0: one spike a side; index 1: two a side
    built = {item: count(map_graph(graph, HARDWARE), measure(graph, [x])).built(item) for item in Item}
    assert (built[Item.PRODUCT_AND], built[Item.PRODUCT_ADD]) == (18 * 2, 18)


def test_operands_travel_as_addresses_where_that_is_shorter() -> None:
    """6 values, 1 active on each side: an address of 3 bits over 2 hops."""
    graph = one_product()
    x = np.zeros((1, 1, 1, 3, 2), np.int64)
    x[0, 0, 0, 2, 1] = 1
    steps = events_of(graph, x, transport="smaller")
    assert steps["layers.2.matmul", Item.SPIKE_TRANSFER] == (2 * 2 * 3,)


@pytest.mark.parametrize(("bits", "item", "number"), [(1, Item.PRODUCT_AND, 18), (4, Item.PRODUCT_MULTIPLY, 18)])
def test_words_of_several_bits_need_a_multiplier(bits: int, item: Item, number: int) -> None:
    (node,) = (one for one in digital(one_product(bits=bits)).values() if one.pairs)
    assert {one.item: one.per_element * node.elements for one in node.operations} == {item: number, Item.PRODUCT_ADD: 9}
    widths = {one.item: one.bits for one in node.operations}
    assert widths[Item.PRODUCT_ADD] == (2 if bits == 1 else word_bits(Bounds(0, 15 * 15)) + 1)


@pytest.mark.parametrize("graph", [attention_graph(), counts_attention_graph()], ids=["spikes", "counts"])
def test_active_pairs_are_counted_pair_by_pair(graph: IntGraph) -> None:
    x = random_input(graph, samples=2)
    activity, steps = measure(graph, [x]), {step.node.name: step for step in evaluate(graph, x)}
    for seen in activity.products:
        left, right = (part.reshape(len(x), -1, *part.shape[-2:]) for part in steps[seen.name].inputs)
        for t in range(len(x)):
            pairs = sum(
                bool(a and b)
                for head in range(left.shape[1])
                for row in left[t, head]
                for column in right[t, head].T
                for a, b in zip(row, column, strict=True)
            )
            assert seen.active_pairs[t] == pairs / 2
    assert len(activity.products) >= 2 and sum(sum(seen.active_pairs) for seen in activity.products) > 0

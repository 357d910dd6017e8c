import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import assume
from intsnn.estimation.estimation import estimate
from intsnn.estimation.schedule import Timeline, array_read_ns, latency_of, schedule, timeline
from intsnn.graph import IntGraph, IntRecurrentNeuron
from intsnn.hardware import HardwareSpec
from intsnn.mapping import Mapping, map_graph
from intsnn.mapping.demand import demand_of
from intsnn.mapping.flows import Flow, flows_of
from tests.support.crossbar_by_hand import hardware_spec, plain_hardware
from tests.support.graph_builder import TransposedWindow, Window
from tests.support.hand_made_graphs import neuron_graph
from tests.support.intgraphs import GraphBuilder, residual_graph
from tests.support.wide_graphs import graphs_of_any_length, weighted_graphs

HARDWARE = plain_hardware()


def with_rule(rule: str, hardware: HardwareSpec = HARDWARE, *, arrays: int | None = None) -> HardwareSpec:
    document = {**hardware.model_dump(), "schedule": {"rule": rule}, "duplication": {"arrays": arrays}}
    return HardwareSpec.model_validate(document)


def two_convolutions() -> IntGraph:
    """Input 1 x 4 x 4 of one bit -> 3x3 conv -> requant -> neuron -> 3x3 conv -> readout of every step."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((1, 4, 4), bit_width=1), 64)))
    build.readout(build.conv(x, 1), mode="steps")
    return build.graph()


def placed(rule: str) -> Mapping:
    return map_graph(two_convolutions(), with_rule(rule))


def by_node(found: Timeline) -> dict[tuple[str, int], tuple[float, float]]:
    return {(one.node, one.step): (one.start_ns, one.end_ns) for one in found.intervals}


def test_layer_by_layer_runs_one_node_after_another_by_hand() -> None:
    """A row of 4 reads of 96 ns; 64 x 16 neurons on 64 lanes: 16 clocks of 4 ns. Two steps of 1536 + 64 + 1536 ns."""
    found = timeline(placed("layer_by_layer"), time_steps=2)
    conv, neuron, last = "layers.1.conv", "layers.3.neuron", "layers.4.conv"
    assert by_node(found) == {
        (conv, 0): (0, 1536), (neuron, 0): (1536, 1600), (last, 0): (1600, 3136),
        (conv, 1): (3136, 4672), (neuron, 1): (4672, 4736), (last, 1): (4736, 6272),
    }  # fmt: skip
    assert found.latency_ns == found.interval_ns == 6272


def test_a_row_pipeline_starts_a_row_when_the_rows_it_reads_exist_by_hand() -> None:
    """Rows of the first layer end at 384, 768, 1152, 1536, those of its neurons 16 ns later; T = 1.

    The second layer's row 0 reads rows 0 and 1: it starts at 784; rows 1, 2 and 3 follow, 384 ns each.
    """
    found = timeline(placed("row_pipeline"), time_steps=1)
    assert by_node(found) == {
        ("layers.1.conv", 0): (0, 1536),
        ("layers.3.neuron", 0): (384, 1552),
        ("layers.4.conv", 0): (784, 2320),
    }
    assert (found.latency_ns, found.interval_ns) == (2320, 1536)


def test_steps_of_a_row_pipeline_follow_each_other_without_a_gap_in_the_busiest_node() -> None:
    found = by_node(timeline(placed("row_pipeline"), time_steps=3))
    assert found["layers.1.conv", 2] == (3072, 4608)
    assert found["layers.4.conv", 2] == (784 + 3072, 784 + 4608)


def holding(rule: str) -> Mapping:
    """The network of `two_convolutions`, whose first layer keeps its sums: a still input of 3 steps."""
    hardware = with_rule(rule)
    buffers = {"input_reuse": "none", "constant_input": "hold"}
    held = HardwareSpec.model_validate({**hardware.model_dump(), "buffers": buffers})
    return map_graph(two_convolutions(), held, constant_steps=3)


def test_held_sums_take_no_time_after_the_first_step_by_hand() -> None:
    """The steps of `layer_by_layer` without the 1536 ns of the first layer in the last two of three.

    In a row pipeline the neurons follow the first layer in step 0 and each other from then on, 16 ns a row; the last
    layer, 1536 ns a step, starts at 784 and is never late again.
    """
    serial = timeline(holding("layer_by_layer"), time_steps=3)
    assert by_node(serial)["layers.4.conv", 2] == (3136 + 2 * (64 + 1536) - 1536, 3136 + 2 * (64 + 1536))
    assert ("layers.1.conv", 1) not in by_node(serial)
    piped = timeline(holding("row_pipeline"), time_steps=3)
    found = by_node(piped)
    assert ("layers.1.conv", 1) not in found and found["layers.1.conv", 0] == (0, 1536)
    assert found["layers.3.neuron", 0] == (384, 1552)
    assert found["layers.3.neuron", 1] == (1552, 1552 + 64)
    assert found["layers.4.conv", 2] == (784 + 2 * 1536, 784 + 3 * 1536)
    assert (piped.latency_ns, piped.interval_ns) == (784 + 3 * 1536, 3 * 1536)


def flowing(mapping: Mapping, busy: dict[str, float], time_steps: int) -> dict[tuple[str, int, int], float]:
    """When each row ends, row by row: an independent simulation of the pipeline."""
    rows = {flow.name: len(flow.needs) for flow in mapping.flows}
    ends: dict[tuple[str, int, int], float] = {}
    for flow in mapping.flows:
        free = 0.0
        for step, row in itertools.product(range(time_steps), range(rows[flow.name])):
            if not flow.inputs:
                ends[flow.name, step, row] = 0.0
                continue
            ready = max(ends[name, step, min(flow.needs[row], rows[name]) - 1] for name in flow.inputs)
            for worker in (*flow.partners, flow.name):
                free = max(free, ready) + busy.get(worker, 0.0) / (time_steps * rows[flow.name])
                ends[worker, step, row] = free
    return ends


@settings(max_examples=30, deadline=None)
@given(graphs_of_any_length(), st.integers(1, 3))
def test_a_row_pipeline_equals_a_simulation_row_by_row(graph: IntGraph, time_steps: int) -> None:
    mapping = map_graph(graph, with_rule("row_pipeline"))
    busy = {one.node: one.time_ns for one in schedule(mapping, time_steps=time_steps)}
    expected, found = flowing(mapping, busy, time_steps), timeline(mapping, time_steps=time_steps)
    assert found.latency_ns == pytest.approx(max(expected.values()))
    for one in found.intervals:
        ends = [end for (node, step, _), end in sorted(expected.items()) if (node, step) == (one.node, one.step)]
        assert one.end_ns == pytest.approx(ends[-1])
        assert one.start_ns == pytest.approx(ends[0] - busy[one.node] / (time_steps * len(ends)))


@settings(max_examples=30, deadline=None)
@given(weighted_graphs(), st.integers(1, 3))
def test_a_pipeline_is_between_its_busiest_node_and_no_overlap_at_all(graph: IntGraph, time_steps: int) -> None:
    serial, piped = (
        timeline(map_graph(graph, with_rule(rule)), time_steps=time_steps)
        for rule in ("layer_by_layer", "row_pipeline")
    )
    slack = 1 + 1e-9
    assert piped.interval_ns <= piped.latency_ns * slack <= serial.latency_ns * slack**2
    assert serial.interval_ns == serial.latency_ns
    for found in (serial, piped):
        assert all(0 <= one.start_ns < one.end_ns <= found.latency_ns * slack for one in found.intervals)
    for one, after in itertools.pairwise(serial.intervals):
        assert one.end_ns == after.start_ns


@pytest.mark.parametrize("rule", ["layer_by_layer", "row_pipeline"])
def test_the_latency_alone_is_that_of_the_timeline(rule: str) -> None:
    mapping = map_graph(residual_graph(), with_rule(rule))
    assert latency_of(mapping, time_steps=3) == timeline(mapping, time_steps=3).latency_ns


def test_a_sum_waits_for_its_last_input() -> None:
    graph = residual_graph()
    mapping = map_graph(graph, with_rule("row_pipeline"))
    add = next(node for node in graph if node.kind == "add")
    found = by_node(timeline(mapping, time_steps=1))
    readers = {flow.name: flow.inputs for flow in mapping.flows}
    conv = readers[add.inputs[1]][0]
    assert found[add.name, 0][0] >= found[conv, 0][0] + schedule_of(mapping, conv) / add.shape[1] * (1 - 1e-12)


def schedule_of(mapping: Mapping, node: str) -> float:
    return next(one.time_ns for one in schedule(mapping, time_steps=1) if one.node == node)


def needs_of(graph: IntGraph) -> dict[str, tuple[int, ...]]:
    return {flow.name: flow.needs for flow in demand_of(graph).flows}


@pytest.mark.parametrize(
    ("window", "needs"),
    [
        ({"kernel": (3, 3), "padding": (1, 1)}, (2, 3, 4, 5, 6, 6)),
        ({"kernel": (3, 3), "padding": (1, 1), "stride": (2, 2)}, (2, 4, 6)),
        ({"kernel": (1, 1), "padding": (0, 0)}, (1, 2, 3, 4, 5, 6)),
        ({"kernel": (3, 3), "padding": (0, 0), "dilation": (2, 1)}, (5, 6)),
        ({"kernel": (2, 2), "padding": (2, 2)}, (1, 1, 2, 3, 4, 5, 6, 6, 6)),
    ],
)
def test_rows_that_a_window_needs_by_hand(window: Window, needs: tuple[int, ...]) -> None:
    """6 input rows; row r reads up to row r*stride + (k - 1)*dilation - padding, from the first to the last."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((1, 6, 6), bit_width=1), 1, **window))
    assert needs_of(build.graph())["layers.1.conv"] == needs


def test_pools_flattens_and_linear_layers_by_hand() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((1, 6, 6), bit_width=1), 2)))
    x = build.flatten(build.pool(x, "max", kernel=(3, 3), stride=(2, 2), padding=(1, 1)))
    build.readout(build.linear(x, 2))
    needs = needs_of(build.graph())
    assert needs["layers.4.pool"] == (2, 4, 6)
    assert needs["layers.5.flatten"] == (3,)
    assert needs["layers.6.linear"] == needs["readout"] == (1,)
    assert needs["input"] == (0,) * 6 and needs["layers.3.neuron"] == (1, 2, 3, 4, 5, 6)


def test_a_linear_layer_along_the_last_axis_works_row_by_row() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((2, 3, 4), bit_width=1), 5))
    assert demand_of(build.graph()).flows[1] == Flow("layers.1.linear", ("input",), (1, 2, 3))


def test_copies_shorten_the_time_of_a_layer() -> None:
    graph = two_convolutions()
    one, more = (map_graph(graph, with_rule("row_pipeline", arrays=arrays)) for arrays in (None, 2 * 18 + 2 * 9))
    assert [layer.copies for layer in one.layers] == [1, 1]
    assert [layer.copies for layer in more.layers] == [2, 2]
    assert [layer.rounds for layer in more.layers] == [8, 8]
    assert timeline(more, time_steps=1).interval_ns == timeline(one, time_steps=1).interval_ns / 2


def test_throughput_follows_from_the_interval() -> None:
    graph = two_convolutions()
    report = estimate(graph, assume(graph, rate=0.1, time_steps=2), with_rule("row_pipeline"))
    assert report.timeline is not None
    assert report.latency_ns == report.timeline.latency_ns > report.timeline.interval_ns
    assert report.throughput_per_s == pytest.approx(1e9 / report.timeline.interval_ns)


def test_an_adder_tree_takes_a_clock_for_each_of_its_columns() -> None:
    """400 MHz, one column a tree: the tree's clock and one to accumulate; four columns a tree: four and one."""
    digital = hardware_spec("sram_digital")
    assert array_read_ns(digital, rows=1) == 5.0
    shared = digital.model_copy(update={"crossbar": digital.crossbar.model_copy(update={"column_mux": 4})})
    assert array_read_ns(shared, rows=1) == 12.5
    assert math.isclose(array_read_ns(HARDWARE, rows=1), 96)


def test_accumulators_take_a_clock_for_each_used_row() -> None:
    """400 MHz: 36 rows of the second layer, active or not, and one clock to hand their sums on; two input bits."""
    events = hardware_spec("sram_event_driven")
    assert array_read_ns(events, rows=36) == 37 * 2.5
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((4, 6, 6), bit_width=2), 3), mode="steps")
    mapping = map_graph(build.graph(), events)
    (layer,) = mapping.layers
    (busy,) = (one for one in schedule(mapping, time_steps=1) if one.node == layer.name)
    assert layer.rows == (36,) and busy.time_ns == layer.rounds * 2 * 37 * 2.5


def needs_of_kind(graph: IntGraph, kind: str) -> tuple[int, ...]:
    return next(flow.needs for flow in flows_of(graph) if flow.name.endswith(kind))


def test_rows_that_rearrangements_and_products_need_by_hand() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((2, 4, 3), bit_width=1)
    turned = build.transpose(x, 0, 2, 1)
    scores = build.matmul(x, turned)
    summed, lower = build.sum(scores, 1), build.slice(scores, 1, 2, 4)
    joined = build.concat(build.multiply(summed, lower), build.slice(scores, 1, 0, 2))
    build.readout(build.linear(build.reshape(joined, 4, 2, 4), 2), mode="steps")
    graph = build.graph()
    assert needs_of_kind(graph, "transpose") == (4, 4, 4) and needs_of_kind(graph, "matmul") == (4, 4, 4, 4)
    assert needs_of_kind(graph, "3.sum") == (4,)
    assert needs_of_kind(graph, "4.slice") == (3, 4) and needs_of_kind(graph, "6.slice") == (1, 2)
    assert (
        needs_of_kind(graph, "multiply") == needs_of_kind(graph, "concat") == needs_of_kind(graph, "reshape") == (1, 2)
    )


@pytest.mark.parametrize(
    ("geometry", "needs"),
    [
        ({"kernel": (2, 1), "stride": (2, 1), "padding": (0, 0), "output_padding": (0, 0)}, (1, 1, 2, 2, 3, 3)),
        ({"kernel": (3, 1), "stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}, (1, 2, 2, 3, 3, 3)),
    ],
)
def test_rows_that_a_transposed_window_needs_by_hand(geometry: TransposedWindow, needs: tuple[int, ...]) -> None:
    """Output row y is done when input row floor((y + padding) / 2) is there."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv_transpose(build.input((1, 3, 1), bit_width=1), 1, **geometry))
    assert needs_of_kind(build.graph(), "transposed") == needs


def test_a_linear_layer_along_the_rows_waits_for_all_of_them() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((2, 3), bit_width=1), 5))
    assert needs_of_kind(build.graph(), "linear") == (3,) * 5


@pytest.mark.parametrize("on_map", [False, True])
def test_a_recurrent_step_begins_when_the_step_before_is_done(on_map: bool) -> None:
    graph = neuron_graph("recurrent", on_map=on_map)
    mapping = map_graph(graph, with_rule("row_pipeline"))
    found = timeline(mapping, time_steps=3)
    times = {(one.node, one.step): (one.start_ns, one.end_ns) for one in found.intervals}
    for neuron in graph.neurons:
        assert isinstance(neuron, IntRecurrentNeuron)
        synapse = neuron.recurrent_synapse.name
        for step in (1, 2):
            assert times[synapse, step][0] >= times[neuron.name, step - 1][1] * (1 - 1e-12)
            assert times[neuron.name, step][1] > times[synapse, step][1]
    busy = {one.node: one.time_ns for one in schedule(mapping, time_steps=3)}
    assert found.interval_ns == max(sum(busy.get(name, 0) for name in flow.members) for flow in flows_of(graph))

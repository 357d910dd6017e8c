import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import Activity, assume, measure, read_activity, write_activity
from intsnn.arithmetic import Bounds, word_bits
from intsnn.errors import HardwareError, InputError, InvalidFileError, MissingFileError, UsageError
from intsnn.execution.interpreter import evaluate
from intsnn.graph import IntGraph, IntInput, IntLinear, IntNeuron, IntReadout
from intsnn.graph.bounds import read_bounds
from intsnn.graph.fingerprint import fingerprint
from intsnn.graph.windows import weight_rows
from tests.support.intgraphs import GraphBuilder, dense_graph, graph_inputs, random_input, residual_graph
from tests.support.wide_graphs import graphs_of_any_length, weighted_graphs

Pooling = Literal["add", "max", "sum"]


def conv_of_input(*, bit_width: int = 2, signed: bool = False, pool: Pooling | None = None) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((1, 2, 2), bit_width=bit_width, signed=signed)
    match pool:
        case "add":
            x = build.add(x, x)
        case "max" | "sum":
            x = build.pool(x, pool, kernel=(1, 2), stride=(1, 1))
    build.readout(build.conv(x, 3, kernel=(2, 2), stride=(1, 1), padding=(1, 1)))
    return build.graph()


def every_input(bit_width: int, *, signed: bool = False) -> np.ndarray:
    """All [1, N, 1, 2, 2] inputs."""
    low = -(2 ** (bit_width - 1)) if signed else 0
    values = itertools.product(range(low, low + 2**bit_width), repeat=4)
    return np.array(list(values)).reshape(1, -1, 1, 2, 2)


def test_a_convolution_by_hand() -> None:
    """2x2 kernel, padding 1, 2x2 input: every input lies in 4 windows. Input 3, 0, 1, 2: three active, five ones."""
    graph = conv_of_input()
    activity = measure(graph, [np.array([3, 0, 1, 2]).reshape(1, 1, 1, 2, 2)])
    (conv,) = activity.synapses
    assert (conv.active_inputs, conv.row_activations, conv.row_pulses, conv.input_sum) == ((3,), (12,), (16,), (6,))
    assert conv.size == 4 and conv.rate == 0.75
    assert activity.mean_rate == 0 and activity.neurons == ()


def test_negative_inputs_count_the_ones_of_twos_complement() -> None:
    """In 3 bits -1 is 111, -4 is 100, 3 is 011."""
    graph = conv_of_input(bit_width=3, signed=True)
    (conv,) = measure(graph, [np.array([-1, -4, 3, 0]).reshape(1, 1, 1, 2, 2)]).synapses
    assert (conv.row_pulses, conv.input_sum) == ((24,), (-2,))


def test_a_linear_layer_drives_each_input_once_and_means_are_per_sample() -> None:
    graph = IntGraph(
        (
            IntInput("input", (), (3,), 8, False, 1.0),
            IntLinear("fc", ("input",), (2,), np.ones((2, 3), np.int64), 2),
            IntReadout("readout", ("fc",), (2,), "sum", 1.0),
        )
    )
    batches = [np.array([[[1, 0, 255]], [[0, 0, 0]]]), np.array([[[1, 1, 1]], [[2, 0, 0]]])]
    (fc,) = measure(graph, batches).synapses
    assert fc.row_activations == fc.active_inputs == (2.5, 0.5)
    assert fc.row_pulses == ((1 + 8 + 3) / 2, 0.5)
    assert measure(graph, batches).samples == 2


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_row_activations_are_the_convolution_of_active_inputs_with_ones(data: st.DataObject) -> None:
    graph = data.draw(weighted_graphs())
    x = data.draw(graph_inputs(graph))
    activity = measure(graph, [x])
    for node, read in (step.weight_layer for step in evaluate(graph, x) if step.weight_layer):
        shape, rows = read.shape[2:], weight_rows(node)
        ones = replace(node, name="ones", inputs=("input",), weight=np.ones_like(node.weight))
        probe = IntGraph((IntInput("input", (), shape, 8, False, 1.0), ones))
        summed = list(evaluate(probe, (read != 0).astype(np.int64)))[-1].output
        # every output channel of a group sums the same rows, so one of them per group is counted
        expected = summed.reshape(len(x), -1).sum(axis=1) / rows.shape[1] / x.shape[1]
        seen = activity.synapse(node.name)
        assert seen.row_activations == pytest.approx(expected)
        assert seen.input_sum == pytest.approx(read.reshape(len(x), -1).sum(axis=1) / x.shape[1])
    for neuron in activity.neurons:
        fired = graph.node(neuron.name)
        assert isinstance(fired, IntNeuron) and 0 <= neuron.rate <= fired.max_spikes


@settings(max_examples=25, deadline=None)
@given(weighted_graphs())
def test_spikes_have_as_many_pulses_as_activations_and_wider_inputs_have_more(graph: IntGraph) -> None:
    activity = measure(graph, [random_input(graph)])
    widths = {name: word_bits(interval) for name, interval in read_bounds(graph).items()}
    for synapse in activity.synapses:
        width = widths[synapse.name]
        pairs = zip(synapse.row_pulses, synapse.row_activations, strict=True)
        assert all(active <= pulses <= width * active for pulses, active in pairs)


def test_residual_graph_fires_and_the_mean_rate_weighs_by_neurons() -> None:
    activity = measure(residual_graph(), [random_input(residual_graph())])
    spikes = sum(sum(neuron.spikes) for neuron in activity.neurons)
    assert spikes > 0
    assert activity.mean_rate == pytest.approx(spikes / sum(neuron.size for neuron in activity.neurons) / 4)


def test_batches_together_equal_one_batch() -> None:
    graph = residual_graph()
    x = random_input(graph, samples=4)
    assert measure(graph, [x[:, :1], x[:, 1:]]) == measure(graph, [x])


def test_a_graph_that_only_passes_its_input_on_has_an_empty_activity() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.input((3,)))
    graph = build.graph()
    activity = measure(graph, [random_input(graph)])
    assert (activity.time_steps, activity.samples, activity.neurons, activity.synapses) == (4, 3, (), ())
    assert activity.mean_rate == 0 and assume(graph, rate=1, time_steps=2).time_steps == 2


def test_no_batch_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one batch"):
        measure(dense_graph(), [])


def test_batches_of_different_length_are_an_error() -> None:
    graph = dense_graph()
    with pytest.raises(InputError, match="same number of steps \\(got 4 and 3\\)"):
        measure(graph, [random_input(graph), random_input(graph, time_steps=3)])


@pytest.mark.parametrize("pool", [None, "max", "sum"])
@pytest.mark.parametrize(("bit_width", "signed"), [(2, False), (2, True), (1, False)])
def test_assumed_uniform_inputs_equal_the_mean_over_every_input(
    bit_width: int, signed: bool, pool: Pooling | None
) -> None:
    graph = conv_of_input(bit_width=bit_width, signed=signed, pool=pool)
    (measured,) = measure(graph, [every_input(bit_width, signed=signed)]).synapses
    (assumed,) = assume(graph, rate=0.5, time_steps=1).synapses
    for name in ("active_inputs", "row_activations", "row_pulses", "input_sum"):
        assert getattr(assumed, name) == pytest.approx(getattr(measured, name)), name


def test_assumed_sums_take_their_operands_as_independent() -> None:
    (conv,) = assume(conv_of_input(bit_width=1, pool="add"), rate=0.5, time_steps=2).synapses
    assert conv.active_inputs == pytest.approx([4 * 0.75] * 2)
    assert conv.input_sum == pytest.approx([4.0] * 2)
    assert conv.row_pulses == pytest.approx([16 * 0.75] * 2)  # 0: none, 1 and 2: one bit each


@settings(max_examples=20, deadline=None)
@given(graphs_of_any_length(), st.sampled_from((0.0, 1.0)))
def test_assumed_neurons_never_or_always_fire_at_the_ends(graph: IntGraph, rate: float) -> None:
    activity = assume(graph, rate=rate, time_steps=3)
    assert activity.time_steps == 3 and activity.source == "assumed" and activity.samples == 0
    assert activity.mean_rate == pytest.approx(rate if graph.neurons else 0.0)


def test_a_rate_says_nothing_about_currents() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.conv(build.input((1, 4, 4)), 2)
    build.readout(build.linear(build.pool(build.add(build.requant(x), build.requant(x)), "max"), 2))
    with pytest.raises(HardwareError, match="no firing rate describes") as error:
        assume(build.graph(), rate=0.1, time_steps=1)
    assert "measure" in error.value.hints[0]


@pytest.mark.parametrize("rate", [-0.1, 1.1, "0.1", True, float("nan")])
def test_a_rate_outside_zero_to_one_is_an_error(rate: Any) -> None:  # Any: some are of a wrong type
    with pytest.raises(UsageError, match="rate must lie in"):
        assume(dense_graph(), rate=rate, time_steps=1)


@pytest.mark.parametrize("time_steps", [0, -1, 1.5, True])
def test_time_steps_must_be_a_count(time_steps: Any) -> None:  # Any: some are of a wrong type
    with pytest.raises(UsageError, match="time_steps must be"):
        assume(dense_graph(), rate=0.1, time_steps=time_steps)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_written_activity_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    graph = data.draw(weighted_graphs())
    activity = measure(graph, [data.draw(graph_inputs(graph))])
    path = tmp_path_factory.mktemp("activity") / "activity.json"
    write_activity(activity, path)
    assert read_activity(path) == activity
    assert [entry.name for entry in path.parent.iterdir()] == ["activity.json"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "activity.json"
    write_activity(assume(dense_graph(), rate=0.25, time_steps=2), path)
    return path


def test_the_file_says_its_schema_and_where_the_numbers_come_from(written: Path) -> None:
    document = json.loads(written.read_text())
    assert document["schema"] == "intsnn.activity/1"
    assert document["source"] == "assumed" and document["graph"] == fingerprint(dense_graph())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "mdcompress.recipe/1"}, "must be intsnn.activity/1"),
        ({"samples": -1}, "samples"),
        ({"source": "guessed"}, "must be one of"),
        ({"spikes": 3}, "unknown key"),
        ({"neurons": None}, "neurons"),
    ],
)
def test_a_foreign_activity_file_is_an_error(written: Path, change: dict[str, object], message: str) -> None:
    written.write_text(json.dumps({**json.loads(written.read_text()), **change}))
    with pytest.raises(InvalidFileError) as error:
        read_activity(written)
    assert message in str(error.value) and "activity.json:" in str(error.value)


def test_steps_that_do_not_fit_time_steps_are_an_error(written: Path) -> None:
    document = json.loads(written.read_text())
    document["time_steps"] = 3
    written.write_text(json.dumps(document))
    with pytest.raises(InvalidFileError, match="must have 3 steps"):
        read_activity(written)


def test_a_file_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "activity.json").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(InvalidFileError):
        read_activity(tmp_path / "activity.json")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_activity(tmp_path / "activity.json")


def test_an_unknown_layer_is_an_error() -> None:
    with pytest.raises(HardwareError, match="no layer 'nowhere'"):
        Activity("assumed", 0, 1, "", (), ()).synapse("nowhere")


def test_the_fingerprint_depends_on_every_integer_and_on_no_metadata() -> None:
    graph = dense_graph()
    same = IntGraph(graph.nodes, {"recipe": "another"})
    assert fingerprint(same) == fingerprint(graph) != fingerprint(dense_graph(seed=3))
    rescaled = [replace(node, scale=0.125) if isinstance(node, IntInput) else node for node in graph]
    assert fingerprint(IntGraph(tuple(rescaled))) == fingerprint(graph)
    numpy_typed = [replace(node, shape=tuple(np.array(node.shape))) for node in graph]
    assert fingerprint(IntGraph(tuple(numpy_typed))) == fingerprint(graph)
    wider = [replace(node, bit_width=16) if isinstance(node, IntNeuron) else node for node in graph]
    assert fingerprint(IntGraph(tuple(wider))) != fingerprint(graph)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (0, 1, 1), (0, 4, 3), (0, 255, 8), (-1, 0, 1), (-1, 1, 2), (-128, 127, 8), (-129, 0, 9), (-1, 128, 9)],
)
def test_word_bits_by_hand(low: int, high: int, bits: int) -> None:
    assert word_bits(Bounds(low, high)) == bits

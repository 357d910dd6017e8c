"""A native session computes what the interpreter computes: every spike, membrane and answer, in every way to run it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import intsnn.emission.merged as merged_module
import intsnn.emission.segments as segments_module
from intsnn.arithmetic import IntArray
from intsnn.emission.source import host_source
from intsnn.emission.text import identifier
from intsnn.execution.interpreter import run
from intsnn.graph import IntGraph, IntRequant
from intsnn.native import Form, NativeSession, compile
from tests.support.graph_builder import GraphBuilder, NeuronOptions
from tests.support.hand_made_graphs import norm_per_step_graph
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph, with_changed_node
from tests.support.native_sessions import FORMS, assert_same, changing_input, quick_flags
from tests.support.wide_graphs import any_graphs

MODES = ("sum", "last", "max", "steps")


def quick(graph: IntGraph, *, form: Form = "auto", threads: int = 1) -> NativeSession:
    """A session that is compiled soon; of one graph all are one library."""
    return compile(graph, threads=threads, flags=quick_flags(), synapses=form)


def streamed(session: NativeSession, x: IntArray) -> list[IntArray]:
    """The readout after each step of samples side by side."""
    session.reset(x.shape[1])
    return [session.step(frame) for frame in x]


def readouts(graph: IntGraph, x: IntArray) -> list[IntArray]:
    """The interpreter's readout after each step: of a shorter run, or the step's own."""
    if graph.output.mode == "steps":
        return list(run(graph, x).output)
    if graph.time_steps is not None:  # it cannot run shorter
        return [run(graph, x).output]
    return [run(graph, x[: t + 1]).output for t in range(len(x))]


def mode_graph(mode: str) -> IntGraph:
    """A convolution and a linear layer; currents of both signs in the readout."""
    build = GraphBuilder(np.random.default_rng(14))
    x = build.neuron(build.requant(build.conv(build.input((2, 5, 5)), 6)), leak=3)
    x = build.neuron(build.requant(build.linear(build.flatten(x), 9)), reset="soft", leak=2)
    build.readout(build.requant(build.linear(x, 4)), mode=mode)  # type: ignore[arg-type]  # one of MODES
    return build.graph()


@settings(max_examples=30)
@given(st.data())
def test_drawn_graphs_are_equal_however_they_are_run(data: st.DataObject) -> None:
    graph = data.draw(any_graphs())
    x = data.draw(graph_inputs(graph))
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), label="cut before each linear layer"):
            cut_everywhere(patch, vectors=data.draw(st.sampled_from([4, 8, 64])))
        if data.draw(st.booleans(), label="walk the lines of each window"):
            merge_nothing(patch)
        require_equal_however_run(graph, x)


def require_equal_however_run(graph: IntGraph, x: IntArray) -> None:
    """In every form, by one thread and by several that share samples or one sample, and as a stream."""
    expected = run(graph, x)
    for form in FORMS:
        session = quick(graph, form=form, threads=5)
        assert_same(session.run(x), expected)
        assert_same(sharing_samples(session).run(x), expected)
        assert np.array_equal(session.answer(x), expected.output)
        seen = session.spikes(x)
        assert list(seen) == list(expected.spikes)
        assert all(np.array_equal(seen[name], spikes) for name, spikes in expected.spikes.items())
    steps = streamed(session, x)
    assert all(np.array_equal(*pair) for pair in zip(reversed(steps), reversed(readouts(graph, x)), strict=False))


def cut_everywhere(patch: pytest.MonkeyPatch, *, vectors: int) -> None:
    """Every linear layer behind a neuron is summed for several samples at once, so many steps together."""
    patch.setattr(segments_module, "_LARGE_BYTES", 0)
    patch.setattr(segments_module, "_MOST_VECTORS", vectors)


def merge_nothing(patch: pytest.MonkeyPatch) -> None:
    """The windows of no layer are merged, as if its weights did not fit a first cache."""
    patch.setattr(merged_module, "_LARGEST_BYTES", 0)


@pytest.mark.parametrize("vectors", [4, 12, 64])
def test_samples_that_share_the_weights_of_a_layer_change_nothing(
    vectors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of one sample at a time, two samples, all; 5 samples of 6 or 7 steps fill none of these."""
    cut_everywhere(monkeypatch, vectors=vectors)
    graph = {4: norm_per_step_graph(time_steps=7), 12: two_paths_graph(), 64: mode_graph("steps")}[vectors]
    assert "_gathered(struct" in host_source(graph).code
    require_equal_however_run(graph, changing_input(graph, samples=5))


def test_layers_of_large_weights_alone_share_them() -> None:
    graph = wide_graph()
    assert "_gathered(struct" not in host_source(graph).code
    build = GraphBuilder(np.random.default_rng(3))
    x = build.linear(build.neuron(build.requant(build.linear(build.input((600,)), 800))), 900)
    build.readout(x)
    names = re.findall(r"stage\d+_(\w+)_gathered\(struct", host_source(build.graph()).code)
    assert names == [identifier(x)]  # the first reads the input, which often stands still


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_answer_after_every_step_is_that_of_a_run_of_as_many(mode: str, form: Form) -> None:
    graph = mode_graph(mode)
    x = changing_input(graph, samples=3)
    wanted = readouts(graph, x)
    assert len({each.tobytes() for each in wanted}) > 3
    assert np.array_equal(streamed(quick(graph, form=form), x), wanted)


@pytest.mark.parametrize("time_steps", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("mode", MODES)
def test_any_number_of_steps_is_equal(mode: str, time_steps: int) -> None:
    graph = mode_graph(mode)
    x = random_input(graph, time_steps=time_steps)
    assert_same(quick(graph).run(x), run(graph, x))


@pytest.mark.parametrize("pattern", ["aaaaaa", "abcdef", "aabbcc", "abbbba", "aaaaba", "abaaaa", "aaaabbbb"])
def test_input_that_stands_still_for_some_steps_is_equal(pattern: str) -> None:
    """A layer that reads the input is not summed again where the input is that of the step before."""
    graph = residual_graph()
    frames = random_input(graph, time_steps=6)
    x = frames[["abcdef".index(letter) for letter in pattern]]
    x[:, 1] = frames[[(t * t) % 3 for t in range(len(pattern))], 1]  # another sample stands still at other times
    for form in FORMS:
        assert_same(quick(graph, form=form).run(x), run(graph, x))


def test_norms_of_each_step_are_those_of_the_step() -> None:
    graph = norm_per_step_graph(time_steps=7)
    x = random_input(graph)
    expected, session = run(graph, x), quick(graph)
    assert_same(session.run(x), expected)
    assert np.array_equal(streamed(session, x)[-1], expected.output)


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
def test_threads_share_the_samples_and_change_nothing(threads: int) -> None:
    graph = residual_graph()
    x = random_input(graph, samples=7)
    session, expected = quick(graph, threads=threads), run(graph, x)
    assert session.threads == threads
    for _ in range(2):  # the second run finds what the first left
        assert_same(session.run(x), expected)
        assert np.array_equal(session.answer(x), expected.output)


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("samples", [1, 2])
def test_threads_share_one_sample_and_change_nothing(samples: int, threads: int) -> None:
    """Each does some blocks of channels or lines of a map, and none goes on before the others have done theirs."""
    norms = norm_per_step_graph(time_steps=7)
    for graph in (residual_graph(), wide_graph(), norms, *(mode_graph(mode) for mode in MODES)):
        x = changing_input(graph, samples=samples)
        session, expected = sharing_samples(quick(graph, threads=threads)), run(graph, x)
        assert {parts for *_, parts in session._shares(samples)} == {threads // min(threads, samples)}
        for _ in range(3):
            assert_same(session.run(x), expected)


def sharing_samples(session: NativeSession) -> NativeSession:
    """The session as if its network were large, so that threads share one sample where there are fewer samples."""
    session._is_large = True
    return session


def wide_graph() -> IntGraph:
    """Several blocks of channels: spikes, a map of one line, a layer without a map, a recurrent one."""
    build = GraphBuilder(np.random.default_rng(3))
    x = build.neuron(build.requant(build.conv(build.input((3, 5, 4)), 150)))
    x = build.neuron(build.requant(build.conv(x, 130, bit_width=2)), leak=2)
    x = build.neuron(build.requant(build.linear(build.flatten(x), 200)), reset="soft")
    x = build.neuron(build.requant(build.linear(x, 70)), options=NeuronOptions(recurrent="dense"))
    build.readout(build.requant(build.linear(x, 5)))
    return build.graph()


def two_paths_graph() -> IntGraph:
    """Past a large layer goes the current before it, and what reads the input alone comes behind it."""
    build = GraphBuilder(np.random.default_rng(5))
    x = build.input((2, 3, 4))
    current = build.requant(build.conv(x, 24))
    hidden = build.requant(build.linear(build.flatten(build.neuron(current)), 288))
    skipped = build.requant(build.linear(build.flatten(x), 288))
    second = build.neuron(build.add(hidden, skipped, build.flatten(current)))
    build.readout(build.requant(build.linear(second, 5)))
    return build.graph()


def test_spikes_alone_do_not_change_how_a_later_run_writes_them() -> None:
    graph = residual_graph()
    session, x = quick(graph), random_input(graph)
    expected = run(graph, x)
    for _ in range(2):
        assert all(np.array_equal(values, expected.spikes[name]) for name, values in session.spikes(x).items())
        assert_same(session.run(x), expected)


@pytest.mark.parametrize("bit_width", [2, 7, 8, 9, 15, 16])
def test_membranes_fill_their_word_to_both_ends(bit_width: int) -> None:
    """No spike resets them: they go up to the largest value, and down to the least."""
    build = GraphBuilder(np.random.default_rng(1))
    current = build.requant(build.linear(build.input((4,)), 12, bit_width=8))
    neuron = build.neuron(current, reset="none", guard_bits=0, bit_width=bit_width)
    build.readout(build.requant(build.linear(neuron, 2)))
    graph = build.graph()
    x = np.full((2**bit_width // 16 + 20, 1, 4), 255)
    expected = run(graph, x)
    (membranes,) = expected.membranes.values()
    assert (membranes.min(), membranes.max()) == (-(2 ** (bit_width - 1)), 2 ** (bit_width - 1) - 1)
    assert_same(quick(graph).run(x), expected)


def test_nothing_is_left_of_runs_and_streams_before() -> None:
    graph = dense_graph()
    session, x = quick(graph), random_input(graph, samples=4)
    expected = run(graph, x)
    session.reset(4)
    first = [session.step(frame) for frame in x[:2]]
    assert_same(session.run(x[:, :3]), run(graph, x[:, :3]))  # a run between steps does not touch the streams
    assert np.array_equal([*first, *(session.step(frame) for frame in x[2:])], readouts(graph, x))
    session.reset(4)
    assert np.array_equal([session.step(frame) for frame in x][-1], expected.output)
    assert_same(session.run(x), expected)


def test_streams_side_by_side_are_streams_alone() -> None:
    graph = residual_graph()
    session, x = quick(graph), random_input(graph, samples=5)
    together = np.array(streamed(session, x))
    for n in range(5):
        assert np.array_equal(together[:, n : n + 1], streamed(session, x[:, n : n + 1]))


def test_first_step_resets_to_as_many_streams_as_it_has() -> None:
    graph = dense_graph()
    session, x = quick(graph), random_input(graph, samples=3)
    assert np.array_equal([session.step(frame) for frame in x], readouts(graph, x))


def test_types_of_what_is_given_back() -> None:
    graph = dense_graph()
    session, x = quick(graph), random_input(graph)
    trace = session.run(x)
    assert trace.output.dtype == session.answer(x).dtype == session.step(x[0]).dtype == np.int64
    assert {values.dtype for values in (*trace.spikes.values(), *trace.membranes.values())} == {np.dtype(np.int64)}
    assert {values.dtype for values in session.spikes(x).values()} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, ">i4", bool])
def test_any_integers_in_any_layout_are_read(kind: str | type) -> None:
    graph = dense_graph()
    x = random_input(graph).astype(kind)
    turned = np.asfortranarray(x)[:, ::-1]
    for form in (x, turned, turned.tolist()):
        assert np.array_equal(quick(graph).answer(form), run(graph, form).output)


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 3), (3, 4), (3, 0)])
def test_windows_that_lie_in_the_padding_read_nothing(
    kernel: int, padding: int, merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All inputs are active, so that what lies behind a line of them would be seen."""
    if not merged:
        merge_nothing(monkeypatch)
    build = GraphBuilder(np.random.default_rng(4))
    conv = build.conv(build.input((3, 4, 5), bit_width=1), 6, kernel=(kernel, kernel), padding=(padding, padding))
    build.readout(conv, mode="steps")
    graph = build.graph()
    assert ("nn_merge16(merged" in host_source(graph).code) == merged
    x = np.ones((5, 2, 3, 4, 5), np.int64)
    assert_same(quick(graph, form="events").run(x), run(graph, x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0, 1, 30, 100])
def test_any_share_of_active_inputs_is_equal(share: int, form: Form) -> None:
    """Below and above the rate at which a layer is summed densely: nothing, one spike, some, all."""
    build = GraphBuilder(np.random.default_rng(3))
    current = build.conv(build.input((70, 6, 7), bit_width=1), 130, bit_width=2)
    build.readout(build.conv(build.neuron(build.requant(current)), 3), mode="steps")
    graph = build.graph()
    random = np.random.default_rng(share)
    x = (random.random((2, 2, 70, 6, 7)) < share / 100).astype(np.int64)
    if share == 1:
        x[:] = 0
        x[..., 69, 5, 6] = 1
    assert_same(quick(graph, form=form).run(x), run(graph, x))


@pytest.mark.parametrize("features", [2**16 - 1, 2**16, 2**17])
def test_more_inputs_than_16_bits_can_name_are_told_apart(features: int) -> None:
    """Only the last inputs are active; in 16 bits their numbers would be those of the first."""
    build = GraphBuilder(np.random.default_rng(3))
    build.readout(build.linear(build.input((features,), bit_width=1), 2), mode="steps")
    x = np.zeros((1, 1, features), np.int64)
    x[..., -3:] = 1
    graph = build.graph()
    assert graph.synapses[0].weight[:, -3:].any()
    assert_same(quick(graph).run(x), run(graph, x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bit_width", [1, 3, 8])
@pytest.mark.parametrize("weight", [7, -7, 127, -127])
def test_largest_sums_do_not_overflow_on_their_way(weight: int, bit_width: int, form: Form) -> None:
    """Rows are added in registers of 8 or 16 bits: all inputs at their largest, all weights of one sign."""
    build = GraphBuilder(np.random.default_rng(0))
    conv = build.conv(build.input((40, 3, 3), bit_width=bit_width), 3, bit_width=8)
    build.readout(conv, mode="steps")
    graph = build.graph()
    graph = with_changed_node(graph, conv, weight=np.full((3, 40, 3, 3), weight))
    x = np.full((2, 1, 40, 3, 3), 2**bit_width - 1)
    x[1, 0, ::2] = 0
    expected = run(graph, x)
    assert abs(expected.output).max() == 360 * abs(weight) * (2**bit_width - 1)
    assert_same(quick(graph, form=form).run(x), expected)


def test_both_states_of_a_neuron_saturate_at_both_ends() -> None:
    """A membrane without memory shows the synaptic current that was kept from the step before."""
    build, zero = GraphBuilder(np.random.default_rng(0)), np.zeros(1, np.int64)
    x = build.input((1,), signed=True)
    current = build._add(IntRequant("current", (x,), (1,), np.array([1]), zero, 0, 1.0))
    options = NeuronOptions(synapse_shift=0)
    neuron = build.neuron(current, reset="none", leak=0, guard_bits=0, bit_width=4, per_channel=False, options=options)
    build.readout(neuron, mode="last")
    graph = with_changed_node(build.graph(), neuron, threshold=np.array([1000]), synapse_drive=zero)
    values = np.array([-127, 0, 127, 0, 0, -127, 0]).reshape(7, 1, 1)
    expected = run(graph, values)
    assert expected.membranes[neuron].ravel().tolist() == [-8, -8, 7, 7, 7, -8, -8]
    assert_same(quick(graph).run(values), expected)

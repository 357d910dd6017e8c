"""Parity: the first difference is found in graph order, then time, then place; equal runs are counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.arithmetic import IntArray
from intsnn.errors import ParityError
from intsnn.execution.interpreter import Trace, run
from intsnn.execution.parity import (
    Difference,
    ParityReport,
    Quantity,
    compare,
    compare_all,
    merge_batches,
    require_equal,
)
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph


def _trace() -> Trace:
    """Two neurons, 3 steps, 2 samples; one spike of `first`, none of `second`."""
    spikes = np.zeros((3, 2, 4), np.int64)
    spikes[1, 0, 2] = 1
    quiet = np.zeros((3, 2, 1, 2, 2), np.int64)
    return Trace(np.array([[5, 6], [7, 8]]), {"first": spikes, "second": quiet}, {"first": spikes, "second": quiet + 9})


def _changed(trace: Trace, quantity: str, name: str, *index: int) -> Trace:
    """The trace with one value raised by 1."""

    def raised(values: IntArray) -> IntArray:
        copy = values.copy()
        copy[index] += 1
        return copy

    match quantity:
        case "spike":
            return replace(trace, spikes={**trace.spikes, name: raised(trace.spikes[name])})
        case "membrane":
            return replace(trace, membranes={**trace.membranes, name: raised(trace.membranes[name])})
        case _:
            return replace(trace, output=raised(trace.output))


def test_equal_runs_are_counted_and_worded() -> None:
    report = compare(_trace(), _trace())
    assert report.equal
    assert (report.values, report.spikes, report.silent) == (2 * (3 * 2 * 4) * 2, 1, ("second",))
    assert str(report) == (
        "interpreter = onnxruntime on 2 samples x 3 steps: 96 spikes and membranes equal (never fired: second)"
    )
    require_equal(report)


def test_three_witnesses_read_as_the_interface_says() -> None:
    size = (4, 64, 25, 7)
    ones = np.ones(size, np.int64)
    trace = Trace(np.zeros((64, 10), np.int64), {"lif": ones}, {"lif": ones})
    report = compare_all({"student": trace, "interpreter": trace, "onnxruntime": trace})
    assert str(report) == (
        "student = interpreter = onnxruntime on 64 samples x 4 steps: 89,600 spikes and membranes equal"
    )


def test_one_sample_and_one_step_are_worded_in_the_singular() -> None:
    graph = residual_graph()
    x = random_input(graph, time_steps=1, samples=1)
    assert "on 1 sample x 1 step:" in str(compare(run(graph, x), run(graph, x)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("spike", "second", 2, 1, 0, 1, 0)], ("second", "spike", 2, (1, 0, 1, 0), (0, 1))),
        ([("membrane", "first", 0, 1, 3)], ("first", "membrane", 0, (1, 3), (0, 1))),
        ([("output", "", 1, 0)], ("output", "output", None, (1, 0), (7, 8))),
        # the first in graph order, although another comes earlier in time
        ([("spike", "second", 0, 0, 0, 0, 0), ("spike", "first", 2, 0, 0)], ("first", "spike", 2, (0, 0), (0, 1))),
        # the first in time within a node
        ([("spike", "first", 2, 0, 0), ("membrane", "first", 1, 0, 1)], ("first", "membrane", 1, (0, 1), (0, 1))),
        # the spike, which the membrane follows, within a step
        ([("membrane", "first", 1, 0, 0), ("spike", "first", 1, 1, 3)], ("first", "spike", 1, (1, 3), (0, 1))),
        # the first index within a quantity
        ([("spike", "first", 1, 1, 3), ("spike", "first", 1, 1, 0)], ("first", "spike", 1, (1, 0), (0, 1))),
    ],
)
def test_first_difference_is_by_node_then_step_then_index(
    changes: list[tuple[str, str, *tuple[int, ...]]], expected: tuple[object, ...]
) -> None:
    other = _trace()
    for quantity, name, *index in changes:
        other = _changed(other, quantity, name, *index)
    found = compare(_trace(), other).first_difference
    assert found is not None
    assert (found.node, found.quantity, found.step, found.index, found.values) == expected


def test_difference_says_who_has_what_where() -> None:
    report = compare(_trace(), _changed(_trace(), "spike", "second", 2, 1, 0, 1, 0))
    assert str(report) == (
        "interpreter and onnxruntime differ at the spike of 'second', step 2, sample 1, index (0, 1, 0): "
        "interpreter has 0, onnxruntime has 1"
    )
    with pytest.raises(ParityError, match="must hold on every spike, membrane and output") as caught:
        require_equal(report)
    assert caught.value.exit_code == 3


def test_difference_in_a_summed_output_has_no_step() -> None:
    report = compare(_trace(), _changed(_trace(), "output", "", 0, 1))
    assert "differ at the output of 'output', sample 0, index (1,)" in str(report)


def test_difference_in_an_output_of_every_step_has_its_step() -> None:
    trace = replace(_trace(), output=np.zeros((3, 2, 5), np.int64))
    found = compare(trace, _changed(trace, "output", "", 2, 1, 4)).first_difference
    assert found is not None
    assert (found.step, found.index) == (2, (1, 4))


def test_among_pairs_of_witnesses_the_difference_first_in_the_graph_is_reported() -> None:
    late, early = _changed(_trace(), "output", "", 0, 0), _changed(_trace(), "spike", "first", 0, 0, 0)
    report = compare_all({"student": _trace(), "interpreter": late, "onnxruntime": early})
    assert report.first_difference is not None
    assert report.first_difference.witnesses == ("interpreter", "onnxruntime")
    assert report.first_difference.node == "first"


def test_first_pair_of_witnesses_is_named_where_places_are_equal() -> None:
    other = _changed(_trace(), "spike", "first", 0, 0, 0)
    report = compare_all({"student": _trace(), "interpreter": other, "onnxruntime": _trace()})
    assert report.first_difference is not None
    assert report.first_difference.witnesses == ("student", "interpreter")


@pytest.mark.parametrize("steps", [True, False])
def test_graph_without_neurons_is_compared_by_its_output(steps: bool) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((3,)), 2), mode="steps" if steps else "sum")
    graph = build.graph()
    trace = run(graph, random_input(graph, time_steps=4, samples=2))
    report = compare(trace, trace)
    assert (report.samples, report.time_steps, report.values) == (2, 4 if steps else 1, 0)
    assert not compare(trace, replace(trace, output=trace.output + 1)).equal


def test_a_summed_map_is_not_taken_for_steps() -> None:
    """[N, C, L] of two samples and channels has the axes of [T, N, K] for two steps of two samples."""
    build = GraphBuilder(np.random.default_rng(0))
    spikes = build.neuron(build.requant(build.input((2, 3))))
    build.readout(spikes, mode="sum")
    trace = run(build.graph(), random_input(build.graph(), time_steps=2, samples=2))
    assert trace.per_step is False and trace.output.shape == (2, 2, 3)
    found = compare(trace, _changed(trace, "output", "", 1, 0, 2)).first_difference
    assert found is not None
    assert (found.step, found.index) == (None, (1, 0, 2))


def test_runs_of_different_graphs_cannot_be_compared() -> None:
    other = replace(_trace(), spikes={"first": _trace().spikes["first"]})
    with pytest.raises(ParityError, match=r"must have run one graph on one input \(got shapes .* and none of second"):
        compare(_trace(), other)


def test_runs_of_different_length_cannot_be_compared() -> None:
    graph = residual_graph()
    runs = [run(graph, random_input(graph, time_steps=steps)) for steps in (2, 3)]
    with pytest.raises(ParityError, match="one graph on one input"):
        compare(runs[0], runs[1])


def test_one_witness_is_no_comparison() -> None:
    with pytest.raises(ParityError, match="needs two witnesses"):
        compare_all({"interpreter": _trace()})


def test_batches_add_up_and_a_neuron_is_silent_only_if_it_never_fired() -> None:
    quiet = replace(_trace(), spikes={name: values * 0 for name, values in _trace().spikes.items()})
    report = merge_batches([compare(quiet, quiet), compare(_trace(), _trace())])
    assert (report.samples, report.time_steps, report.values, report.spikes) == (4, 3, 192, 1)
    assert report.silent == ("second",)
    assert report.equal


def test_difference_in_a_later_batch_counts_samples_from_the_start() -> None:
    wrong = compare(_trace(), _changed(_trace(), "spike", "first", 0, 1, 0))
    report = merge_batches([compare(_trace(), _trace()), wrong, wrong])
    assert report.first_difference is not None
    assert report.first_difference.index == (3, 0)


def test_no_batches_are_no_comparison() -> None:
    with pytest.raises(ParityError, match="at least one batch"):
        merge_batches([])


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_changed_value_is_found(data: st.DataObject) -> None:
    quantity: Quantity = data.draw(st.sampled_from(("spike", "membrane")))
    name = data.draw(st.sampled_from(("first", "second")))
    index = tuple(data.draw(st.integers(0, size - 1)) for size in _trace().spikes[name].shape)
    found = compare(_trace(), _changed(_trace(), quantity, name, *index)).first_difference
    value = int((_trace().spikes if quantity == "spike" else _trace().membranes)[name][index])
    expected = Difference(("interpreter", "onnxruntime"), name, quantity, index[0], index[1:], (value, value + 1))
    assert found == expected


def test_report_is_a_value() -> None:
    assert isinstance(compare(_trace(), _trace()), ParityReport)
    assert compare(_trace(), _trace()) == compare(_trace(), _trace())

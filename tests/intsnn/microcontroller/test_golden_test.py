"""The golden vectors of the C test: hashes that others compute alike, and answers after every step."""

from __future__ import annotations

import numpy as np
import pytest

from intsnn.errors import InputError
from intsnn.execution.interpreter import run
from intsnn.graph import IntGraph
from intsnn.microcontroller import golden_test
from intsnn.microcontroller.golden_test import MOST_BYTES, MOST_SAMPLES, golden_vectors
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, random_input, residual_graph


@pytest.mark.parametrize(("content", "hash_"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_hash_is_fnv_1a_of_32_bits(content: bytes, hash_: int) -> None:
    assert golden_test._hash(content) == hash_  # draft-eastlake-fnv, appendix C


@pytest.mark.parametrize("graph", wide_hand_made_graphs().values(), ids=wide_hand_made_graphs())
def test_answer_after_the_last_step_is_that_of_the_interpreter(graph: IntGraph) -> None:
    x = random_input(graph, samples=2)
    vectors, expected = golden_vectors(graph, x), run(graph, x).output
    if graph.output.mode == "steps":
        expected = expected[-1]
    kept = len(vectors.answers)  # one where two are too large
    assert np.array_equal(vectors.answers[:, -1], expected.reshape(2, -1)[:kept])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_answer_after_a_step_is_that_of_a_shorter_run(steps: int) -> None:
    graph = residual_graph()
    x = random_input(graph, samples=2)
    assert np.array_equal(golden_vectors(graph, x).answers[:, steps - 1], run(graph, x[:steps]).output)


def test_hashes_are_of_each_sample_neuron_and_step() -> None:
    graph = dense_graph()
    x = random_input(graph, samples=2)
    trace, vectors = run(graph, x), golden_vectors(graph, x)
    assert vectors.hashes.shape == (2, len(graph.neurons), len(x), 2)
    second = graph.neurons[1].name
    assert vectors.hashes[1, 1, 2, 0] == golden_test._hash(trace.spikes[second][2, 1].astype(np.uint8).tobytes())
    assert vectors.hashes[1, 1, 2, 1] == golden_test._hash(trace.membranes[second][2, 1].astype("<i4").tobytes())


def test_input_that_stands_still_is_kept_once() -> None:
    graph = dense_graph()
    still = np.repeat(random_input(graph, time_steps=1, samples=2), 4, axis=0)
    assert golden_vectors(graph, still).frames.shape == (2, 1, 12)
    assert golden_vectors(graph, random_input(graph, samples=2)).frames.shape == (2, 4, 12)


def test_as_many_samples_as_fit_and_at_least_one() -> None:
    graph = dense_graph()
    vectors = golden_vectors(graph, random_input(graph, samples=100))
    assert len(vectors.frames) == MOST_SAMPLES and vectors.bytes_stored <= MOST_BYTES
    assert len(golden_vectors(graph, random_input(graph, time_steps=200, samples=4)).frames) == 1


def test_other_input_is_refused() -> None:
    with pytest.raises(InputError, match="must have shape"):
        golden_vectors(dense_graph(), np.zeros((4, 1, 3), dtype=np.int64))

"""What a session refuses, and that what it refused changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from intsnn.checking.stages import check, longest_run
from intsnn.compiling.compiler import find_compiler
from intsnn.emission.source import portable_source
from intsnn.errors import InputError, UsageError
from intsnn.execution.interpreter import run
from intsnn.native import NativeSession, compile, stored_session
from tests.support.hand_made_graphs import counts_attention_graph, norm_per_step_graph
from tests.support.intgraphs import dense_graph, random_input, with_changed_node
from tests.support.native_sessions import quick_flags

WAYS = ("run", "answer", "spikes")
X = random_input(dense_graph())  # [4, 3, 12]
MOST = 51_130_563  # steps, until a sum of currents up to 42 could leave int32


@pytest.fixture
def session() -> NativeSession:
    return compile(dense_graph(), threads=1, flags=quick_flags())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("x", "message", "hint"),
    [
        (X[0], r"must have shape \[T, N, 12\] \(got \[3, 12\]\)", "put time first"),
        (X[..., :5], r"must have shape \[T, N, 12\] \(got \[4, 3, 5\]\)", "put time first"),
        (X[:0], r"must have shape .* \(got \[0, 3, 12\]\)", "put time first"),
        (X[:, :0], r"must have shape .* \(got \[4, 0, 12\]\)", "put time first"),
        (X / 255, r"must be integers \(got float64\)", "divide real values by the input scale"),
        (X - 1 - X.min(), r"must lie in \[0, 255\] \(got \[-1, ", "clip it"),
        (X + 256 - X.max(), r"must lie in \[0, 255\] \(got \[\d+, 256\]\)", "clip it"),
    ],
    ids=["no time", "other shape", "no steps", "no samples", "floats", "below", "above"],
)
def test_input_that_does_not_fit_is_refused(
    session: NativeSession, way: str, x: object, message: str, hint: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        getattr(session, way)(x)
    assert error.value.hints[0].startswith(hint)


@pytest.mark.parametrize("way", WAYS)
def test_more_steps_than_are_proved_are_refused(session: NativeSession, way: str) -> None:
    assert session.max_steps == longest_run(session.graph) == MOST
    session.max_steps = 3
    too_many = r"at most 3 steps, for which the readout is proved to fit int32 \(got 4\)"
    with pytest.raises(InputError, match=too_many) as error:
        getattr(session, way)(X)
    assert "reset and step" in error.value.hints[0]
    getattr(session, way)(X[:3])


def test_stream_longer_than_is_proved_is_refused(session: NativeSession) -> None:
    session.max_steps = 2
    seen = [session.step(frame) for frame in X[:2]]
    with pytest.raises(InputError, match="a stream must have at most 2 steps, for which the readout") as error:
        session.step(X[2])
    assert "call reset()" in error.value.hints[0]
    session.reset(3)
    assert np.array_equal([session.step(frame) for frame in X[:2]], seen)


def test_stream_that_sums_nothing_has_no_end(session: NativeSession) -> None:
    assert compile(norm_per_step_graph(time_steps=3), flags=quick_flags()).max_steps == 3
    endless = compile(with_changed_node(dense_graph(), "readout", mode="last"), threads=1, flags=quick_flags())
    assert endless.max_steps is None and session.max_steps is not None
    endless.reset(3)
    assert endless._stream is not None
    endless._stream.steps = 2**40
    assert np.array_equal(endless.step(X[0]), run(endless.graph, X[:1]).output)
    assert np.array_equal(endless.run(X).output, run(endless.graph, X).output)


def test_stream_of_a_graph_with_its_own_number_of_steps_ends_there() -> None:
    graph = norm_per_step_graph(time_steps=4)
    session, x = compile(graph, threads=1, flags=quick_flags()), random_input(graph)
    answers = [session.step(frame) for frame in x]
    assert np.array_equal(answers[-1], run(graph, x).output)
    with pytest.raises(InputError, match="at most 4 steps, for which this graph has its norms"):
        session.step(x[0])
    with pytest.raises(InputError, match=r"must have 4 steps, for which this graph has its norms \(got 3\)"):
        session.run(x[:3])


@pytest.mark.parametrize(
    ("frame", "message", "hint"),
    [
        (X, r"a step must have shape \[N, 12\] \(got \[4, 3, 12\]\)", "one sample"),
        (X[0, 0], r"a step must have shape \[N, 12\] \(got \[12\]\)", "one sample"),
        (X[0, :, :5], r"a step must have shape \[N, 12\] \(got \[3, 5\]\)", "one sample"),
        (X[0, :0], r"a step must have shape \[N, 12\] \(got \[0, 12\]\)", "one sample"),
        (7, r"a step must have shape \[N, 12\] \(got \[\]\)", "one sample"),
        (X[0, :2], r"a step must have 3 samples, as the reset said \(got 2\)", r"call reset(2)"),
        (X[0] / 2, "must be integers", "divide"),
        (X[0] + 300, "must lie in", "clip"),
    ],
    ids=["sequence", "no samples axis", "other shape", "no samples", "number", "fewer samples", "floats", "above"],
)
def test_step_that_does_not_fit_is_refused_and_the_stream_goes_on(
    session: NativeSession, frame: object, message: str, hint: str
) -> None:
    session.reset(3)
    session.step(X[0])
    with pytest.raises(InputError, match=message) as error:
        session.step(frame)  # type: ignore[arg-type]  # it is refused
    assert error.value.hints[0].startswith(hint)
    assert np.array_equal([session.step(each) for each in X[1:]][-1], run(session.graph, X).output)


def test_first_step_that_is_refused_starts_no_stream(session: NativeSession) -> None:
    with pytest.raises(InputError):
        session.step(X[0, :2] + 300)
    assert np.array_equal([session.step(frame) for frame in X][-1], run(session.graph, X).output)


@pytest.mark.parametrize("samples", [0, -1, 1.5, 2.0, "2", True, None])
def test_reset_to_no_number_of_streams_is_refused(session: NativeSession, samples: object) -> None:
    with pytest.raises(InputError, match=rf"samples must be a whole number, at least 1 \(got {samples!r}\)") as error:
        session.reset(samples)  # type: ignore[arg-type]  # it is refused
    assert "reset(1)" in error.value.hints[0]


def test_counts_of_numpy_are_counts(session: NativeSession) -> None:
    session.reset(np.int64(3))  # type: ignore[arg-type]  # as a shape may have it
    assert np.array_equal([session.step(frame) for frame in X][-1], run(session.graph, X).output)
    assert compile(dense_graph(), threads=np.int8(2), flags=quick_flags()).threads == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"threads": 0}, r"threads must be a whole number, at least 1 \(got 0\)", "None is one for each core"),
        ({"threads": -1}, r"threads must be .* \(got -1\)", "None"),
        ({"threads": 1.5}, r"threads must be .* \(got 1.5\)", "None"),
        ({"threads": True}, r"threads must be .* \(got True\)", "None"),
        ({"flags": "-O2 -g"}, r"flags must be a list of words \(got '-O2 -g'\)", "flags=['-O2', '-g']"),
        ({"flags": [2]}, r"flags must be a list of words \(got \[2\]\)", "for example"),
        ({"flags": 2}, r"flags must be a list of words \(got 2\)", "for example"),
        ({"synapses": "sparse"}, r"synapses must be one of auto, events, dense \(got 'sparse'\)", "`auto`"),
        ({"compiler": "gcc"}, r"compiler must be a Compiler \(got 'gcc'\)", "set the variable CC"),
    ],
)
def test_option_that_there_is_not_is_refused(options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        compile(dense_graph(), **options)  # type: ignore[arg-type]  # it is refused
    assert error.value.hints[0].startswith(hint)


@pytest.mark.parametrize(
    ("graph", "message", "hint"),
    [
        ("runs/4bit/model.onnx", r"must be an IntGraph \(got 'runs/4bit/model.onnx'\)", "intsnn.read_onnx('runs/4bit/"),
        (Path("model.onnx"), r"must be an IntGraph \(got 'model.onnx'\)", "intsnn.read_onnx('model.onnx')"),
        (np.zeros(3), r"must be an IntGraph \(got ndarray\)", "mdcompress.lower(student)"),
    ],
)
def test_what_is_no_graph_is_refused_with_what_makes_one(graph: object, message: str, hint: str) -> None:
    for function in (compile, check, portable_source):
        with pytest.raises(UsageError, match=message) as error:
            function(graph)  # type: ignore[arg-type]  # it is refused
        assert hint in error.value.hints[0]


def test_signed_input_has_its_range() -> None:
    graph = counts_attention_graph()  # 4 bits with a sign
    session = compile(graph, threads=1, flags=quick_flags())
    for value in (-9, 8):
        with pytest.raises(InputError, match=r"must lie in \[-8, 7\]"):
            session.run(np.full((2, 1, 4, 4), value))


def test_as_many_threads_as_cores_unless_said() -> None:
    assert 1 <= compile(dense_graph(), flags=quick_flags()).threads <= (os.cpu_count() or 1)


def test_what_was_compiled_is_known() -> None:
    graph = dense_graph(seed=77)
    compiler = find_compiler()
    assert stored_session(graph, compiler=compiler) is None
    compile(graph, flags=quick_flags())
    assert stored_session(graph, compiler=compiler) is None  # with other flags
    compile(graph)
    assert stored_session(graph, compiler=compiler) is not None

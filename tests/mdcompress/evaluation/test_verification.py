"""Four witnesses where there is a C compiler, three where there is none; all compared on every value."""

from dataclasses import replace

import numpy.typing as npt
import pytest

import mdcompress as md
from intsnn.engines import InterpreterSession
from intsnn.execution.interpreter import Trace
from mdcompress.evaluation.verification import verify_graph
from mdcompress.student import Student
from tests.support.compilers import hide_compilers
from tests.support.training_cases import Shuffled

X = Shuffled().x[:, :20]


@pytest.fixture
def student(quantized: Student) -> Student:
    return quantized


def test_the_graph_as_c_is_the_fourth_witness(student: Student) -> None:
    report = md.verify(student, X)
    assert report.equal and report.spikes > 0
    assert report.witnesses == ("student", "interpreter", "onnxruntime", "native")


def test_without_a_compiler_there_are_three_witnesses(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    report = md.verify(student, X)
    assert report.equal and report.witnesses == ("student", "interpreter", "onnxruntime")


def test_the_fourth_witness_can_be_left_out(student: Student) -> None:
    assert len(verify_graph(student, md.lower(student), X, native=None).witnesses) == 3


def test_a_native_session_that_differs_is_found(student: Student) -> None:
    graph = md.lower(student)

    class Wrong(InterpreterSession):
        def run(self, x: npt.ArrayLike) -> Trace:
            trace = super().run(x)
            name = graph.neurons[-1].name
            return replace(trace, spikes={**trace.spikes, name: 1 - trace.spikes[name]})

    report = verify_graph(student, graph, X, native=Wrong(graph))
    assert not report.equal and "onnxruntime and native differ at the spike" in str(report)

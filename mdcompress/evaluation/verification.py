"""verify(student, x): student = interpreter = onnxruntime = native, on every spike, membrane and output, measured."""

from __future__ import annotations

import torch
from torch import Tensor

from intsnn.engines import AUTO, Auto, InterpreterSession, Session, Work, open_native
from intsnn.execution.parity import ParityReport, compare_all, merge_batches
from intsnn.graph import IntGraph
from intsnn.onnx.runtime import open_session
from mdcompress.student import Student
from mdcompress.student.lowering import lower

_SAMPLES_AT_ONCE = 128  # bounds the memory of a whole test split


def verify(student: Student, x: Tensor) -> ParityReport:
    """Run real x through all witnesses and compare: student = interpreter = onnxruntime = native, on every value.

    The native one needs a C compiler; where there is none, three are compared, and the report names those.

    Args:
        student: calibrated; it is not changed.
        x: float [T, N, ...].

    Returns:
        A report: `.equal`, `.values` compared (spikes and membranes), `.spikes` seen, `.first_difference`.

    Raises:
        GraphError: an overflow cannot be excluded.
        CalibrationError: the student is not calibrated.
        InputError: x has another shape than the student takes.
    """
    return verify_graph(student, lower(student), x)


def verify_graph(student: Student, graph: IntGraph, x: Tensor, *, native: Session | Auto | None = AUTO) -> ParityReport:
    """`verify` for a graph that is lowered already, or read back from a file.

    Args:
        student: calibrated; it is not changed.
        graph: what it was lowered to.
        x: float [T, N, ...].
        native: a compiled session of the graph; None: no such witness; `auto`: one where there is a C compiler.
    """
    if native == AUTO:
        native = open_native(graph, work=Work(samples=x.shape[1], time_steps=len(x))).session
    sessions = _witnesses(graph, native)
    reports = []
    for part in torch.split(x, _SAMPLES_AT_ONCE, dim=1):
        integers = student.quantize_input(part).cpu().numpy()
        traces = {name: session.run(integers) for name, session in sessions.items()}
        reports.append(compare_all({"student": student.trace(part), **traces}))
    return merge_batches(reports)


def _witnesses(graph: IntGraph, native: Session | None) -> dict[str, Session]:
    """What runs the graph, by name, in the order of the report."""
    found: dict[str, Session] = {"interpreter": InterpreterSession(graph), "onnxruntime": open_session(graph)}
    return found if native is None else {**found, "native": native}

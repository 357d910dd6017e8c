"""verify(student, x): student = interpreter = onnxruntime, on every spike, membrane and output value, measured."""

from __future__ import annotations

import torch
from torch import Tensor

from intsnn.execution.interpreter import run
from intsnn.execution.parity import ParityReport, compare_all, merge_batches
from intsnn.graph import IntGraph
from intsnn.onnx.runtime import open_session
from mdcompress.student import Student
from mdcompress.student.lowering import lower

_SAMPLES_AT_ONCE = 128  # bounds the memory of a whole test split


def verify(student: Student, x: Tensor) -> ParityReport:
    """Run real x through all three witnesses and compare: student = interpreter = onnxruntime, on every value.

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


def verify_graph(student: Student, graph: IntGraph, x: Tensor) -> ParityReport:
    """`verify` for a graph that is lowered already, or read back from a file."""
    session = open_session(graph)
    reports = []
    for part in torch.split(x, _SAMPLES_AT_ONCE, dim=1):
        integers = student.quantize_input(part).cpu().numpy()
        traces = {
            "student": student.trace(part),
            "interpreter": run(graph, integers),
            "onnxruntime": session.run(integers),
        }
        reports.append(compare_all(traces))
    return merge_batches(reports)

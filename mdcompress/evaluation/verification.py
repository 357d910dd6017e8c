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
    """Run real x [T, N, ...] through all three witnesses and compare; the student is not changed.

    Returns:
        A report: `.equal`, `.values` compared, `.spikes` seen, `.first_difference`.
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

"""A spiking network of one neuron layer written by hand, run by the interpreter and by onnxruntime, and compared.

python export/examples/hand_made_graph.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from intsnn.checking.stages import bounds, check
from intsnn.execution.interpreter import run
from intsnn.execution.parity import compare, require_equal
from intsnn.graph import IntGraph, IntInput, IntLinear, IntNeuron, IntReadout, IntRequant
from intsnn.onnx.file import read_onnx, write_onnx
from intsnn.onnx.runtime import run_onnx

ZERO = np.zeros(1, np.int64)


def hand_made_graph() -> IntGraph:
    """Four inputs of 8 bits, three neurons with 4-bit weights and a leak of 3/4, two outputs."""
    hidden = np.array([[7, -3, 2, 0], [-1, 5, -8, 4], [3, 3, -3, -3]])
    return IntGraph(
        (
            IntInput("pixels", (), (4,), bit_width=8, signed=False, scale=1 / 255),
            IntLinear("hidden", ("pixels",), (3,), hidden, bit_width=4),
            IntRequant("current", ("hidden",), (3,), np.array([5, 9, 7]), np.array([16]), shift=5, scale=0.01),
            IntNeuron("lif", ("current",), (3,), leak=3, drive=ZERO, threshold=np.array([120]), reset="hard",
                      reset_value=ZERO, soft_amount=ZERO, guard_bits=2, bit_width=8, initial=0, scale=0.04),
            IntLinear("classes", ("lif",), (2,), np.array([[1, 1, -1], [-1, 1, 1]]), bit_width=1),
            IntReadout("answer", ("classes",), (2,), mode="sum", scale=1.0),
        ),
        {"origin": "written by hand"},
    )  # fmt: skip


def main() -> None:
    """Prove, run twice, compare, write, read."""
    graph = hand_made_graph()
    check(graph)
    for name, interval in bounds(graph).items():
        print(f"{name:8} in [{interval.low}, {interval.high}]")

    x = np.random.default_rng(0).integers(0, 256, (6, 2, 4))  # T = 6 steps, N = 2 samples
    trace = run(graph, x)
    print("spikes of sample 0, a row a step:", trace.spikes["lif"][:, 0].tolist())
    print("answer:", trace.output.tolist())

    report = compare(trace, run_onnx(graph, x))
    require_equal(report)
    print(report)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(graph, path)
        print("read back equal:", read_onnx(path) == graph)


if __name__ == "__main__":
    main()

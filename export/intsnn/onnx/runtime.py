"""Runs a model.onnx with onnxruntime: the second witness of parity, and the fast way to an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from intsnn.arithmetic import IntArray
from intsnn.checking.stages import longest_run, require_proved_steps
from intsnn.execution.interpreter import Trace, checked_input
from intsnn.graph import IntGraph
from intsnn.onnx.file import load_model, read_model
from intsnn.onnx.model import build_model, neuron_outputs
from intsnn.onnx.writer import INPUT, OUTPUT

Source: TypeAlias = IntGraph | ModelProto | Path | str


class InferenceSession(Protocol):
    """What is used of onnxruntime's session."""

    def run(self, outputs: list[str], feeds: dict[str, npt.NDArray[np.integer]]) -> list[npt.NDArray[np.integer]]:
        """The named outputs, in order."""


@dataclass(frozen=True)
class OnnxSession:
    """A loaded model, the graph it holds, and the T up to which its readout is proved; many runs, one load."""

    graph: IntGraph
    session: InferenceSession
    longest_run: int | None

    @property
    def threads(self) -> int:
        """One beside onnxruntime's own."""
        return 1

    def run(self, x: npt.ArrayLike) -> Trace:
        """Everything the model computes from integer x [T, N, *input shape]: output, spikes, membranes."""
        names = [neuron.name for neuron in self.graph.neurons]
        wanted = [OUTPUT, *(f"{name}.spikes" for name in names), *(f"{name}.membrane" for name in names)]
        output, *rest = (value.astype(np.int64) for value in self._fetch(wanted, x))
        count = len(names)
        spikes, membranes = dict(zip(names, rest[:count], strict=True)), dict(zip(names, rest[count:], strict=True))
        return Trace(output, spikes, membranes, per_step=self.graph.output.mode == "steps")

    def answer(self, x: npt.ArrayLike) -> IntArray:
        """Only the output, [N, K] or [T, N, K]."""
        return self._fetch([OUTPUT], x)[0].astype(np.int64)

    def spikes(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.integer]]:
        """Only the spikes of every neuron, [T, N, *shape], in the model's own type."""
        names = [neuron.name for neuron in self.graph.neurons]
        return dict(zip(names, self._fetch([f"{name}.spikes" for name in names], x), strict=True)) if names else {}

    def _fetch(self, names: list[str], x: npt.ArrayLike) -> list[npt.NDArray[np.integer]]:
        array = checked_input(self.graph, x)
        hint = "run the sequence in parts with the streaming model and add up the answers in 64 bit"
        require_proved_steps(len(array), self.longest_run, hint=hint)
        stored = array.astype(np.int8 if self.graph.input.signed else np.uint8)
        return [np.asarray(value) for value in self.session.run(names, {INPUT: stored})]


def open_session(source: Source, *, threads: int = 1) -> OnnxSession:
    """Load a graph, a model or a model.onnx into onnxruntime on the CPU. ConvInteger gains nothing from threads."""
    import onnxruntime  # 0.2 s and 60 MB that the interpreter does not need

    graph, model = _with_all_outputs(source)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return OnnxSession(graph, session, longest_run(graph))


def run_onnx(source: Source, x: npt.ArrayLike) -> Trace:
    """Run a graph once in onnxruntime: what `open_session(source).run(x)` gives.

    Args:
        source: an integer graph, or the path of a model.onnx.
        x: integers [T, N, *input shape], in the range of the input.

    Returns:
        As `intsnn.run` gives it.

    Raises:
        InputError: x has another shape, is no integers, or leaves the range.
        MissingFileError: there is no such file.
    """
    return open_session(source).run(x)


def _with_all_outputs(source: Source) -> tuple[IntGraph, ModelProto]:
    """The graph and its model, every neuron's spikes and membranes declared as outputs of the very same nodes."""
    match source:
        case IntGraph():
            return source, build_model(source, outputs="all")
        case Path() | str():
            model, name = load_model(source), str(source)
        case _:
            model, name = source, "the ONNX model"
    graph = read_model(model, name=name)
    exposed = ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[1:]
    exposed.graph.output.extend(neuron_outputs(graph))
    return graph, exposed

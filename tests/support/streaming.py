"""Runs the streaming model step by step in onnxruntime, with the states handed from step to step, as a device would."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from intsnn.arithmetic import IntArray
from intsnn.execution.interpreter import Trace
from intsnn.graph import IntGraph
from intsnn.onnx.file import build_streaming_model


def run_streaming(graph: IntGraph, x: IntArray) -> Trace:
    """The same trace as a run of the whole sequence; the readout over T is made here."""
    model = build_streaming_model(graph)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    state = _first_states(graph, model, x.shape[1])
    steps = []
    for t, step in enumerate(x.astype(np.int8 if graph.input.signed else np.uint8)):
        index = {} if graph.time_steps is None else {"step": np.array(t)}
        steps.append(dict(zip(names, session.run(None, {"x": step, **index, **state}), strict=True)))
        state = {name: steps[-1][_written_as(name)] for name in state}
    spikes = {node.name: np.array([step[f"{node.name}.spikes"] for step in steps], np.int64) for node in graph.neurons}
    stored = {node.name: np.array([step[f"{node.name}.next_state"] for step in steps]) for node in graph.neurons}
    answers = np.array([step["logits"] for step in steps], np.int64)
    answer = {"steps": answers, "sum": answers.sum(axis=0), "max": answers.max(axis=0), "last": answers[-1]}
    return Trace(answer[graph.output.mode], spikes, stored)


def _first_states(graph: IntGraph, model: onnx.ModelProto, samples: int) -> dict[str, np.ndarray]:
    first = {}
    for node in graph.neurons:
        for info in model.graph.input:
            if info.name.rpartition(".")[0] == node.name:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
                value = node.initial if info.name.endswith(".state") else 0
                first[info.name] = np.full((samples, *node.shape), value, dtype)
    return first


def _written_as(state: str) -> str:
    """`lif.state` is written as `lif.next_state`, `lif.last_spikes` as `lif.spikes`."""
    node, _, kind = state.rpartition(".")
    return f"{node}.spikes" if kind == "last_spikes" else f"{node}.next_{kind}"

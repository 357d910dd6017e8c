"""Runs a network step by step, as a sensor delivers it: the one-step ONNX model, and native code.

The model is given the neurons' states and gives the next ones; a native session keeps them itself.

python export/examples/stream.py
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from hand_made_graph import hand_made_graph

from intsnn.execution.interpreter import run
from intsnn.native import compile as compile_graph
from intsnn.onnx.file import build_streaming_model


def main() -> None:
    """Feed six steps one at a time, twice; the interpreter takes them at once."""
    graph = hand_made_graph()
    model = build_streaming_model(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    x = np.random.default_rng(0).integers(0, 256, (6, 1, 4))
    state = {f"{n.name}.state": np.full((1, *n.shape), n.initial, np.int32) for n in graph.neurons}
    answer = np.zeros((1, 2), np.int64)
    for t, step in enumerate(x.astype(np.uint8)):
        values = dict(zip(names, session.run(None, {"x": step, **state}), strict=True))
        state = {f"{n.name}.state": values[f"{n.name}.next_state"] for n in graph.neurons}
        answer += values["logits"]
        print(f"step {t}: spikes {values['lif.spikes'][0].tolist()}, answer so far {answer[0].tolist()}")

    native = compile_graph(graph)  # needs a C compiler
    native.reset()
    for step in x:
        so_far = native.step(step)

    whole = run(graph, x).output
    print("equal to the whole sequence:", np.array_equal(answer, whole) and np.array_equal(so_far, whole))


if __name__ == "__main__":
    main()

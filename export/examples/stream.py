"""Runs a network step by step, as a sensor delivers it: the one-step model, with the neurons' states passed on.

python export/examples/stream.py
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from hand_made_graph import hand_made_graph

from intsnn.execution.interpreter import run
from intsnn.onnx.file import build_streaming_model


def main() -> None:
    """Feed six steps one at a time and add up the answers; the interpreter takes them at once."""
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

    print("equal to the whole sequence:", np.array_equal(answer, run(graph, x).output))


if __name__ == "__main__":
    main()

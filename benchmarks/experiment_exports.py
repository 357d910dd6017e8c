"""A student -> its exported graph's answers on test samples, and whether the two differ anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.experiment_store import Exactness
from intsnn.execution.interpreter import run
from intsnn.execution.parity import compare_all, merge_batches
from intsnn.onnx.runtime import open_session
from mdcompress.data import Batches
from mdcompress.student import Student
from mdcompress.student.lowering import lower

INTERPRETED = 256  # test samples that the NumPy interpreter runs too; onnxruntime runs all (4 times as fast)


@dataclass(frozen=True)
class Exported:
    """What an exported graph answers rightly in onnxruntime, sample by sample, and its comparison with the student."""

    right: tuple[bool, ...]
    exactness: Exactness

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * sum(self.right) / len(self.right)


def exported(student: Student, batches: Batches, *, steps: int, compared: int | None = None) -> Exported:
    """The exported graph in onnxruntime on every sample, beside the student on the first `compared` (None: all).

    The interpreter too runs the first INTERPRETED.
    """
    graph = lower(student)
    session, device, right, reports, seen = open_session(graph), student.input.scale.device, list[bool](), [], 0
    for x, y in batches:
        x = x[:steps].to(device)
        integers = student.quantize_input(x).cpu().numpy()
        if compared is None or seen < compared:
            traces = {"student": student.trace(x), "onnxruntime": session.run(integers)}
            if seen < INTERPRETED:
                traces["interpreter"] = run(graph, integers)
            reports.append(compare_all(traces))
            seen += len(y)
            output = traces["onnxruntime"].output
        else:
            output = session.answer(integers)
        logits = output.sum(axis=0) if output.ndim > 1 + len(graph.output.shape) else output
        right += (logits.argmax(axis=1) == y.numpy()).tolist()
    whole = merge_batches(reports)
    differing = sum(not report.equal for report in reports)
    return Exported(tuple(right), Exactness(seen, whole.values, differing, len(whole.silent)))

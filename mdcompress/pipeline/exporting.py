"""`export`: the newest student -> model.onnx, golden.npz, activity.json; only where parity is measured to hold.

With ExportFormat.NIR also model.nir, from the same integer graph.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from intsnn.arithmetic import IntType
from mdcompress.pipeline.networks import first_samples, load_splits
from mdcompress.pipeline.report import Report
from mdcompress.pipeline.workspace import Workspace
from mdcompress.recipe.nir import ReaderReset, ReaderStep
from mdcompress.runs import ACTIVITY_FILE, GOLDEN_FILE, MODEL_FILE, NIR_FILE
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from intsnn.engines import EngineChoice, Session, Work
    from intsnn.graph import IntGraph

DEFAULT_SAMPLES = 64


class ExportFormat(Enum):
    """What is written of the integer graph: always model.onnx; `nir`: model.nir beside it."""

    ONNX = "onnx"
    NIR = "nir"


def export(
    workspace: Workspace,
    *,
    samples: int = DEFAULT_SAMPLES,
    form: ExportFormat = ExportFormat.ONNX,
    nir_step: ReaderStep = "euler",
    nir_reset: ReaderReset = "hard",
    engine: EngineChoice = "auto",
) -> Report:
    """Lower the newest student to integers, compare it with interpreter, onnxruntime and C, and write it.

    Args:
        workspace: the run.
        samples: how many test samples parity and activity are measured on.
        form: which files are written.
        nir_step: how the reader of model.nir discretizes (`to_nir`).
        nir_reset: what it does at a spike.
        engine: what activity is measured with. With `auto` and `native` the graph as C is the fourth witness of parity;
            `auto` says where no compiler is there to make it.

    Raises:
        ParityError: the witnesses differ; the first difference is named.
        ExportError: NIR cannot hold the graph; nothing is written then.
        CompilerError: `native` is asked for and there is no C compiler, or the compiler fails.
    """
    workspace.require_one_student()
    workspace.refuse_to_overwrite(Stage.EXPORT)
    newest = workspace.newest_student()
    from intsnn.activity import measure, write_activity
    from intsnn.engines import Work
    from intsnn.execution.golden import write_golden
    from intsnn.execution.parity import require_equal
    from intsnn.onnx.file import write_onnx
    from mdcompress.evaluation.verification import verify_graph
    from mdcompress.student.lowering import lower
    from mdcompress.student.weights import load_student

    started, student = workspace.start(Stage.EXPORT, newest), load_student(newest)
    x = first_samples(load_splits(workspace).test, samples, seed=workspace.recipe.seed)
    x = x[: workspace.recipe.student_time_steps]
    graph = lower(student)
    as_nir = _as_nir(graph, nir_step, nir_reset) if form is ExportFormat.NIR else None
    native = _native(workspace, graph, engine, Work(samples=x.shape[1], time_steps=len(x)))
    parity = verify_graph(student, graph, x, native=native)
    require_equal(parity)
    integers = student.quantize_input(x).numpy()
    activity, keeps_steps = measure(graph, [integers], engine=native or engine), graph.output.mode == "steps"
    summary = "\n".join(
        [
            f"parity     {parity}",
            f"activity   mean spike rate {100 * activity.mean_rate:.1f} %",
            f"input      {_input_in_words(graph)}",
            *(["output     logits are int32 [T, N, K]: the answer is their mean over T"] if keeps_steps else []),
        ]
    )
    measured = {
        "parity_samples": parity.samples,
        "parity_values": parity.values,
        "parity_spikes": parity.spikes,
        "mean_spike_rate": activity.mean_rate,
    }
    with started.writing(measured=measured, summary=summary) as folder:
        write_onnx(graph, folder / MODEL_FILE)
        write_golden(graph, folder / GOLDEN_FILE, x=integers, trace=None if native is None else native.run(integers))
        write_activity(activity, folder / ACTIVITY_FILE)
        if as_nir is not None:
            (folder / NIR_FILE).write_bytes(as_nir)
    nir_file, report = workspace.run.file(NIR_FILE), workspace.report(Stage.EXPORT)
    if as_nir is not None:
        return replace(report, paths=(*report.paths, nir_file))
    nir_file.unlink(missing_ok=True)  # of the student before
    return report


def _native(workspace: Workspace, graph: IntGraph, engine: EngineChoice, work: Work) -> Session | None:
    """The graph as C: the fourth witness. None where another engine is asked for, or nothing can compile it."""
    from intsnn.engines import open_engine, open_native

    if engine == "native":
        return open_engine(graph, engine, work=work).session
    if engine != "auto":
        return None
    found = open_native(graph, work=work)
    for note in found.notes:
        workspace.note_once(note)
    return found.session


def _as_nir(graph: IntGraph, step: ReaderStep, reset: ReaderReset) -> bytes:
    from mdcompress.nir import nir_bytes, to_nir

    return nir_bytes(to_nir(graph, step=step, reset=reset))


def _input_in_words(graph: IntGraph) -> str:
    """What whoever runs model.onnx must feed it."""
    node = graph.input
    word = IntType(node.bit_width, node.signed)
    kind = "int8" if node.signed else "uint8"
    return f"x is {kind} in {word.low}..{word.high} ({node.bit_width} bits): round(real value / {node.scale:.9g})"

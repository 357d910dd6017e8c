"""`export`: the newest student -> model.onnx, golden.npz, activity.json; only where parity is measured to hold.

With ExportFormat.NIR also model.nir, with ExportFormat.C the folder c/, from the same integer graph; with
ExportFormat.SAFETENSORS the student again, its weights packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.arithmetic import IntType
from intsnn.files import write_atomically, write_folder
from mdcompress.errors import ExportError
from mdcompress.pipeline.c_export import ANY_C, CForm, c_figures, c_summary
from mdcompress.pipeline.networks import first_samples, load_splits
from mdcompress.pipeline.report import Report, bits_in_words, percent
from mdcompress.pipeline.sizes import Sizes, size_lines, sizes_of
from mdcompress.pipeline.workspace import Workspace
from mdcompress.recipe.nir import ReaderReset, ReaderStep
from mdcompress.runs import ACTIVITY_FILE, C_FOLDER, GOLDEN_FILE, MODEL_FILE, NIR_FILE, STUDENT_FILE
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from intsnn.engines import Engine, EngineChoice, Work
    from intsnn.execution.parity import ParityReport
    from intsnn.graph import IntGraph
    from intsnn.microcontroller.writing import CPackage
    from mdcompress.student import Student

DEFAULT_SAMPLES = 64


class ExportFormat(Enum):
    """What is written: always model.onnx; beside it model.nir, a folder of C, or the student with packed weights."""

    ONNX = "onnx"
    NIR = "nir"
    C = "c"
    SAFETENSORS = "safetensors"


def export(
    workspace: Workspace,
    *,
    samples: int = DEFAULT_SAMPLES,
    form: ExportFormat = ExportFormat.ONNX,
    nir_step: ReaderStep = "euler",
    nir_reset: ReaderReset = "hard",
    c_form: CForm = ANY_C,
    engine: EngineChoice = "auto",
) -> Report:
    """Lower the newest student to integers, compare it with interpreter, onnxruntime and C, and write it.

    Args:
        workspace: the run.
        samples: how many test samples parity and activity are measured on.
        form: which files are written.
        nir_step: how the reader of model.nir discretizes (`to_nir`).
        nir_reset: what it does at a spike.
        c_form: how the C is named, and what it may take.
        engine: what activity is measured with. With `auto` and `native` the graph as C is the fourth witness of parity;
            `auto` says where no compiler is there to make it.

    Raises:
        ParityError: the witnesses differ; the first difference is named.
        ExportError: NIR cannot hold the graph; nothing is written then.
        MemoryLimitError: the C takes more than it may; nothing is written then.
        CompilerError: `native` is asked for and there is no C compiler, or the compiler fails.
    """
    workspace.require_one_student()
    with workspace.held(), workspace.listener.stage(Stage.EXPORT.value, "student and samples"):
        if workspace.has_finished(Stage.EXPORT):
            return workspace.report(Stage.EXPORT)
        return _export(
            workspace,
            samples=samples,
            form=form,
            reader=(nir_step, nir_reset),
            c_form=c_form,
            engine=engine,
        )


def _export(
    workspace: Workspace,
    *,
    samples: int,
    form: ExportFormat,
    reader: tuple[ReaderStep, ReaderReset],
    c_form: CForm,
    engine: EngineChoice,
) -> Report:
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
    as_nir = _as_nir(graph, *reader) if form is ExportFormat.NIR else None
    counting = _engine(workspace, graph, engine, Work(samples=x.shape[1], time_steps=len(x)))
    native = counting.session if counting.name == "native" else None
    workspace.listener.doing("parity")
    parity = verify_graph(student, graph, x, native=native)
    require_equal(parity)
    integers = student.quantize_input(x).numpy()
    workspace.listener.doing("activity")
    activity = measure(graph, [integers], engine=counting.session)
    as_c = None
    if form is ExportFormat.C:
        from intsnn.microcontroller.writing import c_package

        name = c_form.name_for(workspace.recipe)
        as_c = c_package(graph, name=name, x=integers, limits=c_form.limits, activity=activity)
    sizes = sizes_of(graph)
    measured = {
        "parity_samples": parity.samples,
        "parity_values": parity.values,
        "parity_spikes": parity.spikes,
        "mean_spike_rate": activity.mean_rate,
        **sizes.figures(),
        **(c_figures(as_c) if as_c else {}),
    }
    before = workspace.run.written_files(Stage.EXPORT) if workspace.run.record(Stage.EXPORT) else ()
    spoken = f"mean spike rate {percent(activity.mean_rate, 1)}, counted by {counting.name}"
    with started.writing(measured=measured, summary=_summary(graph, parity, spoken, sizes, as_c)) as folder:
        write_onnx(graph, folder / MODEL_FILE)
        write_golden(graph, folder / GOLDEN_FILE, x=integers, trace=None if native is None else native.run(integers))
        write_activity(activity, folder / ACTIVITY_FILE)
        if as_nir is not None:
            write_atomically(folder / NIR_FILE, as_nir)
        if as_c is not None:
            write_folder(folder / C_FOLDER, as_c.files)
        if form is ExportFormat.SAFETENSORS:
            _write_packed(student, graph, folder / STUDENT_FILE)
    _note_removed(workspace, before)
    return workspace.report(Stage.EXPORT)


def _note_removed(workspace: Workspace, before: Sequence[Path]) -> None:
    """Say what the export before had written and this one was not asked for, as it is no longer there."""
    gone = dict.fromkeys(path.relative_to(workspace.run.path).parts[0] for path in before if not path.exists())
    if gone:
        workspace.note(f"removed {', '.join(gone)}, which the export before had written and --format asks for no more")


def _summary(graph: IntGraph, parity: ParityReport, activity: str, sizes: Sizes, as_c: CPackage | None) -> str:
    """What the run's record and the terminal say of an export."""
    keeps_steps = graph.output.mode == "steps"
    return "\n".join(
        [
            f"parity     {parity}",
            f"activity   {activity}",
            size_lines(sizes),
            f"input      {_input_in_words(graph)}",
            *(["output     logits are int32 [T, N, K]: the answer is their mean over T"] if keeps_steps else []),
            *([c_summary(as_c)] if as_c else []),
        ]
    )


def _engine(workspace: Workspace, graph: IntGraph, engine: EngineChoice, work: Work) -> Engine:
    """What activity is counted with; of `auto` the graph as C, the fourth witness, wherever something compiles it."""
    from intsnn.engines import Engine, open_engine, open_native

    found = open_native(graph, work=work) if engine == "auto" else open_engine(graph, engine, work=work)
    for note in found.notes:
        workspace.note_once(note)
    if isinstance(found, Engine):
        return found
    return open_engine(graph, work=work) if found.session is None else Engine("native", found.session)


def _write_packed(student: Student, graph: IntGraph, path: Path) -> None:
    """The student with packed weights, once it is read back equal."""
    from mdcompress.student.lowering import lower
    from mdcompress.student.weights import load_student, save_student

    save_student(student, path, weights="packed")
    if lower(load_student(path)) != graph:
        raise ExportError(
            f"{path.name}: the student with packed weights must have the integers of model.onnx, and has others",
            hints=["export without --format safetensors, and please report this with the recipe"],
        )


def _as_nir(graph: IntGraph, step: ReaderStep, reset: ReaderReset) -> bytes:
    from mdcompress.nir import nir_bytes, to_nir

    return nir_bytes(to_nir(graph, step=step, reset=reset))


def _input_in_words(graph: IntGraph) -> str:
    """What whoever runs model.onnx must feed it."""
    node = graph.input
    word = IntType(node.bit_width, node.signed)
    kind, bits = "int8" if node.signed else "uint8", bits_in_words(node.bit_width)
    return f"x is {kind} in {word.low}..{word.high} ({bits}): round(real value / {node.scale:.9g})"

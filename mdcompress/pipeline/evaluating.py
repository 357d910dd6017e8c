"""`eval`: a student, the float network's weights or a model.onnx and test data -> accuracy, and what its neurons do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from intsnn.errors import IntsnnError, MissingFileError, UsageError
from mdcompress.pipeline.accuracies import accuracies_at, float_accuracies_at
from mdcompress.pipeline.networks import fitted, load_splits, torch_device, trained_network
from mdcompress.pipeline.report import JsonValue, Report, percent, table
from mdcompress.pipeline.sizes import Sizes, sizes_of
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs.manifest import require_as_written

if TYPE_CHECKING:
    import numpy.typing as npt

    from intsnn.engines import EngineChoice, Session
    from intsnn.graph import IntInput
    from mdcompress.data import Batches
    from mdcompress.evaluation import Metrics


@dataclass(frozen=True)
class Evaluated:
    """The report of an evaluation, and its accuracy in [0, 1] to compare with a limit."""

    report: Report
    accuracy: float


@own_threads_afterwards()
def evaluate(workspace: Workspace, file: Path | None, *, engine: EngineChoice = "auto") -> Evaluated:
    """Evaluate a student, a float network's weights or a model.onnx on the recipe's test split.

    Without `file` it is the run's newest student. A `.safetensors` says itself which of the two it is; weights are
    those of the recipe's network, which runs at each T of `teacher.time_steps`. `engine`: what runs a model.onnx; a
    student and a float network run in torch alone. Which it was is said by the way, and stands in the document.

    Raises:
        UsageError: an engine is chosen for what no engine runs, or the file is of another kind.
        MissingFileError: there is no such file.
        CompilerError: `native` is chosen, and there is no C compiler.
    """
    path = file or workspace.newest_student()
    if path.is_dir():
        raise UsageError(
            f"{path}: what is evaluated must be a file (this is a folder)", hints=[f"name a run with `--run {path}`"]
        )
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file", hints=["give a student or weights (.safetensors, .pt), or a model.onnx"]
        )
    require_as_written(path)
    if path.suffix != ".onnx" and engine != "auto":
        raise UsageError(
            f"{path}: --engine {engine} must be for a model.onnx (a student and weights run in torch alone)",
            hints=["leave --engine out, or evaluate what `mdcompress export` wrote"],
        )
    with workspace.listener.stage("eval", "network and data"):
        return _evaluated_as(workspace, path, engine)


def _evaluated_as(workspace: Workspace, path: Path, engine: EngineChoice) -> Evaluated:
    """What the file is, evaluated."""
    from mdcompress.student.weights import WEIGHT_SUFFIXES, holds_student

    match path.suffix:
        case ".onnx":
            return _evaluate_model(workspace, path, engine)
        case ".safetensors" if holds_student(path):
            return _evaluate_student(workspace, path)
        case suffix if suffix in WEIGHT_SUFFIXES:
            return _evaluate_float_network(workspace, path)
        case suffix:
            raise UsageError(
                f"{path}: what is evaluated must be a student or weights (.safetensors, .pt, .ckpt) or a model.onnx "
                f"(got {suffix!r})",
                hints=["`mdcompress quantize` writes students, `mdcompress export` model.onnx"],
            )


def integers_for(node: IntInput, x: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """x_int = clip(round(x / scale)) to the input's word, in float64 and ties to even as the student rounds."""
    from intsnn.arithmetic import IntType

    word = IntType(node.bit_width, node.signed)
    return np.clip(np.rint(x.astype(np.float64) / node.scale), word.low, word.high).astype(np.int64)


def engine_in_words(name: str) -> str:
    """Which engine gave the answers, in a line."""
    what = {"native": "C compiled for this machine", "interpreter": "integers in NumPy"}
    return f"engine     {name}{f' ({what[name]})' if name in what else ''}"


def _evaluate_student(workspace: Workspace, path: Path) -> Evaluated:
    from mdcompress.evaluation import evaluate as evaluate_network
    from mdcompress.student.lowering import lower
    from mdcompress.student.weights import load_student

    student, test = load_student(path).to(torch_device(workspace)), load_splits(workspace).test
    *shorter, longest = workspace.recipe.student_step_counts
    fewer = accuracies_at(student, test, shorter)
    metrics = evaluate_network(student, test, graph=student.graph, time_steps=longest)
    evaluated = _evaluated(workspace, path, fewer, metrics)
    try:
        graph = lower(student)
    except IntsnnError as error:  # its accuracy stands; `export` says the same at length
        workspace.note(f"no sizes, as this student cannot be exported: {str(error).partition(chr(10))[0]}")
        return evaluated
    return _with_sizes(evaluated, sizes_of(graph, {"student": path}))


def _evaluate_float_network(workspace: Workspace, path: Path) -> Evaluated:
    """At each T with the statistics of that T, as `train` has it."""
    from mdcompress.evaluation import evaluate as evaluate_network

    splits = load_splits(workspace)
    found = fitted(workspace, trained_network(workspace, path), splits)
    use_threads(workspace, found.graph)
    *shorter, longest = workspace.recipe.teacher.time_steps or (workspace.recipe.data.time_steps,)
    fewer = float_accuracies_at(workspace, found.network, splits, shorter)
    metrics = evaluate_network(found.network, splits.test, graph=found.graph, time_steps=longest)
    return _evaluated(workspace, path, fewer, metrics)


def _evaluated(workspace: Workspace, path: Path, fewer: Mapping[int, float], metrics: Metrics) -> Evaluated:
    """`fewer`: T -> accuracy at the T below that of the metrics."""
    accuracies = {**fewer, metrics.time_steps: metrics.accuracy}
    workspace.note(engine_in_words("torch"))
    document: JsonValue = {"file": str(path), "engine": "torch", **_parsed(metrics.to_json()), **_at_each(accuracies)}
    neurons = _neurons(metrics)
    if fewer:
        neurons = f"Neurons at T = {metrics.time_steps}:\n\n{neurons}"
    text = f"{_headlines(path, accuracies, metrics.samples)}\n\n{neurons}"
    return Evaluated(Report(text, document, (path,), metrics.accuracy), metrics.accuracy)


def _evaluate_model(workspace: Workspace, path: Path, engine: EngineChoice) -> Evaluated:
    from intsnn.engines import Work, open_engine

    test, counts = load_splits(workspace).test, workspace.recipe.student_step_counts
    work = Work(samples=len(test) * workspace.recipe.data.batch_size, time_steps=sum(counts))
    opened = open_engine(path, engine, work=work)
    for note in opened.notes:
        workspace.note_once(note)
    workspace.note(engine_in_words(opened.name))
    scores = [_score(opened.session, test, steps) for steps in counts]
    accuracies = {each.time_steps: each.correct / each.samples for each in scores}
    samples, time_steps = scores[-1].samples, scores[-1].time_steps
    accuracy = accuracies[time_steps]
    document: JsonValue = {
        "file": str(path), "engine": opened.name, "accuracy": accuracy,
        "samples": samples, "time_steps": time_steps, **_at_each(accuracies),
    }  # fmt: skip
    evaluated = Evaluated(Report(_headlines(path, accuracies, samples), document, (path,), accuracy), accuracy)
    return _with_sizes(evaluated, sizes_of(opened.session.graph, {"integer ONNX": path}))


def _with_sizes(evaluated: Evaluated, sizes: Sizes) -> Evaluated:
    """How large the network is, behind what it answered."""
    report = evaluated.report
    assert isinstance(report.document, Mapping)  # of every evaluation
    document: JsonValue = {**report.document, "sizes": sizes.document()}
    return replace(evaluated, report=replace(report, text=f"{report.text}\n\n{sizes.text}", document=document))


class _Score(NamedTuple):
    """Right answers, of how many samples, over how many steps."""

    correct: int
    samples: int
    time_steps: int


def _score(session: Session, batches: Batches, steps: int) -> _Score:
    """A model.onnx on the first `steps` steps of each sample."""
    correct = samples = time_steps = 0
    for x, y in batches:
        x = x[:steps]
        answer = session.answer(integers_for(session.graph.input, x.numpy()))
        logits = answer.sum(axis=0) if answer.ndim > 1 + len(session.graph.output.shape) else answer
        correct += int((logits.argmax(axis=1) == y.numpy()).sum())
        samples, time_steps = samples + len(y), max(time_steps, len(x))
    return _Score(correct, samples, time_steps)


def _at_each(accuracies: Mapping[int, float]) -> Mapping[str, JsonValue]:
    """Nothing where there is one number of steps."""
    if len(accuracies) == 1:
        return {}
    return {"accuracy_at_time_steps": {str(steps): accuracy for steps, accuracy in accuracies.items()}}


def _headlines(path: Path, accuracies: Mapping[int, float], samples: int) -> str:
    return "\n".join(
        f"{path}: test accuracy {percent(accuracy)} on {samples} samples x {steps} {'step' if steps == 1 else 'steps'}"
        for steps, accuracy in accuracies.items()
    )


def _neurons(metrics: Metrics) -> str:
    """A float network's membranes have no words to saturate: it has no such column."""
    header = ["neuron", "spike rate", "saturated"]
    rows = [
        [name, percent(found.spike_rate), *([] if found.saturated is None else [percent(found.saturated)])]
        for name, found in metrics.neurons.items()
    ]
    width = min((len(row) for row in rows), default=len(header))
    return table(header[:width], rows, numbers=header[1:width])


def _parsed(text: str) -> Mapping[str, JsonValue]:
    document = json.loads(text)
    assert isinstance(document, dict)  # Metrics.to_json gives one object
    return document

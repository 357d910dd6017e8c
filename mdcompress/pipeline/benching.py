"""`bench`: a run, or a model.onnx beside its golden.npz -> how long a sample takes in each engine, side by side.

Every engine answers the same samples in every round, in turn. The integer engines must give equal answers before any
time is taken. No torch here where a model.onnx stands alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intsnn.errors import CompilerError, MissingFileError, ParityError, UsageError
from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress.errors import RunError
from mdcompress.pipeline.benching_picture import draw_timings
from mdcompress.pipeline.benching_report import (
    FLOAT,
    NATIVE,
    ONNX,
    STUDENT,
    Measured,
    bench_document,
    bench_text,
    said_in_a_line,
)
from mdcompress.pipeline.estimating import read_graph, require_files
from mdcompress.pipeline.networks import (
    at_steps,
    first_samples,
    fitted,
    load_splits,
    teacher_weights,
    torch_device,
    trained_network,
)
from mdcompress.pipeline.report import Report
from mdcompress.pipeline.timing import Call, Timing, interleaved
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import GOLDEN_FILE, MODEL_FILE, Destination
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from intsnn.arithmetic import IntArray
    from intsnn.graph import IntGraph
    from mdcompress.student import Student

JSON_FILE, TABLE_FILE, PICTURE_FILE = "bench.json", "bench.md", "bench.svg"
FEWEST_SAMPLES = 16  # of a measurement, where fewer are not asked for: their spikes differ, and so do the times
Parts = Sequence[slice]  # the samples of each batch


@dataclass(frozen=True)
class BenchChoice:
    """Sizes of a batch and numbers of threads to try, samples that are answered, rounds, where results go, formats of
    the picture besides SVG.
    """

    batches: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int
    samples: int | None = None
    output: Destination | None = None
    pictures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < max(self.batches):
            raise UsageError(
                f"--samples must fill the largest batch of {max(self.batches)} (got {self.samples})",
                hints=[f"give `--samples {max(self.batches)}`, or a smaller --batch"],
            )

    @property
    def wanted(self) -> int:
        """How many samples are answered in a round."""
        return self.samples or max(FEWEST_SAMPLES, *self.batches)


@dataclass(frozen=True)
class Engine:
    """One way to an answer.

    open: threads and the samples of each batch -> a call for each batch, its input ready. exact: the integers of all
    samples.
    """

    name: str
    open: Callable[[int, Parts], Sequence[Call]]
    exact: Callable[[], IntArray] | None = None


@dataclass(frozen=True)
class Bench:
    """What is measured: a graph and its input [T, N, *shape], the engines, and why others are not there."""

    model: Path
    graph: IntGraph
    x: IntArray
    engines: tuple[Engine, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


def bench(workspace: Workspace, choice: BenchChoice) -> Report:
    """Time float network, student, onnxruntime and native code on the run's test samples; the run is only read.

    Raises:
        ParityError: two integer engines differ.
        UsageError: there are too few samples.
    """
    _require_output(choice)
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    graph, splits = read_graph(model), load_splits(workspace)
    seed, steps = workspace.recipe.seed, workspace.recipe.student_time_steps
    real = first_samples(splits.test, choice.wanted, seed=seed)[:steps].to(torch_device(workspace))
    from mdcompress.student.weights import load_student

    student = load_student(workspace.newest_student()).to(torch_device(workspace))
    engines, missing = [_student_engine(student, real)], {}
    try:
        own = fitted(workspace, trained_network(workspace, teacher_weights(workspace)), splits).network
    except (MissingFileError, RunError) as error:  # the weights may have moved since: the student stands by itself
        missing[FLOAT] = said_in_a_line(error)
    else:
        engines = [*_float_engines(at_steps(workspace, own, splits, steps), real), *engines]
    x = student.quantize_input(real).cpu().numpy()
    integer, absent = _integer_engines(model, graph, x)
    return _report(Bench(model, graph, x, (*engines, *integer), {**missing, **absent}), choice)


def bench_file(model: Path, choice: BenchChoice) -> Report:
    """Time onnxruntime and native code on any model.onnx, with the inputs of the golden.npz beside it."""
    from intsnn.execution.golden import golden_input

    _require_output(choice)
    require_files([model])
    graph = read_graph(model)
    x = golden_input(model.with_name(GOLDEN_FILE), graph)[:, : choice.wanted]
    engines, missing = _integer_engines(model, graph, x)
    alone = "a model.onnx alone has none: give the run, `--run FOLDER`"
    return _report(Bench(model, graph, x, engines, {FLOAT: alone, STUDENT: alone, **missing}), choice)


def _require_output(choice: BenchChoice) -> None:
    if choice.output is not None:
        choice.output.require_free(JSON_FILE, TABLE_FILE, PICTURE_FILE)


# ---------------------------------------------------------------------- engines


def _integer_engines(model: Path, graph: IntGraph, x: IntArray) -> tuple[tuple[Engine, ...], dict[str, str]]:
    """onnxruntime and native code, and why one of them is not there."""
    from intsnn.native import compile as compile_graph

    engines, missing = [_onnx_engine(model, graph, x)], {}
    try:
        compile_graph(graph, threads=1)
    except (CompilerError, UsageError) as error:  # no compiler, or no folder of its own for what it writes
        missing[NATIVE] = said_in_a_line(error)
    else:
        engines.append(_native_engine(graph, x))
    return tuple(engines), missing


def _onnx_engine(model: Path, graph: IntGraph, x: IntArray) -> Engine:
    import onnxruntime

    from intsnn.onnx.runtime import open_session
    from intsnn.onnx.writer import INPUT, OUTPUT

    def opened(threads: int, parts: Parts) -> Sequence[Call]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return [partial(session.run, [OUTPUT], {INPUT: batch}) for batch in _narrow_batches(graph, x, parts)]

    return Engine(ONNX, opened, lambda: open_session(model).answer(x))


def _native_engine(graph: IntGraph, x: IntArray) -> Engine:
    from intsnn.native import compile as compile_graph

    def opened(threads: int, parts: Parts) -> Sequence[Call]:
        session = compile_graph(graph, threads=threads)
        return [partial(session.answer, batch) for batch in _narrow_batches(graph, x, parts)]

    return Engine(NATIVE, opened, lambda: compile_graph(graph).answer(x))


def _narrow_batches(graph: IntGraph, x: IntArray, parts: Parts) -> list[npt.NDArray[np.integer]]:
    """The batches in the words that model.onnx takes."""
    word = np.int8 if graph.input.signed else np.uint8
    return [np.ascontiguousarray(x[:, part], dtype=word) for part in parts]


def _student_engine(student: Student, real: Tensor) -> Engine:
    return Engine(STUDENT, _torch_answer(student, real), lambda: student.trace(real).output)


def _float_engines(network: nn.Module, real: Tensor) -> tuple[Engine, ...]:
    """As it is, and with images channels last, where a convolution can be faster so."""
    import copy

    import torch
    from torch import nn

    from mdcompress.modes import modules_of

    engines = [Engine(FLOAT, _torch_answer(network, real))]
    if any(isinstance(module, nn.Conv2d) for module in modules_of(network).values()):
        turned = copy.deepcopy(network).to(memory_format=torch.channels_last)
        engines.append(Engine(f"{FLOAT}, channels last", _torch_answer(turned, real)))
    return tuple(engines)


def _torch_answer(network: nn.Module, real: Tensor) -> Callable[[int, Parts], Sequence[Call]]:
    import torch

    from mdcompress.adapters.state import run_fresh
    from mdcompress.modes import evaluating

    def answer(threads: int, batch: Tensor) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode(), evaluating(network):
            run_fresh(network, batch)

    def opened(threads: int, parts: Parts) -> Sequence[Call]:
        return [partial(answer, threads, real[:, part].contiguous()) for part in parts]

    return opened


# ---------------------------------------------------------------------- measuring


def _report(subject: Bench, choice: BenchChoice) -> Report:
    _require_samples(subject, choice)
    _require_equal(subject)
    measured = Measured(
        model=str(subject.model),
        samples=subject.x.shape[1],
        time_steps=subject.x.shape[0],
        additions=_additions(subject.graph, subject.x),
        timings=_timed(subject, choice),
        missing=subject.missing,
        machine=_machine(),
        notes=_notes(subject),
    )
    text, document = bench_text(measured), bench_document(measured)
    if choice.output is None:
        return Report(text, document, (subject.model,))
    with choice.output.writing("the timings") as folder:
        write_atomically(folder / JSON_FILE, f"{json.dumps(document, indent=2)}\n".encode())
        write_atomically(folder / TABLE_FILE, f"{text}\n".encode())
        pictures = picture_paths(folder / PICTURE_FILE, choice.pictures)
        draw_timings(measured, pictures)
    names = (JSON_FILE, TABLE_FILE, *(picture.name for picture in pictures))
    return Report(text, document, tuple(choice.output.folder / name for name in names))


def _require_samples(subject: Bench, choice: BenchChoice) -> None:
    found, largest = subject.x.shape[1], max(choice.batches)
    if found < largest:
        raise UsageError(
            f"{subject.model}: there must be samples for the largest batch of {largest} (got {found})",
            hints=[f"give `--batch {found}` at most, or export with more: `--samples {largest}`"],
        )


def _require_equal(subject: Bench) -> None:
    """ParityError where an integer engine's answers differ from those of the first one."""
    answers = {engine.name: engine.exact() for engine in subject.engines if engine.exact is not None}
    first, *others = answers
    for name in others:
        if not np.array_equal(answers[first], answers[name]):
            raise ParityError(
                f"{subject.model}: {first} and {name} must give equal answers "
                f"({np.count_nonzero(answers[first] != answers[name])} of {answers[first].size} values differ)",
                hints=["export the run again, which finds the first spike or membrane that differs; then report it"],
            )


def _additions(graph: IntGraph, x: IntArray) -> float:
    """Synaptic additions of one sample, mean."""
    from intsnn.activity import measure
    from intsnn.activity.additions import synaptic_additions

    return math.fsum(each.mean for each in synaptic_additions(graph, measure(graph, [x]))) * len(x)


def _timed(subject: Bench, choice: BenchChoice) -> dict[tuple[int, int], dict[str, Timing]]:
    """(batch, threads) -> engine -> seconds of a batch."""
    found = {}
    with _torch_threads_kept():
        for threads, batch in itertools.product(choice.threads, choice.batches):
            parts = _parts(subject.x.shape[1], batch)
            calls = {engine.name: _in_a_row(engine.open(threads, parts)) for engine in subject.engines}
            passes = interleaved(calls, rounds=choice.rounds)
            found[batch, threads] = {
                name: Timing(tuple(each / len(parts) for each in timing.seconds)) for name, timing in passes.items()
            }
    return found


def _notes(subject: Bench) -> tuple[str, ...]:
    """What a user should hear of the compiled engine: that it is compiled anew the next time, and why."""
    from intsnn.compiling.folder import unkept

    said = unkept() if any(engine.name == NATIVE for engine in subject.engines) else None
    return () if said is None else (said,)


def _parts(samples: int, batch: int) -> Parts:
    """Whole batches; the samples left over take no part."""
    return [slice(start, start + batch) for start in range(0, samples - batch + 1, batch)]


def _in_a_row(calls: Sequence[Call]) -> Call:
    def call() -> None:
        for each in calls:
            each()

    return call


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Torch's number of threads is afterwards what it was, where torch is loaded."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def _machine() -> dict[str, str | int | float]:
    """What the figures depend on; the load is that of the minute before they were taken."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {"processor": platform.machine(), "cores": os.cpu_count() or 1, "load": round(load, 2)}

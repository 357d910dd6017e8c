"""run: a float network and batches -> student, integer graph, parity, activity, hardware figures; what `run` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from intsnn.activity import measure, write_activity
from intsnn.engines import Work, open_native
from intsnn.estimation.estimation import estimate
from intsnn.execution.golden import write_golden
from intsnn.execution.parity import require_equal
from intsnn.onnx.file import write_onnx
from intsnn.report.markdown import quantity
from intsnn.shares import percent
from mdcompress.adapters import Adapter
from mdcompress.compression import compress
from mdcompress.data.still import Walkable, over_steps
from mdcompress.errors import DataError, RunError
from mdcompress.evaluation import Metrics, evaluate
from mdcompress.evaluation.verification import verify_graph
from mdcompress.pipeline.estimating import write_figures
from mdcompress.pipeline.kept_epoch import kept_in_words, kept_measured
from mdcompress.pipeline.sizes import Sizes, overridden_in_words, sizes_of
from mdcompress.planning import plan_to_yaml
from mdcompress.recipe import Recipe, load_recipe
from mdcompress.runs import (
    ACTIVITY_FILE,
    DISTILLED_FILE,
    GOLDEN_FILE,
    HARDWARE_JSON_FILE,
    MODEL_FILE,
    PLAN_FILE,
    Destination,
    Overwrite,
)
from mdcompress.student import Student
from mdcompress.student.lowering import lower
from mdcompress.student.weights import save_student
from mdcompress.tracing.conventions import fit
from mdcompress.training import EpochRecord, Event, Progress, choice_of, distill
from mdcompress.training.devices import usable_device

if TYPE_CHECKING:
    import numpy.typing as npt

    from intsnn.activity import Activity
    from intsnn.engines import Session
    from intsnn.estimation.report import HardwareReport
    from intsnn.execution.parity import ParityReport
    from intsnn.graph import IntGraph

_WRITTEN = (DISTILLED_FILE, PLAN_FILE, MODEL_FILE, GOLDEN_FILE, ACTIVITY_FILE, HARDWARE_JSON_FILE)
_PRICE = {"energy": "energy_pj", "latency": "latency_ns", "area": "area_um2"}
SAMPLES = 64  # test samples that parity and activity are measured on, as `mdcompress export` has it


@dataclass(frozen=True)
class Run:
    """All that one call made of a network.

    teacher, quantized, distilled: on the test batches. history: every epoch of the distillation, from the calibrated
    student, epoch 0; empty where nothing was trained. parity: of student, interpreter, onnxruntime and, where there is
    a C compiler, native code.
    """

    student: Student
    graph: IntGraph
    teacher: Metrics
    quantized: Metrics
    distilled: Metrics
    parity: ParityReport
    activity: Activity
    hardware: HardwareReport
    sizes: Sizes
    recipe: Recipe
    history: tuple[EpochRecord, ...]

    def __str__(self) -> str:
        """The figures in a few lines."""
        accuracies = ", ".join(
            f"{name} {percent(metrics.accuracy)}"
            for name, metrics in (
                ("teacher", self.teacher), ("quantized", self.quantized), ("distilled", self.distilled),
            )
        )  # fmt: skip
        bits = overridden_in_words(self.recipe.quantize.weight.bit_width, self.sizes.compression.weights)
        parity = f"parity     {self.parity}"
        lines = (f"accuracy   {accuracies}", self._kept(), parity, self._price(), bits, self.sizes.text)
        return "\n".join(filter(None, lines))

    def _kept(self) -> str:
        """Which epoch was kept and why, as `mdcompress run` says it; empty where nothing was trained."""
        if not self.history:
            return ""
        words = kept_in_words(self.recipe, kept_measured(self.history, choice_of(self.recipe.distill)))
        return words.partition("\n\n")[0]  # without the table of epochs

    def _price(self) -> str:
        totals = {total.key: total for total in self.hardware.totals()}
        figures = (f"{name} {quantity(totals[key])}" for name, key in _PRICE.items())
        return f"hardware   {', '.join(figures)} on {self.hardware.hardware}"


def run(
    model: nn.Module,
    recipe: Recipe | str | Path = "4bit",
    *,
    train: Walkable,
    test: Walkable,
    validate: Walkable | None = None,
    time_steps: int | None = None,
    hardware: str | Path = "rram_64x64_65nm",
    folder: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    adapters: Sequence[Adapter] = (),
    progress: Progress | None = None,
) -> Run:
    """Compress, distil, export and price a trained network in one call; what `mdcompress run` does after `train`.

    Args:
        model: a trained float spiking network, in any style; it is not changed.
        recipe: a recipe, the path of one, or the name of a shipped one. Its data and teacher sections have no part in
            it but `data.calibration_samples`.
        train: batches (x [T, N, ...], y [N]) that can be walked once an epoch: a list or a DataLoader.
        test: batches for the accuracies, parity and activity.
        validate: batches that choose the epoch; without them those of `train`, which favours late epochs.
        time_steps: T, where batches are images [N, ...], as those of torchvision: each is given at every step.
        hardware: a description, by name or path.
        folder: where the files go that the commands write: distilled.safetensors, plan.yaml, model.onnx, golden.npz,
            activity.json, hardware.json, hardware.md, report.html. None: nothing is written.
        seed: start of all random numbers.
        device: where to train, "cpu" or "cuda".
        adapters: for neurons of one's own.
        progress: is told of every step and epoch of the distillation.

    Returns:
        The student, the integer graph, and every figure.

    Raises:
        TraceError: the network cannot be read as a graph.
        PlanError: the recipe does not fit the network.
        DataError: the batches have another shape.
        ParityError: the integer engines differ from the student; nothing is written.
        RunError: the folder holds such results already.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    place = usable_device(device)
    output = None if folder is None else _without_a_result(Path(folder))
    train, test, validate = (
        over_steps(each, time_steps) for each in (train, test, train if validate is None else validate)
    )
    steps = recipe.student_time_steps if recipe.distill.time_steps else None
    samples = _first(train, recipe.data.calibration_samples)
    teacher = fit(model, samples, adapters=adapters).network.to(place)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = compress(teacher, samples.to(place), recipe, [samples[:steps].to(place)], adapters=adapters)
    before = evaluate(teacher, test), evaluate(student, test, time_steps=steps)
    history = _History(progress)
    distill(
        student, teacher=teacher, train=train, validate=validate, spec=recipe.distill, settings=recipe.train,
        seed=seed, progress=history, device=place,
    )  # fmt: skip
    after = evaluate(student, test, time_steps=steps)
    exported = _exported(student.to("cpu"), _first(test, SAMPLES)[:steps])
    figures = estimate(exported.graph, exported.activity, hardware)
    found = Run(
        student, exported.graph, *before, after, exported.parity, exported.activity, figures,
        sizes_of(exported.graph), recipe, tuple(history.epochs),
    )  # fmt: skip
    if output is not None:
        _write(found, output, exported)
    return found


class _History:
    """The epochs of a distillation; passes on every event."""

    def __init__(self, progress: Progress | None) -> None:
        self.epochs: list[EpochRecord] = []
        self._progress = progress

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochRecord):
            self.epochs.append(event)
        if self._progress is not None:
            self._progress(event)


@dataclass(frozen=True)
class _Exported:
    """A proved graph, the integers it was proved and counted on, and native code, where that is."""

    graph: IntGraph
    parity: ParityReport
    activity: Activity
    integers: npt.NDArray[np.int64]
    native: Session | None


def _exported(student: Student, x: Tensor) -> _Exported:
    """The integer graph of a student, equal to it on x, and its activity there."""
    graph = lower(student)
    native = open_native(graph, work=Work(samples=x.shape[1], time_steps=len(x))).session
    parity = verify_graph(student, graph, x, native=native)
    require_equal(parity)
    integers = student.quantize_input(x).numpy()
    activity = measure(graph, [integers], engine=native or "auto")
    return _Exported(graph, parity, activity, integers, native)


def _without_a_result(folder: Path) -> Destination:
    """Where the files go, which must not be there yet."""
    output = Destination(folder, Overwrite.NEVER)
    if there := [name for name in _WRITTEN if (output.folder / name).exists()]:
        raise RunError(
            f"{folder} must not hold the result of a run yet (found {', '.join(there)})",
            hints=["choose another folder"],
        )
    return output


def _write(found: Run, output: Destination, exported: _Exported) -> None:
    trace = None if exported.native is None else exported.native.run(exported.integers)
    with output.writing("the compressed network") as folder:
        save_student(found.student, folder / DISTILLED_FILE)
        (folder / PLAN_FILE).write_text(plan_to_yaml(found.student.plan), encoding="utf-8")
        write_onnx(found.graph, folder / MODEL_FILE)
        write_golden(found.graph, folder / GOLDEN_FILE, x=exported.integers, trace=trace)
        write_activity(found.activity, folder / ACTIVITY_FILE)
        write_figures(found.hardware, folder)


def _first(batches: Iterable[tuple[Tensor, Tensor]], samples: int) -> Tensor:
    """x of the first samples of some batches, [T, N, ...]."""
    found: list[Tensor] = []
    for x in _inputs(batches):
        found.append(x)
        if sum(one.shape[1] for one in found) >= samples:
            break
    if not found:
        raise DataError("there must be at least one batch (got none)", hints=["give batches (x [T, N, ...], y [N])"])
    return torch.cat(found, dim=1)[:, :samples]


def _inputs(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    for x, _ in batches:
        yield x.float()

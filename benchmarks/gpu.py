"""MS-ResNet-18 on CIFAR-10 from scratch to an exact network, on one GPU in under 12 minutes: times, ratios, accuracies.

    python -m benchmarks gpu --data-folder FOLDER --work FOLDER

FOLDER has the official Python pickles (`cifar-10-batches-py`), or `cifar10_jpeg_q75.npz` (experiment_data.py). A float
network is trained in bfloat16, students of 4 and 2 bits are calibrated, distilled and exported, and what each student
computes on the GPU is compared with interpreter, onnxruntime and native code. Every stage is a command of `mdcompress`,
with its files in the work folder: one that has finished is not done again, a training that was stopped goes on from its
state. `--deadline` ends the work before the first stage that would begin later; the same command goes on.

Estimated for one H200, not measured: a float step of 128 images takes 35 ms, one of a distillation 80 ms. So 3,200 and
2 x 800 of them take 4 minutes, and calibration, validation, export and parity as long again.

`--device cpu --small` does the same with a narrow network and one epoch each, to try the path without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.experiment_data import CIFAR10_FILE
from benchmarks.training_step_cost import Step, Subject, steps_of, timed
from intsnn.execution.parity import ParityReport, require_equal
from mdcompress import zoo
from mdcompress.cli import main as mdcompress
from mdcompress.data import load_data
from mdcompress.errors import DataError
from mdcompress.evaluation.verification import verify
from mdcompress.pipeline.networks import first_samples
from mdcompress.pipeline.report import percent, table
from mdcompress.recipe.files import load_kept_recipe
from mdcompress.runs import (
    DISTILLED_FILE,
    HISTORY_FILE,
    RECIPE_FILE,
    TEACHER_FILE,
    TEACHER_HISTORY_FILE,
    RunDirectory,
)
from mdcompress.runs.manifest import Stage
from mdcompress.student.weights import load_student
from mdcompress.training.devices import usable_device
from mdcompress.trust import GIVEN

RECIPE = "cifar10_ms_resnet18"  # 4 bits; the first and the last layer have 8
STUDENTS: Mapping[str, tuple[str, ...]] = {
    "4bit": (),
    "2bit": ("quantize.weight={bit_width: 2, narrow_range: false}", "quantize.membrane={bit_width: 2}"),
}
FIRST = "4bit"  # in whose run the float network is trained; the others take it from there
COMMON = ("train.deterministic=false", "train.checkpoint_every=500", "data.calibration_samples=256")
PACKED = (  # loaders of one's own feed and vary their samples themselves
    "data.name=benchmarks.experiment_data:cifar10_teacher",
    "data.augment={}",
    "data.workers=0",
    "data.pin_memory=false",
)
DEADLINE = 600.0  # seconds, so that the stage that has begun by then has two minutes to end


@dataclass(frozen=True)
class Size:
    """How much is done.

    network: its import path. changes: of the recipe; epochs: likewise, by the data there are. step: T and N of the
    batch whose steps are timed, `rounds` times. samples: of the test part, compared on the device.
    """

    network: str
    build: Callable[[], nn.Module]
    changes: tuple[str, ...]
    official_epochs: tuple[str, ...]
    packed_epochs: tuple[str, ...]
    step: tuple[int, int]
    rounds: int
    samples: int


def narrow_network() -> nn.Module:
    """MS-ResNet-18 with 2 channels in the place of 64."""
    return zoo.ms_resnet18(width=2)


_ONE_EPOCH = ("teacher.epochs=1", "distill.epochs=1")
WHOLE = Size(
    "mdcompress.zoo:ms_resnet18", zoo.ms_resnet18, (),
    official_epochs=("teacher.epochs=9", "distill.epochs=2"),  # of 352 steps
    packed_epochs=("teacher.epochs=20", "distill.epochs=5"),  # of 157
    step=(4, 128), rounds=20, samples=32,
)  # fmt: skip
SMALL = Size(
    "benchmarks.gpu:narrow_network", narrow_network,
    ("data.time_steps=2", "data.batch_size=16", "data.calibration_samples=16", "data.workers=0"),
    official_epochs=_ONE_EPOCH, packed_epochs=_ONE_EPOCH, step=(2, 2), rounds=1, samples=4,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where it is done: the device, the folder of the data, that of the runs, and how much."""

    device: torch.device
    data: Path
    work: Path
    size: Size

    def run(self, student: str) -> RunDirectory:
        """The run of a student."""
        return RunDirectory(self.work / student)


@dataclass(frozen=True)
class Task:
    """A stage of a student's run."""

    student: str
    stage: Stage

    def __str__(self) -> str:
        """In words."""
        return f"{self.stage.value} {self.student}"


def tasks() -> Iterator[Task]:
    """All stages, in their order."""
    yield Task(FIRST, Stage.TRAIN)
    for student in STUDENTS:
        yield from (Task(student, stage) for stage in (Stage.QUANTIZE, Stage.DISTILL, Stage.EXPORT))


def arguments_of(task: Task, place: Place) -> list[str]:
    """The command line of a stage."""
    official = (place.data / "cifar-10-batches-py").is_dir()
    if not official and not (place.data / CIFAR10_FILE).is_file():
        raise DataError(
            f"{place.data} must hold cifar-10-batches-py or {CIFAR10_FILE} (it has neither)",
            hints=["name the folder that holds one of them: --data-folder FOLDER"],
        )
    size = place.size
    changes = (*COMMON, *STUDENTS[task.student], *size.changes)
    changes += size.official_epochs if official else (*size.packed_epochs, *PACKED)
    weights = [] if task.student == FIRST else ["--weights", str(place.run(FIRST).file(TEACHER_FILE))]
    where = ["--run", str(place.run(task.student).path), "--data-folder", str(place.data)]
    computes = [] if task.stage is Stage.EXPORT else ["--device", str(place.device)]
    sets = [word for change in changes for word in ("--set", change)]
    return [task.stage.value, "--recipe", RECIPE, "--model", size.network, *weights, *where, *computes, *sets]


def perform(place: Place, *, started: float, deadline: float) -> Task | None:
    """All stages that have not finished, as long as time is left; the first that was not begun."""
    for task in tasks():
        if time.monotonic() - started > deadline:
            return task
        with contextlib.redirect_stdout(sys.stderr):
            code = _exit_code(arguments_of(task, place))
        if code != 0:
            raise SystemExit(code)  # the command has said why
    return None


def _exit_code(arguments: Sequence[str]) -> int:
    try:
        mdcompress(list(arguments), prog_name="mdcompress")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def page(place: Place, *, parities: Mapping[str, ParityReport], cost: str) -> str:
    """What all stages found, as Markdown."""
    return "\n\n".join(
        [
            "# MS-ResNet-18 on CIFAR-10, on one device",
            f"`{RECIPE}`, seed 0, {_device_in_words(place.device)}, torch {torch.__version__}.",
            accuracy_table(place, parities),
            f"Seconds of each stage, and of an epoch with its validation.\n\n{stage_table(place)}",
            f"A training step of {place.size.step[1]} images in memory at T = {place.size.step[0]}; the device is "
            f"waited for. Median of {place.size.rounds}, taken in turn.\n\n{cost}",
        ]
    )


def accuracy_table(place: Place, parities: Mapping[str, ParityReport]) -> str:
    """Test accuracy of teacher and students, and what was compared of each."""
    header = ["network", "test accuracy", "calibrated alone", "values compared at export", "on the device", "differ"]
    measured = {name: place.run(name).manifest().stages for name in STUDENTS}
    teacher = measured[FIRST][Stage.QUANTIZE.value].measured["teacher_test_accuracy"]
    rows = [["teacher", percent(teacher), "-", "-", "-", "-"]]
    for name, stages in measured.items():
        rows.append(
            [
                name,
                percent(stages[Stage.DISTILL.value].measured["test_accuracy"]),
                percent(stages[Stage.QUANTIZE.value].measured["test_accuracy"]),
                f"{stages[Stage.EXPORT.value].measured['parity_values']:,.0f}",
                f"{parities[name].values:,}",
                "0" if parities[name].equal else str(parities[name].first_difference),
            ]
        )
    return table(header, rows, numbers=header[1:])


def stage_table(place: Place) -> str:
    """Seconds of each stage, and of an epoch where it trains."""
    header, rows = ["stage", "seconds", "epochs", "seconds an epoch"], []
    for task in tasks():
        run = place.run(task.student)
        epochs = list(_epoch_seconds(run, task.stage))
        each = f"{statistics.median(epochs):.1f}" if epochs else "-"
        record = run.manifest().stages[task.stage.value]
        rows.append([str(task), f"{record.seconds:.0f}", str(len(epochs)) if epochs else "-", each])
    return table(header, rows, numbers=header[1:])


def _epoch_seconds(run: RunDirectory, stage: Stage) -> Iterator[float]:
    """Of the epochs that were trained; epoch 0 is the student as it came."""
    names = {Stage.TRAIN: TEACHER_HISTORY_FILE, Stage.DISTILL: HISTORY_FILE}
    if stage in names:
        with run.file(names[stage]).open(newline="") as file:
            yield from (float(row["seconds"]) for row in csv.DictReader(file) if row["epoch"] != "0")


def parity_on_device(place: Place, student: str) -> ParityReport:
    """What a distilled student computes on the device, beside its integer graph; ParityError where they differ."""
    run = place.run(student)
    recipe = load_kept_recipe(run.file(RECIPE_FILE))
    splits = load_data(recipe.data, seed=recipe.seed, folder=place.data, consent=GIVEN)
    x = first_samples(splits.test, place.size.samples, seed=recipe.seed)
    found = verify(load_student(run.file(DISTILLED_FILE)).to(place.device), x.to(place.device))
    require_equal(found)
    return found


def cost_table(place: Place) -> str:
    """Milliseconds of a training step of float network and student, and their ratios."""
    torch.manual_seed(0)
    steps, samples = place.size.step
    x = torch.rand(steps, samples, 3, 32, 32).to(place.device)
    with _fastest():
        made = steps_of(Subject("ms_resnet18", place.size.build().to(place.device), x, 10))
        first, *others = made
        in_turn = {first: made[first], f"{first}, bfloat16": _in_bfloat16(made[first], place.device)}
        in_turn |= {name: made[name] for name in others}
        waited = {name: _waited_for(step, place.device) for name, step in in_turn.items()}
        found = timed(waited, place.size.rounds, clock=time.perf_counter)
    floats = [found[name] for name in list(found)[:2]]
    header = ["step", "ms", "/ float32", "/ bfloat16"]
    rows = [[name, f"{1000 * each:.1f}", *(f"{each / base:.2f}" for base in floats)] for name, each in found.items()]
    return table(header, rows, numbers=header[1:])


@contextlib.contextmanager
def _fastest() -> Iterator[None]:
    """As with `train.deterministic: false`."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _in_bfloat16(step: Step, device: torch.device) -> Step:
    def perform() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            step()

    return perform


def _waited_for(step: Step, device: torch.device) -> Step:
    def perform() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return perform


def _device_in_words(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left to do; then print the page."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="where the runs lie")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a narrow network, one epoch each")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds after which no stage begins")
    chosen = parser.parse_args(arguments)
    size = SMALL if chosen.small else WHOLE
    place = Place(usable_device(chosen.device, option="--device"), chosen.data_folder, chosen.work, size)
    left = perform(place, started=started, deadline=chosen.deadline)
    if left is not None:
        sys.stdout.write(f"stopped at the deadline, before `{left}`; the same command goes on there\n")
        return
    parities = {name: parity_on_device(place, name) for name in STUDENTS}
    sys.stdout.write(f"{page(place, parities=parities, cost=cost_table(place))}\n")


if __name__ == "__main__":
    main()

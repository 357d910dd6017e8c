"""The run directory `runs/<recipe name>/`: the files of each stage, written whole or not at all. No torch here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from intsnn.files import write_atomically
from mdcompress._version import __version__
from mdcompress.errors import RunError
from mdcompress.runs.commit import (
    RECIPE_NAME,
    committed,
    discard,
    discard_states,
    held,
    interrupted,
    left_in_run,
    note_outdated,
    remove_left,
    settle,
)
from mdcompress.runs.lock import is_locked
from mdcompress.runs.manifest import (
    MANIFEST_NAME,
    NO_DEFAULTS,
    Defaults,
    Manifest,
    Stage,
    StageRecord,
    file_hash,
    manifest_text,
    read_manifest,
    stale_reasons,
)
from mdcompress.runs.writing import make_folder, write_text

RUNS_FOLDER = Path("runs")  # under the working directory

RECIPE_FILE = RECIPE_NAME
TEACHER_FILE, TEACHER_HISTORY_FILE = "teacher.safetensors", "teacher_history.csv"
TEACHER_PICTURE_FILE = "teacher_training.svg"
PLAN_FILE, QUANTIZED_FILE = "plan.yaml", "quantized.safetensors"
DISTILLED_FILE, HISTORY_FILE = "distilled.safetensors", "history.csv"
MISMATCH_FILE, MISMATCH_TABLE_FILE = "mismatch.json", "mismatch.md"
MISMATCH_PICTURE_FILE, TRAINING_PICTURE_FILE = "mismatch.svg", "training.svg"
STUDENTS_PICTURE_FILE = "students.svg"  # beside the runs of several students; no stage's result
TENSORBOARD_FOLDER = "tensorboard"  # logs of trainings, a folder each; no stage's result
MODEL_FILE, GOLDEN_FILE, ACTIVITY_FILE = "model.onnx", "golden.npz", "activity.json"
NIR_FILE = "model.nir"  # where `export` was asked for it
STUDENT_FILE = "student.safetensors"  # the same: the student with packed weights
C_FOLDER = "c"  # the same: a folder of C, which goes into the run whole or not at all
HARDWARE_JSON_FILE, HARDWARE_TABLE_FILE, HARDWARE_PAGE_FILE = "hardware.json", "hardware.md", "report.html"

STAGE_FILES: Mapping[Stage, tuple[str, ...]] = {
    Stage.TRAIN: (TEACHER_FILE, TEACHER_HISTORY_FILE, TEACHER_PICTURE_FILE),
    Stage.QUANTIZE: (QUANTIZED_FILE, PLAN_FILE),
    Stage.DISTILL: (
        DISTILLED_FILE,
        HISTORY_FILE,
        MISMATCH_FILE,
        MISMATCH_TABLE_FILE,
        MISMATCH_PICTURE_FILE,
        TRAINING_PICTURE_FILE,
    ),
    Stage.EXPORT: (MODEL_FILE, GOLDEN_FILE, ACTIVITY_FILE),
    Stage.ESTIMATE: (HARDWARE_JSON_FILE, HARDWARE_TABLE_FILE, HARDWARE_PAGE_FILE),
}


@dataclass(frozen=True)
class Origin:
    """Where a stage's result comes from.

    inputs: the files it reads. settings: what else it depends on, `key.path -> JSON value`. recipe: the resolved recipe
    as YAML. command, seed: the command line and the seed it runs with.
    """

    inputs: tuple[Path, ...]
    settings: Mapping[str, str]
    recipe: str
    command: str
    seed: int


@dataclass(frozen=True)
class StartedStage:
    """A stage at work: what it read was hashed when it started, so that a later change makes it stale, not wrong."""

    run: RunDirectory
    stage: Stage
    origin: Origin
    inputs: Mapping[str, str]
    started: float
    place: tuple[int, int] | None = None  # device and number of the run's folder; None where there was none yet

    @property
    def checkpoint(self) -> Path:
        """Where the stage keeps its state while it works.

        The name holds a digest of what was read and set, so that a stage goes on only from a state of its own kind.
        """
        kind = json.dumps([dict(self.inputs), dict(self.origin.settings)], sort_keys=True)
        digest = hashlib.sha256(kind.encode()).hexdigest()[:8]
        return self.run.file(f"{self.stage.value}.last-{digest}.safetensors")

    @property
    def checkpoint_origin(self) -> Path:
        """What the state in `checkpoint` comes from, as JSON: for the error of a training with other settings."""
        return self.checkpoint.with_suffix(".json")

    def describe_checkpoint(self) -> None:
        """Write `checkpoint_origin`."""
        write_text(self.checkpoint_origin, json.dumps(self._kind(), indent=2, sort_keys=True) + "\n")

    def refuse_other_checkpoints(self) -> None:
        """RunError where a training of this stage was interrupted that read something else or was set otherwise."""
        for other in self.other_checkpoints():
            raise RunError(
                f"an interrupted training with other settings is here: {other} ({self._difference(other)})",
                hints=[
                    "go on with it: give the settings it was started with",
                    "or add --force to delete it, or give the run another folder with --run",
                ],
            )

    def other_checkpoints(self) -> tuple[Path, ...]:
        """The states of this stage that this one cannot go on from."""
        return tuple(path for path in self.run.checkpoints(self.stage) if path != self.checkpoint)

    def _kind(self) -> dict[str, str]:
        return {**{f"file {name}": found for name, found in self.inputs.items()}, **self.origin.settings}

    def _difference(self, other: Path) -> str:
        """`teacher.epochs` was 60, now it is 3."""
        try:
            before = TypeAdapter(dict[str, str]).validate_json(other.with_suffix(".json").read_bytes())
        except (OSError, ValidationError):
            return "what it was started with is not known"
        now = self._kind()
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return "; ".join(
            f"{name} is not the same one"
            if name.startswith("file ")
            else f"`{name}` was {before.get(name, 'absent')}, now it is {now.get(name, 'absent')}"
            for name in names
        )

    @contextlib.contextmanager
    def writing(self, *, measured: Mapping[str, float], summary: str) -> Iterator[Path]:
        """A folder to write the stage's files into, under their final names.

        When the block ends without an exception they move into the run and are recorded; else nothing has happened.
        Files of the stage's result before that the new one has not are removed.
        """
        self._require_same_place()
        make_folder(self.run.path)
        with committed(self.run.path, self.stage.value, what=f"the result of `{self.stage.value}`") as staging:
            yield staging
            outputs = _hashes(staging)
            note_outdated(staging, self._outdated(outputs))
            manifest = self.run.manifest().with_record(self.stage, self._record(outputs, measured, summary))
            write_atomically(staging / RECIPE_FILE, self.origin.recipe.encode())
            write_atomically(staging / MANIFEST_NAME, manifest_text(manifest).encode())
        self.run.discard_checkpoints(self.stage)
        discard(self.run.path, self.stage.value)

    def _record(self, outputs: Mapping[str, str], measured: Mapping[str, float], summary: str) -> StageRecord:
        return StageRecord(
            inputs=self.inputs,
            outputs=outputs,
            settings=self.origin.settings,
            version=__version__,
            command=self.origin.command,
            seed=self.origin.seed,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.started, 3),
            measured=measured,
            summary=summary,
        )

    def _outdated(self, outputs: Mapping[str, str]) -> tuple[str, ...]:
        """Files and folders in the run that the result before had and this one has not."""
        before = self.run.record(self.stage)
        had = {} if before is None else before.outputs
        return tuple(sorted({Path(name).parts[0] for name in had} - {Path(name).parts[0] for name in outputs}))

    def _require_same_place(self) -> None:
        """RunError where the run was moved away since the stage began: what follows would stand beside nothing."""
        if self.place is not None and self.place != _place_of(self.run.path):
            raise RunError(
                f"{self.run.path} must stay where it is while `{self.stage.value}` works (it was moved or replaced)",
                hints=["nothing was written: give the command again, with --run and the folder's new place"],
            )


@dataclass(frozen=True)
class RunDirectory:
    """A folder with the files of one run and their record, `run.json`."""

    path: Path

    def file(self, name: str) -> Path:
        """The path of a file of the run."""
        return self.path / name

    def files(self, stage: Stage) -> tuple[Path, ...]:
        """The paths of the files a stage can write, the main one first."""
        return tuple(self.file(name) for name in STAGE_FILES[stage])

    def written_files(self, stage: Stage) -> tuple[Path, ...]:
        """The paths of those that a finished stage wrote and that are there, the main one first."""
        outputs = self.manifest().stages[stage.value].outputs
        first = [name for name in STAGE_FILES[stage] if name in outputs]
        names = dict.fromkeys([*first, *outputs])
        return tuple(path for path in map(self.file, names) if path.is_file())

    def manifest(self) -> Manifest:
        """The finished stages."""
        return read_manifest(self.path)

    def record(self, stage: Stage) -> StageRecord | None:
        """What is known of a stage; None where it has not finished."""
        return self.manifest().record(stage)

    def stale(self, stage: Stage, settings: Mapping[str, str], *, defaults: Defaults = NO_DEFAULTS) -> tuple[str, ...]:
        """Why a stage has to be run (again); empty where its files are what they should be (`stale_reasons`)."""
        return stale_reasons(self.path, stage, settings, defaults=defaults)

    def require(
        self, stage: Stage, settings: Mapping[str, str], *, defaults: Defaults = NO_DEFAULTS, command: str
    ) -> None:
        """RunError unless `stage` has finished and nothing it came from has changed since.

        Args:
            stage: the stage whose files are about to be read.
            settings: all settings of today.
            defaults: of keys that the record may not know (`stale_reasons`).
            command: the command line that performs the stage, for the hint.
        """
        if self.record(stage) is None:
            raise RunError(
                f"{self.path} must hold the result of `{stage.value}` (there is none)", hints=[f"run `{command}`"]
            )
        if reasons := self.stale(stage, settings, defaults=defaults):
            raise RunError(
                f"the result of `{stage.value}` in {self.path} is stale: {'; '.join(reasons)}",
                hints=[f"run `{command} --force`", *self._hint_at_kept_recipe(stage)],
            )

    def _hint_at_kept_recipe(self, stage: Stage) -> Sequence[str]:
        """Where only settings differ, going on with those of before is a way out too."""
        records = self.manifest().stages.values()
        before = {key: value for record in records for key, value in record.settings.items()}
        if self.stale(stage, before):
            return ()
        return (f"or go on with the recipe the run was made with: give `--run {self.path}` without --recipe and --set",)

    def refuse_to_overwrite(self, stage: Stage, *hints: str) -> None:
        """RunError where a file of the stage is there already. hints: ways out, if not the usual ones."""
        found = [path.name for path in self.files(stage) if path.exists()]
        if found:
            raise RunError(
                f"{self.path} must not hold a result of `{stage.value}` yet (found {', '.join(found)})",
                hints=hints or ["add --force to replace it, or give the run another folder with --run"],
            )

    def start(self, stage: Stage, origin: Origin) -> StartedStage:
        """Begin a stage: hash what it reads."""
        inputs = {self._input_name(path): file_hash(path) for path in origin.inputs}
        return StartedStage(self, stage, origin, inputs, time.monotonic(), _place_of(self.path))

    @contextlib.contextmanager
    def held(self, command: str) -> Iterator[None]:
        """Keep other commands from writing to the run, and finish or remove what an interrupted one left in it.

        Raises:
            RunError: another command is writing to it, or it is not writable.
        """
        with held(self.path, command):
            remove_left(self.path)
            yield

    def settle(self) -> None:
        """Finish or remove what an interrupted command left, for one that only reads."""
        settle(self.path)
        if left_in_run(self.path) and not is_locked(self.path):
            with contextlib.suppress(RunError), self.held("mdcompress"):
                pass  # where it cannot be removed it does no harm

    def checkpoints(self, stage: Stage) -> tuple[Path, ...]:
        """The states that a stage kept while it worked, of every kind."""
        return tuple(sorted(self.path.glob(f"{stage.value}.last-*.safetensors")))

    def discard_checkpoints(self, stage: Stage) -> None:
        """Delete the states that a stage kept while it worked, of every kind."""
        discard_states(self.checkpoints(stage))

    def write_recipe(self, text: str) -> None:
        """Keep the resolved recipe, so that later commands need no --recipe."""
        write_text(self.file(RECIPE_FILE), text)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace run.json."""
        write_text(self.file(MANIFEST_NAME), manifest_text(manifest))

    def _input_name(self, path: Path) -> str:
        """The bare name of a file of the run; the whole path of one outside."""
        return path.name if path.parent == self.path else str(path.absolute())


def named_run(name: str) -> RunDirectory:
    """The run of a recipe of that name: `runs/<name>`."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise RunError(
            f"a run's name must be a plain folder name (got {name!r})", hints=["change `name:` in the recipe"]
        )
    return RunDirectory(RUNS_FOLDER / name)


def chosen_run(run: str) -> RunDirectory:
    """The run that `--run` means: a folder, or the name of one under `runs/`."""
    path = RUNS_FOLDER / run if Path(run).name == run and not Path(run).is_dir() else Path(run)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} must be a folder (it is a file)", hints=["give --run the folder of a run"])
    return RunDirectory(path)


def existing_runs() -> Sequence[RunDirectory]:
    """The runs under `runs/`, by name."""
    if not RUNS_FOLDER.is_dir():
        return ()
    folders = [path for path in sorted(RUNS_FOLDER.iterdir()) if (path / RECIPE_FILE).exists() or interrupted(path)]
    return tuple(RunDirectory(path) for path in folders)


def only_run() -> RunDirectory:
    """The one run under `runs/`; RunError where there is none, or more than one to choose from."""
    found = existing_runs()
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunError(
            f"{RUNS_FOLDER}/ must hold a run where neither --recipe nor --run is given (there is none)",
            hints=["start one: `mdcompress run --recipe 4bit`"],
        )
    raise RunError(
        f"which run is meant must be clear (there are {len(found)}: {', '.join(str(run.path) for run in found)})",
        hints=[f"choose one, for example `--run {found[0].path.name}`"],
    )


def _hashes(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of each file in a folder and those below, by its path in there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _place_of(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""What every stage is given: the run, the recipe, where to compute, and whom to tell. No torch here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from intsnn.errors import UsageError
from mdcompress.data.names import Download
from mdcompress.pipeline.report import JsonValue, Report
from mdcompress.processes import ALONE, Processes
from mdcompress.recipe import ModelSpec, Recipe, dump_recipe
from mdcompress.recipe.keys import recipe_keys
from mdcompress.runs import DISTILLED_FILE, QUANTIZED_FILE, RECIPE_FILE, Origin, Overwrite, RunDirectory, StartedStage
from mdcompress.runs.manifest import Defaults, Stage, StageRecord
from mdcompress.trust import REFUSED, Consent
from mdcompress.trust.asking import Trust

if TYPE_CHECKING:
    from mdcompress.training.history import Progress


_KEYS = {key.path: key for key in recipe_keys(Recipe)}


class Listener(Protocol):
    """Hears what a stage is doing."""

    def note(self, message: str) -> None:
        """A line about what is going on."""
        ...

    def doing(self, what: str) -> None:
        """What the stage is at now, in a few words; no line."""
        ...

    def job(self, parts: Mapping[str, float]) -> AbstractContextManager[None]:
        """Follow several stages as one job; `parts`: stage -> its share of the work, in any unit."""
        ...

    def stage(self, title: str, doing: str) -> AbstractContextManager[None]:
        """Follow one stage, of the job that is under way or alone; `doing`: what it begins with."""
        ...

    def training(self, title: str) -> AbstractContextManager[Progress]:
        """Follow a training: what it yields is told of every step and epoch."""
        ...


@dataclass(frozen=True)
class Compute:
    """Where to compute, where the data are, and whether the user trusts the code that a file names."""

    device: str
    data_folder: Path | None
    download: Download
    trust: Trust = Trust.ASKED_FOR


@dataclass(frozen=True)
class Workspace:
    """One run with all a stage needs.

    command: the command line as typed, for the record. selection: the options that choose this run and recipe, for
    hints. settings: the resolved recipe's fields, `key.path -> JSON value`. consent: to the code that the recipe names.
    processes: those that train together. pictures: formats of pictures besides SVG. said: what was said by `note_once`.
    """

    run: RunDirectory
    recipe: Recipe
    compute: Compute
    overwrite: Overwrite
    command: str
    selection: str
    listener: Listener
    consent: Consent = REFUSED
    processes: Processes = ALONE
    pictures: tuple[str, ...] = ()
    said: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes and prints; the only one, where torchrun has not started more."""
        return self.processes.rank == 0

    @property
    def settings(self) -> Mapping[str, str]:
        """The resolved recipe's fields, `key.path -> JSON value`."""
        return dict(flattened(self.recipe.model_dump(mode="json"), ()))

    @property
    def defaults(self) -> Defaults:
        """What the keys that each stage reads are by default: so an earlier version worked that did not know them."""
        return {
            stage: {key: default for key in self.settings if (default := default_read_by(key, stage)) is not None}
            for stage in Stage
        }

    @property
    def model(self) -> ModelSpec:
        """The network that the recipe or --model names."""
        if self.recipe.model is None:
            raise UsageError(
                f"recipe {self.recipe.name!r} names no network", hints=["give one: `--model module:function`"]
            )
        return self.recipe.model

    def note(self, message: str) -> None:
        """Say something by the way; once, however many processes there are."""
        if self.writes:
            self.listener.note(message)

    def note_once(self, message: str) -> None:
        """Say something that several stages find out, once in a command."""
        if self.writes and message not in self.said:
            self.said.add(message)
            self.listener.note(message)

    def agree(self, key: str) -> None:
        """UsageError where the user does not agree to run what the recipe names at `key`; asked before torch loads."""
        for code in self.recipe.named_code:
            if code.key == key and not code.is_own:
                self.consent.require(code)

    def command_for(self, stage: Stage) -> str:
        """The command line that performs a stage of this run."""
        return " ".join(filter(None, ["mdcompress", stage.value, self.selection]))

    @property
    def has_several_students(self) -> bool:
        """Whether there is a student for each T, in a run of its own; only the teacher is in this one."""
        return self.recipe.distill.students == "each"

    def student_folder(self, steps: int) -> Path:
        """The run of the student for T = steps, where there are several."""
        return self.run.path / f"T{steps}"

    def require_one_student(self) -> None:
        """UsageError where there are several students and the stage works on one."""
        if not self.has_several_students:
            return
        folders = [self.student_folder(steps) for steps in self.recipe.distill.time_steps or ()]
        there = [folder for folder in folders if RunDirectory(folder).file(RECIPE_FILE).is_file()]
        raise UsageError(
            f"this command works on one student, and the recipe has one for each T ({', '.join(map(str, folders))})",
            hints=[f"choose one: `--run {there[0]}`, without --recipe and --set"]
            if there
            else [f"make them: `{self.command_for(Stage.DISTILL)}`, or `mdcompress run`"],
        )

    def require(self, stage: Stage) -> None:
        """RunError unless the stage has finished and nothing it came from has changed since."""
        if stage is not Stage.TRAIN:
            self.require_one_student()
        self.run.require(stage, self.settings, defaults=self.defaults, command=self.command_for(stage))

    def stale(self, stage: Stage, extra: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Why the stage has to be run (again). `extra`: settings of the stage that are not in the recipe."""
        return self.run.stale(stage, {**self.settings, **(extra or {})}, defaults=self.defaults)

    def held(self) -> AbstractContextManager[None]:
        """Keep other commands from writing to the run while a stage works, and finish what a killed one left in it."""
        return self.run.held(self.command) if self.writes else contextlib.nullcontext()

    def has_finished(self, stage: Stage, extra: Mapping[str, str] | None = None) -> bool:
        """Whether the stage's result is that of this very command, which was killed at its end or is given again."""
        record = self.run.record(stage)
        if self.overwrite is Overwrite.REPLACE or record is None or record.command != self.command:
            return False
        if self.stale(stage, extra):
            return False
        self.note(f"{stage.value}: up to date")
        return True

    def refuse_to_overwrite(self, stage: Stage, *hints: str) -> None:
        """RunError where the stage has left files and --force was not given. hints: ways out, if not the usual ones."""
        if self.overwrite is Overwrite.NEVER:
            self.run.refuse_to_overwrite(stage, *hints)

    def start(self, stage: Stage, *inputs: Path, extra: Mapping[str, str] | None = None) -> StartedStage:
        """Begin a stage that reads `inputs`; `extra`: settings of the stage that are not in the recipe."""
        mine = {key: value for key, value in self.settings.items() if stage in stages_reading(key)}
        origin = Origin(
            inputs=inputs,
            settings={**mine, **(extra or {})},
            recipe=dump_recipe(self.recipe),
            command=self.command,
            seed=self.recipe.seed,
        )
        return self.run.start(stage, origin)

    def newest_student(self) -> Path:
        """The distilled student where there is one, else the quantized one; RunError where it is missing or stale."""
        distilled = self.run.record(Stage.DISTILL) is not None
        self.require(Stage.DISTILL if distilled else Stage.QUANTIZE)
        return self.run.file(DISTILLED_FILE if distilled else QUANTIZED_FILE)

    def report(self, stage: Stage) -> Report:
        """What a finished stage found, as its record has it."""
        record = self.run.manifest().stages[stage.value]
        return Report(record.summary, record_document(self.run, stage, record), self.run.written_files(stage))


def record_document(run: RunDirectory, stage: Stage, record: StageRecord) -> JsonValue:
    """A finished stage as a JSON value."""
    return {
        "run": str(run.path),
        "stage": stage.value,
        "files": dict(record.outputs),
        "measured": dict(record.measured),
        "seconds": record.seconds,
    }


def flattened(value: JsonValue, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings as (`key.path`, JSON text); a list is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flattened(inner, (*path, key))
    else:
        yield ".".join(path), json.dumps(value)


def stages_reading(setting: str) -> frozenset[Stage]:
    """The stages that read a setting of a recipe; none where no key says so.

    Args:
        setting: a key's path, or one below it where the key holds a mapping (`distill.membrane.layer_weights.conv1`).
    """
    known, parts = _KEYS, setting.split(".")
    paths = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    nearest = next((known[path] for path in paths if path in known), None)
    return frozenset() if nearest is None or nearest.stages is None else nearest.stages


def default_read_by(setting: str, stage: Stage) -> str | None:
    """The default of a setting that a stage reads, as JSON; None where it does not, or where there is none."""
    key = _KEYS.get(setting)
    return None if key is None or stage not in (key.stages or ()) else key.default

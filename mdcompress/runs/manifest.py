"""run.json: what each finished stage read and wrote, by SHA-256, and from which settings. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from intsnn.errors import InvalidFileError, Problem, reading
from mdcompress.errors import RunError

MANIFEST_NAME = "run.json"
PICTURE_SUFFIXES = (".svg", ".png", ".pdf")  # no stage reads one, and all that it shows stands in other files
_BLOCK_BYTES = 1 << 20  # hashed piece by piece, so that a file larger than memory can be


class Stage(Enum):
    """A stage of a run; the value is the command that performs it."""

    TRAIN = "train"
    QUANTIZE = "quantize"
    DISTILL = "distill"
    EXPORT = "export"
    ESTIMATE = "estimate-hw"


Defaults = Mapping[Stage, Mapping[str, str]]  # of the settings that a stage depends on: `key.path -> JSON value`
NO_DEFAULTS: Defaults = {}


@dataclass(frozen=True)
class StageRecord:
    """One finished stage.

    inputs: SHA-256 of each file read, by its name in the run or its path outside.
    outputs: SHA-256 of each file written, by its name in the run.
    settings: each setting the result depends on, as `key.path -> JSON value`.
    version, command, seed: the tool's version, the command line and the seed it ran with.
    finished: when, UTC in ISO 8601. seconds: how long it took.
    measured: figures found on the way, such as the test accuracy in [0, 1]. summary: what the command printed.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    settings: Mapping[str, str]
    version: str
    command: str
    seed: int
    finished: str
    seconds: float
    measured: Mapping[str, float]
    summary: str


@dataclass(frozen=True)
class Manifest:
    """The finished stages of a run, by command."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema: Literal["mdcompress.run/1"] = "mdcompress.run/1"
    stages: Mapping[str, StageRecord] = field(default_factory=dict)

    def record(self, stage: Stage) -> StageRecord | None:
        """What is known of a stage; None where it has not finished."""
        return self.stages.get(stage.value)

    def with_record(self, stage: Stage, record: StageRecord) -> Manifest:
        """The manifest with one stage recorded (anew)."""
        return replace(self, stages={**self.stages, stage.value: record})

    def writer_of(self, name: str) -> Stage | None:
        """The stage that wrote a file of the run."""
        return next((stage for stage in Stage if (found := self.record(stage)) and name in found.outputs), None)


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run; an empty one where none was written yet."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        return Manifest()
    with reading(path, "the record of a run"):
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RunError(
                f"{path} must be the record of a run that mdcompress wrote (got: {_first_line(error)})",
                hints=[f"move {folder} away, or choose another run with --run"],
            ) from error


def manifest_text(manifest: Manifest) -> str:
    """The manifest as JSON text."""
    return _ADAPTER.dump_json(manifest, indent=2).decode() + "\n"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def require_as_written(file: Path) -> None:
    """InvalidFileError where a run.json beside the file says that a stage wrote another one under its name."""
    for command, record in read_manifest(file.parent).stages.items():
        if file.name in record.outputs and file_hash(file) != record.outputs[file.name]:
            message = f"must be what `{command}` wrote, by the hash in {file.with_name(MANIFEST_NAME)} (it is not)"
            raise InvalidFileError(
                f"{file} was changed or replaced",
                [Problem(str(file), 0, 0, "", message)],
                hints=[f"do `{command}` again with --force, or keep the file in a folder of its own"],
            )


def stale_reasons(
    folder: Path, stage: Stage, settings: Mapping[str, str], *, defaults: Defaults = NO_DEFAULTS
) -> tuple[str, ...]:
    """Why the files of a finished stage are no longer what its inputs and settings would give; empty where they are.

    An input that is gone is no reason: the result was made from it and stays valid (the run may have been copied to
    another machine). Nor is a picture that is gone. An input that is another file now is one, and so is anything that
    makes a stage before stale.

    Args:
        folder: the run directory.
        stage: the stage.
        settings: all settings of today, `key.path -> JSON value`; those the record holds are compared.
        defaults: what the settings that a stage depends on are by default. A record of an earlier version that did not
            know one stands for its default.
    """
    manifest = read_manifest(folder)
    record = manifest.record(stage)
    if record is None:
        return (f"`{stage.value}` has not finished",)
    return (*_origin_reasons(folder, manifest, stage, settings, defaults), *_output_reasons(folder, stage, record))


def _origin_reasons(
    folder: Path, manifest: Manifest, stage: Stage, settings: Mapping[str, str], defaults: Defaults
) -> tuple[str, ...]:
    record = manifest.stages[stage.value]
    before = _stages_before(manifest, record)
    earlier = (_origin_reasons(folder, manifest, one, settings, defaults) for one in before)
    own = (
        *_changed_settings(_settings_of(record, settings, defaults.get(stage, {})), settings),
        *_changed_inputs(folder, stage, record),
        *_superseded_input(manifest, stage, record),
    )
    return tuple(dict.fromkeys([*(reason for reasons in earlier for reason in reasons), *own]))


def _stages_before(manifest: Manifest, record: StageRecord) -> tuple[Stage, ...]:
    """The stages whose outputs a finished stage read, in order."""
    writers = {manifest.writer_of(name) for name in record.inputs}
    return tuple(stage for stage in Stage if stage in writers)


def _settings_of(record: StageRecord, settings: Mapping[str, str], defaults: Mapping[str, str]) -> Mapping[str, str]:
    """What the stage was set to: as recorded, and the defaults of the settings of today that it did not know."""
    known = {*record.settings, *(section for key in record.settings for section in _sections_of(key))}
    unknown = {
        key: default
        for key, default in defaults.items()
        if key in settings and key not in known and not record.settings.keys() & {*_sections_of(key)}
    }
    return {**unknown, **record.settings}


def _changed_settings(before: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[str]:
    """`seed` was 0, now it is 1. A section that was switched on or off is named itself, not key by key."""
    on = {section for key in settings for section in _sections_of(key)}
    for key, old in before.items():
        off = next((section for section in _sections_of(key) if section in settings), None)
        if off is not None:
            yield f"`{off}` was given, now it is {settings[off]}"
        elif settings.get(key) != old:
            yield f"`{key}` was {old}, now it is {settings.get(key, 'given' if key in on else 'absent')}"


def _sections_of(key: str) -> tuple[str, ...]:
    """The sections around a key: `distill.rates` and `distill` for `distill.rates.weight`."""
    parts = key.split(".")
    return tuple(".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))


def _changed_inputs(folder: Path, stage: Stage, record: StageRecord) -> tuple[str, ...]:
    paths = {folder / name: expected for name, expected in record.inputs.items()}  # an absolute name stays what it is
    changed = (path for path, expected in paths.items() if path.is_file() and file_hash(path) != expected)
    return tuple(f"{path} changed since `{stage.value}` read it" for path in changed)


def _superseded_input(manifest: Manifest, stage: Stage, record: StageRecord) -> tuple[str, ...]:
    """An export is of the newest student; once there is a distilled one, that of the quantized one is the past."""
    distilled = manifest.record(Stage.DISTILL)
    if stage is not Stage.EXPORT or distilled is None or set(distilled.outputs) & set(record.inputs):
        return ()
    return (f"`{stage.value}` was of the quantized student, and now there is a distilled one",)


def _output_reasons(folder: Path, stage: Stage, record: StageRecord) -> tuple[str, ...]:
    reasons = []
    for name, expected in record.outputs.items():
        path = folder / name
        if not path.is_file() and path.suffix in PICTURE_SUFFIXES:
            continue
        if not path.is_file():
            reasons.append(f"{path} is gone")
        elif file_hash(path) != expected:
            reasons.append(f"{path} is not what `{stage.value}` wrote")
    return tuple(reasons)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the text'}: {first['msg']}"
    return str(error)

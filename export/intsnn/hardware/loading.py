"""A name or a path -> the file of a description, and a checked hardware description."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from intsnn.errors import UsageError
from intsnn.files import names_a_file
from intsnn.hardware.spec import HARDWARE_SCHEMA, HardwareSpec
from intsnn.hardware.spikesim_spec import SPIKESIM_SCHEMA, SpikeSimSpec
from intsnn.yaml.file import read_yaml
from intsnn.yaml.writing import write_yaml_text

Hardware = HardwareSpec | SpikeSimSpec

_FOLDER = Path(__file__).parent


def shipped_hardware() -> tuple[str, ...]:
    """Names of the descriptions that are shipped."""
    return shipped_in(_FOLDER)


def load_hardware(name_or_path: str | Path) -> Hardware:
    """The description of that name, or in that file: a path, or text with a `/` or a `.yaml` ending.

    Raises:
        UsageError: no description of that name is shipped.
        MissingFileError: there is no such file.
        InvalidFileError: the file breaks its schema.
    """
    path = description_file(name_or_path, _FOLDER, kind="hardware")
    return _shipped(path.stem) if path.parent == _FOLDER else _read(path)


def description_file(name_or_path: str | Path, folder: Path, *, kind: str) -> Path:
    """The file that a name or a path means: text with a `/` or a `.yaml` ending is a path, all else a shipped name.

    Args:
        name_or_path: what a user wrote.
        folder: where the shipped descriptions lie.
        kind: `hardware` or `analog`, for the message.

    Raises:
        UsageError: no description of that name is shipped.
    """
    text = str(name_or_path)
    if names_a_file(name_or_path):
        return Path(text)
    names = shipped_in(folder)
    if text not in names:
        raise UsageError(
            f"there is no {kind} description {text!r}",
            hints=[
                *(f"did you mean `{name}`?" for name in get_close_matches(text, names, n=1)),
                f"choose one of {', '.join(names)}, or give the path of a .yaml file",
            ],
        )
    return folder / f"{text}.yaml"


def dump_hardware(hardware: HardwareSpec) -> str:
    """The description as YAML, what it leaves to defaults left out; it loads back equal."""
    return write_yaml_text({"schema": HARDWARE_SCHEMA, **hardware.model_dump(mode="json", exclude_unset=True)})


def shipped_in(folder: Path) -> tuple[str, ...]:
    """Names of the descriptions in a folder of this package."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


@cache
def load_spikesim() -> SpikeSimSpec:
    """The shipped constants of the SpikeSim rules."""
    return read_yaml(_FOLDER / "spikesim.yaml", SpikeSimSpec, schema=SPIKESIM_SCHEMA)


@cache
def _shipped(name: str) -> Hardware:
    return _read(_FOLDER / f"{name}.yaml")


def _read(path: Path) -> Hardware:
    if _says_spikesim(path):
        return read_yaml(path, SpikeSimSpec, schema=SPIKESIM_SCHEMA)
    return read_yaml(path, HardwareSpec, schema=HARDWARE_SCHEMA)


def _says_spikesim(path: Path) -> bool:
    """Whether the file's own `schema:` line names the SpikeSim kind; every fault is left to the strict reader."""
    if not path.is_file():
        return False
    kind = re.escape(SPIKESIM_SCHEMA.partition("/")[0])
    return re.search(rf"(?m)^schema:[ \t]*[\"']?{kind}/", path.read_text("utf-8", errors="replace")) is not None

"""A name or a path -> a checked analog description."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from intsnn.analog.spec import ANALOG_SCHEMA, AnalogSpec
from intsnn.errors import HardwareError
from intsnn.files import names_a_file
from intsnn.yaml.file import read_yaml

_FOLDER = Path(__file__).parent


def shipped_analog() -> tuple[str, ...]:
    """Names of the descriptions that are shipped."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_analog(name_or_path: str | Path) -> AnalogSpec:
    """The description of that name, or in that file: a path, or text with a `/` or a `.yaml` ending.

    Raises:
        HardwareError: no description of that name is shipped.
        MissingFileError: there is no such file.
        InvalidFileError: the file breaks its schema.
    """
    text = str(name_or_path)
    if names_a_file(name_or_path):
        return read_yaml(Path(text), AnalogSpec, schema=ANALOG_SCHEMA)
    if text not in shipped_analog():
        raise HardwareError(
            f"there is no analog description {text!r}",
            hints=[
                *(f"did you mean `{name}`?" for name in get_close_matches(text, shipped_analog(), n=1)),
                f"choose one of {', '.join(shipped_analog())}, or give the path of a .yaml file",
            ],
        )
    return read_yaml(_FOLDER / f"{text}.yaml", AnalogSpec, schema=ANALOG_SCHEMA)

"""Writing files whole or not at all: under a temporary name beside them, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from intsnn.errors import MissingFileError, UsageError


def names_a_file(name_or_path: str | Path) -> bool:
    """Whether this is the path of a YAML file, not the name of a shipped one: a Path, or text with `/` or `.yaml`."""
    text = str(name_or_path)
    return isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml"))


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`; a reader sees the old file or the new one, never a part.

    A link at `path` is replaced, not followed.

    Raises:
        MissingFileError: there is no such folder.
        OSError: that of the operating system, with `path` as its file name.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise MissingFileError(
            f"{path}: the folder {path.parent} must exist (there is none)", hints=["create it, or choose another path"]
        )
    try:
        _write(path, content)
    except OSError as error:
        if error.errno is None:  # its text is all that it has
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk has no name of its own


def _write(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)  # mkstemp makes it private to the user
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, which is made where there is none; none of them where one cannot be written."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: must be a folder (this is a file)", hints=["choose another path"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made.chmod(0o755)  # mkdtemp makes it private to the user
        for name, content in files.items():
            (made / name).write_bytes(content)
        if not folder.exists():
            made.rename(folder)
            return
        for name in files:
            (made / name).replace(folder / name)
    finally:
        shutil.rmtree(made, ignore_errors=True)

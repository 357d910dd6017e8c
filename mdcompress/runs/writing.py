"""Folders and texts of a run, and the error where they cannot be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from intsnn.files import write_atomically
from mdcompress.errors import RunError


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; RunError where that cannot be."""
    with as_run_error(path):
        write_atomically(path, text.encode())


def make_folder(path: Path) -> None:
    """Make a folder and those above it; RunError where that cannot be."""
    with as_run_error(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def as_run_error(path: Path) -> Iterator[None]:
    """An error of the operating system inside is a RunError that names `path`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} must be writable (got: {error.strerror or error})",
            hints=["choose another folder, or free this one; nothing that was there is lost"],
        ) from error

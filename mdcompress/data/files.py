"""Files of a data set: which are missing, how that is said, and how they are fetched."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mdcompress.data.names import Loading
from mdcompress.errors import DataError, MissingDataError


def require_files(loading: Loading, wanted: Sequence[Path], *, layout: str) -> None:
    """Every path of `wanted` (relative to the folder) is there, or DataError."""
    missing = [path for path in wanted if not (loading.folder / path).exists()]
    if missing:
        raise incomplete(loading, f"{missing[0]} is missing ({len(missing)} of {len(wanted)})", layout=layout)


def incomplete(loading: Loading, seen: str, *, layout: str) -> MissingDataError:
    """The error for a set that is not (wholly) in the folder: what was seen, where, and how it should lie there."""
    drawn = "\n".join(f"        {line}" for line in (f"{loading.folder}/", *layout.splitlines()))
    hints = [f"the folder must hold\n{drawn}", "set data.folder to the folder that holds it"]
    if loading.name != "image_folder":
        hints.append("`--download` fetches it (in Python: download=Download.ALLOWED)")
    return MissingDataError(f"data set `{loading.name}` must be in {loading.folder}: {seen}", hints=hints)


@contextlib.contextmanager
def fetching(loading: Loading) -> Iterator[None]:
    """Around another library's download: what it prints goes to stderr, and what stops it becomes a DataError."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
            yield
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:  # no network; RuntimeError: another md5
        raise DataError(
            f"data set `{loading.name}` could not be fetched into {loading.folder}: {error}",
            hints=["try again, or fetch it by hand and set data.folder"],
        ) from error

"""The folder of compiled libraries: where it is, and the proof that nobody else can write to it.

A library that is loaded is code that runs. So the folder, and each file taken from it, must belong to the user, and no
other user may be able to write to it.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from intsnn.errors import CompilerError, UsageError

VARIABLE = "MDCOMPRESS_CACHE"
OTHER_FOLDER = f"set {VARIABLE} to a folder that is yours, and to which nobody else can write (mode 0700)"
OTHER_DISK = f"set {VARIABLE} to a folder on a disk with room, from which programs may run"


class StorageError(CompilerError):
    """The disk, not the compiler, is at fault: another compiler would meet the same."""


def cache_folder() -> Path:
    """The folder `native` of the cache, made with mode 0700 where there is none.

    It is in `$MDCOMPRESS_CACHE`, else where caches stand: `$XDG_CACHE_HOME/mdcompress` or `~/.cache/mdcompress`,
    `~/Library/Caches/mdcompress` on macOS, `%LOCALAPPDATA%/mdcompress` on Windows. Without a home folder that can be
    written it is a temporary folder, which goes when the process ends.

    Raises:
        UsageError: the folder belongs to someone else, others can write to it, or the chosen one cannot be made.
        StorageError: the disk is full, or there is no temporary folder either.
    """
    kept = _kept_place()
    return _made(_temporary_place() if kept is None else kept)


def unkept() -> str | None:
    """The sentence that says that compiled libraries go with the process, and why; None where they are kept."""
    if _kept_place() is not None:
        return None
    usual = _usual_place()
    why = "there is no home folder" if usual is None else f"{usual} cannot be written"
    return f"compiled code is not kept for the next time ({why}): {OTHER_FOLDER}"


def _kept_place() -> Path | None:
    """The chosen place, else the usual one; None where there is neither."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    usual = _usual_place()
    return usual if usual is not None and _can_be_written(usual / "native") else None


@contextmanager
def working_folder() -> Iterator[Path]:
    """A private folder inside the cache, gone afterwards with all that is in it.

    Raises:
        UsageError: see `cache_folder`.
        StorageError: the folder cannot be made or written: a full disk, no permission.
    """
    folder = cache_folder()
    with storing(folder):
        place = Path(tempfile.mkdtemp(prefix=".work-", dir=folder))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """An operating system's error inside becomes one that says which folder must take the library."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder}: a compiled library must be stored here ({error.strerror or error})", hints=[OTHER_DISK]
        ) from error


def refuse_foreign(path: Path) -> None:
    """Raise where a file or folder is not the user's own, or another user can write to it; links count as foreign.

    Windows has no such modes: there the user's profile keeps others out.

    Raises:
        UsageError: with the owner or the mode that was seen.
        FileNotFoundError: there is no such path.
    """
    if sys.platform == "win32":
        return
    found = path.lstat()
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise UsageError(f"{path}: the cache must hold files and folders (got a link or a device)", hints=_mend(path))
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"{path}: must belong to user {os.geteuid()}, or its code is not run (it belongs to {found.st_uid})",
            hints=_mend(path),
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{path}: no other user may write here, or its code is not run (mode {stat.S_IMODE(found.st_mode):04o})",
            hints=_mend(path),
        )


def _mend(path: Path) -> list[str]:
    """What to do; only what this program made may be removed."""
    made_here = path.name == "native" or path.parent.name == "native"
    return [OTHER_FOLDER, *([f"or remove {path}"] if made_here else [])]


def _usual_place() -> Path | None:
    """Where this system keeps caches; None where there is no home folder."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) / "mdcompress" if local else None
    try:
        home = Path.home()
    except RuntimeError:  # neither $HOME nor a line in the table of users
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "mdcompress"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else home / ".cache") / "mdcompress"  # the standard ignores a relative path


def _can_be_written(place: Path) -> bool:
    """Whether the user may write in `place`, or in the nearest folder above it that there is."""
    nearest = next(folder for folder in (place, *place.parents) if os.access(folder, os.F_OK))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@cache
def _temporary_place() -> Path:
    """One private folder for this process, removed at its end."""
    try:
        place = Path(tempfile.mkdtemp(prefix="mdcompress-"))
    except OSError as error:
        raise StorageError(
            f"there must be a folder for compiled libraries (no home folder, and no temporary one: {error.strerror})",
            hints=[OTHER_FOLDER],
        ) from error
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _made(base: Path) -> Path:
    """The folder `native` in `base`, both private to the user."""
    base = base.absolute()
    folder = base / "native"
    try:
        for place in (*reversed(folder.parents), folder):
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{folder}: cannot be made ({error.strerror})", hints=[OTHER_DISK]) from error
        raise UsageError(
            f"{folder}: the folder of compiled libraries must be one that can be made ({error.strerror})",
            hints=[OTHER_FOLDER],
        ) from error
    folder = base.resolve() / "native"  # a user may link the cache to another disk
    _refuse_open_above(folder.parent)
    refuse_foreign(folder.parent)
    refuse_foreign(folder)
    return folder


def _refuse_open_above(base: Path) -> None:
    """Who can write to a folder above can put another in place of this one; a sticky one, as /tmp, keeps that off."""
    if sys.platform == "win32":
        return
    for above in base.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise UsageError(
                f"{base}: no folder above may be open for all to write ({above} has mode {stat.S_IMODE(mode):04o})",
                hints=[OTHER_FOLDER],
            )

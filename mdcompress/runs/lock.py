"""A folder that one command at a time writes to: a file in it that is locked while the command lives.

The operating system lets go of the lock when the process ends, however it ends. The file that a killed command leaves
behind is locked by nobody, and the next command takes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mdcompress.errors import RunError
from mdcompress.runs.writing import as_run_error, make_folder

LOCK_NAME = ".mdcompress-lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # a file system without locks
_BETWEEN_TRIES = 0.01  # seconds
_FAR = 1 << 30  # the byte that Windows locks: others cannot read a locked one, and the text stands before it


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Keep other commands from writing to `folder`, which is made if it is not there; one left empty goes again.

    Raises:
        RunError: another command is writing to it, or it is not writable.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    handle = _taken(folder, command)
    try:
        yield
    finally:
        _give_back(folder, handle)
        for path in made:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether a command is writing to the folder now; where a file system has no locks, whether one may be."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | _NO_LINKS)
    except OSError:
        return False
    try:
        return not _lock(handle)
    except OSError:
        return True
    finally:
        os.close(handle)


@contextlib.contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait until no other process is inside, for what processes do one after the other; the file stays.

    Raises:
        RunError: the file cannot be made.
    """
    with as_run_error(file):
        handle = os.open(file, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o644)
    try:
        while not _is_free(handle):
            time.sleep(_BETWEEN_TRIES)
        yield
    finally:
        os.close(handle)  # and with it the lock goes


def _taken(folder: Path, command: str) -> int:
    """The handle of the locked file."""
    path = folder / LOCK_NAME
    with as_run_error(path):
        while True:
            if path.is_symlink():
                path.unlink()  # not ours, whatever it leads to
            handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o644)
            try:
                if not _is_free(handle):
                    raise _in_use(folder)
                if _is_at(path, handle):  # else its owner has just removed it
                    with contextlib.suppress(OSError):  # a full disk: then others are not told who this is
                        os.truncate(handle, 0)
                        os.write(handle, f"`{command}` (process {os.getpid()})".encode())
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


def _is_free(handle: int) -> bool:
    """Lock an open file; whether nobody else has. Where a file system has no locks, nobody is kept out."""
    try:
        return _lock(handle)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True


def _give_back(folder: Path, handle: int) -> None:
    path = folder / LOCK_NAME
    if sys.platform == "win32":
        os.close(handle)  # an open file cannot be deleted there
        with contextlib.suppress(OSError):
            path.unlink()
        return
    try:
        if _is_at(path, handle):  # else the folder was moved, and took the file along
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the path still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def _in_use(folder: Path) -> RunError:
    try:
        who = (folder / LOCK_NAME).read_text("utf-8", errors="replace").strip() or "another command"
    except OSError:
        who = "another command"
    return RunError(
        f"one command at a time writes to {folder} (now {who} does)",
        hints=["wait until it has finished, or give another folder with --run or --output"],
    )


if sys.platform == "win32":
    import msvcrt

    _NO_LINKS = 0

    def _lock(handle: int) -> bool:
        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    _NO_LINKS = os.O_NOFOLLOW

    def _lock(handle: int) -> bool:
        """Lock an open file; whether nobody else has."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

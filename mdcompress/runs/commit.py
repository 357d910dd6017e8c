"""The files of a result -> a folder, all of them or none, whenever the command is killed.

1. They are written into `.mdcompress-writing-<random>` in that folder.
2. One rename makes this `.mdcompress-commit-<name>`: from now on the result counts.
3. What is in there is renamed into its place, run.json last; then the hidden folder goes.

A command that was killed before step 2 leaves a folder that the next one removes. One that was killed later leaves a
folder that the next command, of whatever kind, moves into place as this one would have (`settle`): every step can be
done again. Renames replace a link itself, so that none that lies in the folder leads elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mdcompress.errors import RunError
from mdcompress.runs.lock import LOCK_NAME, is_locked, locked
from mdcompress.runs.manifest import MANIFEST_NAME

WRITING, COMMIT = ".mdcompress-writing-", ".mdcompress-commit-"
RECIPE_NAME = "recipe.yaml"
_OUTDATED = ".outdated"  # in a hidden folder: names, a line each, that the result before had and this one has not
_SET_ASIDE = ".before-"  # the same: what stood in the place
_LEFT_IN_RUNS = (  # by killed commands, those of earlier versions among them
    ".writing-*",
    f".{MANIFEST_NAME}.????????",
    f".{RECIPE_NAME}.????????",
    ".*.last-*",
)


@contextlib.contextmanager
def committed(folder: Path, name: str, *, what: str) -> Iterator[Path]:
    """A folder to write into; when the block ends without an exception, all in it is moved into `folder`.

    Args:
        folder: where the files go; it must exist.
        name: of the hidden folder, `.mdcompress-commit-<name>`, which stays, empty, until `discard` removes it.
        what: is written, for errors.

    Raises:
        RunError: it cannot be written, and nothing has happened; or a file cannot be moved, and the next command tries.
    """
    with _unwritten(folder, what):
        # beside its goal, as across disks it would be a copy; under the folder's own name, for errors: from Python 3.12
        # on mkdtemp returns an absolute path
        staging = folder / Path(tempfile.mkdtemp(prefix=WRITING, dir=folder)).name
        try:
            yield staging
            hidden = folder / f"{COMMIT}{name}"
            _remove_link(hidden)
            if os.name == "nt" and hidden.is_dir():
                hidden.rmdir()  # an empty one; elsewhere the rename takes its place
            staging.replace(hidden)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    _place(hidden)


def note_outdated(staging: Path, names: Sequence[str]) -> None:
    """Have files and folders of the result before removed with the commit."""
    (staging / _OUTDATED).write_text("\n".join(names), "utf-8")


def discard(folder: Path, name: str) -> None:
    """Remove the hidden folder of a result that is in place."""
    with contextlib.suppress(OSError):
        (folder / f"{COMMIT}{name}").rmdir()


@contextlib.contextmanager
def held(folder: Path, command: str, *, name: str | None = None) -> Iterator[bool]:
    """Keep other commands from writing to the folder, and finish what an interrupted one left in it.

    Args:
        folder: is made where it is not there.
        command: for the error of the other command.
        name: of a hidden folder that stays until the end; it yields whether it was there.

    Raises:
        RunError: another command is writing to it, or it is not writable.
    """
    with locked(folder, command):
        yield _settle(folder, keep=name)
    if name is not None:
        discard(folder, name)  # the last that a command does: before, its result is known to be its own


def settle(folder: Path) -> None:
    """Finish the result of an interrupted command where it counts, and remove it where it does not.

    For a command that only reads. Nothing is done where a command is at work. What counts for nothing stays where it
    cannot be removed.

    Raises:
        RunError: what counts cannot be moved into its place.
    """
    if not (interrupted(folder) or any(folder.glob(f"{WRITING}*")) or (folder / LOCK_NAME).exists()):
        return
    if is_locked(folder):
        return
    try:
        with held(folder, "mdcompress"):
            pass
    except RunError:
        if interrupted(folder):
            raise


def interrupted(folder: Path) -> bool:
    """Whether a result that counts is not in its place yet."""
    return any(path.is_dir() and not path.is_symlink() for path in folder.glob(f"{COMMIT}*"))


def left_in_run(folder: Path) -> tuple[Path, ...]:
    """What killed commands left in a run that counts for nothing."""
    found = [path for pattern in _LEFT_IN_RUNS for path in folder.glob(pattern)]
    origins = folder.glob("*.last-*.json")
    return (*found, *(path for path in origins if not path.with_suffix(".safetensors").exists()))


def remove_left(folder: Path) -> None:
    """Remove all of that."""
    for path in left_in_run(folder):
        _remove(path)


def _settle(folder: Path, *, keep: str | None) -> bool:
    for path in folder.glob(f"{WRITING}*"):
        _remove(path)
    found = False
    for hidden in sorted(folder.glob(f"{COMMIT}*")):
        _remove_link(hidden)
        if not hidden.is_dir():
            continue
        _place(hidden)
        name = hidden.name.removeprefix(COMMIT)
        for state in folder.glob(f"{name}.last-*"):  # of the training that has ended in this result
            _remove(state)
        if name == keep:
            found = True
        else:
            hidden.rmdir()
    return found


def discard_states(checkpoints: Sequence[Path]) -> None:
    """Delete states of trainings, with what they come from."""
    for path in checkpoints:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # last: by it the other is found


def _place(hidden: Path) -> None:
    """Move all that a hidden folder holds to its place, and leave it empty. Done again, it goes on."""
    folder = hidden.parent
    for name in sorted((path.name for path in hidden.iterdir() if not path.name.startswith(".")), key=_turn):
        source, target = hidden / name, folder / name
        with _misplaced(target, hidden):
            if name == MANIFEST_NAME:
                _set_outdated_aside(hidden)
            if source.is_dir() and (target.exists() or target.is_symlink()):
                _set_aside(target, hidden)
            source.replace(target)
    with _misplaced(folder, hidden):
        for path in hidden.iterdir():
            _remove(path)


def _turn(name: str) -> tuple[bool, bool, str]:
    """The recipe first, by which a run is found; the record last: it names files that are there."""
    return (name == MANIFEST_NAME, name != RECIPE_NAME, name)


def _set_outdated_aside(hidden: Path) -> None:
    names = hidden / _OUTDATED
    is_ours = names.is_file() and not names.is_symlink()
    for name in names.read_text("utf-8", errors="replace").splitlines() if is_ours else ():
        target = hidden.parent / name
        if name not in ("", ".", "..") and Path(name).name == name and (target.exists() or target.is_symlink()):
            _set_aside(target, hidden)


def _set_aside(target: Path, hidden: Path) -> None:
    aside = hidden / f"{_SET_ASIDE}{target.name}"
    _remove(aside)
    target.replace(aside)


def _remove(path: Path) -> None:
    """Delete a file, a link or a folder with all in it; what is not there is gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_link(path: Path) -> None:
    """A link under a name of ours is not ours: what it leads to is left alone."""
    if path.is_symlink():
        path.unlink()


@contextlib.contextmanager
def _unwritten(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{_meant(folder, error)}: {what} cannot be written ({error.strerror or error})",
            hints=[
                f"nothing in {folder} was changed: make it writable or free room, and give the same command again",
            ],
        ) from error


def _meant(folder: Path, error: OSError) -> Path:
    """The file that was to be, without the hidden folder."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    inner = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    return folder.joinpath(*inner[1:]) if inner and inner[0].startswith(WRITING) else path


@contextlib.contextmanager
def _misplaced(target: Path, hidden: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{target} must give way to the new result ({error.strerror or error})",
            hints=[f"free that place: the result is whole in {hidden}, and the next command puts it there"],
        ) from error

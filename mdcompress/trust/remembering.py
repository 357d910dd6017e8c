"""What the user agreed to, in a file of the user's own: never in the folder that is trusted, which others may write."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from intsnn.errors import UsageError
from mdcompress.trust.names import NamedCode

VARIABLE = "MDCOMPRESS_STATE"
FILE = "trusted.json"


@dataclass(frozen=True)
class Trusted:
    """Files in `folder`, and in those below it, may name this code, where it is run from `working_folder`.

    The working folder belongs to it: the same name means other code elsewhere.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    folder: str
    working_folder: str
    key: str
    name: str

    def covers(self, code: NamedCode, folder: Path, working_folder: Path) -> bool:
        """Whether a file in `folder` may name `code`; both folders resolved."""
        return (
            (self.key, self.name, self.working_folder) == (code.key, code.name, str(working_folder))
        ) and folder.is_relative_to(self.folder)


@dataclass(frozen=True)
class _Kept:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema: Literal["mdcompress.trusted/1"] = "mdcompress.trusted/1"
    trusted: tuple[Trusted, ...] = ()


_ADAPTER = TypeAdapter(_Kept)


def trusted_file() -> Path:
    """The file: in `$MDCOMPRESS_STATE`, else where this system keeps the state of programs."""
    chosen = os.environ.get(VARIABLE)
    return (Path(chosen).expanduser() if chosen else _usual_place()) / FILE


def remembered() -> tuple[Trusted, ...]:
    """All that was agreed to.

    Raises:
        UsageError: the file is damaged, or another user could have written it.
    """
    path = trusted_file()
    try:
        with path.open("rb") as stream:
            _refuse_foreign(path, os.fstat(stream.fileno()))
            return _ADAPTER.validate_json(stream.read()).trusted
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise UsageError(
            f"{path}: must be the list of what you trust, as mdcompress wrote it ({_first_line(error)})",
            hints=[f"remove {path}; you are then asked again"],
        ) from error


def remember(codes: Iterable[NamedCode], folders: Sequence[Path], *, working_folder: Path) -> None:
    """Add each code, named by files in each folder; mode 0600 in a folder of mode 0700.

    Raises:
        OSError: the file cannot be written.
        UsageError: see `remembered`.
    """
    new = [Trusted(str(folder), str(working_folder), code.key, code.name) for code in codes for folder in folders]
    kept = remembered()
    if set(new) <= set(kept):
        return
    kept = tuple(
        one for one in kept if Path(one.folder).is_dir()
    )  # another may come under the name of one that is gone
    path = trusted_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(_ADAPTER.dump_json(_Kept(trusted=tuple(dict.fromkeys([*kept, *new]))), indent=2))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    """Windows has no such modes: there the user's profile keeps others out."""
    if sys.platform == "win32":
        return
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{path}: must be yours, and no other user may write it (it belongs to user {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):04o})",
            hints=[f"remove {path}; you are then asked again"],
        )


def _usual_place() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mdcompress"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mdcompress"
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".local" / "state") / "mdcompress"


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).partition("\n")[0]

"""Whose code an exception arose in: the project's, or the network, loader or builder a user wrote. No torch here."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import intsnn.errors
import mdcompress.errors

_OURS = tuple(Path(file).resolve().parent for file in (mdcompress.errors.__file__, intsnn.errors.__file__))
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class UserFrame:
    """The line of a user's function that raised: `my_net:build`, `my_net.py`, 12."""

    function: str
    file: str
    line: int


def user_frame(error: BaseException) -> UserFrame | None:
    """The innermost function outside libraries, where a user wrote it; None where it is one of ours."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if _is_below(file, _OURS):
            return None
        if not file.startswith("<") and not _is_library(file):  # "<frozen importlib>" and the like
            return UserFrame(f"{_module(frame)}:{frame.f_code.co_qualname}", Path(file).name, line)
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", Path(frame.f_code.co_filename).stem))


def _is_library(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file or _is_below(file, _LIBRARIES)


def _is_below(file: str, folders: tuple[Path, ...]) -> bool:
    return any(folder in Path(file).resolve().parents for folder in folders)

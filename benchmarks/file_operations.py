"""Counts the operations that change files, and ends the process after one of them: what a kill at any moment finds."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_CHANGING = (
    "replace",
    "rename",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "chmod",
    "truncate",
    "symlink",
    "fsync",
    "write",
)
_OPENED_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Died(BaseException):
    """The process is as good as dead: nothing that it does from now on changes a file."""


def kill_self() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _close(result: object) -> None:
    """What the system does with an open file of a process that died."""
    if isinstance(result, io.IOBase):
        result.close()
    elif isinstance(result, int) and not isinstance(result, bool) and result > 2:
        with contextlib.suppress(OSError):
            os.close(result)


class Operations:
    """While it is entered, operations on files below a folder are counted; after one of them the process ends.

    Args:
        below: the folder.
        last: after how many operations; None: never.
        end: how. Without it `Died` is raised, by this operation and by each that follows, which is not done.
    """

    def __init__(self, below: Path, *, last: int | None = None, end: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._below, self._last, self._end = str(below.resolve()), last, end
        self._before: list[tuple[Any, str, Any]] = []  # any function of os, io and builtins

    def __enter__(self) -> Operations:
        for name in _CHANGING:
            self._patch(os, name, lambda *_, **__: True)
        self._patch(os, "open", lambda _path, flags, *_, **__: bool(flags & _OPENED_TO_WRITE))
        for module in (io, builtins):
            self._patch(module, "open", lambda _path, mode="r", *_, **__: bool({*mode} & {*"wax+"}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, name, function in reversed(self._before):
            setattr(module, name, function)

    def _patch(self, module: Any, name: str, changes: Callable[..., bool]) -> None:
        function = getattr(module, name)
        self._before.append((module, name, function))

        def counted(*args: Any, **named: Any) -> Any:
            if not changes(*args, **named) or not self._concerns(args[0], named):
                return function(*args, **named)
            if self._is_dead():
                raise Died
            result = function(*args, **named)
            self.count += 1
            if self._is_dead():
                if self._end is None:
                    _close(result)
                    raise Died
                self._end()
            return result

        setattr(module, name, counted)

    def _is_dead(self) -> bool:
        return self._last is not None and self.count >= self._last

    def _concerns(self, where: object, named: dict[str, Any]) -> bool:
        """Whether this is a file of the folder; a handle, or a name beside one, may be."""
        if isinstance(where, int):
            return where > 2
        if named.get("dir_fd") is not None or not isinstance(where, str | os.PathLike):
            return True
        return os.path.abspath(where).startswith(self._below)  # noqa: PTH100  # resolve() would follow a link

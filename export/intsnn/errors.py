"""Every error a user of intsnn can meet.

IntsnnError                 base: message, hints, exit code
├── InvalidFileError        a file breaks its schema; carries every problem with its place (exit 2)
│   └── UnreadableFileError a reader met what no rule of it foresees
├── UsageError              a call or command line asks for something that is not offered (exit 2)
├── MissingFileError        a file or folder that must exist does not
├── GraphError              an integer graph breaks a rule of FORMAT.md; names rule and node
├── InputError              an array does not fit the graph: shape, type or range
├── HardwareError           a graph cannot be mapped, counted or priced on a hardware description
├── MemoryLimitError        emitted code takes more flash or RAM than it may (exit 3)
├── CompilerError           there is no C compiler, it fails or hangs, or its library cannot be stored or loaded
└── ParityError             two executions that must be equal differ (exit 3)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


class IntsnnError(Exception):
    """Base of all errors: what must hold and the value seen, then hints that instruct."""

    exit_code = 1

    def __init__(self, message: str, *, hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"    hint: {hint}" for hint in self.hints)])


@dataclass(frozen=True)
class Problem:
    """One fault in a file: `file:line:column  key.path: what must hold (got …)` and a hint."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, as editors and compilers write it; only the file where there are no lines (line 0)."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class InvalidFileError(IntsnnError):
    """A file breaks its schema. All problems at once, sorted by place."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem], *, hints: Sequence[str] = ()) -> None:
        super().__init__(message, hints=hints)
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"{self.message} ({count} problem{'s' if count != 1 else ''})"]
        width = max((len(problem.place) for problem in self.problems), default=0)
        for problem in self.problems:
            path = f"{problem.path}: " if problem.path else ""
            lines.append(f"  {problem.place:<{width}}  {path}{problem.message}")
            if problem.hint:
                lines.append(f"      hint: {problem.hint}")
        return "\n".join([*lines, *(f"    hint: {hint}" for hint in self.hints)])


class UnreadableFileError(InvalidFileError):
    """A reader met in a file what no rule of it foresees; its cause is the exception that this gave."""


class UsageError(IntsnnError):
    """A call or command line asks for something that is not offered."""

    exit_code = 2


class MissingFileError(IntsnnError):
    """A file or folder that must exist does not."""


class GraphError(IntsnnError):
    """An integer graph breaks a rule of FORMAT.md."""


class InputError(IntsnnError):
    """An array does not fit the graph: shape, type or range."""


class HardwareError(IntsnnError):
    """A graph cannot be mapped, counted or priced on a hardware description."""


class MemoryLimitError(IntsnnError):
    """Emitted code takes more flash or RAM than it may."""

    exit_code = 3


class CompilerError(IntsnnError):
    """There is no C compiler, it fails or hangs, or its library cannot be stored or loaded."""


class ParityError(IntsnnError):
    """Two executions that must be equal differ."""

    exit_code = 3


@contextlib.contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """The last resort of a reader: what nobody foresaw in bytes that anyone may have written names the file.

    Errors of ours and of the operating system pass as they are. Everything else is the cause of the error, and
    `--debug` shows it.

    Args:
        path: the file.
        kind: what it must be, `a hardware description`.
    """
    try:
        yield
    except (IntsnnError, OSError):
        raise
    except Exception as error:
        seen = (str(error).strip().splitlines() or [""])[0]
        message = f"must be {kind}, whole and unchanged ({type(error).__name__}: {seen})"
        raise UnreadableFileError(
            f"{path} cannot be read",
            [Problem(str(path), 0, 0, "", message)],
            hints=["write or fetch the file again; if it is whole, please report it with the traceback of --debug"],
        ) from error

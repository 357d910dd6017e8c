"""What a command prints where: its result on stdout, everything else on stderr. No torch here."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from intsnn.errors import IntsnnError, InvalidFileError, Problem
from mdcompress._version import __version__
from mdcompress.own_code import user_frame

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class OutputFormat(Enum):
    """In which form the result goes to stdout."""

    TEXT = "text"
    JSON = "json"
    PATHS = "paths"


class Detail(Enum):
    """How much an error shows of where it arose."""

    MESSAGE = "message"
    TRACEBACK = "traceback"


@dataclass(frozen=True)
class Report:
    """A command's result, in every form it can be asked for.

    text: lines and tables that paste into Markdown. document: what `--json` prints. paths: the files it is about.
    figure: the one number that -q prints instead of the paths.
    """

    text: str
    document: JsonValue
    paths: tuple[Path, ...] = ()
    figure: float | None = None


@dataclass(frozen=True)
class Console:
    """Prints in one form."""

    form: OutputFormat = OutputFormat.TEXT

    def show(self, report: Report) -> None:
        """The result, to stdout."""
        match self.form:
            case OutputFormat.TEXT:
                click.echo(report.text)
            case OutputFormat.JSON:
                click.echo(json.dumps(report.document, indent=2, ensure_ascii=False, allow_nan=False))
            case OutputFormat.PATHS if report.figure is not None:
                click.echo(str(report.figure))
            case OutputFormat.PATHS:
                for path in report.paths:
                    click.echo(str(path))

    def note(self, message: str) -> None:
        """A line about what is going on, to stderr; silent where only paths are wanted."""
        if self.form is not OutputFormat.PATHS:
            click.echo(message, err=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> str:
    """A Markdown table with aligned columns; the columns named in `numbers` stand on the right."""
    cells = [[_cell(text) for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    right = [name in numbers for name in header]
    rule = ["-" * (width - 1) + (":" if at_right else "-") for width, at_right in zip(widths, right, strict=True)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(_line(line, widths, right) for line in lines)


def percent(fraction: float) -> str:
    """0.9833 -> `98.33 %`."""
    return f"{100 * fraction:.2f} %"


def size(path: Path) -> str:
    """The size of a file for people: `51 KB` (1 KB = 1000 bytes)."""
    count = float(path.stat().st_size)
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def written(paths: Sequence[Path]) -> str:
    """`wrote runs/4bit/model.onnx (51 KB), golden.npz`: where, with sizes; each folder is said once."""
    folders = [path.parent for path in paths]
    names = [
        f"{path if folders.index(path.parent) == index else path.name} ({size(path)})"
        for index, path in enumerate(paths)
    ]
    return f"wrote {', '.join(names)}"


def on_terminal() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def problem_documents(error: InvalidFileError) -> list[JsonValue]:
    """The problems of a file as JSON values."""
    return [_problem_document(problem) for problem in error.problems]


def report_error(error: BaseException, *, detail: Detail) -> int:
    """Print an error to stderr as its kind asks for, and return the exit code.

    Errors of the project's trees and of the command line are messages with hints; errors of the operating system are
    messages too, and so is what a user's own function raised. Anything else is a bug of ours and shows its traceback.
    """
    if detail is Detail.TRACEBACK:
        _print_traceback(error)
    match error:
        case IntsnnError():
            _print_error(str(error))
            return error.exit_code
        case click.UsageError():
            _print_error(_usage_message(error))
            return error.exit_code
        case click.ClickException():
            _print_error(error.format_message())
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            click.echo("interrupted", err=True)
            return INTERRUPTED
        case OSError() if error.strerror:
            place = f"{error.filename}: " if error.filename else ""
            _print_error(f"{place}{error.strerror}")
            return 1
        case _ if (raised := user_frame(error)) is not None:
            place = f"{raised.file}, line {raised.line}"
            hint = "it is your own function that raised; --debug shows the traceback"
            _print_error(f"{raised.function} failed: {type(error).__name__}: {error} ({place})\n    hint: {hint}")
            return 1
        case _:
            return _report_bug(error, detail)


def _problem_document(problem: Problem) -> JsonValue:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def _report_bug(error: BaseException, detail: Detail) -> int:
    if detail is Detail.MESSAGE:
        _print_traceback(error)
    kind = type(error).__name__
    hint = "please report it with the traceback above, the command and, if you can, the files it read"
    _print_error(f"this is a bug in mdcompress {__version__}: {kind}: {error}\n    hint: {hint}")
    return 1


def _usage_message(error: click.UsageError) -> str:
    if error.ctx is None:
        return error.format_message()
    hint = f"`{error.ctx.command_path} --help` lists what there is"
    return f"{error.format_message()}\n    hint: {hint}"


def _print_error(message: str) -> None:
    prefix = click.style("error:", fg="red", bold=True) if _wants_color() else "error:"
    click.echo(f"{prefix} {message}", err=True, color=_wants_color())


def _print_traceback(error: BaseException) -> None:
    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _wants_color() -> bool:
    """On a terminal, unless NO_COLOR is set to anything (no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        text.rjust(width) if at_right else text.ljust(width)
        for text, width, at_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"

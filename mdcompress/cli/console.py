"""What a command prints where: its result on stdout, everything else on stderr. No torch here."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from dataclasses import dataclass
from enum import Enum
from typing import TextIO, assert_never

import click

from intsnn.errors import IntsnnError, InvalidFileError, Problem
from mdcompress._version import __version__
from mdcompress.cli.own_code import user_frame
from mdcompress.cli.tables import for_latex, for_terminal
from mdcompress.pipeline.report import JsonValue, Report

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class OutputFormat(Enum):
    """In which form the result goes to stdout; a text has aligned tables on a terminal, and Markdown in a pipe."""

    TEXT = "text"
    JSON = "json"
    PATHS = "paths"
    LATEX = "latex"


class Detail(Enum):
    """How much an error shows of where it arose."""

    MESSAGE = "message"
    TRACEBACK = "traceback"


@dataclass(frozen=True)
class Console:
    """Prints in one form."""

    form: OutputFormat = OutputFormat.TEXT

    def show(self, report: Report) -> None:
        """The result, to stdout."""
        match self.form:
            case OutputFormat.TEXT if is_terminal(sys.stdout):
                width = shutil.get_terminal_size().columns
                click.echo(for_terminal(report.text, width=width, color=not os.environ.get("NO_COLOR")))
            case OutputFormat.TEXT:
                click.echo(report.text)
            case OutputFormat.LATEX:
                click.echo(for_latex(report.text))
            case OutputFormat.JSON:
                click.echo(json.dumps(report.document, indent=2, ensure_ascii=False, allow_nan=False))
            case OutputFormat.PATHS if report.figure is not None:
                click.echo(str(report.figure))
            case OutputFormat.PATHS:
                for path in report.paths:
                    click.echo(str(path))
            case _:
                assert_never(self.form)

    def note(self, message: str) -> None:
        """A line about what is going on, to stderr; silent where only paths are wanted."""
        if self.form is not OutputFormat.PATHS:
            click.echo(message, err=True)


def on_terminal() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return is_terminal(sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that knows more than lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


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
            _print_error(f"{error}{_raised_in(error.__cause__)}")
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
        case OSError() if error.strerror and user_frame(error) is None:
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


def _raised_in(cause: BaseException | None) -> str:
    """A hint that names the line of a user's own function, where an error came from one."""
    raised = None if cause is None else user_frame(cause)
    if raised is None:
        return ""
    place = f"{raised.file}, line {raised.line} ({raised.function})"
    return f"\n    hint: it was raised in {place}; --debug shows the traceback"


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

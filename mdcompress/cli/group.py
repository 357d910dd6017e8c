"""The group of commands: each is imported when it is named, and every error is rendered in one place."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

import click

from mdcompress._version import __version__
from mdcompress.cli.console import Detail, report_error
from mdcompress.cli.memory import keep_freed_memory, look_for_garbage_seldom
from mdcompress.cli.options import example

COMMANDS: Mapping[str, str] = {  # in the order of their use; the value is the module that defines the command
    "run": "mdcompress.cli.run",
    "check": "mdcompress.cli.check",
    "train": "mdcompress.cli.train",
    "sensitivity": "mdcompress.cli.sensitivity",
    "quantize": "mdcompress.cli.quantize",
    "distill": "mdcompress.cli.distill",
    "export": "mdcompress.cli.export",
    "estimate-hw": "mdcompress.cli.estimate",
    "compare": "mdcompress.cli.compare",
    "explore": "mdcompress.cli.explore",
    "search": "mdcompress.cli.search",
    "eval": "mdcompress.cli.evaluate",
    "analog": "mdcompress.cli.analog",
    "bench": "mdcompress.cli.bench",
}


_LIBRARIES = ("torch", "torchvision", "brevitas", "onnx", "onnxruntime", "lightning_fabric", "tonic", "snntorch",
              "spikingjelly", "norse", "sinabs", "nir", "sklearn", "matplotlib")  # fmt: skip
WITHOUT_COMMAND = 2  # nothing was asked for: the help is shown, and a script learns that nothing was done


@dataclass(frozen=True)
class Invocation:
    """The command line as typed."""

    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The whole line, quoted for a shell."""
        return shlex.join(["mdcompress", *self.arguments])

    @property
    def detail(self) -> Detail:
        """`--debug` counts wherever it stands, so that errors in the other arguments honour it too."""
        return Detail.TRACEBACK if "--debug" in self.arguments else Detail.MESSAGE


class CommandGroup(click.Group):
    """A group that imports its commands one by one and ends with the exit code an error asks for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]}.command must be a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named, or an error that names the nearest."""
        near = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = f"; did you mean `mdcompress {near[0]}`?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def main(  # click's own signature
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run and exit: 0 done, 1 could not, 2 wrong usage or invalid file, 3 a check failed, 130 interrupted."""
        arguments = list(sys.argv[1:] if args is None else args)
        invocation = Invocation(tuple(arguments))
        if invocation.detail is Detail.MESSAGE and not sys.warnoptions:
            quiet_libraries()
        keep_freed_memory()
        look_for_garbage_seldom()
        try:
            code = super().main(
                arguments, prog_name, complete_var, standalone_mode=False, **{**extra, "obj": invocation}
            )
        except BrokenPipeError:
            _close_stdout()
            sys.exit(1)
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(report_error(_cause(error), detail=invocation.detail))
        sys.exit(code if isinstance(code, int) else 0)


@click.command(
    cls=CommandGroup,
    invoke_without_command=True,
    epilog=example("mdcompress run --recipe 4bit"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mdcompress")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.pass_context
def main(context: click.Context) -> None:
    """Compress spiking networks to integers, export them bit-exact, and price them on crossbars."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(WITHOUT_COMMAND)


def quiet_libraries() -> None:
    """No warning of a library about itself reaches the user; --debug and Python's own -W show them."""
    # Brevitas imports torch's builder of C++ extensions, which warns of a machine without CUDA
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    for name in _LIBRARIES:
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    # said when an installed file is compiled (some installers leave that to its first import); the module is its path
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*[/\\](site|dist)-packages[/\\]")


def _cause(error: BaseException) -> BaseException:
    """Click turns an interrupt into Abort; the interrupt is what is reported."""
    return error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error


def _close_stdout() -> None:
    """The reader has gone (`… | head`); what Python would still flush at exit goes nowhere instead of raising again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

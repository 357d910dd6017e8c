"""Every command -> docs/commands.md: what it does, its arguments and options, and its examples, as `--help` has them.

`python -m mdcompress.cli.commands_page > docs/commands.md` writes it; a test holds that the page is current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click

from mdcompress.cli.group import COMMANDS, main

_INTRODUCTION = """\
# Commands

This page is written by `python -m mdcompress.cli.commands_page` from the command line itself; `--help` of each command
says the same. Results go to stdout, everything else to stderr; `--json` and `--quiet` are other forms of the result.

| exit code | means |
|---|---|
| 0 | done |
| 1 | could not: what was asked for is not there, or cannot be done with what is there |
| 2 | wrong usage, a name that is not known among it, or an invalid file |
| 3 | a check failed: parity, `--min-accuracy`, `--max-ram`, `--max-flash` |
| 130 | interrupted; the state is saved, and the same command goes on |
"""


def commands_page() -> str:
    """The page."""
    context = click.Context(main, info_name="mdcompress", **main.context_settings)
    return "\n".join([_INTRODUCTION, *(_section(name, context) for name in COMMANDS)])


def _section(name: str, parent: click.Context) -> str:
    command = main.get_command(parent, name)
    assert command is not None  # COMMANDS names it
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    parts = [f"## {name}", f"```text\n{usage}\n```", _prose(command.help or ""), _options(command, context)]
    return "\n\n".join([*parts, f"```text\n{_examples(command.epilog or '')}\n```"]) + "\n"


def _prose(text: str) -> str:
    """The help's paragraphs, each on one line; click wraps them itself."""
    paragraphs = re.split(r"\n\s*\n", text.replace("\b", "").strip())
    return "\n\n".join(_escaped(" ".join(paragraph.split())) for paragraph in paragraphs)


def _options(command: click.Command, context: click.Context) -> str:
    """A table of the options."""
    rows = [f"| {_names(option)} | {_escaped(_help(option, context))} |" for option in _shown(command, context)]
    return "\n".join(["| option | |", "|---|---|", *rows])


def _shown(command: click.Command, context: click.Context) -> Iterator[click.Option]:
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield parameter


def _names(option: click.Option) -> str:
    """`--set KEY=VALUE`."""
    value = "" if option.is_flag or option.count else f" {_metavar(option)}"
    return ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts)).replace("|", "\\|")


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.metavar or option.type.name.upper().removesuffix(" RANGE")


def _help(option: click.Option, context: click.Context) -> str:
    """What the help says of it, with the names that are looked up for it and its default."""
    record = option.get_help_record(context)
    return " ".join((record[1] if record else "").split())


def _escaped(text: str) -> str:
    """Words of a terminal as Markdown: nothing in them is a tag or the border of a cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _examples(epilog: str) -> str:
    lines = [line.strip() for line in epilog.replace("\b", "").splitlines()]
    return "\n".join(line for line in lines if line and line != "Example:")


if __name__ == "__main__":
    sys.stdout.write(commands_page())

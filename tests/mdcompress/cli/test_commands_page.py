"""docs/commands.md says what the command line says."""

from __future__ import annotations

import re

from mdcompress.cli.commands_page import commands_page
from mdcompress.cli.group import COMMANDS
from tests.support.command_line import invoke
from tests.support.paths import ROOT


def test_the_page_is_current() -> None:
    """python -m mdcompress.cli.commands_page > docs/commands.md."""
    assert (ROOT / "docs/commands.md").read_text("utf-8") == commands_page()


def test_every_command_and_every_option_of_its_help_is_there() -> None:
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", commands_page(), flags=re.MULTILINE | re.DOTALL))
    assert list(sections) == list(COMMANDS)
    for name, section in sections.items():
        shown = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", invoke(name, "--help").out, flags=re.MULTILINE))
        assert len(shown) >= 3
        assert {option for option in shown if f"`{option}" not in section} == set()
        assert f"mdcompress {name}" in section

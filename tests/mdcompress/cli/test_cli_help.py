"""Help that helps: a summary and an example for every command, and examples that the program understands."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from intsnn.hardware import shipped_hardware
from mdcompress._version import __version__
from mdcompress.cli import main
from mdcompress.cli.console import Detail
from mdcompress.cli.group import COMMANDS, Invocation
from mdcompress.cli.options import Selection
from mdcompress.runs.manifest import Stage
from tests.support.command_line import invoke


def examples_of(command: str) -> list[str]:
    _, _, text = invoke(command, "--help").out.partition("Example:\n")
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_help_lists_every_command_with_its_whole_summary() -> None:
    result = invoke("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].*[^.]\.$", result.out, re.M), name
    assert "Example:" in result.out


def test_every_stage_has_its_command() -> None:
    assert {stage.value for stage in Stage} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_the_help_are_understood(command: str) -> None:
    examples = examples_of(command)
    assert examples
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("mdcompress", command)
        assert invoke(name, *arguments, "--help").code == 0, example


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_sentence(command: str) -> None:
    context = click.Context(main)
    found = main.get_command(context, command)
    assert found is not None
    options = [parameter for parameter in found.params if isinstance(parameter, click.Option)]
    assert {"--json", "--debug", "-q"} <= {name for option in options for name in option.opts}
    for option in options:
        assert option.help and option.help.endswith("."), option.name


def test_module_that_defines_no_command_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "check", "mdcompress.errors")
    result = invoke("check", "--help")
    assert result.code == 1 and "bug" in result.err


def test_version_is_printed() -> None:
    assert invoke("--version").out.strip() == f"mdcompress, version {__version__}"


def test_no_command_shows_the_help() -> None:
    result = invoke()
    assert result.code == 2 and "Commands:" in result.out and result.err == ""


def test_help_of_the_price_lists_the_shipped_descriptions() -> None:
    text = " ".join(invoke("estimate-hw", "--help").out.split())
    for name in shipped_hardware():
        assert name in text, name


def test_help_of_options_of_ones_own_shows_an_example() -> None:
    text = " ".join(invoke("run", "--help").out.split())
    assert "distill.epochs=5" in text and "may be repeated" in text and "my_nets:build" in text


def test_command_line_is_recorded_so_that_a_shell_understands_it() -> None:
    assert Invocation(("run", "--set", "data.folder=my data")).command == "mdcompress run --set 'data.folder=my data'"
    assert Invocation(("run", "--debug")).detail is Detail.TRACEBACK and Invocation(()).detail is Detail.MESSAGE


def test_selection_is_spelled_as_options_again() -> None:
    selection = Selection("4bit", None, ("seed=1", "data.folder=my data"), "nets:build", "w.pt", 7)
    assert str(selection) == (
        "--recipe 4bit --set seed=1 --set 'data.folder=my data' --model nets:build --weights w.pt --seed 7"
    )
    assert str(Selection(model="net.nir", nir=("exporter=norse",))) == "--model net.nir --nir exporter=norse"
    assert str(Selection()) == ""


def test_named_options_win_over_set() -> None:
    changes = Selection(settings=("seed=1",), weights="my: weights.pt", seed=2).changes
    assert changes == ("seed=1", 'model.weights="my: weights.pt"', "seed=2")

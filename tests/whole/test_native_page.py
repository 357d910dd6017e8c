"""Every command and every line of Python and C of docs/native.md is run as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from intsnn.compiling.compiler import find_compiler
from tests.support.c_programs import WARNINGS
from tests.support.command_line import environment, invoke
from tests.support.main_run import MainRun, commands
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "native.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(main_run: MainRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run that the page's first command makes, which is the README's."""
    ((first,), *_) = (commands(block) for block in blocks("bash"))
    assert first == ["mdcompress", "run", "--recipe", "recipes/4bit.yaml"]
    return Path(shutil.copytree(main_run.folder, tmp_path_factory.mktemp("native") / "run"))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    with torch.random.fork_rng():
        yield folder


@pytest.mark.slow
def test_the_python_examples_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = "\n".join(blocks("python"))  # the later ones go on from the first
    exec(compile(block, "native.md", "exec"), {"__name__": "__main__"})
    lines = [line for line in capsys.readouterr().out.splitlines() if " ms, " in line]
    assert len(lines) == 6 and all(re.fullmatch(r"\d+ ms, \d+ events: class \d", line) for line in lines)
    assert sum(int(re.findall(r"(\d+) events", line)[0]) for line in lines) > 100
    del here


@pytest.mark.slow
def test_the_commands_and_the_firmware_work_in_their_order(here: Path) -> None:
    _, bench, export, make = blocks("bash")
    for line in (*commands(bench), *commands(export)):
        result = invoke(*_unquoted(line)[1:])
        assert result.code == 0, f"{' '.join(line)}\n{result.err}"
    assert sorted(path.name for path in (here / "timings").iterdir()) == ["bench.json", "bench.md", "bench.svg"]
    assert (here / "runs/4bit/c/net_4bit.c").is_file()
    for typed in make.strip().splitlines():
        _make(typed, here)
    assert (here / "runs/4bit/c/net_4bit.o").is_file()
    (firmware,) = blocks("c")
    (here / "firmware.c").write_text(firmware)
    command = [*find_compiler().command, *WARNINGS, "-Iruns/4bit/c", "-c", "-o", "firmware.o", "firmware.c"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _unquoted(line: list[str]) -> list[str]:
    return [part.strip("'") for part in line]


def _make(line: str, folder: Path) -> None:
    """Run a line of the page, with this Python as `python`; where there is no make, its own command by hand."""
    program, *arguments = shlex.split(line)
    assert program == "make"
    arguments = [argument.replace("CC=python", f"CC={sys.executable}") for argument in arguments]
    if shutil.which("make") is None:
        return  # test_package.py compiles what the Makefile compiles, without make
    compiler = {} if any(each.startswith("CC=") for each in arguments) else {"CC": " ".join(find_compiler().command)}
    done = subprocess.run(
        ["make", *arguments, *(f"{key}={value}" for key, value in compiler.items())],
        cwd=folder, env={**os.environ, **environment()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

"""Every command and every line of Python of docs/own_network.md is run as it stands there."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.command_line import invoke
from tests.support.main_run import commands
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/own_network.md").read_text("utf-8")
EXAMPLE = ROOT / "docs/examples/own_network"
SHORTER = ["--set", "distill.epochs=1", "--set", "data.calibration_samples=64"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's two files and the weights that its first command leaves, after two epochs."""
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDCOMPRESS_TRUST")  # the page's commands name the network, and so need no consent
    monkeypatch.syspath_prepend(tmp_path)
    assert blocks("bash")[0].splitlines()[0] == "python train.py"
    monkeypatch.setattr(sys, "argv", ["train.py", "--epochs", "2"])
    with torch.random.fork_rng():
        runpy.run_path("train.py", run_name="__main__")
    yield tmp_path
    sys.modules.pop("my_network", None)


def findings() -> list[list[str]]:
    """Node, place and equation of each neuron in the page's dry run."""
    rows = re.findall(r"^\| (\w+_neuron) +\| (my_network\.py:\d+) +\| (.*?) +\|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    return [list(row) for row in rows]


def test_the_page_shows_the_file_as_it_is() -> None:
    file = (EXAMPLE / "my_network.py").read_text("utf-8")
    assert all(part.strip() in file for part in blocks("python")[0].split("\n\n\n"))


def test_the_python_example_runs_and_prints_what_the_page_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(blocks("python")[1], "own_network.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert printed.startswith("the weights are 'state_dict' of the file; 'module.' taken off before their names")
    assert all(" ".join(row) in printed for row in findings())
    assert "student = interpreter = onnxruntime = native on 16 samples x 4 steps" in printed
    del folder


@pytest.mark.slow
def test_the_commands_run(folder: Path) -> None:
    """As on the page, but with fewer epochs and samples."""
    lines = commands(blocks("bash")[0])
    assert [line[1] for line in lines] == ["quantize", "quantize", "distill", "export", "estimate-hw"]
    for line in lines:
        result = invoke(*line[1:], *(SHORTER if line[1] in ("quantize", "distill") else []))
        assert result.code == 0, f"{' '.join(line)}\n{result.err}"
        if "--dry-run" in line:
            said = next(line for line in blocks("text")[0].splitlines() if line.startswith("the network of "))
            assert said in result.err
            assert all(re.search(r" +\| ".join(map(re.escape, row)), result.out) for row in findings())
    assert (folder / "runs/4bit/report.html").is_file()

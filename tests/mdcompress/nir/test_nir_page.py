"""docs/nir.md is run as it stands there, and the commands with a NIR file as the network."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import mdcompress as md
from intsnn.onnx.file import read_onnx
from mdcompress.cli import main
from tests.support.paths import ROOT

nir = pytest.importorskip("nir")  # with or without a v_reset: the page needs none

PAGE = (ROOT / "docs" / "nir.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def command(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line)[1:])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[0], "docs/nir.md", "exec"), {"__name__": "__main__"})
    return tmp_path


def test_the_python_of_the_page_runs_in_its_order(folder: Path) -> None:
    code = "\n".join(blocks("python"))
    assert code.count("md.") >= 7
    exec(compile(code, "docs/nir.md", "exec"), {"__name__": "__main__"})
    assert (folder / "model.nir").is_file()


def test_the_commands_of_the_page_run_in_their_order(folder: Path) -> None:
    lines = blocks("bash")[0].strip().splitlines()
    assert [line.split()[1] for line in lines] == ["quantize", "distill", "export", "estimate-hw"]
    for line in lines:
        result = command(line)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    run = folder / "runs" / "8bit"
    assert md.integers_from_nir(run / "model.nir") == read_onnx(run / "model.onnx")
    assert "model.nir" in command("mdcompress export --run 8bit --force --format nir -q").stdout
    assert command("mdcompress export --run 8bit --force").exit_code == 0
    assert not (run / "model.nir").exists()  # it may be of another student


SOFT = """\
import torch
from torch import nn
from mdcompress.zoo import LIF

class Soft(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.neuron, self.head = nn.Linear(64, 20), LIF(reset="soft", threshold=0.5), nn.Linear(20, 10)

    def forward(self, x):
        return self.head(self.neuron(self.hidden(x.flatten(2)))).mean(0)
"""


def test_a_student_that_subtracts_is_written_for_a_reader_that_subtracts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "soft_network.py").write_text(SOFT)
    own = "--recipe 8bit --model soft_network:Soft --weights weights.pt --set data.calibration_samples=64"
    torch.save(importlib.import_module("soft_network").Soft().state_dict(), "weights.pt")
    assert command(f"mdcompress quantize {own}").exit_code == 0
    as_it_is = command("mdcompress export --format nir")
    assert as_it_is.exit_code == 1 and "--nir-reset soft" in as_it_is.output
    result = command("mdcompress export --format nir --nir-reset soft --nir-step jump")
    assert result.exit_code == 0, result.output
    written = nir.read("runs/8bit/model.nir").metadata["mdcompress"]
    assert (str(written["reset"]), str(written["step"])) == ("soft", "jump")
    alone = command("mdcompress export --force --nir-reset soft")
    assert alone.exit_code == 2 and "are for --format nir" in alone.output


@pytest.mark.parametrize(
    ("line", "says", "code"),
    [
        ("quantize --recipe 8bit --model net.nir", "leaves open dt, discretization, reset, comparator", 2),
        ("quantize --recipe 8bit --model net.nir --nir exporter=snntorch", "`reset`: its reset_mechanism", 2),
        ("quantize --recipe 8bit --model net.nir --nir exporter=nest", "must be one of spikingjelly, snntorch", 2),
        ("quantize --recipe 8bit --nir exporter=norse", "is for networks from a `.nir` file", 2),
        ("quantize --recipe 8bit --model none.nir --nir exporter=norse", "none.nir", 1),
        ("train --recipe 8bit --model net.nir", "there is nothing to train", 2),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_any_work(folder: Path, line: str, says: str, code: int) -> None:
    result = command(f"mdcompress {line}")
    assert result.exit_code == code and says in result.output
    assert not list(folder.glob("runs/*/*"))


def test_other_options_go_to_the_same_place_as_the_recipe(folder: Path) -> None:
    line = "mdcompress quantize --recipe 8bit --model net.nir --dry-run"
    options = ("dt=1e-4", "reset=hard", "comparator=greater", "discretization=euler")
    by_option = command(" ".join([line, *(f"--nir {option}" for option in options)]))
    by_setting = command(" ".join([line, *(f"--set model.nir.{option}" for option in options)]))
    assert by_option.exit_code == 0 and "lif" in by_option.output
    assert by_option.output == by_setting.output

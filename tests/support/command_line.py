"""Runs the command line in this process, and makes one finished run that tests copy."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from filelock import FileLock

from mdcompress.cli import main
from tests.support.paths import ROOT

TINY_RECIPE = """\
schema: mdcompress.recipe/1
name: tiny
model: {builder: "tiny_network:build"}
teacher: {epochs: 2, optimizer: {lr: 0.02}}
distill: {epochs: 1}
data: {name: digits, time_steps: 2, batch_size: 256, calibration_samples: 128}
"""

TINY_NETWORK = """\
from torch import nn
from mdcompress.zoo import IF, LIF

class Tiny(nn.Module):
    def __init__(self, inputs=64):
        super().__init__()
        self.hidden, self.neuron = nn.Linear(inputs, 32), LIF(tau=2.0)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.neuron(self.hidden(x.flatten(2)))).mean(0)

def build():
    return Tiny()

def build_for_other_images():
    return Tiny(inputs=100)

class OfTwoSteps(Tiny):
    def forward(self, x):
        return super().forward(x.reshape(2, -1, 64))

def build_of_two_steps():
    return OfTwoSteps()

class WithoutNeurons(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(2)).mean(0)

def build_without_neurons():
    return WithoutNeurons()

def build_wrongly():
    raise RuntimeError("my own bug")

def load_wrongly(time_steps, batch_size, seed):
    return {}["train"]

def build_no_network():
    return "a network"
"""


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


def invoke(*arguments: str) -> Finished:
    """Run `mdcompress …` in this process and this working directory."""
    result = CliRunner().invoke(main, list(arguments), prog_name="mdcompress")
    return Finished(result.exit_code, result.stdout, result.stderr)


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of its own that finds the packages of this checkout."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **more}


def spawn(*arguments: str, folder: Path, **more: str) -> Finished:
    """Run `python -m mdcompress …` as a process of its own in `folder`."""
    command = [sys.executable, "-m", "mdcompress", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


def write_tiny_files(folder: Path) -> None:
    """tiny.yaml and the network that it names."""
    (folder / "tiny.yaml").write_text(TINY_RECIPE)
    (folder / "tiny_network.py").write_text(TINY_NETWORK)


@functools.cache
def _finished(session_folder: Path) -> Path:
    """The folder of the finished run, which one of the processes of the tests has made."""
    shared = session_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else session_folder
    folder = shared / "a-finished-run"
    with FileLock(shared / "a-finished-run.lock"):
        if not (folder / "stderr").exists():
            _make_finished_run(folder)
    return folder


def _make_finished_run(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write_tiny_files(folder)
    with contextlib.chdir(folder):
        result = invoke("run", "--recipe", "tiny.yaml")
    assert result.code == 0, result.err
    (folder / "stdout").write_text(result.out)
    (folder / "stderr").write_text(result.err)


def copy_finished_run(session_folder: Path, folder: Path) -> None:
    """Fill `folder` with tiny.yaml, its network, a whole run in `runs/tiny`, and what it printed (stdout, stderr)."""
    shutil.copytree(_finished(session_folder), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` and its content, except what Python compiles."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}

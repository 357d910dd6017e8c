"""The README's commands, run once as a user would; tests share what they leave behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT


@dataclass(frozen=True)
class MainRun:
    """A working folder in which the first command of the README has been run."""

    folder: Path
    stdout: str


PAGES = ("README.md", "docs/start.md", "docs/python.md")  # what a new user reads, in this order


def readme_blocks(language: str) -> list[str]:
    """The fenced code blocks in one language of the README and of the pages that it leads to first, in order."""
    text = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The mdcompress command lines of a shell block; installations and the tests themselves are left out."""
    parts = [part.strip() for line in block.splitlines() for part in line.split("&&")]
    return [part.split() for part in parts if part.startswith("mdcompress ")]


def run_command(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`mdcompress …` in a process of its own, as from a terminal."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'export'}"}
    return subprocess.run(
        [sys.executable, "-m", "mdcompress", *arguments[1:]],
        cwd=folder, capture_output=True, text=True, env=environment, timeout=280, check=False,
    )  # fmt: skip


def main_job_in(folder: Path) -> MainRun:
    """What the README's first command leaves in a folder beside copies of the recipes; run there if it was not yet."""
    printed = folder / "stdout.txt"
    if not printed.exists():
        folder.mkdir(parents=True)
        shutil.copytree(ROOT / "recipes", folder / "recipes")
        result = run_command(commands(readme_blocks("bash")[0])[0], folder)
        assert result.returncode == 0, result.stderr
        printed.write_text(result.stdout)
    return MainRun(folder, printed.read_text())

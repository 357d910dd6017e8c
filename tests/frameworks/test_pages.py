"""Every example in docs/frameworks is run as it stands there, and every page's commands on its own network."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.command_line import invoke
from tests.support.main_run import commands
from tests.support.paths import ROOT

PAGES = ROOT / "docs/frameworks"
FRAMEWORKS = ("spikingjelly", "snntorch", "norse", "sinabs")
STEPWISE = ("snntorch", "norse", "sinabs")


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [*FRAMEWORKS, "own"])
def test_the_python_examples_run(page: str) -> None:
    if page != "own":
        pytest.importorskip(page)
    found = blocks(page, "python")
    assert found and "verify" in found[0]
    exec(compile("\n".join(found), f"{page}.md", "exec"), {"__name__": "__main__"})


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_four_commands_take_the_network_as_it_is(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the page, but with fewer epochs and samples."""
    pytest.importorskip(framework)
    for file in (ROOT / "docs/examples" / framework).glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "network", raising=False)  # every example has one of that name
    (block,) = blocks(framework, "bash")
    monkeypatch.setattr(sys, "argv", [*block.splitlines()[0].split()[1:], "--epochs", "2"])
    runpy.run_path("train.py", run_name="__main__")
    assert len(commands(block)) == 4
    for line in commands(block):
        trained = line[1] in ("quantize", "distill")
        shorter = ["--set", "distill.epochs=1", "--set", "data.calibration_samples=64"] if trained else []
        result = invoke(*line[1:], *shorter)
        assert result.code == 0, f"{' '.join(line)}\n{result.err}"
        if line[1] == "quantize" and framework != "spikingjelly":  # whose network takes all steps already
            assert "it runs as mdcompress." in result.err
        if line[1] == "quantize":
            assert re.search(r"^teacher    test accuracy .*\nquantized  test accuracy", result.out, re.MULTILINE)
        if line[1] == "export":  # two of the networks answer at every step
            assert ("logits are int32 [T, N, K]" in result.out) == (framework in STEPWISE)
    assert (tmp_path / "runs/4bit/report.html").is_file()


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        links = re.findall(r"\]\(((?!http)[^)#]+)", page.read_text())
        assert links, page
        for link in links:
            assert (page.parent / link).exists(), f"{page.name}: {link}"

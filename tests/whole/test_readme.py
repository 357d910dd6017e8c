"""Every command and every line of Python of README, docs/start.md and docs/python.md is run as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import invoke
from tests.support.main_run import MainRun, commands, readme_blocks
from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_first_command_prints_accuracies_parity_and_hardware(main_run: MainRun) -> None:
    for word in ("teacher", "quantized", "distilled", "student = interpreter = onnxruntime = native", "EDAP"):
        assert word in main_run.stdout
    networks = re.findall(r"^\| (?:teacher|quantized|distilled) +\| +([\d.]+) % \|", main_run.stdout, re.MULTILINE)
    accuracies = [float(value) for value in networks]
    assert len(accuracies) == 3 and min(accuracies) > 90
    before, after = (
        float(value)
        for value in re.findall(r"^\| (?:quantized|distilled) .*\| +(0\.\d+) \|$", main_run.stdout, re.MULTILINE)
    )
    assert 0 < after <= before, "the epoch is kept by a loss that is mostly the membranes'"


@pytest.mark.slow
def test_every_other_command_works_after_it_in_its_order(
    main_run: MainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(main_run.folder, tmp_path / "main"))
    lines = [line for block in readme_blocks("bash")[1:] for line in commands(block)]
    assert len(lines) >= 8
    for line in lines:
        result = invoke(*line[1:])
        assert result.code == 0, f"{' '.join(line)}\n{result.err}"


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = "\n".join(readme_blocks("python"))  # the later ones go on from the first
    exec(compile(block, "docs/python.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "model.onnx").is_file()


def test_the_readme_is_short_and_its_two_commands_come_first() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks == [
        "pip install -e . && mdcompress run --recipe recipes/4bit.yaml\n",
        "pip install -e '.[test]' && pytest -n logical\n",
    ]


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link

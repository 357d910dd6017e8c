"""`export --format safetensors`: the student with packed weights, read as any other, and gone with the next export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mdcompress as md
from intsnn.onnx.file import read_onnx
from tests.support.command_line import copy_finished_run, invoke

RUN = Path("runs/tiny")
FILE = RUN / "student.safetensors"


@pytest.fixture
def exported(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = invoke("export", "--force", "--format", "safetensors", "--engine", "interpreter")
    assert done.code == 0 and "student.safetensors (" in done.err and "removed" not in done.err


@pytest.mark.usefixtures("exported")
def test_the_packed_student_has_the_integers_of_the_model_and_its_accuracy() -> None:
    assert md.lower(md.load_student(FILE)) == read_onnx(RUN / "model.onnx")
    assert FILE.stat().st_size < (RUN / "distilled.safetensors").stat().st_size
    accuracies = [json.loads(invoke("eval", str(RUN / name), "--json").out)["accuracy"] for name in
                  ("student.safetensors", "distilled.safetensors")]  # fmt: skip
    assert accuracies[0] == accuracies[1] > 0.5


@pytest.mark.usefixtures("exported")
def test_an_export_without_it_takes_it_away() -> None:
    done = invoke("export", "--force", "--engine", "interpreter")
    assert done.code == 0 and not FILE.exists()
    assert "removed student.safetensors, which the export before had written" in done.err

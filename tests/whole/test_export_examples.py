"""The examples of the export half run as they are printed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from intsnn.onnx.file import write_onnx
from tests.support.intgraphs import residual_graph
from tests.support.paths import ROOT

EXAMPLES = ROOT / "export" / "examples"


@pytest.mark.parametrize(
    ("example", "last_line"),
    [("hand_made_graph.py", "read back equal: True"), ("stream.py", "equal to the whole sequence: True")],
)
def test_example_runs_and_fires(
    example: str, last_line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / example), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == last_line
    assert "[1, " in printed or ", 1]" in printed


def test_example_reads_the_layers_with_onnx_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(residual_graph(), path)
    monkeypatch.setattr(sys, "argv", ["read_with_onnx_only.py", str(path)])
    runpy.run_path(str(EXAMPLES / "read_with_onnx_only.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(residual_graph())
    assert "weight [4, 2, 3, 3], 8 bit" in lines[1]
    monkeypatch.setattr(sys, "argv", ["read_with_onnx_only.py"])
    with pytest.raises(SystemExit, match="usage"):
        runpy.run_path(str(EXAMPLES / "read_with_onnx_only.py"), run_name="__main__")

"""Every notebook runs from top to bottom, and shows what it did when it was executed."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def shape(text: str) -> str:
    """The words without their numbers, which another processor may round otherwise."""
    return re.sub(r"[\d.,]+", "#", text)


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["event_network", "own_cnn"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            for number, cell in enumerate(code_cells(notebook), start=1):
                printed = io.StringIO()
                source = tmp_path / f"{notebook.stem}_{number}.py"  # lifting names the line of a neuron's code
                source.write_text("".join(cell["source"]), "utf-8")
                with contextlib.redirect_stdout(printed):
                    exec(compile(source.read_text("utf-8"), str(source), "exec"), names)
                shown = "".join(line for output in cell["outputs"] for line in output["text"])
                assert shape(printed.getvalue()) == shape(shown)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_executed_and_small(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output["output_type"] == "stream" for cell in cells for output in cell["outputs"])
    assert notebook.stat().st_size < 20_000

"""`mdcompress bench`: a run with all engines, a model beside its golden values, and what it refuses.

No test asserts how long anything takes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import intsnn.compiling.folder
import intsnn.native
from intsnn.activity import measure
from intsnn.errors import CompilerError
from intsnn.execution.golden import write_golden
from intsnn.graph import IntGraph
from intsnn.native import NativeSession
from intsnn.onnx.file import write_onnx
from mdcompress.pipeline import timing
from tests.support.command_line import copy_finished_run, invoke, snapshot
from tests.support.intgraphs import dense_graph, random_input, residual_graph

FAST = ["--rounds", "2"]
ALL = ["float network", "student", "onnxruntime", "native"]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "QUIET_SECONDS", 0.0)


def write_model(folder: Path, graph: IntGraph, *, samples: int = 20) -> Path:
    write_onnx(graph, folder / "model.onnx")
    write_golden(graph, folder / "golden.npz", x=random_input(graph, samples=samples))
    return folder / "model.onnx"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path, dense_graph())


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished run of a tiny network."""
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table_rows(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_a_run_is_timed_in_every_engine_side_by_side(run: Path) -> None:
    before = snapshot(run)
    result = invoke("bench", *FAST, "--batch", "1", "--batch", "4", "--samples", "8")
    assert result.code == 0, result.err
    rows = table_rows(result.out)
    assert [row[:3] for row in rows] == [[batch, "1", name] for batch in ("1", "4") for name in ALL]
    assert "8 samples x 2 steps" in result.out and "times as fast as the float network" in result.out
    assert "is not there" not in result.out
    assert snapshot(run) == before, "the run is only read"


def test_the_document_has_every_round_and_the_ratios(run: Path) -> None:
    document = json.loads(invoke("bench", *FAST, "--batch", "2", "--threads", "1", "--threads", "2", "--json").out)
    assert (document["samples"], document["time_steps"], document["equal"]) == (16, 2, True)
    assert (document["against"], document["missing"]) == ("float network", {})
    found = [(one["threads"], one["engine"]) for one in document["timings"]]
    assert found == [(threads, name) for threads in (1, 2) for name in ALL]
    for one in document["timings"]:
        assert one["batch"] == 2 and len(one["seconds_per_batch"]) == 2 and min(one["seconds_per_batch"]) > 0
        assert one["samples_per_second"] == pytest.approx(1000 / one["milliseconds_per_sample"])
        additions = document["synaptic_additions_per_sample"] * one["samples_per_second"]
        assert one["synaptic_additions_per_second"] == pytest.approx(additions)
    own = document["timings"][0]["times_as_fast"]
    assert (own["low"], own["median"], own["high"]) == (1, 1, 1)
    del run


def test_additions_are_the_rows_driven_times_their_outputs(tmp_path: Path) -> None:
    graph = residual_graph()
    path = write_model(tmp_path, graph, samples=2)
    x = random_input(graph, samples=2)
    activity, expected = measure(graph, [x]), 0.0
    for node in graph.synapses:
        expected += sum(activity.synapse(node.name).row_activations) * node.weight.shape[0] / node.groups
    document = json.loads(invoke("bench", str(path), *FAST, "--batch", "2", "--json").out)
    assert document["synaptic_additions_per_sample"] == pytest.approx(expected) and expected > 1000


def test_a_model_is_timed_on_its_golden_inputs(model: Path) -> None:
    result = invoke("bench", str(model), *FAST, "--batch", "4")
    assert result.code == 0, result.err
    assert [row[2] for row in table_rows(result.out)] == ["onnxruntime", "native"]
    assert "16 samples x 4 steps" in result.out and "times as fast as onnxruntime" in result.out
    assert "- float network is not there: a model.onnx alone has none" in result.out


def test_without_a_compiler_native_code_is_said_to_be_missing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> NativeSession:
        raise CompilerError("there must be a C compiler (found none)", hints=["pip install 'mdcompress[native]'"])

    monkeypatch.setattr(intsnn.native, "compile", none)
    result = invoke("bench", str(model), *FAST, "--batch", "4")
    assert result.code == 0, result.err
    assert [row[2] for row in table_rows(result.out)] == ["onnxruntime"]
    reason = "there must be a C compiler (found none); hint: pip install 'mdcompress[native]'"
    assert f"- native is not there: {reason}" in result.out
    document = json.loads(invoke("bench", str(model), *FAST, "--batch", "4", "--json").out)
    assert document["missing"]["native"] == reason


def test_code_that_is_not_kept_is_said_to_be_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "compiled code is not kept for the next time (there is no home folder): set MDCOMPRESS_CACHE"
    monkeypatch.setattr(intsnn.compiling.folder, "unkept", lambda: said)
    result = invoke("bench", str(model), *FAST)
    assert result.code == 0 and f"- {said}" in result.out.splitlines()
    assert json.loads(invoke("bench", str(model), *FAST, "--json").out)["notes"] == [said]


def test_moved_weights_of_the_float_network_leave_the_others(run: Path) -> None:
    (run / "runs" / "tiny" / "teacher.safetensors").unlink()
    result = invoke("bench", *FAST, "--batch", "4")
    assert result.code == 0, result.err
    assert [row[2] for row in table_rows(result.out)] == ["student", "onnxruntime", "native"]
    assert "- float network is not there: " in result.out


def test_answers_that_differ_end_the_command_before_any_time_is_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = NativeSession.answer

    def wrong(self: NativeSession, x: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> object:
        return answer(self, x) + 1

    monkeypatch.setattr(NativeSession, "answer", wrong)
    result = invoke("bench", str(model), *FAST)
    assert result.code == 3 and result.out == ""
    assert "onnxruntime and native must give equal answers" in result.err


@pytest.mark.usefixtures("drawn_as_shipped")
def test_table_numbers_and_picture_go_to_a_folder_that_is_free(model: Path, tmp_path: Path) -> None:
    arguments = ["bench", str(model), *FAST, "--batch", "1", "--output", str(tmp_path / "out")]
    result = invoke(*arguments)
    assert result.code == 0 and "wrote " in result.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.json", "bench.md", "bench.svg"]
    assert (tmp_path / "out" / "bench.md").read_text("utf-8") == result.out
    picture = (tmp_path / "out" / "bench.svg").read_text("utf-8")
    assert picture.lstrip().startswith("<?xml") and "onnxruntime" in picture and "ms a sample" in picture
    again = invoke(*arguments)
    assert again.code == 1 and "--force" in again.err
    assert invoke(*arguments, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--batch", "8", "--samples", "4"], 2, "--samples 8"),
        (["--batch", "64"], 2, "--batch 20"),
        (["--batch", "0"], 2, "--batch"),
        (["--recipe", "4bit"], 2, "give one of them"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], code: int, said: str, model: Path) -> None:
    result = invoke("bench", str(model), *FAST, *arguments)
    assert result.code == code and said in result.err


def test_a_model_without_golden_values_says_what_to_do(model: Path) -> None:
    model.with_name("golden.npz").unlink()
    result = invoke("bench", str(model), *FAST)
    assert result.code == 1 and "golden.npz" in result.err and "hint" in result.err


def test_torch_has_its_threads_again_afterwards(run: Path) -> None:
    import torch

    before = torch.get_num_threads()
    assert invoke("bench", *FAST, "--batch", "4", "--threads", str(before + 1)).code == 0
    assert torch.get_num_threads() == before
    del run

"""--engine: every engine gives the same results; without a C compiler every command works, and one sentence is said."""

import json
import re
from pathlib import Path

import pytest

from mdcompress.cli.options import ENGINES
from tests.support.command_line import Finished, copy_finished_run, invoke
from tests.support.compilers import hide_compilers

MODEL = "runs/tiny/model.onnx"
SENTENCE = "no C compiler works here"


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, in the working directory."""
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def succeeded(*arguments: str) -> Finished:
    done = invoke(*arguments)
    assert done.code == 0, done.err
    return done


def test_export_has_four_witnesses_and_says_nothing_by_the_way(finished: Path) -> None:
    done = succeeded("export", "--force")
    assert "student = interpreter = onnxruntime = native on 64 samples x 2 steps" in done.out
    assert re.search(r"^activity +mean spike rate [\d.]+ %, counted by native$", done.out, re.MULTILINE)
    assert SENTENCE not in done.err


@pytest.mark.parametrize("engine", ["onnxruntime", "interpreter"])
def test_export_with_another_engine_compiles_nothing(finished: Path, engine: str) -> None:
    before = json.loads((finished / "runs/tiny/activity.json").read_text())
    done = succeeded("export", "--force", "--engine", engine)
    assert "student = interpreter = onnxruntime on 64 samples" in done.out and SENTENCE not in done.err
    assert f" %, counted by {engine}\n" in done.out
    assert json.loads((finished / "runs/tiny/activity.json").read_text()) == before


def test_export_with_native_alone_measures_the_same(finished: Path) -> None:
    before = {name: (finished / "runs/tiny" / name).read_bytes() for name in ("activity.json", "golden.npz")}
    succeeded("export", "--force", "--engine", "native")
    assert {name: (finished / "runs/tiny" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("command", [["eval", MODEL], ["analog", "--chips", "1", "--samples", "20", "--noise", "0"]])
def test_every_engine_gives_the_same_result(finished: Path, command: list[str]) -> None:
    results = {succeeded(*command, "--engine", engine).out for engine in ENGINES}
    assert len(results) == 1 and "accuracy" in results.pop()


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "interpreter"])
def test_engine_that_was_used_is_said_and_stands_in_the_document(finished: Path, engine: str) -> None:
    done = succeeded("eval", MODEL, "--engine", engine, "--json")
    assert done.err.startswith(f"engine     {engine}") and json.loads(done.out)["engine"] == engine
    assert f"engine     {engine}" in succeeded("analog", "--samples", "20", "--noise", "0", "--engine", engine).err
    assert succeeded("eval", MODEL, "--engine", engine, "-q").err == ""


@pytest.mark.parametrize("file", ["distilled.safetensors", "teacher.safetensors"])
def test_what_torch_runs_is_said_too_and_takes_no_engine(finished: Path, file: str) -> None:
    path = f"runs/tiny/{file}"
    done = succeeded("eval", path, "--json")
    assert done.err == "engine     torch\n" and json.loads(done.out)["engine"] == "torch"
    refused = invoke("eval", path, "--engine", "native")
    assert refused.code == 2 and "--engine native must be for a model.onnx" in refused.err


def test_chosen_compiler_that_does_not_work_is_said_once_and_what_serves_instead(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "nonsense")
    done = succeeded("eval", MODEL)
    assert done.err.count("the compiler that CC names does not work") == 1 and "but by " in done.err
    assert succeeded("export", "--force").err.count("the compiler that CC names does not work") == 1
    bench = succeeded("bench", "--rounds", "1", "--batch", "4").out
    assert "- native is not there: CC=nonsense: must be a C compiler that works here" in bench


def test_folder_of_compiled_code_that_cannot_be_made_ends_no_command(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(finished / MODEL / "cache"))
    assert "student = interpreter = onnxruntime on 64" in (done := succeeded("export", "--force")).out
    assert done.err.count("compiled code has no folder here") == 1
    assert "- native is not there: " in succeeded("bench", "--rounds", "1", "--batch", "4").out


def test_without_a_compiler_export_has_three_witnesses_and_one_sentence(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished / "runs/tiny/activity.json").read_bytes()
    hide_compilers(monkeypatch)
    done = succeeded("export", "--force")
    assert "student = interpreter = onnxruntime on 64 samples x 2 steps" in done.out
    assert done.err.count(SENTENCE) == 1 and "pip install 'mdcompress[native]'" in done.err
    assert (finished / "runs/tiny/activity.json").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--force"],
        ["eval", MODEL],
        ["analog", "--chips", "1", "--samples", "20", "--noise", "0"],
        ["analog", MODEL, "--chips", "1", "--noise", "0"],
        ["estimate-hw", "--force"],
        ["explore", "--cell-bits", "1,2"],
        ["check", MODEL],
    ],
)
def test_without_a_compiler_every_command_works_as_before(
    finished: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    with_compiler = succeeded(*command)
    hide_compilers(monkeypatch)
    done = succeeded(*command)
    out = re.sub(r"counted by \w+", "counted by native", done.out)
    assert out.replace("onnxruntime on", "onnxruntime = native on") == with_compiler.out
    assert done.err.count(SENTENCE) <= 1


@pytest.mark.parametrize("command", [["export", "--force"], ["eval", MODEL], ["analog", "--noise", "0"]])
def test_native_without_a_compiler_is_an_error_with_a_hint(
    finished: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    hide_compilers(monkeypatch)
    done = invoke(*command, "--engine", "native")
    assert done.code == 1
    assert "there must be a C compiler" in done.err and "pip install 'mdcompress[native]'" in done.err

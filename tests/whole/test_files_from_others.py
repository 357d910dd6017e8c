"""docs/files_from_others.md: nothing of a stranger's recipe, run, model or checkpoint runs without consent."""

from __future__ import annotations

import ast
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from mdcompress.cli.group import COMMANDS
from mdcompress.recipe import Recipe, load_recipe
from mdcompress.recipe.keys import models_in
from tests.support.command_line import TINY_RECIPE, copy_finished_run, environment, invoke, spawn
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/files_from_others.md").read_text("utf-8")

STRANGER = """\
from pathlib import Path
Path("ran").touch()
raise RuntimeError("code of a stranger")
"""

# Command lines in a stranger's folder: fresh.yaml and runs/tiny name strangers_code for network and data
RUNS_CODE: Mapping[str, tuple[str, ...]] = {
    "run": ("run --recipe fresh.yaml", "run --recipe fresh.yaml --dry-run", "run --run tiny --force --set seed=1"),
    "train": ("train --recipe fresh.yaml", "train --run tiny --force"),
    "sensitivity": ("sensitivity --run tiny", "sensitivity --recipe fresh.yaml --weights mine.safetensors"),
    "quantize": (
        "quantize --recipe fresh.yaml --weights mine.safetensors",
        "quantize --run tiny --dry-run",
    ),
    "distill": ("distill --run tiny --force",),
    "export": ("export --run tiny --force",),
    "eval": (
        "eval",
        "eval runs/tiny/model.onnx",
        "eval runs/tiny/teacher.safetensors",
        "eval --recipe fresh.yaml mine.safetensors",
    ),
    "analog": ("analog --run tiny --chips 1",),
    "explore": ("explore --run tiny --crossbar 32 --adc-bits 4 --accuracy --samples 8",),
    "bench": ("bench --run tiny --rounds 1",),
    "search": ("search --run tiny --trials 1", "search --recipe fresh.yaml --weights mine.safetensors"),
}
RUNS_NONE: Mapping[str, tuple[str, ...]] = {
    "check": ("check fresh.yaml runs/tiny/recipe.yaml runs/tiny/model.onnx runs/tiny/activity.json",),
    "estimate-hw": ("estimate-hw --force", "estimate-hw runs/tiny/model.onnx", "estimate-hw --against float32"),
    "compare": ("compare runs/tiny ./twin",),
    "explore": ("explore --run tiny --crossbar 32,64", "explore runs/tiny/model.onnx --crossbar 32,64"),
}
LINES = [line for lines in RUNS_CODE.values() for line in lines]


@pytest.fixture
def stranger(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder, consistent in itself: code beside recipes, a finished run, weights. Nothing is trusted."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    copy_finished_run(tmp_path_factory.getbasetemp(), folder)
    (folder / "tiny_network.py").unlink()
    (folder / "strangers_code.py").write_text(STRANGER)
    (folder / "fresh.yaml").write_text(_named_by_a_stranger(TINY_RECIPE.replace("name: tiny", "name: fresh")))
    for name in ("recipe.yaml", "run.json"):
        file = folder / "runs" / "tiny" / name
        file.write_text(_named_by_a_stranger(file.read_text()))
    shutil.copytree(folder / "runs" / "tiny", folder / "twin")
    (folder / "mine.safetensors").write_bytes((folder / "runs/tiny/teacher.safetensors").read_bytes())
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MDCOMPRESS_TRUST")
    monkeypatch.setenv("MDCOMPRESS_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def _named_by_a_stranger(text: str) -> str:
    text, networks = re.subn(r"tiny_network:build", "strangers_code:build", text)
    text, data = re.subn(r'(name"?: (?:"\\")?)digits\b', r"\1strangers_code:load", text)
    assert networks and data
    return text


def test_the_page_and_this_test_know_every_command() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", PAGE, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(COMMANDS) and RUNS_CODE.keys() | RUNS_NONE.keys() == set(COMMANDS)
    for name, cells in rows:
        imports, writes, network = (cell.strip() for cell in cells.split("|")[1:4])
        help_text = invoke(name, "--help").out
        assert (
            (name in RUNS_CODE)
            == ("code of the recipe" in imports or "`data.name`" in imports)
            == ("--trust" in help_text)
        )
        assert (network == "with `--download`") == ("--download" in help_text)
        assert ("--output" in writes) == (" --output " in help_text)


@pytest.mark.parametrize("line", LINES)
def test_nothing_of_a_strangers_folder_runs_without_consent(stranger: Path, line: str) -> None:
    """And with it, it does: so the first half would see it."""
    result = invoke(*line.split())
    assert not (stranger / "ran").exists() and "strangers_code" not in sys.modules
    assert (result.code, "strangers_code:" in result.err, "--trust" in result.err) == (2, True, True), result.err
    assert f"{stranger}/strangers_code.py" in result.err
    assert invoke(*line.split(), "--trust").code == 1
    assert (stranger / "ran").exists()


@pytest.mark.parametrize("line", [line for lines in RUNS_NONE.values() for line in lines])
def test_these_commands_run_nothing_of_a_strangers_folder(stranger: Path, line: str) -> None:
    result = invoke(*line.split())
    assert result.code == 0, result.err
    assert not (stranger / "ran").exists() and str(stranger) not in sys.path


def test_a_name_on_the_command_line_is_consent_for_that_name_alone(stranger: Path) -> None:
    fresh = ("quantize", "--recipe", "fresh.yaml", "--dry-run")
    refused = invoke(*fresh, "--model", "mdcompress.zoo:digits_snn")
    assert refused.code == 2 and "data.name: strangers_code:load" in refused.err
    assert "model.builder" not in refused.err and not (stranger / "ran").exists()
    result = invoke(*fresh, "--model", "strangers_code:build", "--set", "data={name: digits, time_steps: 2}")
    assert "code of a stranger" in result.err and (stranger / "ran").exists()


@pytest.mark.parametrize("name", ["torch", "numpy", "click", "pydantic", "matplotlib", "tonic", "mdcompress_plugins"])
def test_a_library_planted_in_the_working_folder_is_not_imported(name: str, tmp_path: Path) -> None:
    """Not even by `python -m`, and not even one that is not installed: `check` ends as it does elsewhere."""
    (tmp_path / f"{name}.py").write_text(STRANGER)
    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE)
    result = spawn("check", "tiny.yaml", folder=tmp_path)
    assert (result.code, result.out) == (0, "tiny.yaml: valid recipe tiny\n"), result.err
    assert not (tmp_path / "ran").exists()


def test_a_yes_on_a_terminal_is_consent_and_remembered(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdcompress.cli.opening._can_answer", lambda: True)
    monkeypatch.setattr("click.confirm", lambda question, **_: "Run it, now and whenever" in question)
    assert "code of a stranger" in invoke("eval", "runs/tiny/model.onnx").err
    (stranger / "ran").unlink()
    monkeypatch.setattr("mdcompress.cli.opening._can_answer", lambda: False)
    invoke("eval", "runs/tiny/model.onnx")
    assert (stranger / "ran").exists()


@pytest.mark.parametrize(("answer", "option"), [("n", "--dry-run"), ("", "--dry-run"), ("n", "--force")])
def test_on_a_terminal_the_user_is_asked(stranger: Path, answer: str, option: str) -> None:
    """A process of its own on a real pseudo-terminal; with --force a bar is drawn until the question comes."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "mdcompress", "quantize", "--run", "tiny", option]
    process = subprocess.Popen(
        command, cwd=stranger, env=environment(), stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal
    )
    os.close(terminal)
    with process:
        said = _read_until(controller, "[y/N]")
        assert "runs/tiny/recipe.yaml names code, which would run with your rights:" in said
        for code in ("model.builder: strangers_code:build", "data.name: strangers_code:load"):
            assert f"{code} ({stranger}/strangers_code.py)" in said
        os.write(controller, f"{answer}\n".encode())
        assert process.wait(timeout=60) == 2
    os.close(controller)
    assert not (stranger / "ran").exists()


def _read_until(controller: int, words: str) -> str:
    said, end = "", time.monotonic() + 60
    while words not in said and time.monotonic() < end:
        if select.select([controller], [], [], 1)[0]:
            said += os.read(controller, 4096).decode()
    return said


# ---------------------------------------------------------------------- one door

SOURCES = [*(ROOT / "mdcompress").rglob("*.py"), *(ROOT / "export/intsnn").rglob("*.py")]
RUN_TEXT = {"exec", "eval", "compile", "__import__"}  # built-in functions
RUN_NAMES = {  # of importlib, pkgutil, runpy, ctypes and pickle, however they are imported
    "import_module", "find_module", "load_module", "exec_module", "spec_from_file_location", "run_path", "run_module",
    "resolve_name", "CDLL", "PyDLL", "LoadLibrary", "Unpickler",
}  # fmt: skip
UNPICKLE = {"torch.load", "torch.jit.load", "pickle.load", "pickle.loads", "joblib.load", "marshal.loads", "dill.load"}
OPEN = {  # what stands in the code today, and why it may
    ("mdcompress/__init__.py", "importlib.import_module(f'mdcompress.{_ROOMS[name]}')"): "a table",
    ("mdcompress/data/__init__.py", "importlib.import_module(f'{__name__}.{_HOME[name]}')"): "a table",
    ("mdcompress/data/event_files.py", "importlib.import_module(f'tonic.{name}')"): "names of the program",
    ("mdcompress/cli/group.py", "importlib.import_module(COMMANDS[cmd_name])"): "a table",
    ("mdcompress/adapters/samples.py", "importlib.import_module(self.module)"): "samples of the page of support",
    ("export/intsnn/__init__.py", "importlib.import_module(f'intsnn.{_ROOMS[name]}')"): "a table",
    ("mdcompress/trust/importing.py", "importlib.import_module(code.module)"): "THE door: behind consent",
    ("mdcompress/trust/importing.py", "sys.path"): "the same",
    ("mdcompress/trust/names.py", "sys.path"): "read only",
    ("mdcompress/__main__.py", "sys.path"): "takes the working folder out",
    (
        "export/intsnn/compiling/cache.py",
        "ctypes.CDLL(str(library))",
    ): "compiled here, in a folder only the user writes",
    ("export/intsnn/compiling/compiler.py", "ctypes.CDLL(str(library))"): "the probe of the compiler, the same",
    ("mdcompress/tracing/functions.py", "resolve_name(func)"): "of torch.overrides: a function's own name",
    (
        "mdcompress/student/torch_files.py",
        "torch.load(path, map_location='cpu', weights_only=True)",
    ): "tensors and plain containers",
}


def doors(source: str) -> Iterator[str]:
    """Whatever may run code that does not stand there: by name, by text, by unpickling; and each use of sys.path."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in RUN_TEXT | RUN_NAMES and not _is_constant(node):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr=name)) if name in RUN_NAMES and not _is_constant(node):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="load" | "loads")) if ast.unparse(node.func) in UNPICKLE:
                yield ast.unparse(node)
            case ast.keyword(arg="allow_pickle") if ast.unparse(node.value) != "False":
                yield ast.unparse(node)
            case ast.Attribute(attr="path", value=ast.Name(id="sys")):
                yield "sys.path"


def _is_constant(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant)


def test_code_is_found_by_name_in_one_place_alone() -> None:
    found = {(str(path.relative_to(ROOT)), door) for path in SOURCES for door in doors(path.read_text("utf-8"))}
    assert found == set(OPEN), "a new way to run code needs consent (mdcompress/trust), or a reason here"


@pytest.mark.parametrize(
    "line",
    ["importlib.import_module(recipe.loss)", "import_module(name)", "__import__(name)", "runpy.run_path(file)",
     "eval(text)", "exec(text)", "pickle.loads(content)", "torch.load(path)", "np.load(path, allow_pickle=True)",
     "sys.path.insert(0, here)", "importlib.util.spec_from_file_location(name, path)", "pkgutil.resolve_name(name)"],
)  # fmt: skip
def test_a_new_way_would_be_seen(line: str) -> None:
    assert list(doors(line))
    assert not list(doors("importlib.import_module('nir'); re.compile(text); np.load(path, allow_pickle=False)"))


def test_recipes_name_code_at_these_keys_alone() -> None:
    """A key whose value may be an import path must be one that `Recipe.named_code` gives, or nobody is asked."""
    changes = ["model.builder=a:b", "distill.teacher={builder: 'e:f'}", "data.name=c:d"]
    recipe = load_recipe("4bit", changes=changes)
    named = {code.key for code in recipe.named_code}
    assert set(_keys_of_import_paths(Recipe, "")) == named == {"model.builder", "distill.teacher.builder", "data.name"}


def _keys_of_import_paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if "import path" in repr(field):
            yield f"{prefix}{name}"
        for section in models_in(field.annotation):
            yield from _keys_of_import_paths(section, f"{prefix}{name}.")

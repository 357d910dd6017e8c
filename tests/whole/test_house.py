"""The maps of the house: ARCHITECTURE.md, the indexes of docs and benchmarks, and what CI runs agree with the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from benchmarks.__main__ import main, runnable
from tests.support.paths import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
PACKAGES = {"mdcompress": ROOT / "mdcompress", "intsnn": ROOT / "export" / "intsnn"}
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "recipes/*.md", "export/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)


def contract_layers(package: str) -> list[set[str]]:
    """The rooms of a package, floor by floor, as the import contract has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in settings if one.get("containers") == [package])
    assert contract["exhaustive"] is True and contract["type"] == "layers"
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in contract["layers"]]


def map_layers(package: str) -> list[set[str]]:
    """The same as ARCHITECTURE.md has them."""
    (section,) = re.findall(rf"^### {package}\n(.*?)(?=^##|\Z)", ARCHITECTURE, flags=re.MULTILINE | re.DOTALL)
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [{name.rstrip("/") for name in re.findall(r"`([^`]+)`", cell)} for cell in first_cells]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_has_the_rooms_of_the_contract_and_of_the_code(package: str) -> None:
    folder = PACKAGES[package]
    here = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    here |= {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    assert map_layers(package) == contract_layers(package)
    assert set.union(*map_layers(package)) == here


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_it_is(package: str) -> None:
    silent = [path for path in PACKAGES[package].rglob("*.py") if not path.read_text("utf-8").startswith('"""')]
    assert silent == []


def test_percent_is_written_by_one_function() -> None:
    """`42.3 %` everywhere: no text formats a share by itself (Python's `:.1%` has no space)."""
    by_itself = re.compile(r":[.,\d]*%[}\"']|\{100 \* [^{}]*\} %")
    folders = (*PACKAGES.values(), ROOT / "benchmarks")
    sources = {path: path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")}
    assert [str(path) for path, text in sources.items() if by_itself.search(text)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_rooms(package: str) -> None:
    rooms = set.union(*contract_layers(package))
    folders = {path.name for path in (ROOT / "tests" / package).iterdir() if (path / "__init__.py").exists()}
    assert folders <= rooms
    loose = [path.name for path in (ROOT / "tests").glob("test_*.py")]
    assert loose == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    lost = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert lost == []


def test_paths_that_the_map_names_exist() -> None:
    named = re.findall(r"`((?:mdcompress|export|tests|docs|recipes|benchmarks)/[\w./*]+)`", ARCHITECTURE)
    lost = [name for name in named if not any(ROOT.glob(name.rstrip("/")))]
    assert named and lost == []


def test_the_index_of_docs_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)]+)\)", index.read_text("utf-8"))}
    pages = {path.resolve() for path in index.parent.rglob("*.md")} - {index.resolve()}
    assert pages and pages <= linked


def test_the_index_of_benchmarks_names_every_one() -> None:
    index = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)`", index, flags=re.MULTILINE)) == set(runnable())


def test_benchmarks_are_listed_and_run_by_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in runnable())
    assert main(["no_such"]) == 2 and "there are: " in capsys.readouterr().err
    command = [sys.executable, "-m", "benchmarks", "neurosim_comparison", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m benchmarks neurosim_comparison")


def test_pre_commit_runs_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    entries = re.findall(r"entry: ([^,}]+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    lines = [line.strip() for line in script.splitlines()]
    assert entries == [line for line in lines if line.startswith(("ruff", "mypy", "lint-imports"))]


def test_the_oldest_onnxruntime_that_is_declared_is_the_one_that_ci_tries() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (oldest,) = (found[1] for one in declared if (found := re.fullmatch(r"onnxruntime>=([\d.]+)", one)))
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert f" onnxruntime=={oldest}\n" in script and f" MDCOMPRESS_ONNXRUNTIME={oldest} pytest " in script


@pytest.mark.parametrize("package", PACKAGES)
def test_a_users_type_checker_sees_the_types(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()

"""The hooks of the site: links of the repository lead to pages of the site, or to files of the repository."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import intsnn
import mdcompress
from tests.support.paths import ROOT

pytest.importorskip("mkdocs")  # extra `docs`; `.ci/run` installs it and builds the site

REPOSITORY = "https://example.org/project"


@pytest.fixture(scope="module")
def hooks() -> Mapping[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "_site" / "hooks.py"))


@pytest.mark.parametrize(
    ("page", "link", "leads_to"),
    [
        ("start.md", "../recipes/README.md", "recipes.md"),
        ("frameworks/norse.md", "../../export/FORMAT.md#neuron", "../format.md#neuron"),
        ("frameworks/norse.md", "support.md", "support.md"),
        ("overview.md", "docs/own_network.md#limits", "own_network.md#limits"),
        ("overview.md", "docs/notebooks/own_cnn.ipynb", "notebooks/own_cnn.md"),
        ("format.md", "../README.md", "overview.md"),
        ("own_network.md", "examples/own_network/train.py", "examples/own_network/train.py"),
        ("python.md", "../mdcompress/__init__.py", f"{REPOSITORY}/blob/main/mdcompress/__init__.py"),
        ("contributing.md", "benchmarks", f"{REPOSITORY}/tree/main/benchmarks"),
        ("start.md", "https://neuroir.org", "https://neuroir.org"),
        ("start.md", "#install", "#install"),
    ],
)
def test_links(hooks: Mapping[str, Any], page: str, link: str, leads_to: str) -> None:
    with_links: Callable[[str, str, str], str] = hooks["with_links"]
    assert with_links(f"see [it]({link}).", page, REPOSITORY) == f"see [it]({leads_to})."
    fenced = f"```text\n[it]({link})\n```"
    assert with_links(fenced, page, REPOSITORY) == fenced


def test_no_line_of_a_list_begins_with_the_mark_of_another_list() -> None:
    """`- + logits` would be read as a list in a list, and its plus lost."""
    double = re.compile(r"^\s*[-+*] [-+*] .*", re.MULTILINE)
    pages = [path for path in (ROOT / "docs").rglob("*.md") if double.search(path.read_text("utf-8"))]
    assert double.search("- + logits: 0.8") and not pages


@pytest.mark.parametrize("package", [mdcompress, intsnn])
def test_the_api_has_every_public_name(hooks: Mapping[str, Any], package: Any) -> None:
    page = hooks["api_page"](package.__name__)
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)}
    assert shown | {"__version__", "zoo"} >= set(package.__all__) and len(shown) > 20


def test_every_page_is_in_the_navigation_once_and_under_a_name_of_its_own(hooks: Mapping[str, Any]) -> None:
    settings = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    names, listed = zip(*re.findall(r"^ *- (.+): ([\w/]+\.md)$", settings, flags=re.MULTILINE), strict=True)
    sections = re.findall(r"^ *- (.+):$", settings, flags=re.MULTILINE)
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    api = {"api/mdcompress.md", "api/intsnn.md"}
    assert sorted(listed) == sorted(pages | notebooks | api | set(hooks["OUTSIDE"].values()))
    assert len({*names, *sections}) == len(names) + len(sections)

"""The pages of the repository -> pages of the site: links, pages outside docs/, notebooks, the API.

On a plain view of the repository every page stands where it is and its links work; here they get the site's addresses.
"""

from __future__ import annotations

import importlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE: Mapping[str, str] = {  # page of the repository -> page of the site
    "README.md": "overview.md",
    "recipes/README.md": "recipes.md",
    "export/FORMAT.md": "format.md",
    "benchmarks/README.md": "benchmarks.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
PACKAGES = ("mdcompress", "intsnn")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"`[^`\n]*`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not a page below docs/."""
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=api_page(package)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.append(File.generated(config, page_of(notebook.src_uri), content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links for the site, and the bars of tables as this Markdown reads them."""
    led = with_links(markdown, page.file.src_uri, config.extra["repository"])
    return "\n".join(map(_line, led.split("\n")))


def with_links(markdown: str, page: str, repository: str) -> str:
    """The text with every relative link led to a page of the site, or to a file of the repository."""
    here = posixpath.dirname(source_of(page))
    fenced = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)

    def led(found: re.Match[str]) -> str:
        target, mark, anchor = found[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(here, target))
        return f"{found[1]}{address(path, page, repository)}{mark}{anchor}{found[3]}"

    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in fenced)


def address(path: str, page: str, repository: str) -> str:
    """Where a file of the repository is, seen from a page of the site."""
    if path in OUTSIDE:
        return posixpath.relpath(OUTSIDE[path], posixpath.dirname(page) or ".")
    if path.startswith("docs/") and (ROOT / path).is_file():
        inside = path.removeprefix("docs/")
        return posixpath.relpath(page_of(inside), posixpath.dirname(page) or ".")
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{repository.rstrip('/')}/{kind}/main/{path}"


def source_of(page: str) -> str:
    """The file of the repository that a page of the site is made of."""
    return next((path for path, name in OUTSIDE.items() if name == page), f"docs/{page}")


def page_of(path: str) -> str:
    """The page of a file below docs/: that of a notebook is made of it."""
    return f"{path.removesuffix('.ipynb')}.md" if path.endswith(".ipynb") else path


def api_page(package: str) -> str:
    """The public names of a package, each with its docstring."""
    module = importlib.import_module(package)
    rooms: Mapping[str, str] = vars(module)["_ROOMS"]
    summary = (module.__doc__ or "").split("\n\n")[0]
    return "\n\n".join([f"# {package}", summary, *_entries(package, rooms)]) + "\n"


def notebook_page(notebook: File) -> str:
    """A notebook as it was executed, with a link to its file."""
    from nbconvert import MarkdownExporter

    exporter: Any = MarkdownExporter  # nbconvert ships no types
    text, resources = exporter().from_filename(notebook.abs_src_path)
    if resources.get("outputs"):
        pictures = ", ".join(resources["outputs"])
        raise ValueError(f"{notebook.src_uri}: the output of a notebook must be text (it has {pictures})")
    name = posixpath.basename(notebook.src_uri)
    title, _, rest = str(text).partition("\n")
    return f"{title}\n\nThis page is [a notebook]({notebook.url.rpartition('/')[2] or name}).\n{rest}"


def _entries(package: str, rooms: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(rooms, key=str.lower):
        yield f"::: {package}.{rooms[name]}.{name}"


def _line(line: str) -> str:
    """In a row of a table, GitHub wants a bar in code escaped, and this Markdown shows the backslash."""
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line

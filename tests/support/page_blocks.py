"""The fenced blocks of the pages and the code cells of the notebooks."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass

from tests.support.paths import ROOT

_FENCED = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)
_FOLDERS = ("docs", "export", "recipes", "benchmarks")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or a code cell of a notebook. language: what stands behind the fence."""

    page: str
    language: str
    text: str

    @property
    def key(self) -> str:
        """Its language and how it begins."""
        return f"{self.language or 'plain'}: {' '.join(self.text.split())[:60].strip()}"

    def begins(self, start: str) -> bool:
        """Whether `start` is its language and how it begins: `bash: pip install`."""
        return f"{self.language or 'plain'}: {' '.join(self.text.split())}".startswith(start)

    @property
    def commands(self) -> list[list[str]]:
        """Its lines that a shell would run, in words; of a session those behind `$`; long lines are joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def pages() -> list[str]:
    """Every page and notebook that a reader is led to, by its path from the root."""
    found = [*ROOT.glob("*.md"), *(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    found += (ROOT / "docs").rglob("*.ipynb")
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.name != "CHANGELOG.md")


def blocks_of(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a page, in order; those in one language, where that is given."""
    text = (ROOT / page).read_text("utf-8")
    if page.endswith(".ipynb"):
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        found = [Block(page, "cell", "".join(cell["source"])) for cell in cells]
    else:
        found = [Block(page, spoken, body) for _, spoken, body in _FENCED.findall(text)]
    return [block for block in found if language is None or block.language == language]

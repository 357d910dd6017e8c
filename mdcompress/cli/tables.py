"""A report's text, whose tables are Markdown -> the same with tables for a terminal, or as LaTeX. No torch here."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

_RULE = re.compile(r"\|(?: ?:?-+:? ?\|)+")
_CELL = re.compile(r"(?<!\\)\|")
_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table of a text. right: for each column whether it stands on the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]


def blocks(text: str) -> Iterator[str | Table]:
    """The lines of a text in order, its tables as tables."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if at + 1 < len(lines) and lines[at].startswith("|") and _RULE.fullmatch(lines[at + 1]):
            end = at + 2
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            yield _table(lines[at:end])
            at = end
        else:
            yield lines[at]
            at += 1


def for_terminal(text: str, *, width: int, color: bool) -> str:
    """The text with aligned tables that fit the width: a long cell has several lines, and no bars stand between."""
    return "\n".join(_drawn(block, width, color) if isinstance(block, Table) else block for block in blocks(text))


def for_latex(text: str) -> str:
    """The tables as LaTeX, for the package booktabs; every other line is a comment."""
    return "\n".join(
        _tabular(block) if isinstance(block, Table) else f"% {block}".rstrip() if block else ""
        for block in blocks(text)
    )


def _table(lines: list[str]) -> Table:
    header, rule, *rows = (_cells(line) for line in lines)
    right = tuple(cell.endswith(":") and not cell.startswith(":") for cell in rule)
    return Table(header, tuple(rows), right)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1])


def _drawn(table: Table, width: int, color: bool) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, right in zip(table.header, table.right, strict=True):
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=color, no_color=not color, highlight=False).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n"))


def _tabular(table: Table) -> str:
    columns = "".join("r" if right else "l" for right in table.right)
    lines = [_row(table.header), r"\midrule", *map(_row, table.rows)]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join("".join(_ESCAPED.get(sign, sign) for sign in cell) for cell in cells) + r" \\"

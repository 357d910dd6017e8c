"""Parts of the page: sections, figures with their numbers as a table, tables, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intsnn.report.html.markup import Child, Html, join, tag

_NUMBERS = frozenset("0123456789-−")


@dataclass(frozen=True)
class Section:
    """A chapter: its anchor, its heading, and what stands in it."""

    anchor: str
    heading: str
    content: tuple[Html, ...]


def section(one: Section) -> Html:
    """The chapter's element."""
    return tag("section", tag("h2", one.heading), *one.content, id=one.anchor)


def figure(title: str, chart: Html, *, alt: str, numbers: Html, note: str = "") -> Html:
    """A picture: its title, what it shows in words for those who do not see it, and its numbers to unfold."""
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), *([tag("p", note)] if note else [])),
        tag("div", chart, role="img", aria_label=alt),
        unfold("The numbers", numbers),
    )


def unfold(summary: str, *content: Child) -> Html:
    """Content that is folded away on the screen; print shows it."""
    return tag("details", tag("summary", summary), *content)


def prose_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table of sentences: on a narrow screen each row becomes a block, with the column names before its cells."""
    head = tag("thead", tag("tr", *(tag("th", name) for name in columns)))
    body = (
        tag("tr", *(tag("td", cell, data_column=name) for name, cell in zip(columns, row, strict=True))) for row in rows
    )
    return tag("table", head, tag("tbody", join(body, "\n")), class_="prose")


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]]) -> Html:
    """A table; columns of numbers stand on the right. It scrolls inside its frame where it is too wide.

    On a narrow screen each row becomes a block, with the column names before its cells, so that no column is lost.
    """
    body = [list(row) for row in rows]
    right = [bool(body) and all(_is_number(row[index]) for row in body) for index in range(len(columns))]
    head = tag("tr", *(_cell("th", name, at_right) for name, at_right in zip(columns, right, strict=True)))
    lines = (tag("tr", *(_cell("td", *cell) for cell in zip(row, right, columns, strict=True))) for row in body)
    whole = tag("table", tag("thead", head), tag("tbody", join(lines, "\n")))
    return tag("div", whole, class_="scroll stack", tabindex=0, role="region", aria_label="Table")


def bullets(lines: Iterable[Child]) -> Html:
    """A list of sentences; what stands in backticks is code."""
    return tag("ul", *(tag("li", line if isinstance(line, Html) else _prose(line)) for line in lines))


def _prose(text: str) -> Html:
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a backtick alone is itself
        return join([text])
    return join(tag("code", piece) if index % 2 else piece for index, piece in enumerate(pieces))


def _cell(name: str, content: Child, at_right: bool, column: str = "") -> Html:
    more = {**({"data_column": column} if column else {}), **({"class_": "n"} if at_right else {})}
    return tag(name, content, **more)


def _is_number(cell: Child) -> bool:
    text = cell if isinstance(cell, str) else cell.text
    return text[:1] in _NUMBERS and "×" not in text and ": " not in text  # neither a shape nor a numbered name

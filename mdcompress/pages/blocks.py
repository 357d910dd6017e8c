"""Parts of the pages: tables that a narrow screen turns into blocks, and sentences about what was not run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from intsnn.report.html.markup import Child, Html, join, tag

DASH = "-"


def style() -> str:
    """The style sheet of the pages, beside that of the hardware report."""
    return files("mdcompress.pages").joinpath("run.css").read_text("utf-8")


def stacked_table(columns: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: Iterable[str] = ()) -> Html:
    """A table; on a narrow screen each row is a block that says the column before each cell, so that none is lost."""
    right = [name in set(numbers) for name in columns]
    head = tag("tr", *(_cell("th", name, at_right) for name, at_right in zip(columns, right, strict=True)))
    body = (
        tag("tr", *(_named(*cell) for cell in zip(columns, row, right, strict=True)))
        for row in rows
    )  # fmt: skip
    whole = tag("table", tag("thead", head), tag("tbody", join(body, "\n")))
    return tag("div", whole, class_="scroll stack", tabindex=0, role="region", aria_label="Table")


def facts(entries: Iterable[tuple[str, Child]]) -> Html:
    """Names and what they are, side by side."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", words)) for name, words in entries))


def missing(words: str) -> Html:
    """What is not there, and why."""
    return tag("p", words, class_="missing")


def percent(share: float | None) -> str:
    """0.9833 -> `98.33 %`, as the command line has it; a dash where there is none."""
    return DASH if share is None else f"{100 * share:.2f} %"


def _named(column: str, content: Child, at_right: bool) -> Html:
    more = {"class_": "n"} if at_right else {}
    return tag("td", content, data_column=column, **more)


def _cell(name: str, content: Child, at_right: bool) -> Html:
    return tag(name, content, class_="n") if at_right else tag(name, content)

"""Parts of the pages: names and what they are, shares, sentences about what was not run."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from intsnn.report.html.markup import Child, Html, tag

DASH = "-"


def style() -> str:
    """The style sheet of the pages, beside that of the hardware report."""
    return files("mdcompress.pipeline.pages").joinpath("run.css").read_text("utf-8")


def facts(entries: Iterable[tuple[str, Child]]) -> Html:
    """Names and what they are, side by side."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", words)) for name, words in entries))


def missing(words: str) -> Html:
    """What is not there, and why."""
    return tag("p", words, class_="missing")

"""Amounts -> horizontal bars: a row for each name, in HTML and SVG that keep their text size at every width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from intsnn.report.html.markup import Html, join, share, tag
from intsnn.report.words import readable
from intsnn.shares import percent

_COLUMN_HEIGHT = 48  # px
_LABELLED = 16  # more columns than this are not numbered
_SMALL = 0.005  # rows below this share of the whole are drawn as one


@dataclass(frozen=True)
class Bar:
    """One row: its name, its amount by part, and how many rows it stands for. Names are shown as they are."""

    name: str
    parts: Mapping[str, float]
    stands_for: int = 1

    @property
    def total(self) -> float:
        """Sum of its parts."""
        return math.fsum(self.parts.values())


def bars(rows: Sequence[Bar], *, colour: Mapping[str, str], words: Mapping[str, str]) -> Html:
    """Stacked bars over one scale; `words` says each row's amount."""
    longest = max((row.total for row in rows), default=0.0) or 1.0
    return tag("div", *(_row(row, longest, colour, words[row.name]) for row in rows), class_="rows")


def legend(colour: Mapping[str, str], amounts: Mapping[str, str]) -> Html:
    """Each part with its colour and its amount in words."""
    return tag("ul", *(_entry(part, name, amounts.get(part, "")) for part, name in colour.items()), class_="legend")


def columns(amounts: Sequence[float], *, unit: str) -> Html:
    """One column for each amount, from 0; the largest is labelled."""
    most = max(amounts) or 1.0
    wide = 1 / len(amounts)
    drawn = (
        tag(
            "rect",
            tag("title", f"{index + 1}: {readable(amount)} {unit}"),
            x=share((index + 0.1) * wide),
            width=share(0.8 * wide),
            y=_COLUMN_HEIGHT * (1 - amount / most),
            height=_COLUMN_HEIGHT * amount / most,
            class_="c0",
        )
        for index, amount in enumerate(amounts)
    )
    chart = tag("svg", join(drawn), class_="columns", height=_COLUMN_HEIGHT)
    ends = (tag("span", f"{index + 1}") for index in range(len(amounts))) if len(amounts) <= _LABELLED else ()
    below = tag("div", *ends, class_="ends") if len(amounts) <= _LABELLED else tag("p", f"{len(amounts)} steps")
    return tag("div", tag("p", f"{readable(most)} {unit}", class_="top"), chart, below)


def gathered(rows: Sequence[Bar]) -> list[Bar]:
    """The rows that are seen, in order, and one for all others where there are at least two of them."""
    whole = math.fsum(row.total for row in rows)
    seen = [row for row in rows if row.total >= _SMALL * whole and row.total > 0]
    small = [row for row in rows if row not in seen]
    if len(small) < 2:
        return [row for row in rows if row in seen or row.total > 0]
    parts: dict[str, float] = {}
    for row in small:
        for part, amount in row.parts.items():
            parts[part] = parts.get(part, 0.0) + amount
    rest = Bar(f"{len(small)} smaller", parts, len(small))
    return [*seen, rest] if rest.total > 0 else seen


def sorted_by_amount(rows: Sequence[Bar]) -> list[Bar]:
    """Largest first."""
    return sorted(rows, key=lambda row: -row.total)


def with_parts_in_order(rows: Sequence[Bar], order: Mapping[str, str]) -> list[Bar]:
    """Every row's parts in the legend's order."""
    return [replace(row, parts={part: row.parts[part] for part in order if part in row.parts}) for row in rows]


def _row(row: Bar, longest: float, colour: Mapping[str, str], words: str) -> Html:
    pieces, start = [], 0.0
    for part, amount in row.parts.items():
        if amount > 0:
            title = tag("title", f"{row.name}, {part}: {percent(amount / row.total, 1)}")
            piece = tag("rect", title, x=share(start / longest), width=share(amount / longest), class_=colour[part])
            pieces.append(piece)
        start += amount
    drawn = tag("svg", join(pieces), class_="bar")
    return tag("div", tag("span", row.name, class_="name"), drawn, tag("span", words, class_="value"), class_="row")


def _entry(part: str, colour: str, amount: str) -> Html:
    swatch = tag("svg", tag("rect", class_=colour), class_="swatch")
    return tag("li", swatch, f"{part} ", tag("b", amount))

"""Assumptions -> tornado pictures: the span of a total over all values of one assumption, the widest first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from intsnn.estimation.price_sensitivity import Outcome
from intsnn.estimation.report import HardwareReport, or_none
from intsnn.report.html.blocks import Section, figure, table, unfold
from intsnn.report.html.markup import Html, share, tag
from intsnn.report.markdown import ASSUMPTION_WORDS, assumption_cells

_SMALL = 0.0005


@dataclass(frozen=True)
class _Span:
    """One row: the values of an assumption at the low and the high end, and the total there over the total as it is."""

    name: str
    value: str
    low: tuple[str, float]
    high: tuple[str, float]


def assumptions_section(report: HardwareReport) -> Section:
    """What each assumption does to energy and to EDAP."""
    if not report.assumptions:
        words = "These rules have no assumptions that could be changed."
        return Section("assumptions", "Assumptions", (tag("p", words),))
    energy = _spans(report, report.energy_pj, lambda outcome: outcome.energy_pj)
    edap = or_none(next(total.figure for total in report.totals() if total.key == "edap_pj_ns_um2"))
    both = [("Energy", energy)]
    if edap:
        both.append(("EDAP", _spans(report, edap, lambda outcome: outcome.edap_pj_ns_um2)))
    pictures = [_tornado(word, spans) for word, spans in both if spans]
    every = unfold("Every value of every assumption", table(*assumption_cells(report)))
    return Section("assumptions", "Assumptions", (tag("p", ASSUMPTION_WORDS), *pictures, every))


def _spans(report: HardwareReport, base: float, read: Callable[[Outcome], float]) -> list[_Span]:
    if base == 0:
        return []
    found = []
    for one in report.assumptions:
        ends = [(one.value, 1.0), *((other.value, read(other.outcome) / base) for other in one.others)]
        span = _Span(one.name, one.value, min(ends, key=lambda end: end[1]), max(ends, key=lambda end: end[1]))
        if span.low[1] > 0 and span.high[1] - span.low[1] >= _SMALL:
            found.append(span)
    return sorted(found, key=lambda span: span.low[1] / span.high[1])


def _tornado(word: str, spans: list[_Span]) -> Html:
    low, high = (math.log(end) for end in (min(one.low[1] for one in spans), max(one.high[1] for one in spans)))
    first = spans[0]
    return figure(
        f"{word} over all values of one assumption",
        tag("div", *(_row(span, low, high - low) for span in spans), class_="rows"),
        alt=f"Tornado picture. {first.name} moves it most: from {first.low[1]:.2f} to {first.high[1]:.2f} times.",
        numbers=table(
            ("assumption", "as it is", "least with", "times", "most with", "times"),
            ((s.name, s.value, s.low[0], f"{s.low[1]:.3f}", s.high[0], f"{s.high[1]:.3f}") for s in spans),
        ),
        note="On a logarithmic scale; the line is the report's total.",
    )


def _row(span: _Span, low: float, width: float) -> Html:
    middle, start, end = (position / width for position in (-low, math.log(span.low[1]) - low, math.log(span.high[1])))
    less = tag("rect", x=share(start), width=share(middle - start), class_="less")
    more = tag("rect", x=share(middle), width=share(end), class_="more")
    line = tag("line", x1=share(middle), x2=share(middle), y1="0%", y2="100%", class_="base")
    drawn = tag("svg", less, more, line, class_="bar")
    words = f"x {span.low[1]:.2f} to {span.high[1]:.2f}"
    name = tag("span", f"{span.name}: {span.value}", class_="name")
    return tag("div", name, drawn, tag("span", words, class_="value"), class_="row")

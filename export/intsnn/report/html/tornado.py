"""Sensitivities -> tornado pictures: the totals with each price halved and doubled, largest swing first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intsnn.estimation.price_sensitivity import Outcome, PriceSensitivity
from intsnn.estimation.report import HardwareReport
from intsnn.hardware.catalogue import QUANTITY_WORDS
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, share, tag
from intsnn.report.markdown import SENSITIVITY_WORDS
from intsnn.shares import percent_change

_MOST = 12  # rows of a picture; the table has all
_SMALL = 0.0005


@dataclass(frozen=True)
class _Swing:
    """One row: the total at half and at double the price, over the total as it is."""

    name: str
    halved: float
    doubled: float


def sensitivity_section(report: HardwareReport) -> Section:
    """What each price does to energy and to EDAP."""
    if not report.sensitivities:
        return Section("sensitivity", "Sensitivity", (tag("p", "These rules have no prices that could be changed."),))
    energy = _swings(report.sensitivities, report.energy_pj, lambda outcome: outcome.energy_pj)
    edap = _swings(report.sensitivities, report.edap_pj_ns_um2, lambda outcome: outcome.edap_pj_ns_um2)
    pictures = [_tornado(word, swings) for word, swings in (("Energy", energy), ("EDAP", edap)) if swings]
    return Section("sensitivity", "Sensitivity", (tag("p", SENSITIVITY_WORDS), *pictures))


def _swings(entries: Sequence[PriceSensitivity], base: float, read: Callable[[Outcome], float]) -> list[_Swing]:
    if base == 0:
        return []
    found = [
        _Swing(f"{one.price} · {QUANTITY_WORDS[one.quantity]}", read(one.halved) / base, read(one.doubled) / base)
        for one in entries
    ]
    moved = [swing for swing in found if max(abs(swing.halved - 1), abs(swing.doubled - 1)) >= _SMALL]
    return sorted(moved, key=lambda swing: swing.halved - swing.doubled)


def _tornado(word: str, swings: Sequence[_Swing]) -> Html:
    low, high = min(swing.halved for swing in swings), max(swing.doubled for swing in swings)
    rows = (_row(swing, low, high - low) for swing in swings[:_MOST])
    first = swings[0]
    return figure(
        f"{word} when one price is halved or doubled",
        tag("div", *rows, class_="rows"),
        alt=f"Tornado picture. {first.name} moves it most: {_change(first.halved)} and {_change(first.doubled)}.",
        numbers=table(
            ("price", "at half", "at double"),
            ((swing.name, f"{swing.halved:.3f}", f"{swing.doubled:.3f}") for swing in swings),
        ),
        note=f"The {_MOST} largest of {len(swings)}." if len(swings) > _MOST else "",
    )


def _row(swing: _Swing, low: float, span: float) -> Html:
    middle = (1 - low) / span
    halved = tag("rect", x=share((swing.halved - low) / span), width=share((1 - swing.halved) / span), class_="less")
    doubled = tag("rect", x=share(middle), width=share((swing.doubled - 1) / span), class_="more")
    line = tag("line", x1=share(middle), x2=share(middle), y1="0%", y2="100%", class_="base")
    drawn = tag("svg", halved, doubled, line, class_="bar")
    words = f"{_change(swing.halved)} / {_change(swing.doubled)}"
    return tag("div", tag("span", swing.name, class_="name"), drawn, tag("span", words, class_="value"), class_="row")


def _change(ratio: float) -> str:
    return percent_change(ratio).replace("-", "−")

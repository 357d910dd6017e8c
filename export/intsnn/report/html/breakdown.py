"""Energy and area parts -> bars by node, stacked by part of the chip, and by component."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from intsnn.estimation.report import HardwareReport, Unavailable
from intsnn.report.html.bars import Bar, bars, columns, gathered, legend, sorted_by_amount, with_parts_in_order
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, tag
from intsnn.report.html.palette import colours_of
from intsnn.report.words import best_unit, in_words, readable
from intsnn.shares import percent


@dataclass(frozen=True)
class _Amount:
    """Energy or area of one component at one node; its group in words."""

    node: str
    component: str
    group: str
    amount: float


@dataclass(frozen=True)
class _Kind:
    """What is broken down: its word and its unit."""

    word: str
    unit: str


_ENERGY = _Kind("Energy", "pJ")
_AREA = _Kind("Area", "um2")


def energy_section(report: HardwareReport) -> Section:
    """Energy by layer, by component and by step."""
    amounts = [_Amount(part.node, part.component, in_words(part.group), part.energy_pj) for part in report.energy]
    colour = colours_of(report)
    content = (_by_node(_ENERGY, amounts, colour), _by_component(_ENERGY, amounts, colour), _by_step(report))
    return Section("energy", "Energy", content)


def area_section(report: HardwareReport) -> Section:
    """Area by layer and by component."""
    if isinstance(report.area, Unavailable):
        return Section("area", "Area", (tag("p", f"Not available: {report.area.reason}."),))
    amounts = [_Amount(part.node, part.component, in_words(part.group), part.area_um2) for part in report.area]
    colour = colours_of(report)
    return Section("area", "Area", (_by_node(_AREA, amounts, colour), _by_component(_AREA, amounts, colour)))


def largest(amounts: Mapping[str, float]) -> tuple[str, float]:
    """The key that takes most, and its share; ("", 0) where nothing takes anything."""
    whole = math.fsum(amounts.values())
    if whole == 0:
        return "", 0.0
    name = max(amounts, key=lambda key: amounts[key])
    return name, amounts[name] / whole


def _by_node(kind: _Kind, amounts: Sequence[_Amount], colour: Mapping[str, str]) -> Html:
    colour = {group: name for group, name in colour.items() if any(one.group == group for one in amounts)}
    nodes: dict[str, dict[str, float]] = {}
    for one in amounts:
        parts = nodes.setdefault(one.node, {})
        parts[one.group] = parts.get(one.group, 0.0) + one.amount
    rows = with_parts_in_order([Bar(node, parts) for node, parts in nodes.items()], colour)
    shown = gathered(rows)
    whole = math.fsum(row.total for row in rows)
    divisor, unit = best_unit(max((row.total for row in rows), default=0.0), kind.unit)
    words = {row.name: _words(row.total / divisor, unit, row.total / whole if whole else 0.0) for row in shown}
    groups = {group: math.fsum(row.parts.get(group, 0.0) for row in rows) for group in colour}
    chart = tag("div", legend(colour, _shares(groups)), bars(shown, colour=colour, words=words))
    top, most = largest({row.name: row.total for row in rows})
    part, part_share = largest(groups)
    return figure(
        f"{kind.word} of each node, by part of the chip",
        chart,
        alt=f"Stacked bars. {top} takes {percent(most, 1)}; {part} takes {percent(part_share, 1)} of the whole.",
        numbers=_node_numbers(rows, colour, divisor, unit),
    )


def _node_numbers(rows: Iterable[Bar], colour: Mapping[str, str], divisor: float, unit: str) -> Html:
    heads = ("node", f"all, {unit}", *colour)
    lines = (
        (row.name, readable(row.total / divisor), *(_amount(row.parts.get(group), divisor) for group in colour))
        for row in rows
    )
    return table(heads, lines)


def _by_component(kind: _Kind, amounts: Sequence[_Amount], colour: Mapping[str, str]) -> Html:
    colour = {group: name for group, name in colour.items() if any(one.group == group for one in amounts)}
    found: dict[str, dict[str, float]] = {}
    for one in amounts:
        parts = found.setdefault(one.component, {one.group: 0.0})
        parts[one.group] += one.amount
    rows = sorted_by_amount([Bar(component, parts) for component, parts in found.items()])
    whole = math.fsum(row.total for row in rows)
    divisor, unit = best_unit(max((row.total for row in rows), default=0.0), kind.unit)
    shown = gathered(rows)
    words = {row.name: _words(row.total / divisor, unit, row.total / whole if whole else 0.0) for row in shown}
    lines = (
        (row.name, next(iter(row.parts)), readable(row.total / divisor), percent(row.total / whole))
        for row in rows
        if whole
    )
    top, most = largest({row.name: row.total for row in rows})
    return figure(
        f"{kind.word} of each component",
        bars(shown, colour=colour, words=words),
        alt=f"Bars, largest first. {top} takes {percent(most, 1)} of the whole.",
        numbers=table(("component", "part", unit, "share"), lines),
    )


def _by_step(report: HardwareReport) -> Html:
    steps = report.energy_per_step_pj
    divisor, unit = best_unit(max(steps), "pJ")
    low, high = readable(min(steps) / divisor), readable(max(steps) / divisor)
    return figure(
        "Energy of each time step",
        columns([step / divisor for step in steps], unit=unit),
        alt=f"Columns, one for each of {len(steps)} steps, between {low} and {high} {unit}.",
        numbers=table(("step", unit), ((str(i), readable(e / divisor)) for i, e in enumerate(steps, start=1))),
    )


def _words(amount: float, unit: str, part: float) -> str:
    return f"{readable(amount)} {unit} · {percent(part, 1)}"


def _amount(value: float | None, divisor: float) -> str:
    return "-" if value is None else readable(value / divisor)


def _shares(groups: Mapping[str, float]) -> Mapping[str, str]:
    whole = math.fsum(groups.values())
    return {group: percent(amount / whole, 1) for group, amount in groups.items()} if whole else {}

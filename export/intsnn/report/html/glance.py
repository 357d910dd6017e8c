"""Energy, time and area of a report in one picture: each a whole bar, cut by layer and cut by circuit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from intsnn.estimation.report import HardwareReport, or_none
from intsnn.report.html.bars import Bar, bars, legend
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, tag
from intsnn.report.html.palette import COLOURS, colours_of
from intsnn.report.words import in_words
from intsnn.shares import percent

_NODES = 10  # layers with a colour of their own; all others are one
_OTHERS = "all others"


def glance_section(report: HardwareReport) -> Section:
    """Where energy, time and area go, by layer and by circuit."""
    by_node = {"energy": _energy(report, "node"), "time": _time(report), "area": _area(report, "node")}
    by_circuit = {"energy": _energy(report, "group"), "area": _area(report, "group")}
    pictures = (
        _picture("By layer", _gathered(by_node), None),
        _picture("By circuit", by_circuit, colours_of(report)),
    )
    return Section("glance", "At a glance", pictures)


def _energy(report: HardwareReport, key: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in report.energy:
        name = part.node if key == "node" else in_words(part.group)
        found[name] = found.get(name, 0.0) + part.energy_pj
    return found


def _time(report: HardwareReport) -> dict[str, float]:
    """Time that each node works; nodes may work at once."""
    return {one.node: one.time_ns for one in or_none(report.latency) or () if one.time_ns}


def _area(report: HardwareReport, key: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in or_none(report.area) or ():
        name = part.node if key == "node" else in_words(part.group)
        found[name] = found.get(name, 0.0) + part.area_um2
    return found


def _gathered(amounts: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Shares of a whole; nodes that are large in nothing are one."""
    shares = {kind: _shares(parts) for kind, parts in amounts.items()}
    names = dict.fromkeys(name for parts in shares.values() for name in parts)
    most = sorted(names, key=lambda name: -max(parts.get(name, 0.0) for parts in shares.values()))[:_NODES]
    kept = [name for name in names if name in most]
    found = {}
    for kind, parts in shares.items():
        others = math.fsum(amount for name, amount in parts.items() if name not in most)
        found[kind] = {name: parts.get(name, 0.0) for name in kept} | ({_OTHERS: others} if others else {})
    return found


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    whole = math.fsum(parts.values())
    return {name: amount / whole for name, amount in parts.items()} if whole else {}


def _picture(title: str, amounts: Mapping[str, Mapping[str, float]], colour: Mapping[str, str] | None) -> Html:
    shares = {kind: cut for kind, parts in amounts.items() if (cut := _shares(parts))}
    names = dict.fromkeys(name for parts in shares.values() for name in parts)
    colour = {name: (colour or {}).get(name, f"c{index % COLOURS}") for index, name in enumerate(names)}
    rows = [Bar(kind, {name: parts[name] for name in names if name in parts}) for kind, parts in shares.items()]
    largest = {kind: max(parts, key=parts.__getitem__) for kind, parts in shares.items()}
    words = {kind: f"{name} {percent(shares[kind][name], 0)}" for kind, name in largest.items()}
    said = "; ".join(f"{kind}: {word}" for kind, word in words.items())
    lines = ((name, *(percent(shares[kind].get(name, 0.0), 1) for kind in shares)) for name in names)
    return figure(
        title,
        tag("div", legend(colour, {}), bars(rows, colour=colour, words=words)),
        alt=f"Whole bars, cut. Largest parts: {said}.",
        numbers=table(("part", *shares), lines),
    )

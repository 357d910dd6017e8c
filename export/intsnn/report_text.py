"""A hardware report -> Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from intsnn.hardware.figures import Unavailable

if TYPE_CHECKING:
    from intsnn.report import HardwareReport, Total

_READABLE = {"pJ": ("uJ", 1e-6), "ns": ("us", 1e-3), "um2": ("mm2", 1e-6)}  # the unit that people quote
_SHORT = ("energy_pj", "latency_ns", "area_um2", "power_mw", "edap_pj_ns_um2", "effective_tops_per_w")


def short_table(report: HardwareReport) -> str:
    """The totals that people compare first, one row each."""
    shown = [total for total in report.totals() if total.key in _SHORT]
    return _table(("figure", "value"), ((total.label, _quantity(total)) for total in shown))


def markdown(report: HardwareReport, definitions: Sequence[str]) -> str:
    """Totals, definitions, tables by node and by component, provenance, and what is not modelled."""
    sections = (
        f"# Hardware figures: {report.hardware}",
        report.summary,
        _header(report),
        "## Totals",
        _table(("figure", "value"), ((total.label, _quantity(total)) for total in report.totals())),
        f"Energy of each step, nJ: {', '.join(_readable(step * 1e-3) for step in report.energy_per_step_pj)}.",
        "\n".join(f"- {definition}" for definition in definitions),
        *_reasons(report),
        "## By node",
        _node_table(report),
        "## By component",
        _component_table(report),
        "## Where the numbers come from",
        _provenance_table(report),
        "## Not modelled",
        _table(("effect", "reason"), ((entry.effect, entry.reason) for entry in report.not_modelled)),
    )
    return "\n\n".join(sections) + "\n"


def _header(report: HardwareReport) -> str:
    technology, workload = report.technology, report.workload
    supply = f", {technology.voltage_v:g} V" if technology.voltage_v is not None else ""
    source = f"measured on {workload.samples} samples" if workload.activity == "measured" else "assumed"
    return (
        f"{technology.node_nm:g} nm{supply}, {technology.clock_mhz:g} MHz. "
        f"T = {workload.time_steps}, activity {source}, mean spike rate {workload.mean_rate:.1%}."
    )


def _reasons(report: HardwareReport) -> list[str]:
    """Notes, and why figures are absent: one line for each reason."""
    absent: dict[str, list[str]] = {}
    for total in report.totals():
        if isinstance(total.figure, Unavailable):
            absent.setdefault(total.figure.reason, []).append(total.label)
    lines = [f"- Not available: {', '.join(labels)}. {reason}." for reason, labels in absent.items()]
    lines += [f"- {note}" for note in report.notes]
    return ["\n".join(lines)] if lines else []


def _node_table(report: HardwareReport) -> str:
    energy = {node.name: 0.0 for node in report.nodes}
    for part in report.energy:
        energy[part.node] += part.energy_pj
    area, busy = dict.fromkeys(energy, 0.0), dict.fromkeys(energy, 0.0)
    for piece in () if isinstance(report.area, Unavailable) else report.area:
        area[piece.node] += piece.area_um2
    for one in () if isinstance(report.latency, Unavailable) else report.latency:
        busy[one.node] += one.time_ns
    columns = (
        "node", "kind", "shape", "arrays", "PEs", "tiles", "used cells", "input rate", "idle arrays",
        "synaptic operations", "energy nJ", "share", "latency us", "area mm2",
    )  # fmt: skip
    whole = math.fsum(energy.values())
    rows = (
        (
            node.name,
            node.kind,
            " x ".join(map(str, node.shape)),
            _or_dash(node.arrays),
            _or_dash(node.pes),
            _or_dash(node.tiles),
            _percent(node.utilisation),
            _percent(node.input_rate),
            _percent(node.idle_arrays),
            _readable(node.effective_operations) if node.effective_operations else "-",
            _readable(energy[node.name] * 1e-3),
            _percent(energy[node.name] / whole if whole else None),
            "-" if isinstance(report.latency, Unavailable) else _readable(busy[node.name] * 1e-3),
            "-" if isinstance(report.area, Unavailable) else _readable(area[node.name] * 1e-6),
        )
        for node in report.nodes
    )
    return _table(columns, rows)


def _component_table(report: HardwareReport) -> str:
    groups: dict[str, str] = {}
    energy: dict[str, float] = {}
    area: dict[str, float] = {}
    for part in report.energy:
        groups[part.component] = part.group
        energy[part.component] = energy.get(part.component, 0.0) + part.energy_pj
    for piece in () if isinstance(report.area, Unavailable) else report.area:
        groups.setdefault(piece.component, piece.group)
        area[piece.component] = area.get(piece.component, 0.0) + piece.area_um2
    whole_energy, whole_area = math.fsum(energy.values()), math.fsum(area.values())
    rows = (
        (
            component,
            group,
            *_amount(energy.get(component), whole_energy, 1e-3),
            *_amount(area.get(component), whole_area, 1e-6),
        )
        for component, group in groups.items()
    )
    return _table(("component", "part", "energy nJ", "share", "area mm2", "share"), rows)


def _amount(value: float | None, whole: float, factor: float) -> tuple[str, str]:
    return ("-", "-") if value is None else (_readable(value * factor), _percent(value / whole if whole else None))


def _provenance_table(report: HardwareReport) -> str:
    names: dict[tuple[str, str, str], list[str]] = {}
    for entry in report.provenance:
        names.setdefault((entry.prices, entry.scaling or "none", entry.source), []).append(entry.component)
    rows = ((", ".join(components), *origin) for origin, components in names.items())
    return _table(("component", "prices as published", "scaling", "source"), rows)


def _quantity(total: Total) -> str:
    """In the readable unit of each factor: pJ ns -> uJ us."""
    if isinstance(total.figure, Unavailable):
        return "not available"
    pairs = [_READABLE.get(unit, (unit, 1.0)) for unit in total.unit.split(" ")]
    if total.key == "pj_per_synaptic_operation":
        pairs = [("pJ", 1.0)]  # already of a readable size
    return f"{_readable(total.figure * math.prod(factor for _, factor in pairs))} {' '.join(unit for unit, _ in pairs)}"


def _readable(value: float) -> str:
    """Four significant digits, thousands separated."""
    if value != 0 and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3e}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

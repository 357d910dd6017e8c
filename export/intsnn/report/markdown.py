"""A hardware report -> Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from intsnn.estimation.price_sensitivity import Outcome, PriceSensitivity
from intsnn.estimation.report import DEFINITIONS, Figure, HardwareReport, Total, Unavailable, or_none
from intsnn.report.context import (
    PROXY_SOURCE,
    ArithmeticProxy,
    SpikeSimFigure,
    arithmetic_proxy,
    spikesim_figures,
    spikesim_scope,
)
from intsnn.report.programming import loading_in_words, programming_in_words
from intsnn.report.published import published_in_words
from intsnn.report.words import figure_in_words, in_words, markdown_table, or_dash, readable
from intsnn.shares import percent

TableCells = tuple[Sequence[str], Sequence[Sequence[str]]]  # heads and rows of a table

_READABLE = {"pJ": ("uJ", 1e-6), "ns": ("us", 1e-3), "um2": ("mm2", 1e-6)}  # the unit that people quote
SENSITIVITY_WORDS = (
    "One price at a time is halved and doubled, and the chip is scheduled and priced again. Ratios to the totals; "
    "prices that move none by 0.05 % are left out."
)
ASSUMPTION_WORDS = (
    "One assumption at a time takes each value that it can have, and the chip is mapped, scheduled and priced again: "
    "what a designer may choose otherwise, and what sources do not agree on. Converters keep the resolution that is "
    "described, so coarser ones are not among these."
)
_SHORT = (
    "energy_pj",
    "latency_ns",
    "inference_time_ns",
    "area_um2",
    "power_mw",
    "edap_pj_ns_um2",
    "dense_tops_per_w",
    "effective_tops_per_w",
    "pj_per_synaptic_operation",
)


def summary_table(report: HardwareReport) -> str:
    """The totals that people compare first, one row each; where the energy goes, what is absent, and every note."""
    keys = _SHORT if report.floorplan.factor == 1 else (*_SHORT, "floorplan_um2")
    shown = [total for total in report.shown_totals() if total.key in keys]
    table = markdown_table(("figure", "value"), ((total.label, quantity(total)) for total in shown))
    beside = [f"- {line}" for line in (*published_in_words(report), *loading_in_words(report))]
    return "\n\n".join([table, "\n".join([f"- {energy_in_words(report)}", *beside, *_reasons(report, shown)])])


def energy_in_words(report: HardwareReport) -> str:
    """The node and the kind of circuit that take most, so that a total is not read without its cause."""
    nodes, groups = dict.fromkeys((node.name for node in report.nodes), 0.0), dict[str, float]()
    for part in report.energy:
        nodes[part.node] += part.energy_pj
        groups[part.group] = groups.get(part.group, 0.0) + part.energy_pj
    node, group = max(nodes, key=nodes.__getitem__), max(groups, key=groups.__getitem__)
    whole = math.fsum(nodes.values())
    if whole == 0:
        return "Nothing takes energy."
    used = next(entry.utilisation for entry in report.nodes if entry.name == node)
    cells = "" if used is None else f" and uses {percent(used, 1)} of its cells"
    shares = percent(nodes[node] / whole, 1), percent(groups[group] / whole, 1)
    return f"Most energy: {node} takes {shares[0]}{cells}; of all circuits, {in_words(group)} takes {shares[1]}."


def to_markdown(report: HardwareReport) -> str:
    """Totals, definitions, tables by node and by component, provenance, and what is not modelled."""
    sections = (
        f"# Hardware figures: {report.hardware}",
        report.summary,
        _header(report),
        "## Totals",
        markdown_table(("figure", "value"), ((total.label, quantity(total)) for total in report.shown_totals())),
        f"Energy of each step, nJ: {', '.join(readable(step * 1e-3) for step in report.energy_per_step_pj)}.",
        "\n".join(f"- {definition}" for definition in DEFINITIONS),
        *_reasons(report, report.shown_totals()),
        *floorplan_in_words(report),
        "## By node",
        markdown_table(*node_cells(report)),
        "## By component",
        _component_table(report),
        "## Writing the weights",
        "\n".join(f"- {line}" for line in programming_in_words(report)),
        *_context(report),
        *_assumptions(report),
        *_sensitivity(report),
        "## Where the numbers come from",
        markdown_table(*provenance_cells(report)),
        "## Not modelled",
        markdown_table(("effect", "reason"), ((entry.effect, entry.reason) for entry in report.not_modelled)),
    )
    return "\n\n".join(sections) + "\n"


def _header(report: HardwareReport) -> str:
    technology, workload = report.technology, report.workload
    supply = f", {technology.voltage_v:g} V" if technology.voltage_v is not None else ""
    source = f"measured on {workload.samples} samples" if workload.activity == "measured" else "assumed"
    return (
        f"{technology.node_nm:g} nm{supply}, {technology.clock_mhz:g} MHz. "
        f"T = {workload.time_steps}, activity {source}, mean spike rate {percent(workload.mean_rate, 1)}."
    )


def _reasons(report: HardwareReport, totals: Sequence[Total]) -> list[str]:
    lines = [f"- {line}" for line in (*absent_in_words(totals), *report.notes)]
    return ["\n".join(lines)] if lines else []


def absent_in_words(totals: Iterable[Total]) -> list[str]:
    """Why some of these totals are absent, one line for each reason."""
    absent: dict[str, list[str]] = {}
    for total in totals:
        if isinstance(total.figure, Unavailable):
            absent.setdefault(total.figure.reason, []).append(total.label)
    return [f"Not available: {', '.join(labels)}. {reason}." for reason, labels in absent.items()]


def node_cells(report: HardwareReport) -> TableCells:
    """Every node with all its figures."""
    energy = {node.name: 0.0 for node in report.nodes}
    for part in report.energy:
        energy[part.node] += part.energy_pj
    area, busy = dict.fromkeys(energy, 0.0), dict.fromkeys(energy, 0.0)
    for piece in or_none(report.area) or ():
        area[piece.node] += piece.area_um2
    for one in or_none(report.latency) or ():
        busy[one.node] += one.time_ns
    columns = (
        "node", "kind", "shape", "arrays", "PEs", "tiles", "copies", "used cells", "input rate", "idle arrays",
        "synaptic operations", "energy nJ", "share", "latency us", "area mm2",
    )  # fmt: skip
    whole = math.fsum(energy.values())
    rows = (
        (
            node.name,
            node.kind,
            " x ".join(map(str, node.shape)),
            or_dash(node.arrays),
            or_dash(node.pes),
            or_dash(node.tiles),
            or_dash(node.copies),
            percent(node.utilisation, 1),
            percent(node.input_rate, 1),
            percent(node.idle_arrays, 1),
            readable(node.effective_operations) if node.dense_operations else "-",
            readable(energy[node.name] * 1e-3),
            percent(energy[node.name] / whole if whole else None, 1),
            "-" if or_none(report.latency) is None else readable(busy[node.name] * 1e-3),
            "-" if or_none(report.area) is None else readable(area[node.name] * 1e-6),
        )
        for node in report.nodes
    )
    return columns, tuple(rows)


def _component_table(report: HardwareReport) -> str:
    groups: dict[str, str] = {}
    energy: dict[str, float] = {}
    area: dict[str, float] = {}
    for part in report.energy:
        groups[part.component] = part.group
        energy[part.component] = energy.get(part.component, 0.0) + part.energy_pj
    for piece in or_none(report.area) or ():
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
    return markdown_table(("component", "part", "energy nJ", "share", "area mm2", "share"), rows)


def _amount(value: float | None, whole: float, factor: float) -> tuple[str, str]:
    return ("-", "-") if value is None else (readable(value * factor), percent(value / whole if whole else None, 1))


def floorplan_in_words(report: HardwareReport) -> list[str]:
    """The factor from the components' area to the chip's, and its source; nothing where there is no area."""
    factor = f"Floorplan factor {report.floorplan.factor:g}: {report.floorplan.source}."
    return [] if or_none(report.area) is None else [factor]


def _context(report: HardwareReport) -> list[str]:
    """SpikeSim's formulas and the arithmetic proxy, each with both figures and the ratio."""
    figures = spikesim_figures(report)
    if isinstance(figures, Unavailable):
        beside = f"Not available: {figures.reason}."
    else:
        columns = ("figure", "SpikeSim's formulas", "here", "here / SpikeSim")
        beside = markdown_table(columns, (_beside(one) for one in figures))
    chips = published_in_words(report)
    return ["## Beside other models", *chips, f"SpikeSim: {spikesim_scope(report)}.", beside, *_proxy(report)]


def _beside(one: SpikeSimFigure) -> tuple[str, str, str, str]:
    ratio = figure_in_words(one.ratio, readable, absent="-")
    return one.label, _figure(one.spikesim, one.unit), _figure(one.here, one.unit), ratio


def _proxy(report: HardwareReport) -> list[str]:
    proxy = arithmetic_proxy(report)
    return [] if proxy is None else [proxy_in_words(proxy)]


def proxy_in_words(proxy: ArithmeticProxy) -> str:
    """The proxy's two figures, said to be one."""
    ratio = f" ({readable(proxy.ratio)} times)" if proxy.snn_pj else ""
    return (
        f"Proxy, arithmetic only: {readable(proxy.snn_pj * 1e-3)} nJ for this inference's "
        f"{readable(proxy.additions)} additions and {readable(proxy.multiply_additions)} multiply-additions; "
        f"{readable(proxy.ann_pj * 1e-3)} nJ for one pass of a network of its shape with real values{ratio}. "
        f"{PROXY_SOURCE}. Without memory, converters and wires: not to be compared with the figures above."
    )


def _assumptions(report: HardwareReport) -> list[str]:
    if not report.assumptions:
        return []
    return ["## What each assumption does", ASSUMPTION_WORDS, markdown_table(*assumption_cells(report))]


def assumption_cells(report: HardwareReport) -> TableCells:
    """Every value of every assumption, with energy, time and area over the report's own."""
    base = Outcome(report.energy_pj, report.latency_ns, report.area_um2, report.batch)
    rows = (
        (
            one.name,
            one.value,
            other.value,
            _times(other.outcome.energy_pj, base.energy_pj),
            _times(other.outcome.inference_time_ns, base.inference_time_ns),
            _times(other.outcome.area_um2, base.area_um2),
        )
        for one in report.assumptions
        for other in one.others
    )
    columns = ("assumption", "as it is", "instead", "energy, times", "time per inference, times", "area, times")
    return columns, tuple(rows)


def _times(value: float, base: float) -> str:
    return f"{value / base if base else 1.0:.3f}"


def _sensitivity(report: HardwareReport) -> list[str]:
    if not report.sensitivities or report.edap_pj_ns_um2 == 0:
        return []
    rows = [
        row for one in by_swing(report.sensitivities) if set((row := sensitivity_row(one, report))[2:]) != {"1.000"}
    ]
    if not rows:
        return []
    columns = ("price", "quantity", "energy at half", "energy at double", "EDAP at half", "EDAP at double")
    return ["## What each price does", SENSITIVITY_WORDS, markdown_table(columns, rows)]


def by_swing(entries: Sequence[PriceSensitivity]) -> list[PriceSensitivity]:
    """Largest change of EDAP first."""
    return sorted(entries, key=lambda one: one.halved.edap_pj_ns_um2 - one.doubled.edap_pj_ns_um2)


def sensitivity_row(one: PriceSensitivity, report: HardwareReport) -> tuple[str, ...]:
    """Price, quantity, and four ratios to the report's totals: energy and EDAP, at half and at double the price."""
    energy, edap = report.energy_pj, report.edap_pj_ns_um2
    ratios = (
        one.halved.energy_pj / energy,
        one.doubled.energy_pj / energy,
        one.halved.edap_pj_ns_um2 / edap,
        one.doubled.edap_pj_ns_um2 / edap,
    )
    return (one.price, one.quantity, *(f"{ratio:.3f}" for ratio in ratios))


def provenance_cells(report: HardwareReport) -> TableCells:
    """Every price with its source; components of one price in one row."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for entry in report.provenance:
        names.setdefault((entry.prices, entry.scaling or "none", entry.source), []).append(entry.component)
    rows = ((", ".join(components), *origin) for origin, components in names.items())
    return ("component", "prices as published", "scaling", "source"), tuple(rows)


def quantity(total: Total) -> str:
    """A total in the unit in which people quote it, the same on a terminal, in Markdown and on the page."""
    if total.key == "pj_per_synaptic_operation":
        return figure_in_words(total.figure, lambda number: f"{readable(number)} pJ")  # already of a readable size
    return _figure(total.figure, total.unit)


def _figure(figure: Figure, unit: str) -> str:
    """In the readable unit of each factor: pJ ns -> uJ us."""
    pairs = [_READABLE.get(factor, (factor, 1.0)) for factor in unit.split(" ")]
    scale, words = math.prod(scale for _, scale in pairs), " ".join(word for word, _ in pairs)
    return figure_in_words(figure, lambda number: f"{readable(number * scale)} {words}")

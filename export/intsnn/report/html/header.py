"""What was priced on what, the totals that people look for first, and what dominates them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from intsnn.estimation.report import DEFINITIONS, Figure, HardwareReport, Total
from intsnn.report.html.blocks import Section, bullets, table, unfold
from intsnn.report.html.breakdown import largest
from intsnn.report.html.markup import Html, tag
from intsnn.report.markdown import absent_in_words, floorplan_in_words
from intsnn.report.words import figure_in_words, with_unit


def header(report: HardwareReport) -> Html:
    """Title, technology, workload, network."""
    technology, workload = report.technology, report.workload
    supply = "" if technology.voltage_v is None else f", {technology.voltage_v:g} V"
    source = f"measured on {workload.samples:,} samples" if workload.activity == "measured" else "assumed"
    facts = (
        ("technology", f"{technology.node_nm:g} nm{supply}, {technology.clock_mhz:g} MHz"),
        ("time steps", f"T = {workload.time_steps}"),
        ("activity", f"{source}, mean spike rate {workload.mean_rate:.1%}"),
        *_network(report),
    )
    listed = tag("dl", *(tag("div", tag("dt", name), tag("dd", words)) for name, words in facts))
    return tag("header", tag("p", "Hardware figures", class_="kind"), tag("h1", report.hardware),
               tag("p", report.summary), listed)  # fmt: skip


def totals_section(report: HardwareReport) -> Section:
    """Cards of the main totals, what dominates, and every total with its definition."""
    totals = {total.key: total for total in report.totals()}
    cards = tag("div", *_cards(totals), class_="cards")
    rows = ((total.label, in_words(total.figure, total.unit)) for total in totals.values())
    every = unfold(
        "All totals and what they mean",
        table(("figure", "value"), rows),
        bullets((*DEFINITIONS, *floorplan_in_words(report))),
    )
    return Section("totals", "Totals", (*_dominant(report), cards, *_notes(report, totals), every))


def in_words(figure: Figure, unit: str) -> str:
    """A figure in the unit that suits it."""
    return figure_in_words(figure, lambda number: with_unit(number, unit))


def _network(report: HardwareReport) -> tuple[tuple[str, str], ...]:
    """Synapses, weights and their widths; nothing where the report does not know its graph."""
    if report.basis is None:
        return ()
    synapses = report.basis.graph.all_synapses
    widths = sorted({synapse.bit_width for synapse in synapses})
    weights = sum(int(synapse.weight.size) for synapse in synapses)
    bits = ", ".join(f"{width:g}" for width in widths)
    return (("network", f"{len(synapses)} synapses, {weights:,} weights of {bits} bits"),)


def _cards(totals: Mapping[str, Total]) -> Iterable[Html]:
    shown = (
        ("energy_pj", (("a step", "mean_step_energy_pj"),)),
        ("latency_ns", (("throughput", "throughput_per_s"),)),
        ("area_um2", (("with floorplan factor", "floorplan_um2"),)),
        ("power_mw", (("dynamic", "dynamic_power_mw"), ("leakage", "leakage_power_mw"))),
        ("edap_pj_ns_um2", (("EDP", "edp_pj_ns"),)),
        ("effective_tops_per_w", (("dense", "dense_tops_per_w"),)),
        ("effective_tops_per_mm2", (("dense", "dense_tops_per_mm2"),)),
        ("pj_per_synaptic_operation", ()),
    )
    for key, below in shown:
        smaller = (tag("small", f"{word} {_in_words(totals[other])}") for word, other in below)
        value = tag("strong", _in_words(totals[key]))
        yield tag("div", tag("span", totals[key].label), value, *smaller, class_="card")


def _in_words(total: Total) -> str:
    return in_words(total.figure, total.unit)


def _dominant(report: HardwareReport) -> tuple[Html, ...]:
    """Which node and which component take most of the energy."""
    nodes: dict[str, float] = {}
    components: dict[str, float] = {}
    for part in report.energy:
        nodes[part.node] = nodes.get(part.node, 0.0) + part.energy_pj
        components[part.component] = components.get(part.component, 0.0) + part.energy_pj
    (node, of_node), (component, of_component) = largest(nodes), largest(components)
    if not math.fsum(nodes.values()):
        return ()
    return (
        tag(
            "p",
            tag("b", component), f" takes {of_component:.1%} of the energy; ", tag("b", node),
            f" takes {of_node:.1%}.",
            class_="lead",
        ),
    )  # fmt: skip


def _notes(report: HardwareReport, totals: Mapping[str, Total]) -> tuple[Html, ...]:
    """The report's notes, and why figures are absent: one line for each reason."""
    lines = (*absent_in_words(totals.values()), *report.notes)
    return (bullets(lines),) if lines else ()

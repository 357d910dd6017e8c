"""What was priced on what, the totals that people look for first, and what dominates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from intsnn.estimation.report import DEFINITIONS, HardwareReport, Total
from intsnn.report.html.blocks import Section, bullets, table, unfold
from intsnn.report.html.markup import Html, tag
from intsnn.report.markdown import absent_in_words, energy_in_words, floorplan_in_words, quantity
from intsnn.shares import percent


def header(report: HardwareReport, *, of: str = "", heading: str = "h1") -> Html:
    """Whose figures on what, technology, workload, network; `heading`: the element of the title."""
    technology, workload = report.technology, report.workload
    supply = "" if technology.voltage_v is None else f", {technology.voltage_v:g} V"
    source = f"measured on {workload.samples:,} samples" if workload.activity == "measured" else "assumed"
    facts = (
        ("technology", f"{technology.node_nm:g} nm{supply}, {technology.clock_mhz:g} MHz"),
        ("time steps", f"T = {workload.time_steps}"),
        ("activity", f"{source}, mean spike rate {percent(workload.mean_rate, 1)}"),
        *_network(report),
    )
    listed = tag("dl", *(tag("div", tag("dt", name), tag("dd", words)) for name, words in facts))
    kind, title = tag("p", "Hardware figures", class_="kind"), " on ".join(filter(None, (of, report.hardware)))
    return tag("header", kind, tag(heading, title), tag("p", report.summary), listed)


def totals_section(report: HardwareReport) -> Section:
    """Cards of the main totals, what dominates, and every total with its definition."""
    totals = {total.key: total for total in report.shown_totals()}
    cards = tag("div", *_cards(totals, has_floorplan=report.floorplan.factor != 1), class_="cards")
    rows = ((total.label, quantity(total)) for total in totals.values())
    every = unfold(
        "All totals and what they mean",
        table(("figure", "value"), rows),
        bullets((*DEFINITIONS, *floorplan_in_words(report))),
    )
    return Section("totals", "Totals", (*_dominant(report), cards, *_notes(report, totals), every))


def _network(report: HardwareReport) -> tuple[tuple[str, str], ...]:
    """Synapses, weights and their widths; nothing where the report does not know its graph."""
    if report.basis is None:
        return ()
    synapses = report.basis.graph.all_synapses
    widths = sorted({synapse.bit_width for synapse in synapses})
    weights = sum(int(synapse.weight.size) for synapse in synapses)
    bits = " and ".join(f"{width:g}" for width in widths)
    return (("network", f"{len(synapses)} synapses, {weights:,} weights of {bits} bits"),)


def _cards(totals: Mapping[str, Total], *, has_floorplan: bool) -> Iterable[Html]:
    """The main totals, each with what belongs to it; a floorplan factor of 1 says nothing of its own."""
    placed = (("with floorplan factor", "floorplan_um2"),) if has_floorplan else ()
    per_inference = (("per inference", "inference_time_ns"),) if "inference_time_ns" in totals else ()
    shown: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
        ("energy_pj", (("mean of a step", "mean_step_energy_pj"),)),
        ("latency_ns", (*per_inference, ("throughput", "throughput_per_s"))),
        ("area_um2", placed),
        ("power_mw", (("dynamic", "dynamic_power_mw"), ("leakage", "leakage_power_mw"))),
        ("edap_pj_ns_um2", (("EDP", "edp_pj_ns"),)),
        ("effective_tops_per_w", (("dense", "dense_tops_per_w"),)),
        ("effective_tops_per_mm2", (("dense", "dense_tops_per_mm2"),)),
        ("pj_per_synaptic_operation", ()),
    )
    for key, below in shown:
        smaller = (tag("small", f"{word} {quantity(totals[other])}") for word, other in below)
        value = tag("strong", quantity(totals[key]))
        yield tag("div", tag("span", totals[key].label), value, *smaller, class_="card")


def _dominant(report: HardwareReport) -> tuple[Html, ...]:
    """Which node and which kind of circuit take most of the energy, in the words of the command line."""
    return (tag("p", energy_in_words(report), class_="lead"),)


def _notes(report: HardwareReport, totals: Mapping[str, Total]) -> tuple[Html, ...]:
    """The report's notes, and why figures are absent: one line for each reason."""
    lines = (*absent_in_words(totals.values()), *report.notes)
    return (bullets(lines),) if lines else ()

"""Other models' figures, the table of nodes, the source of every price, and what no figure contains."""

from __future__ import annotations

from intsnn.estimation.report import Figure, HardwareReport, Unavailable, or_none
from intsnn.report.context import SpikeSimFigure, arithmetic_proxy, spikesim_figures, spikesim_scope
from intsnn.report.html.blocks import Section, bullets, prose_table, table, unfold
from intsnn.report.html.markup import Html, tag
from intsnn.report.markdown import node_cells, provenance_cells, proxy_in_words
from intsnn.report.programming import programming_in_words
from intsnn.report.published import published_in_words
from intsnn.report.words import best_unit, figure_in_words, readable


def comparison_section(report: HardwareReport) -> Section:
    """Published chips, SpikeSim's formulas with both figures and the ratio, and the arithmetic proxy."""
    figures, proxy = spikesim_figures(report), arithmetic_proxy(report)
    content = [tag("p", line) for line in published_in_words(report)]
    content += [tag("h3", "SpikeSim"), tag("p", f"What SpikeSim gives: {spikesim_scope(report)}.")]
    if isinstance(figures, Unavailable):
        content.append(tag("p", f"Not available: {figures.reason}."))
    else:
        columns = ("figure", "SpikeSim's formulas", "here", "here / SpikeSim")
        content.append(table(columns, (_beside(one) for one in figures)))
    if proxy is not None:
        content += [tag("h3", "Arithmetic proxy"), tag("p", proxy_in_words(proxy))]
    return Section("comparison", "Beside other models", tuple(content))


def loading_section(report: HardwareReport) -> Section:
    """What writing the weights takes, how often it happens, and when cells are worn out."""
    return Section("loading", "Writing the weights", (bullets(programming_in_words(report)),))


def nodes_section(report: HardwareReport) -> Section:
    """Every node with all its figures."""
    columns, rows = node_cells(report)
    shapes = ([cell.replace(" x ", "×") for cell in row] for row in rows)
    return Section("nodes", "By node", (unfold("Every node with all its figures", table(columns, shapes)),))


def origins_section(report: HardwareReport) -> Section:
    """Where each price comes from."""
    columns, rows = provenance_cells(report)
    return Section("origins", "Where the numbers come from", (unfold("Every price", prose_table(columns, rows)),))


def limits_section(report: HardwareReport) -> Section:
    """What no figure contains."""
    rows = ((entry.effect, entry.reason) for entry in report.not_modelled)
    return Section("limits", "Not modelled", (prose_table(("effect", "reason"), rows),))


def _beside(one: SpikeSimFigure) -> tuple[str | Html, ...]:
    known = [number for number in map(or_none, (one.spikesim, one.here)) if number is not None]
    divisor, unit = best_unit(max(known, default=1.0), one.unit)

    def words(figure: Figure) -> str:
        return figure_in_words(figure, lambda number: f"{readable(number / divisor)} {unit}")

    return one.label, words(one.spikesim), words(one.here), figure_in_words(one.ratio, readable, absent="-")

"""What writing the weights takes, how often it happens and when cells are worn out -> sentences."""

from __future__ import annotations

from intsnn.estimation.programming import Programming, Wear
from intsnn.estimation.report import HardwareReport, Unavailable
from intsnn.report.words import counted, readable, with_unit

_SPANS = ((365.25 * 86400, "years"), (86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "s"), (1e-3, "ms"))


def programming_in_words(report: HardwareReport) -> tuple[str, ...]:
    """The first load, what reloading adds to an inference, and the cells' wear; or why there are no figures."""
    found = report.programming
    if isinstance(found, Unavailable):
        return (f"Writing the weights: not available: {found.reason}.",)
    first = (
        f"Writing the weights once takes {with_unit(found.energy_pj, 'pJ')} and {with_unit(found.time_ns, 'ns')}: "
        f"{counted(found.weight_bits)} bits fetched, {counted(found.cells)} cells written."
    )
    return (first, _turns(found), *(() if found.wear is None else (_wear(found.wear),)))


def loading_in_words(report: HardwareReport) -> tuple[str, ...]:
    """What the short table says of it: the first load; where layers take turns, how, and when cells are worn out."""
    found = report.programming
    if isinstance(found, Unavailable):
        return ()
    words = programming_in_words(report)
    return words[:1] if found.groups == 1 else words


def _turns(found: Programming) -> str:
    if found.groups == 1:
        return "They stay: no inference writes any."
    shared = "each inference" if found.samples == 1 else f"each batch of {found.samples:,} inferences"
    return (
        f"The arrays do not hold all weights at once: {found.groups} groups of layers take turns, loaded for {shared}. "
        f"An inference has {with_unit(found.inference_energy_pj, 'pJ')} and "
        f"{with_unit(found.inference_time_ns, 'ns')} of it, counted in the totals."
    )


def _wear(wear: Wear) -> str:
    """The range of published devices."""
    survive = f"Cells of this kind survive {wear.writes[0]:.0e} to {wear.writes[1]:.0e} writes ({wear.source})"
    if wear.inferences is None or wear.years is None:
        return f"{survive}: as many loads."
    low, high = wear.inferences
    return (
        f"{survive}: worn out after {readable(low)} to {readable(high)} inferences, "
        f"{_span(wear.years[0])} to {_span(wear.years[1])} without a pause."
    )


def _span(years: float) -> str:
    seconds = years * _SPANS[0][0]
    length, word = next((one for one in _SPANS if seconds >= one[0]), _SPANS[-1])
    return f"{readable(seconds / length)} {word}"

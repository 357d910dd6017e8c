"""What published chips take for one synaptic operation: to place a report's figure, not to compare designs.

Chips differ in node, in what they count (neurons, memories, network and idle power, or the arrays alone) and in what
they call an operation. The figures are measured on silicon; ours is a sum of components.
"""

from __future__ import annotations

from dataclasses import dataclass

from intsnn.estimation.report import HardwareReport, Unavailable
from intsnn.report.words import readable

SOURCE = "table 3 of the review at PMC10326429"


@dataclass(frozen=True)
class PublishedChip:
    """A chip and its energy of a synaptic operation, pJ."""

    name: str
    pj_per_operation: float


CHIPS = (
    PublishedChip("Tianjic", 1.54),
    PublishedChip("TrueNorth", 2.5),
    PublishedChip("SENECA", 2.8),
    PublishedChip("ReckOn", 5.3),
    PublishedChip("ODIN", 12.7),
    PublishedChip("Loihi", 23.6),
)


def published_in_words(report: HardwareReport) -> tuple[str, ...]:
    """The report's energy of a synaptic operation beside those of chips; nothing where it has none.

    Nothing either under the rules of another tool, which count no circuits: figures are not compared across tools.
    """
    if report.basis is not None and report.basis.mapping is None:
        return ()
    figure = next(total.figure for total in report.totals() if total.key == "pj_per_synaptic_operation")
    if isinstance(figure, Unavailable):
        return ()
    chips = ", ".join(f"{chip.name} {chip.pj_per_operation:g}" for chip in CHIPS)
    return (
        f"Beside silicon: {readable(figure)} pJ a synaptic operation here, a sum of components; chips, as measured "
        f"({SOURCE}): {chips} pJ.",
    )

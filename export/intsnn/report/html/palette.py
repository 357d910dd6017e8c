"""Names of parts of the chip -> colours of the style sheet: the same part has the same colour in every picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from intsnn.estimation.costs import LEAKAGE
from intsnn.estimation.report import HardwareReport, or_none
from intsnn.hardware.catalogue import Group
from intsnn.report.words import in_words

COLOURS = 12  # .c0 to .c11 in style.css
_KNOWN = (*(group.value for group in Group), LEAKAGE)


def colours(groups: Iterable[str]) -> Mapping[str, str]:
    """A class of the style sheet for each group: fixed for the known ones, in order for others (SpikeSim's)."""
    found = dict.fromkeys(groups)
    if set(found) <= set(_KNOWN):
        return {group: f"c{index}" for index, group in enumerate(_KNOWN) if group in found}
    return {group: f"c{index % COLOURS}" for index, group in enumerate(found)}


def colours_of(report: HardwareReport) -> Mapping[str, str]:
    """One colour for each part of the chip, by its words, in all pictures of a report."""
    area = (part.group for part in or_none(report.area) or ())
    found = colours([*(part.group for part in report.energy), *area])
    return {in_words(group): colour for group, colour in found.items()}

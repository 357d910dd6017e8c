"""Values of a narrower type where a test knows which one it made; the test fails where it is another."""

from __future__ import annotations

from typing import TypeVar

from intsnn.estimation.report import HardwareReport, Unavailable

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value, which must be there."""
    assert value is not None
    return value


def components_of(report: HardwareReport) -> set[str]:
    """What takes energy or area; the description must give both."""
    return {part.component for part in report.energy} | {part.component for part in available(report.area)}


def available(figure: T | Unavailable) -> T:
    """The figure, which the description must have given."""
    assert not isinstance(figure, Unavailable)
    return figure

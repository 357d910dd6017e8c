"""What a rule may not be able to give: a figure or a list of parts, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from intsnn.errors import HardwareError


@dataclass(frozen=True)
class Unavailable:
    """Why a figure cannot be given, and what to do instead."""

    reason: str
    hints: tuple[str, ...] = ()


Figure = float | Unavailable
Known = TypeVar("Known")


def value_of(figure: Known | Unavailable) -> Known:
    """The number or the parts; HardwareError with the reason where there are none: a missing figure is never a zero."""
    if isinstance(figure, Unavailable):
        raise HardwareError(figure.reason, hints=figure.hints)
    return figure


def or_none(figure: Known | Unavailable) -> Known | None:
    """The number or the parts, None where there are none: what tables and files show."""
    return None if isinstance(figure, Unavailable) else figure

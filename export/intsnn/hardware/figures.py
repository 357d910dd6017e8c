"""A figure that a rule may not be able to give: a number, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from intsnn.errors import HardwareError


@dataclass(frozen=True)
class Unavailable:
    """Why a figure cannot be given, and what to do instead."""

    reason: str
    hints: tuple[str, ...] = ()


Figure = float | Unavailable


def value_of(figure: Figure) -> float:
    """The number; HardwareError with the reason where there is none: a missing figure is never a zero."""
    if isinstance(figure, Unavailable):
        raise HardwareError(figure.reason, hints=figure.hints)
    return figure

"""A share of a whole, or a ratio -> percent, written in one way everywhere: `42.3 %`."""

from __future__ import annotations


def percent(share: float | None, decimals: int = 2) -> str:
    """0.9833 -> `98.33 %`, with one decimal `98.3 %`; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{decimals}f} %"


def percent_change(ratio: float, decimals: int = 1) -> str:
    """1.083 -> `+8.3 %`; 0.5 -> `-50.0 %`."""
    return f"{100 * (ratio - 1):+.{decimals}f} %"

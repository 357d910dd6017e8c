"""A share of a whole -> percent, written in one way everywhere: `42.3 %`."""

from __future__ import annotations


def percent(share: float | None, decimals: int = 2) -> str:
    """0.9833 -> `98.33 %`, with one decimal `98.3 %`; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{decimals}f} %"

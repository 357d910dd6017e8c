"""Figures, names and tables -> words: four digits, readable units. Shared by all that a report renders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from intsnn.estimation.report import Figure, or_none

_PREFIXES: dict[str, tuple[tuple[float, str], ...]] = {
    "pJ": ((1, "pJ"), (1e3, "nJ"), (1e6, "uJ"), (1e9, "mJ"), (1e12, "J")),
    "ns": ((1, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")),
    "um2": ((1, "um2"), (1e6, "mm2")),
    "pJ ns": ((1, "pJ ns"), (1e6, "nJ us"), (1e9, "uJ us"), (1e15, "mJ ms")),
    "pJ ns um2": ((1, "pJ ns um2"), (1e12, "nJ us mm2"), (1e15, "uJ us mm2"), (1e21, "mJ ms mm2")),
    "mW": ((1e-3, "uW"), (1, "mW"), (1e3, "W")),
}


def readable(value: float) -> str:
    """Four significant digits, thousands separated: 0.7268, 116.2, 5,615,000. No model of energy knows a fifth."""
    if value != 0 and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3e}"
    decimals = 3 - int(f"{value:.3e}".partition("e")[2]) if value else 0
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def counted(count: float) -> str:
    """A whole number that was counted, every digit of it."""
    return f"{count:,.0f}"


def or_dash(value: int | None) -> str:
    """A count with thousands separated; a dash where there is none."""
    return "-" if value is None else f"{value:,}"


def figure_in_words(figure: Figure, words: Callable[[float], str], *, absent: str = "not available") -> str:
    """A figure in those words; `absent` where there is none."""
    number = or_none(figure)
    return absent if number is None else words(number)


def best_unit(largest: float, unit: str) -> tuple[float, str]:
    """What a figure in `unit` is divided by, and the unit it then has, so that `largest` is at least 1 where it can.

    A unit without prefixes stays as it is.
    """
    known = _PREFIXES.get(unit, ((1.0, unit),))
    fitting = [choice for choice in known if abs(largest) >= choice[0]]
    return fitting[-1] if fitting else known[0]


def with_unit(value: float, unit: str) -> str:
    """A figure in the prefix that suits it: 12770 pJ -> 12.77 nJ."""
    divisor, word = best_unit(value, unit)
    return f"{readable(value / divisor)} {word}"


def in_words(name: str) -> str:
    """pool_and_add -> pool and add; adc -> ADC."""
    return "ADC" if name == "adc" else name.replace("_", " ")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, one line a row."""
    return "\n".join(map(_row, (columns, ("---",) * len(columns), *rows)))


def _row(cells: Sequence[str]) -> str:
    """One row of a Markdown table; a bar in a cell is escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

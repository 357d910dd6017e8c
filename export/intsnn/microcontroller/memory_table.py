"""What code takes, layer by layer -> lines and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from intsnn.microcontroller.footprint_report import PURPOSES, MemoryReport


class LayerAdditions(Protocol):
    """Synaptic additions of one layer in one step: with no input at 0, and as measured (mean)."""

    @property
    def name(self) -> str:
        """The layer."""
        ...

    @property
    def most(self) -> int:
        """With no input at 0."""
        ...

    @property
    def mean(self) -> float:
        """As measured, over samples and steps."""
        ...


def memory_words(report: MemoryReport, additions: Sequence[LayerAdditions] = ()) -> dict[str, str]:
    """Flash, RAM and synaptic additions, each in a line."""
    words = {"flash": report.in_words("flash"), "RAM": report.in_words("RAM")}
    if additions:
        most, mean = sum(each.most for each in additions), sum(each.mean for each in additions)
        words["additions"] = f"{most:,} synaptic additions a step at most, {mean:,.0f} measured (mean)"
    return words


def memory_table(report: MemoryReport, additions: Sequence[LayerAdditions] = ()) -> str:
    """One row a layer, in Markdown: bytes by purpose, synaptic additions a step."""
    counted = {each.name: each for each in additions}
    header = ["layer", *(f"{purpose} [bytes]" for purpose in PURPOSES)]
    if additions:
        header += ["additions a step, at most", "measured"]
    rows = [_row(layer, report, counted) for layer in dict.fromkeys([*report.layers, *counted])]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [f"{'-' * width}" if at == 0 else f"{'-' * (width - 1)}:" for at, width in enumerate(widths)]
    return "\n".join(_line(cells, widths) for cells in (header, rule, *rows))


def _row(layer: str, report: MemoryReport, counted: Mapping[str, LayerAdditions]) -> list[str]:
    cells = [layer, *(_number(report.of(layer, purpose)) for purpose in PURPOSES)]
    if not counted:
        return cells
    found = counted.get(layer)
    return [*cells, *(["-", "-"] if found is None else [f"{found.most:,}", f"{found.mean:,.0f}"])]


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in
                      enumerate(zip(cells, widths, strict=True)))  # fmt: skip
    return f"| {' | '.join([first, *others])} |"

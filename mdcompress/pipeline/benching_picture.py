"""Timings of engines -> one picture (SVG): a panel for each batch and number of threads, a point for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.pictures import GREY, ORANGE, figure, log_scale
from mdcompress.pipeline.benching_report import NATIVE, Measured
from mdcompress.pipeline.timing import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_timings(measured: Measured, paths: Sequence[Path]) -> None:
    """Milliseconds a sample on a logarithmic scale, with the quartiles. The same timings give the same files."""
    count = len(measured.timings)
    title = "Time of a sample: median, and from quartile to quartile"
    with figure(paths, title=title, panels=count, height=3.2) as panels:
        first = panels[0]
        for axes, ((batch, threads), engines) in zip(panels, measured.timings.items(), strict=True):
            if axes is not first:
                axes.sharex(first)
            for place, (name, timing) in enumerate(engines.items()):
                _draw(axes, place, timing, batch=batch, native=name == NATIVE)
            axes.set_yticks(range(len(engines)), list(engines) if axes is first else [""] * len(engines))
            axes.set_ylim(len(engines) - 0.3, -0.6)
            log_scale(axes, "x")
            axes.set_xlabel("ms a sample")
            axes.set_title(f"batch {batch}, {threads} {'thread' if threads == 1 else 'threads'}", fontsize=9)
            axes.grid(visible=True, axis="x", which="both", alpha=0.3)


def _draw(axes: Axes, place: int, timing: Timing, *, batch: int, native: bool) -> None:
    """A point at the median with its value, a line from quartile to quartile."""
    median, low, high = (1000 * seconds / batch for seconds in (timing.median, *timing.spread))
    color, marker = (ORANGE, "D") if native else (GREY, "o")
    axes.plot([low, high], [place, place], color=color, linewidth=1.2)
    axes.plot(median, place, marker, color=color)
    axes.annotate(
        f"{median:.3g}", (median, place), xytext=(0, -13), textcoords="offset points", ha="center", fontsize=7
    )

"""Timings of engines -> one picture (SVG): a panel for each batch and number of threads, a point for each engine."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from mdcompress.pipeline.benching_report import NATIVE, Measured
from mdcompress.pipeline.timing import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOR, _NATIVE_COLOR = "#8794a3", "#c2410c"


def require_plots() -> None:
    """UsageError where there is no matplotlib, before anything is timed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "the picture of a benchmark needs matplotlib (it is not installed)",
            hints=["pip install 'mdcompress[plots]', or leave --output out: the table holds every number"],
        )


def draw_timings(measured: Measured, path: Path) -> None:
    """Milliseconds a sample on a logarithmic scale, with the quartiles. The same timings give the same file."""
    import matplotlib  # read where a picture is wanted: it takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(measured.timings)
    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none", "text.usetex": False}):
        figure = Figure(figsize=(4.6 * count, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
        for axes, ((batch, threads), engines) in zip(panels, measured.timings.items(), strict=True):
            for place, (name, timing) in enumerate(engines.items()):
                _draw(axes, place, timing, batch=batch, color=_NATIVE_COLOR if name == NATIVE else _COLOR)
            axes.set_yticks(range(len(engines)), list(engines))
            axes.set_ylim(-0.6, len(engines) - 0.3)
            axes.set_xscale("log")
            axes.set_xlabel("ms a sample")
            axes.set_title(f"batch {batch}, {threads} {'thread' if threads == 1 else 'threads'}", fontsize=9)
            axes.grid(visible=True, axis="x", which="both", alpha=0.3)
        panels[0].invert_yaxis()
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    write_atomically(path, picture.getvalue())


def _draw(axes: Axes, place: int, timing: Timing, *, batch: int, color: str) -> None:
    """A point at the median with its value, a line from quartile to quartile."""
    median, low, high = (1000 * seconds / batch for seconds in (timing.median, *timing.spread))
    axes.plot([low, high], [place, place], color=color, linewidth=1.2)
    axes.plot(median, place, "o", color=color)
    axes.annotate(
        f"{median:.3g}", (median, place), xytext=(0, -13), textcoords="offset points", ha="center", fontsize=7
    )

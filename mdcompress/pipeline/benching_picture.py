"""Timings of engines -> one picture (SVG): a panel for each batch and number of threads, a bar for each engine."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from mdcompress.pipeline.benching_report import NATIVE, Measured

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
    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.6 * count, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
        for axes, ((batch, threads), engines) in zip(panels, measured.timings.items(), strict=True):
            names = list(engines)
            medians = [1000 * engines[name].median / batch for name in names]
            ends = [[1000 * end / batch for end in engines[name].spread] for name in names]
            below = [middle - low for middle, (low, _) in zip(medians, ends, strict=True)]
            above = [high - middle for middle, (_, high) in zip(medians, ends, strict=True)]
            colors = [_NATIVE_COLOR if name == NATIVE else _COLOR for name in names]
            axes.barh(names, medians, xerr=[below, above], color=colors, error_kw={"linewidth": 0.8})
            axes.set_xscale("log")
            axes.set_xlabel("ms a sample")
            axes.set_title(f"batch {batch}, {threads} {'thread' if threads == 1 else 'threads'}", fontsize=9)
        panels[0].invert_yaxis()
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    write_atomically(path, picture.getvalue())

"""A finished search -> one picture: accuracy against each cost; the Pareto set in front, uniform starts beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.files import write_atomically
from mdcompress.search.costs import Cost
from mdcompress.search.outcome import Point, all_points
from mdcompress.search.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS: dict[Cost, tuple[float, str]] = {
    "energy": (1e-6, "energy of an inference, uJ"),
    "latency": (1e-3, "latency, us"),
    "area": (1e-6, "area, mm2"),
}


def write_picture(found: SearchResult, path: Path) -> None:
    """Write it as SVG; the same search gives the same file. It needs matplotlib."""
    import matplotlib  # read where a picture is wanted: it takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none", "text.usetex": False}):
        figure = Figure(figsize=(5.2 * len(found.costs), 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(found.costs), squeeze=False, sharey=True)[0]
        for axes, cost in zip(panels, found.costs, strict=True):
            _panel(axes, found, cost)
        panels[0].set_ylabel("accuracy on validation samples, %")
        panels[0].legend(loc="best", frameon=False)
        figure.suptitle(f"{found.recipe} on {found.hardware}: {len(found.outcomes)} trials")
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    write_atomically(path, picture.getvalue())


def _panel(axes: Axes, found: SearchResult, cost: Cost) -> None:
    best = set(found.pareto)
    others = [point for point in all_points(found.outcomes) if point not in best]
    uniform = [Point(one.trial, design) for one in found.beaten for design in one.designs]
    for points, color, size, label in (
        (others, "#8794a3", 10, "dominated"),
        (uniform, "#1d4ed8", 22, "uniform bits"),
        (found.pareto, "#c2410c", 26, "Pareto set"),
    ):
        _scatter(axes, points, cost, color=color, size=size, label=label)
    axes.axhline(100 * found.float_accuracy, color="#8794a3", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlabel(_UNITS[cost][1])
    axes.grid(visible=True, which="major", alpha=0.3)


def _scatter(axes: Axes, points: Sequence[Point], cost: Cost, *, color: str, size: int, label: str) -> None:
    if points:
        x = [_UNITS[cost][0] * point.design.cost(cost) for point in points]
        axes.scatter(x, [100 * point.design.accuracy for point in points], s=size, c=color, label=label, linewidths=0)

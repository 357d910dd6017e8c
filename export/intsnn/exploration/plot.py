"""An exploration -> one picture: energy against latency, area and, where given, accuracy; the Pareto set in front."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import UsageError
from intsnn.exploration.exploration import Exploration
from intsnn.exploration.pricing import Design
from intsnn.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUFFIXES = (".svg", ".png", ".pdf")


def write_plot(exploration: Exploration, path: Path) -> None:
    """Write the picture; its suffix says the format (.svg, .png, .pdf). The same exploration gives the same SVG.

    Raises:
        UsageError: the suffix is another, or matplotlib is not installed.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"a picture must end in {', '.join(_SUFFIXES)} (got {path.name!r})")
    try:
        import matplotlib  # read where a picture is wanted: it takes a second
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "the picture of an exploration needs matplotlib (it is not installed)",
            hints=["pip install 'mdcompress[plots]', or leave --plot out: the CSV holds every number"],
        ) from error

    against = [("latency_ns", 1e-3, "latency, us"), ("area_um2", 1e-6, "area, mm2")]
    if any(design.accuracy is not None for design in exploration.designs):
        against.append(("accuracy", 100.0, "accuracy, %"))
    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none", "text.usetex": False}):
        figure = Figure(figsize=(5.2 * len(against), 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(against), squeeze=False)[0]
        for axes, (name, factor, label) in zip(panels, against, strict=True):
            _panel(axes, exploration, name, factor)
            axes.set_xlabel(label)
            axes.set_ylabel("energy of an inference, uJ")
        panels[0].legend(loc="best", frameon=False)
        figure.suptitle(f"{exploration.hardware}: {len(exploration.designs)} designs")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        picture = io.BytesIO()
        figure.savefig(picture, format=path.suffix[1:], metadata=metadata)
    write_atomically(path, picture.getvalue())


def _panel(axes: Axes, exploration: Exploration, name: str, factor: float) -> None:
    dominated = [design for design in exploration.designs if not design.pareto and design.point.exact]
    coarse = [design for design in exploration.designs if not design.pareto and not design.point.exact]
    for designs, color, size, label in (
        (coarse, "#dbe2ea", 8, "converters too coarse for exact sums"),
        (dominated, "#8794a3", 10, "dominated"),
        (exploration.pareto, "#c2410c", 26, "Pareto set"),
    ):
        known = [design for design in designs if _value(design, name) is not None]
        x = [factor * (_value(design, name) or 0.0) for design in known]
        y = [design.energy_pj * 1e-6 for design in known]
        if known:
            axes.scatter(x, y, s=size, c=color, label=label, linewidths=0)
    axes.set_yscale("log")
    if name != "accuracy":
        axes.set_xscale("log")
    axes.grid(visible=True, which="major", alpha=0.3)


def _value(design: Design, name: str) -> float | None:
    value: float | None = getattr(design, name)
    return value

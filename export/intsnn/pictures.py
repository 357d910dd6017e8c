"""Axes with a title -> a picture as SVG, PNG or PDF. The same numbers give the same SVG.

Series are told apart by colour, marker and line: the colours are those of Okabe and Ito, which readers with any kind of
colour vision tell apart, and a print in grey still has markers and lines. Legends stand beside the axes, over nothing.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intsnn.errors import UsageError
from intsnn.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

FORMATS = ("svg", "png", "pdf")
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#8794a3"
INK = "#1f2937"
_COLORS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", SKY, INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":")
_LAYOUT: Literal["constrained"] | None = "constrained"  # legends and labels have room


@dataclass(frozen=True)
class Series:
    """How one series of a picture looks; no other of the first 56 has its colour and its marker."""

    color: str
    marker: str
    linestyle: str


def series(place: int) -> Series:
    """The looks of the series at that place."""
    return Series(
        _COLORS[place % len(_COLORS)],
        _MARKERS[place % len(_MARKERS)],
        _LINES[place // len(_COLORS) % len(_LINES)],
    )


def picture_paths(path: Path, formats: Sequence[str]) -> tuple[Path, ...]:
    """A picture's SVG, and beside it the same picture in each other format that is wanted."""
    return (path, *(path.with_suffix(f".{name}") for name in dict.fromkeys(formats) if f".{name}" != path.suffix))


@contextlib.contextmanager
def figure(
    paths: Sequence[Path], *, title: str, panels: int = 1, width: float = 4.6, height: float = 3.8
) -> Iterator[list[Axes]]:
    """Axes side by side under one title, written to each of `paths` at the end, as its ending says.

    Args:
        paths: of the files, .svg, .png or .pdf.
        title: whose numbers these are.
        panels: how many axes.
        width: of one panel, in inches.
        height: of the picture without the title, in inches.

    Raises:
        UsageError: a path has another ending.
    """
    for path in paths:
        if path.suffix[1:] not in FORMATS:
            raise UsageError(
                f"a picture must end in {', '.join(f'.{name}' for name in FORMATS)} (got {path.name!r})",
                hints=[f"call it {path.with_suffix('.svg').name}"],
            )
    import matplotlib  # read where a picture is wanted: it takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none", "text.usetex": False}):
        drawn = Figure(figsize=(width * panels, height + 0.3), layout=_LAYOUT)
        FigureCanvasAgg(drawn)
        yield list(drawn.subplots(1, panels, squeeze=False)[0])
        drawn.suptitle(title, fontsize=11)
        for path in paths:
            content = io.BytesIO()
            metadata = {} if path.suffix == ".png" else {"Date" if path.suffix == ".svg" else "CreationDate": None}
            drawn.savefig(content, format=path.suffix[1:], metadata=metadata, dpi=160)
            write_atomically(path, content.getvalue())


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with few ticks, each a plain number; call it once the numbers are drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else 1.0
    if decades < 0.7:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:.4g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_beside(axes: Axes) -> None:
    """The legend to the right of the axes, where it covers nothing; none where nothing has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def name_layers(axes: Axes, names: Sequence[str]) -> None:
    """Names of layers at the places 0, 1, … of the x axis, each readable, however many there are."""
    size = 8 if len(names) <= 12 else max(4.0, 96 / len(names))
    axes.set_xticks(range(len(names)), list(names), rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_xlim(-0.7, len(names) - 0.3)

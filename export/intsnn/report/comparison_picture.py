"""Comparisons of one network -> one picture: how many times better it is in each figure, a bar for each design."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.estimation.report import or_none
from intsnn.pictures import INK, figure, legend_beside, log_scale, series
from intsnn.report.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HATCHES = ("", "///", "...", "xxx")
_CLEAR = 2.0  # px between a number and the frame
_WIDENINGS = 20


def draw_comparison(comparisons: Sequence[Comparison], paths: Sequence[Path]) -> None:
    """Gains on a logarithmic scale; a figure that one of the two does not have is left out.

    Args:
        comparisons: at least one, all of the same network.
        paths: of the picture, .svg, .png or .pdf.
    """
    first = comparisons[0]
    keys = [one.key for one in first.figures if all(_gain(found, one.key) for found in comparisons)]
    title = f"{first.name} against {' and '.join(found.against for found in comparisons)}"
    with figure(paths, title=title, width=6.4, height=0.8 + 0.42 * max(len(keys), 3)) as (axes,):
        size = 0.8 / len(comparisons)
        for place, found in enumerate(comparisons):
            look = series(place)
            rows = [row + (place - (len(comparisons) - 1) / 2) * size for row in range(len(keys))]
            gains = [_gain(found, key) or 1.0 for key in keys]
            hatch = _HATCHES[place % len(_HATCHES)]
            axes.barh(rows, [gain - 1 for gain in gains], size, left=1, color=look.color, hatch=hatch,
                      edgecolor="white", label=f"against {found.against}")  # fmt: skip
            _say(axes, rows, gains)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(keys)), [first.figure(key).label for key in keys])
        axes.invert_yaxis()
        axes.set_xlabel("times better (right of 1) or worse (left of 1)")
        log_scale(axes, "x")
        legend_beside(axes)
        _make_room(axes)


def _say(axes: Axes, rows: Sequence[float], gains: Sequence[float]) -> None:
    for row, gain in zip(rows, gains, strict=True):
        side, ha = (3, "left") if gain >= 1 else (-3, "right")
        axes.annotate(
            f"{gain:.3g} x", (gain, row), xytext=(side, 0), textcoords="offset points", va="center", ha=ha, fontsize=7
        )


def _make_room(axes: Axes) -> None:
    """Widen the axis until no number lies on its frame: how wide the axes are is known once names have their places."""
    from matplotlib.figure import Figure

    assert isinstance(axes.figure, Figure), "the axes of `figure` stand in no part of another"
    axes.figure.draw_without_rendering()
    frame = axes.get_window_extent()
    for _ in range(_WIDENINGS):
        boxes = [text.get_window_extent() for text in axes.texts]
        left = frame.x0 + _CLEAR - min(box.x0 for box in boxes)
        right = max(box.x1 for box in boxes) - frame.x1 + _CLEAR
        if max(left, right) <= 0:
            break
        low, high = axes.get_xlim()
        pixel = math.log(high / low) / frame.width
        axes.set_xlim(low * math.exp(-max(left, 0) * pixel), high * math.exp(max(right, 0) * pixel))


def _gain(found: Comparison, key: str) -> float | None:
    gain = or_none(found.figure(key).gain)
    return gain if gain is not None and gain > 0 and math.isfinite(gain) else None

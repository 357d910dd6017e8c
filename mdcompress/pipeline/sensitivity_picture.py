"""What each layer loses at each number of bits -> one picture: a panel for weights, one for membranes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.pictures import INK, figure, legend_beside, log_scale, name_layers, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mdcompress.bits.sensitivity import BitSensitivity, Part


def draw_sensitivity(found: BitSensitivity, paths: Sequence[Path], *, title: str) -> None:
    """Divergence of the answers against the layers, a series for each number of bits; the line is without lowering."""
    parts = [part for part in found.counts if any(row.part == part for row in found.layers)]
    longest = max((len(found.counts[part]) for part in parts), default=1)
    if not parts:
        return
    with figure(paths, title=title, panels=len(parts), width=max(5.2, 0.3 * longest)) as panels:
        for axes, part in zip(panels, parts, strict=True):
            _draw(axes, found, part)
            legend_beside(axes)


def _draw(axes: Axes, found: BitSensitivity, part: Part) -> None:
    names = list(found.counts[part])
    rows = [row for row in found.layers if row.part == part]
    every = sorted({row.bit_width for row in found.layers})  # of both panels: a number of bits looks alike in each
    for bits in sorted({row.bit_width for row in rows}):
        look = series(every.index(bits))
        lowered = [row for row in rows if row.bit_width == bits]
        axes.plot(
            [names.index(row.node) for row in lowered],
            [row.distance.logits for row in lowered],
            color=look.color, marker=look.marker, linestyle="none", label=f"{bits:g} bits",
        )  # fmt: skip
    axes.axhline(found.baseline.logits, color=INK, linewidth=0.8, linestyle="--", label="none lowered")
    if all(row.distance.logits > 0 for row in rows):
        log_scale(axes, "y")
    name_layers(axes, names)
    axes.set_title(f"{part}s of one layer lowered", fontsize=9)
    axes.set_ylabel("KL of answers, nats")

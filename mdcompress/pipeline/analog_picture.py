"""A sweep over sizes of the noise -> one picture: the mean over chips, and from the worst chip to the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.pictures import BLUE, INK, figure, legend_beside

if TYPE_CHECKING:
    from intsnn.analog.accuracy import AccuracySweep


def draw_sweep(found: AccuracySweep, paths: Sequence[Path], *, title: str) -> None:
    """Accuracy, or agreement where there are no labels, against the size of the noise."""
    spreads = [point.accuracy or point.agreement for point in found.points]
    # a mean may leave the range of its values by a rounding
    noise, means = [point.noise for point in found.points], [100 * spread.mean for spread in spreads]
    below = [max(0.0, mean - 100 * min(spread.values)) for mean, spread in zip(means, spreads, strict=True)]
    above = [max(0.0, 100 * max(spread.values) - mean) for mean, spread in zip(means, spreads, strict=True)]
    with figure(paths, title=title, width=6.8) as (axes,):
        chips = "1 chip" if len(found.seeds) == 1 else f"mean of {len(found.seeds)} chips, worst to best"
        axes.errorbar(noise, means, yerr=[below, above], color=BLUE, marker="o", capsize=3, label=chips)
        if found.exact_accuracy is not None:
            axes.axhline(100 * found.exact_accuracy, color=INK, linewidth=0.8, linestyle="--", label="exact network")
        axes.set_xlabel("size of the noise, 1 is the description")
        axes.set_ylabel("agreement, %" if found.exact_accuracy is None else "accuracy, %")
        axes.grid(visible=True, alpha=0.3)
        legend_beside(axes)

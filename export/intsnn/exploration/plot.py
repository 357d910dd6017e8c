"""An exploration -> one picture: energy against latency, area and, where given, accuracy; the Pareto set in front.

Designs of the Pareto set have the numbers of the table's rows, by increasing energy; what they are stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.exploration.exploration import Exploration
from intsnn.exploration.files import design_name, differing_axes, has_batches
from intsnn.exploration.pricing import Design
from intsnn.pictures import BLUE, GREY, ORANGE, figure, log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 20  # designs that are named beside the picture: as many as the table shows
_KINDS = (
    ("too coarse for exact sums", "#c3ccd6", "x", 10),
    ("dominated", GREY, ".", 18),
    ("Pareto set", ORANGE, "o", 34),
)


def write_plot(exploration: Exploration, path: Path, *more: Path) -> None:
    """Write the picture; each path's suffix says the format (.svg, .png, .pdf). The same exploration, the same SVG.

    Raises:
        UsageError: the suffix is another.
    """
    time = "time per inference, us" if has_batches(exploration) else "latency, us"
    against = [("inference_time_ns", 1e-3, time), ("area_um2", 1e-6, "area, mm2")]
    if any(design.accuracy is not None for design in exploration.designs):
        against.append(("accuracy", 100.0, "accuracy, %"))
    title = f"Designs on {exploration.hardware}: {len(exploration.pareto)} of {len(exploration.designs)} not dominated"
    named = exploration.pareto[:_NAMED]
    height = max(4.0, 1.2 + 0.17 * len(named))
    with figure([path, *more], title=title, panels=len(against) + 1, width=4.8, height=height) as (*panels, beside):
        for axes, (name, factor, label) in zip(panels, against, strict=True):
            _panel(axes, exploration, name, factor)
            _number(axes, named, name, factor)
            axes.set_xlabel(label)
            axes.set_ylabel("energy of an inference, uJ")
        _key(beside, panels[-1], exploration, named)


def _panel(axes: Axes, exploration: Exploration, name: str, factor: float) -> None:
    others = [design for design in exploration.designs if not design.pareto]
    groups = (
        [design for design in others if not design.point.exact],
        [design for design in others if design.point.exact],
        exploration.pareto,
    )
    for designs, (label, color, marker, size) in zip(groups, _KINDS, strict=True):
        known = [design for design in designs if _value(design, name) is not None]
        x = [factor * (_value(design, name) or 0.0) for design in known]
        y = [_energy(design) for design in known]
        if known:
            axes.scatter(x, y, s=size, c=color, marker=marker, label=label, linewidths=0.8 if marker == "x" else 0)
    log_scale(axes, "y")
    if name != "accuracy":
        log_scale(axes, "x")
    axes.grid(visible=True, which="major", alpha=0.3)


def _number(axes: Axes, named: Sequence[Design], name: str, factor: float) -> None:
    """The number of each named design at its point; of designs at one point all numbers, once."""
    places: dict[tuple[float, float], list[int]] = {}
    for number, design in enumerate(named, start=1):
        value = _value(design, name)
        if value is not None:
            places.setdefault((factor * value, _energy(design)), []).append(number)
    for place, numbers in places.items():
        axes.annotate(
            _ranges(numbers), place, xytext=(3, 3), textcoords="offset points", fontsize=7, color=BLUE, rotation=45
        )


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 5 -> `1-3, 5`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in found)


def _key(beside: Axes, drawn: Axes, exploration: Exploration, named: Sequence[Design]) -> None:
    """In axes of its own: what the looks mean and what the numbers stand for; what all named have in common, once."""
    beside.set_axis_off()
    beside.legend(*drawn.get_legend_handles_labels(), loc="upper left", frameon=False, fontsize=8)
    axes = differing_axes([design.point for design in exploration.designs])
    differing = [axis for axis in axes if axis in differing_axes([design.point for design in named])]
    common = [axis for axis in axes if axis not in differing]
    lines = [f"all: {design_name(named[0].point, common)}"] if named and common else []
    lines += [f"{number}  {design_name(design.point, differing)}" for number, design in enumerate(named, start=1)]
    if len(exploration.pareto) > len(named):
        lines.append(f"and {len(exploration.pareto) - len(named)} more")
    beside.text(0.0, 0.0, "\n".join(lines), fontsize=7, va="bottom", transform=beside.transAxes)


def _energy(design: Design) -> float:
    return design.energy_pj * 1e-6


def _value(design: Design, name: str) -> float | None:
    value: float | None = getattr(design, name)
    return value

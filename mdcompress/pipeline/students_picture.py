"""The students of one teacher, one for each T -> one picture: accuracy, mismatch and, where priced, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.pictures import GREY, ORANGE, figure, legend_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class StudentFigures:
    """One student: accuracies in [0, 1], mismatches in squared thresholds; energy_pj where its graph was priced."""

    time_steps: int
    calibrated: float
    distilled: float
    mismatch_before: float
    mismatch_after: float
    energy_pj: float | None = None


def draw_students(students: Sequence[StudentFigures], paths: Sequence[Path], *, title: str) -> None:
    """Calibrated and distilled against the number of steps."""
    steps = [student.time_steps for student in students]
    energies = [student.energy_pj for student in students if student.energy_pj is not None]
    priced = len(energies) == len(students)
    with figure(paths, title=title, panels=3 if priced else 2) as panels:
        _two(
            panels[0],
            steps,
            {
                "calibrated": [100 * student.calibrated for student in students],
                "distilled": [100 * student.distilled for student in students],
            },
        )
        panels[0].set_ylabel("test accuracy, %")
        _two(
            panels[1],
            steps,
            {
                "calibrated": [student.mismatch_before for student in students],
                "distilled": [student.mismatch_after for student in students],
            },
        )
        panels[1].set_ylabel("membrane mismatch, thresholds squared")
        legend_beside(panels[1])
        if priced:
            panels[2].plot(steps, [energy * 1e-6 for energy in energies], color=ORANGE, marker="D")
            panels[2].set_ylabel("energy of an inference, uJ")
        for axes in panels:
            axes.set_xticks(steps)
            axes.set_xlabel("time steps T")
            axes.grid(visible=True, alpha=0.3)


def _two(axes: Axes, steps: Sequence[int], lines: Mapping[str, Sequence[float]]) -> None:
    for (label, values), color, marker, line in zip(lines.items(), (GREY, ORANGE), "oD", ("--", "-"), strict=True):
        axes.plot(steps, values, color=color, marker=marker, linestyle=line, label=label)

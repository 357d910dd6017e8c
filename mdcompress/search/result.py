"""A finished search as one value: what was tried, the points that no other dominates, and the files of each.

A point is a student on a design (`outcome.py`). Its recipe and its description of hardware have names here; who writes
them stands in `pipeline/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from intsnn.exploration.design_space import DesignPoint
from mdcompress.search.costs import Cost
from mdcompress.search.outcome import Outcome, Point, PricedDesign, all_points, beating, pareto_points

StartKind = Literal["uniform", "mixed"]


@dataclass(frozen=True)
class StudentFigures:
    """What a student is, in numbers. weight, membrane: mean bits; bits: of each parameter, by name."""

    time_steps: int
    weight: float | None
    membrane: float | None
    bits: Mapping[str, float]


@dataclass(frozen=True)
class Beaten:
    """A uniform start beside what the search found.

    designs: those of the start; by: of each the point that dominates it, None where none does.
    """

    name: str
    trial: int
    designs: tuple[PricedDesign, ...]
    by: tuple[Point | None, ...]

    @property
    def is_beaten(self) -> bool:
        """Whether each of its designs is dominated."""
        return bool(self.by) and all(point is not None for point in self.by)


@dataclass(frozen=True)
class SearchResult:
    """What a study has found so far.

    recipe, hardware: the names of what the search began with. costs: what was kept low. float_accuracy: of the float
    network, least: what a compared student has, both on `samples` validation samples. outcomes: by trial; students:
    what each of them is. starts: name and kind of the first students, by trial. running: trials that
    other processes are at.
    """

    recipe: str
    hardware: str
    costs: tuple[Cost, ...]
    float_accuracy: float
    least: float
    samples: int
    outcomes: Mapping[int, Outcome]
    students: Mapping[int, StudentFigures]
    starts: Mapping[int, tuple[str, StartKind]]
    running: int = 0

    @cached_property
    def pareto(self) -> tuple[Point, ...]:
        """The points that no other dominates, by their first cost."""
        return pareto_points(all_points(self.outcomes), self.costs)

    @cached_property
    def beaten(self) -> tuple[Beaten, ...]:
        """The uniform starts that could be built, each beside what dominates it."""
        uniform = {trial: name for trial, (name, kind) in self.starts.items() if kind == "uniform"}
        others = all_points({trial: one for trial, one in self.outcomes.items() if trial not in uniform})
        return tuple(
            Beaten(name, trial, designs, tuple(beating(design, others, self.costs) for design in designs))
            for trial, name in uniform.items()
            if (designs := self.outcomes[trial].designs)
        )

    @cached_property
    def hardware_numbers(self) -> Mapping[DesignPoint, int]:
        """The designs of the Pareto set, numbered from 1."""
        found = dict.fromkeys(without_network(point.design.point) for point in self.pareto)
        return {point: number for number, point in enumerate(found, start=1)}

    def recipe_name(self, trial: int) -> str:
        """The name of a student's recipe."""
        return f"{self.recipe}-search-{trial:03d}"

    def hardware_name(self, point: DesignPoint) -> str:
        """The name of a design's description, of those in the Pareto set."""
        return f"{self.hardware}_{self.hardware_numbers[without_network(point)]:02d}"


def without_network(point: DesignPoint) -> DesignPoint:
    """One point for all that are the same chip."""
    return replace(point, time_steps=1)

"""What the trials of a search found: a student's accuracy and its designs, the Pareto set of all, and what beats whom.

A point is a student on a design. Points are compared by accuracy and by the costs that the search is about; students
less accurate than the search asks for are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from intsnn.errors import InvalidFileError, Problem, reading
from intsnn.exploration.chips import beaten
from intsnn.exploration.design_space import DesignPoint
from intsnn.exploration.exploration import non_dominated
from mdcompress.search.costs import Cost


@dataclass(frozen=True)
class PricedDesign:
    """A student on one design. accuracy: in [0, 1], below the student's own where converters are too coarse.

    latency_ns: of an inference; where several share loads of weights, of their batch over their number.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    point: DesignPoint
    accuracy: float
    energy_pj: float
    latency_ns: float
    area_um2: float

    def cost(self, cost: Cost) -> float:
        """One of the three figures."""
        match cost:
            case "energy":
                return self.energy_pj
            case "latency":
                return self.latency_ns
            case "area":
                return self.area_um2
            case _:
                assert_never(cost)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    indices: the student. accuracy: of its integers, on `samples` validation samples, in [0, 1]; None where it could not
    be made. designs: those of its designs that no other of them dominates. reason: why the student is not compared;
    empty where it is.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema: Literal["mdcompress.search_trial/1"]
    indices: Mapping[str, int]
    accuracy: float | None
    samples: int
    designs: tuple[PricedDesign, ...]
    reason: str = ""

    @property
    def is_compared(self) -> bool:
        """Whether it is accurate enough, and can be built."""
        return not self.reason and bool(self.designs)


@dataclass(frozen=True)
class Point:
    """A student, by the number of its trial, on one design."""

    trial: int
    design: PricedDesign


_ADAPTER = TypeAdapter(Outcome)


def outcome(
    indices: Mapping[str, int],
    *,
    accuracy: float | None,
    samples: int,
    designs: Sequence[PricedDesign] = (),
    reason: str = "",
) -> Outcome:
    """An outcome of today's schema."""
    return Outcome("mdcompress.search_trial/1", dict(indices), accuracy, samples, tuple(designs), reason)


def outcome_bytes(found: Outcome) -> bytes:
    """As JSON."""
    return _ADAPTER.dump_json(found, indent=1) + b"\n"


def read_outcome(path: Path) -> Outcome:
    """The outcome in a file; InvalidFileError where it holds none."""
    with reading(path, "the result of a search's trial"):
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the text"
            raise InvalidFileError(
                f"{path} is not the result of a search's trial",
                [Problem(str(path), 0, 0, place, f"must be as `mdcompress search` wrote it ({first['msg']})")],
                hints=["delete it: the same command evaluates the trial again"],
            ) from error


def best_designs(designs: Sequence[PricedDesign], costs: Sequence[Cost]) -> tuple[PricedDesign, ...]:
    """The designs of one student that no other dominates; of designs that cost the same, one."""
    points = pareto_points([Point(0, design) for design in designs], costs)
    return tuple(point.design for point in points)


def pareto_points(points: Sequence[Point], costs: Sequence[Cost]) -> tuple[Point, ...]:
    """The points that no other dominates, by their first cost; of equal ones that which is best in the other costs."""
    if not points:
        return ()
    free = non_dominated(np.array([objectives(point.design, costs) for point in points]))
    found: dict[tuple[float, ...], Point] = {}
    for point in sorted((point for point, is_free in zip(points, free, strict=True) if is_free), key=_all_costs):
        found.setdefault(objectives(point.design, costs), point)
    return tuple(found[key] for key in sorted(found))


def all_points(outcomes: Mapping[int, Outcome]) -> list[Point]:
    """Every point that is compared."""
    return [Point(trial, design) for trial, one in outcomes.items() if one.is_compared for design in one.designs]


def objectives(design: PricedDesign, costs: Sequence[Cost]) -> tuple[float, ...]:
    """Costs, and the accuracy with its sign turned: less is better in all."""
    return (*(design.cost(cost) for cost in costs), -design.accuracy)


def beating(design: PricedDesign, points: Sequence[Point], costs: Sequence[Cost]) -> Point | None:
    """The point of the least first cost that dominates a design; None where none does."""
    mine = _row(design, costs)
    better = [point for point in points if beaten(mine, _row(point.design, costs)[None])]
    return min(better, key=lambda point: (objectives(point.design, costs), point.trial), default=None)


def _row(design: PricedDesign, costs: Sequence[Cost]) -> npt.NDArray[np.float64]:
    return np.array(objectives(design, costs))


def _all_costs(point: Point) -> tuple[float, float, float, int]:
    return (point.design.energy_pj, point.design.latency_ns, point.design.area_um2, point.trial)

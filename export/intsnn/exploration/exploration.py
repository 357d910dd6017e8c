"""A network and a space of designs -> energy, latency and area of every design, and the Pareto set of them.

Each design goes through the very mapping, counting, scheduling and pricing of an estimate (pricing.py). A design is
dominated where another is at least as good in every objective and better in one; the Pareto set are those that none
dominates. Objectives are energy, latency and area, and accuracy where it is given; where inferences share loads of
weights, the latency of their batch over their number.

Without accuracies nothing says what fewer bits or steps cost in accuracy, so designs are compared only with those of
the same weight bits, membrane bits and T; designs whose converters are too coarse to compute the graph's integers are
not compared at all. With accuracies, all designs that have one are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from intsnn.activity import Activity
from intsnn.engines import InterpreterSession, Session
from intsnn.errors import HardwareError
from intsnn.estimation.remarks import assumed_in_words
from intsnn.exploration.chips import ChipAccuracy, Trial, beaten, judged
from intsnn.exploration.design_space import Axis, DesignPoint, DesignSpace
from intsnn.exploration.pricing import Design, Infeasible, Pricing
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping.demand import demand_of

FloatArray = npt.NDArray[np.float64]
Accuracy = Callable[[DesignPoint], float | None]
_NETWORK_AXES: tuple[Axis, ...] = ("weight_bits", "membrane_bits", "time_steps")


@dataclass(frozen=True)
class Judgement:
    """How the accuracies of an exploration were measured.

    exact: accuracy of the exact network, at the T of the space that is best for it. least: what a compared design must
    reach. runs: groups of designs that were run on chips. labelled: whether answers are held against labels, else
    against the exact network.
    """

    analog: str
    chips: int
    samples: int
    exact: float
    least: float
    runs: int
    labelled: bool


@dataclass(frozen=True)
class Exploration:
    """Every design of a space, in the order of the space. hardware: the description whose prices they have.

    accuracies_given: whether designs were asked for their accuracy; then only those that have one are compared.
    judgement: how accuracies were measured here, None where they were not. notes: what the activity takes for granted.
    """

    hardware: str
    designs: tuple[Design, ...]
    infeasible: tuple[Infeasible, ...]
    accuracies_given: bool = False
    judgement: Judgement | None = None
    notes: tuple[str, ...] = ()

    @property
    def pareto(self) -> tuple[Design, ...]:
        """The Pareto set, by energy."""
        return tuple(sorted((one for one in self.designs if one.pareto), key=lambda one: one.energy_pj))


def explore(
    graph: IntGraph,
    activity: Activity,
    hardware: HardwareSpec,
    *,
    space: DesignSpace,
    accuracy: Accuracy | None = None,
    trial: Trial | None = None,
    exact: Session | None = None,
) -> Exploration:
    """Price every design of a space.

    Args:
        graph: the network.
        activity: of this graph; fewer steps are its first steps, so T can be at most its own.
        hardware: prices, and what the space leaves as it is.
        space: the values of each axis.
        accuracy: of a design, in [0, 1]; None where it is not known.
        trial: measure accuracies on chips, of the designs for which they can matter (chips.py); not with `accuracy`.
        exact: with `trial`, a session of the network for exact answers; None: the interpreter.

    Raises:
        HardwareError: the activity is of another graph, or no design of the space can be priced.
        UsageError: the space asks for more steps than the activity has.
    """
    if activity.graph != fingerprint(graph):
        raise HardwareError(
            "the activity must be of the graph that is explored (its fingerprint is another)",
            hints=["measure the activity again on this graph"],
        )
    pricing = Pricing(demand_of(graph), activity, hardware, time_steps=graph.time_steps)
    priced = pricing.designs(space.points(hardware, activity.time_steps), accuracy)
    designs = tuple(one for one in priced if isinstance(one, Design))
    infeasible = tuple(one for one in priced if isinstance(one, Infeasible))
    if not designs:
        raise HardwareError(
            f"no design of the space can be priced; the first: {infeasible[0].reason}", hints=["widen the space"]
        )
    known = accuracy is not None
    found = Exploration(hardware.name, designs, infeasible, known, notes=assumed_in_words(activity))
    if trial is not None:
        return _judged(found, hardware, trial, exact or InterpreterSession(graph))
    return replace(found, designs=_with_pareto(designs, known=known))


def _judged(found: Exploration, hardware: HardwareSpec, trial: Trial, exact: Session) -> Exploration:
    """The exploration with accuracies from chips; only designs that are accurate enough are compared."""
    designs = found.designs
    on_chips = ChipAccuracy(exact, hardware, trial)
    costs, points = np.array([_costs(design)[:3] for design in designs]), [design.point for design in designs]
    best = max(map(on_chips.exact_accuracy, {point.time_steps for point in points}))
    least = best - trial.loss
    accuracies = judged(points, costs, on_chips, ceiling=on_chips.exact_accuracy, least=least)
    known = [replace(design, accuracy=value) for design, value in zip(designs, accuracies, strict=True)]
    judgement = Judgement(
        analog=trial.analog.name,
        chips=trial.chips,
        samples=trial.samples.x.shape[1],
        exact=best,
        least=least,
        runs=on_chips.runs,
        labelled=trial.samples.labels is not None,
    )
    compared = _with_pareto(known, known=True, least=least)
    return replace(found, designs=compared, accuracies_given=True, judgement=judgement)


def _with_pareto(designs: Sequence[Design], *, known: bool, least: float = 0.0) -> tuple[Design, ...]:
    """Each design with whether it belongs to the Pareto set of its compared group."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, design in enumerate(designs):
        if _is_compared(design, known=known, least=least):
            groups.setdefault(_compared_group(design, known=known), []).append(index)
    found: set[int] = set()
    for members in groups.values():
        costs = np.array([_costs(designs[index]) for index in members])
        found |= {index for index, free in zip(members, non_dominated(costs).tolist(), strict=True) if free}
    return tuple(replace(one, pareto=True) if index in found else one for index, one in enumerate(designs))


def _is_compared(design: Design, *, known: bool, least: float) -> bool:
    return design.accuracy is not None and design.accuracy >= least if known else design.point.exact


def _compared_group(design: Design, *, known: bool) -> tuple[float, ...]:
    """What the designs of one comparison have in common: nothing where accuracies are known, else their network."""
    if known:
        return ()
    values = (getattr(design.point, axis) for axis in _NETWORK_AXES)
    return tuple(-1.0 if value is None else float(value) for value in values)


def _costs(design: Design) -> tuple[float, ...]:
    """Objectives, less is better."""
    return (design.energy_pj, design.inference_time_ns, design.area_um2, -(design.accuracy or 0.0))


def non_dominated(costs: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows of [n, objectives] no other row dominates, [n]: less is better."""
    free = np.ones(len(costs), dtype=np.bool_)
    for index, row in enumerate(costs):
        free[index] = not beaten(row, costs)
    return free

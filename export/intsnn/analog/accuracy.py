"""Accuracy against noise: chips of several seeds at several sizes of the noise -> mean and spread.

A chip's answer is the largest output, summed over the steps where the readout gives each step's. With labels the
figure is accuracy; without, and always beside it, agreement: the share of answers equal to the exact network's.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from intsnn.analog.inference import is_undisturbed, make_chip, run_analog
from intsnn.analog.spec import AnalogSpec, ColumnGains
from intsnn.arithmetic import IntArray
from intsnn.engines import InterpreterSession, Session
from intsnn.errors import InputError, UsageError
from intsnn.graph import IntGraph
from intsnn.hardware.spec import HardwareSpec

ACCURACY_SCHEMA = "mdcompress.analog_accuracy/1"


@dataclass(frozen=True, eq=False)
class Samples:
    """Integer inputs [T, N, *input shape], and their classes [N] where they are known."""

    x: npt.NDArray[np.integer]
    labels: npt.NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.shape != self.x.shape[1:2]:
            raise InputError(
                f"there must be one label for each sample, [{self.x.shape[1]}] (got {list(self.labels.shape)})",
                hints=["give the labels of the same samples, in the same order"],
            )


@dataclass(frozen=True)
class Spread:
    """Figures of several seeds, in [0, 1]; `deviation` with n - 1, 0 for a single seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation between chips."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class NoisePoint:
    """Chips whose noise is `noise` times that of the description; accuracy is None without labels."""

    noise: float
    accuracy: Spread | None
    agreement: Spread


@dataclass(frozen=True)
class AccuracySweep:
    """Accuracy of one network against noise.

    column_gains: whether columns had digital gains, as in the description. exact_accuracy: of the integer network, None
    without labels.
    """

    analog: str
    column_gains: ColumnGains
    hardware: str
    samples: int
    time_steps: int
    seeds: tuple[int, ...]
    exact_accuracy: float | None
    points: tuple[NoisePoint, ...]

    def to_json(self) -> str:
        """All figures of all seeds."""
        points = [
            {"noise": point.noise, "accuracy": _document(point.accuracy), "agreement": _document(point.agreement)}
            for point in self.points
        ]
        document = {"schema": ACCURACY_SCHEMA, **asdict(self), "points": points}
        return json.dumps(document, indent=1) + "\n"


def sweep_noise(
    graph: IntGraph,
    hardware: HardwareSpec,
    *,
    spec: AnalogSpec,
    samples: Samples,
    noise: Sequence[float],
    seeds: Sequence[int],
    calibration: npt.ArrayLike | None = None,
    exact: Session | None = None,
) -> AccuracySweep:
    """Run every seed at every size of the noise (`AnalogSpec.scaled`).

    Chips of one seed draw the same numbers at every size, so rows differ by the size alone. `exact`: a session of the
    graph for the answers of the integer network, and of chips that nothing disturbs; without it the interpreter.

    Raises:
        UsageError: no size or no seed is given, or the description needs a calibration and there is none.
    """
    if not noise or not seeds:
        raise UsageError(
            f"a sweep needs a size of the noise and a seed (got {len(noise)} and {len(seeds)})",
            hints=["the description as it is has the size 1"],
        )
    reference = answers((exact or InterpreterSession(graph)).answer(samples.x))
    points = []
    for size in noise:
        scaled = spec.scaled(size)
        drawn = seeds if size else seeds[:1]  # without noise all chips are the same
        chips = (make_chip(graph, hardware, spec=scaled, seed=seed, calibration=calibration) for seed in drawn)
        is_exact = is_undisturbed(scaled, hardware)
        found = [reference if is_exact else answers(run_analog(chip, samples.x).trace.output) for chip in chips]
        points.append(_point(size, found * (len(seeds) // len(found)), reference, samples))
    return AccuracySweep(
        analog=spec.name,
        column_gains=spec.column_gains,
        hardware=hardware.name,
        samples=samples.x.shape[1],
        time_steps=len(samples.x),
        seeds=tuple(seeds),
        exact_accuracy=None if samples.labels is None else share(reference, samples.labels),
        points=tuple(points),
    )


def answers(output: IntArray) -> IntArray:
    """The class of each sample: output [N, K], or [T, N, K] of every step, -> [N]. The first of equal ones wins."""
    summed = output.sum(axis=0) if output.ndim > 2 else output
    best: IntArray = summed.argmax(axis=-1)
    return best


def _document(spread: Spread | None) -> dict[str, object] | None:
    if spread is None:
        return None
    return {"mean": spread.mean, "deviation": spread.deviation, "values": spread.values}


def _point(noise: float, found: Sequence[IntArray], exact: IntArray, samples: Samples) -> NoisePoint:
    labels = samples.labels
    accuracy = None if labels is None else Spread(tuple(share(one, labels) for one in found))
    return NoisePoint(noise, accuracy, Spread(tuple(share(one, exact) for one in found)))


def share(found: npt.NDArray[np.integer], wanted: npt.NDArray[np.integer]) -> float:
    """The share of answers that are as wanted."""
    return float((found == wanted).mean())

"""Accuracy of designs on simulated chips, measured where it can matter.

A design's arrays, cells, converters and T decide its accuracy; multiplexers, copies, gating and the schedule do not. So
designs fall into groups of one accuracy, and a group is run on chips only where it can belong to the answer:

    enough       a design is accurate enough where it loses at most `loss` against the exact network
    ceiling      what chips win over the exact network is chance: min(accuracy, that of the exact network)
    beaten       by a judged design at the group's ceiling, cheaper in something and dearer in nothing: not run
    too coarse   with fewer converter bits than a group that was not accurate enough, all else equal: not run, for fewer
                 bits are taken never to help

The result is that of running every group, as far as the last sentence holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from intsnn.analog.accuracy import Samples, answers, share
from intsnn.analog.inference import is_undisturbed, make_chip, run_analog
from intsnn.analog.spec import AnalogSpec
from intsnn.engines import Session
from intsnn.exploration.design_space import DesignPoint, hardware_at
from intsnn.hardware.spec import HardwareSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trial:
    """How designs are judged.

    analog: cells, wires and the way converters are set. chips: how many, of seeds 0, 1, ...; samples: their inputs, and
    labels where they are known (else the share of answers equal to the exact network's counts). calibration: integer
    inputs for ranges and gains. loss: what an accurate design may lose against the exact network, in [0, 1].
    """

    analog: AnalogSpec
    chips: int
    samples: Samples
    calibration: npt.NDArray[np.integer] | None = None
    loss: float = 0.01


class ChipAccuracy:
    """A design's accuracy on chips, each group of designs run once.

    Args:
        exact: a session of the network.
        described: the description whose designs are asked for.
        trial: on what they are judged.
    """

    def __init__(self, exact: Session, described: HardwareSpec, trial: Trial) -> None:
        self._exact, self._described, self._trial = exact, described, trial
        self._found: dict[DesignPoint, float] = {}
        self._references: dict[int, npt.NDArray[np.integer]] = {}

    @property
    def runs(self) -> int:
        """Groups that were run on chips so far."""
        return len(self._found)

    def exact_accuracy(self, time_steps: int) -> float:
        """Of the exact network after so many steps; 1 without labels."""
        labels = self._trial.samples.labels
        return 1.0 if labels is None else share(self._reference(time_steps), labels)

    def __call__(self, point: DesignPoint) -> float | None:
        """Mean over the chips, at most the exact network's; None for other weights or membranes, another network."""
        if point.weight_bits is not None or point.membrane_bits is not None:
            return None
        group = alike(point)
        hardware = hardware_at(point, self._described)
        if hardware.crossbar.is_digital or is_undisturbed(self._trial.analog, hardware):
            return self.exact_accuracy(point.time_steps)
        if group not in self._found:
            self._found[group] = self._on_chips(hardware, point.time_steps)
        return self._found[group]

    def _on_chips(self, hardware: HardwareSpec, time_steps: int) -> float:
        trial, x = self._trial, self._trial.samples.x[:time_steps]
        calibration = None if trial.calibration is None else trial.calibration[:time_steps]
        wanted = self._reference(time_steps) if trial.samples.labels is None else trial.samples.labels
        seeds = range(1 if trial.analog.is_noiseless and not trial.analog.converters.noise_codes else trial.chips)
        shares = []
        for seed in seeds:
            chip = make_chip(self._exact.graph, hardware, spec=trial.analog, seed=seed, calibration=calibration)
            shares.append(share(answers(run_analog(chip, x).trace.output), wanted))
        return min(float(np.mean(shares)), self.exact_accuracy(time_steps))

    def _reference(self, time_steps: int) -> npt.NDArray[np.integer]:
        if time_steps not in self._references:
            self._references[time_steps] = answers(self._exact.answer(self._trial.samples.x[:time_steps]))
        return self._references[time_steps]


def alike(point: DesignPoint) -> DesignPoint:
    """One point for all designs of one accuracy."""
    return replace(point, column_mux=1, gating="none", schedule="layer_by_layer", array_budget=None, converter=None)


def judged(
    points: Sequence[DesignPoint],
    costs: FloatArray,
    accuracy: Callable[[DesignPoint], float | None],
    *,
    ceiling: Callable[[int], float],
    least: float,
) -> tuple[float | None, ...]:
    """The accuracy of each design that can belong to the answer; None of those that were not run.

    Args:
        points: the designs.
        costs: of each, less is better, [n, objectives].
        accuracy: of a design; the same for all that are `alike`.
        ceiling: what no design of so many steps surpasses.
        least: the accuracy that is enough.
    """
    found: list[float | None] = [None] * len(points)
    groups: dict[DesignPoint, list[int]] = {}
    for index, point in enumerate(points):
        groups.setdefault(alike(point), []).append(index)
    too_coarse: set[DesignPoint] = set()
    for group in sorted(groups, key=lambda one: (-_bits(one), min(costs[index, 0] for index in groups[one]))):
        family, members = replace(group, adc_bits="lossless"), groups[group]
        best = [index for index, value in enumerate(found) if value is not None and value >= ceiling(group.time_steps)]
        if family in too_coarse or all(beaten(costs[index], costs[best]) for index in members):
            continue
        value = accuracy(group)
        for index in members:
            found[index] = value
        if value is not None and value < least:
            too_coarse.add(family)
    return tuple(found)


def _bits(group: DesignPoint) -> float:
    """Converter bits; infinitely many where they tell every sum apart."""
    return math.inf if group.exact or group.adc_bits == "lossless" else group.adc_bits


def beaten(cost: FloatArray, others: FloatArray) -> bool:
    """Whether one of the others [n, objectives] is as good in all and better in one."""
    return bool(((others <= cost).all(axis=1) & (others < cost).any(axis=1)).any())

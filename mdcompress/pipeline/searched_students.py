"""The students of a search: a choice of bits and T -> accuracy on validation samples, and designs with their prices.

The test part is never read. Scales come from training samples, accuracies and spike counts from validation samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from intsnn.errors import GraphError, HardwareError
from mdcompress.errors import CalibrationError, ExportError, PlanError
from mdcompress.pipeline.evaluating import integers_for
from mdcompress.pipeline.networks import at_steps, seeded, torch_device
from mdcompress.pipeline.report import percent
from mdcompress.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor, nn

    from intsnn.engines import Session
    from intsnn.exploration.chips import Trial
    from intsnn.exploration.design_space import DesignSpace
    from intsnn.hardware import HardwareSpec
    from mdcompress.data import Batches, DataSplits
    from mdcompress.graph import SnnGraph
    from mdcompress.recipe import Recipe
    from mdcompress.search.costs import Cost
    from mdcompress.search.outcome import Outcome, PricedDesign
    from mdcompress.search.result import StudentFigures
    from mdcompress.search.sampler import Indices
    from mdcompress.search.space import StudentChoice, StudentSpace
    from mdcompress.student import Student

COUNTED_SAMPLES = 64  # on whose spikes designs are priced; as many as `export` counts
CHIP_CALIBRATION_SAMPLES = 32  # training samples for the ranges of converters, as `explore --accuracy` takes
_AT_ONCE = 64
_LIKELY = 3.0  # standard deviations within which a share on few samples tells that on all
_IMPOSSIBLE = (PlanError, CalibrationError, ExportError, GraphError, HardwareError)


@dataclass(frozen=True)
class Standard:
    """How students are judged.

    samples: of validation, at most. first: how many of them, and of the calibration samples, the first look takes.
    points: of accuracy, that a student may lose against the float network. epochs: of distillation, 0: calibration
    alone. analog, chips: on what converters that are too coarse for exact sums are tried.
    """

    samples: int = 512
    first: int = 64
    points: float = 5.0
    epochs: int = 0
    analog: str = "calibrated"
    chips: int = 3


@dataclass(frozen=True)
class Chip:
    """The hardware of a search: a description, the designs around it, and which costs count."""

    described: HardwareSpec
    space: DesignSpace
    costs: tuple[Cost, ...]

    def __post_init__(self) -> None:
        self.space.points(self.described, 1)  # a converter that there is not is refused before any student is made

    @property
    def has_coarse_converters(self) -> bool:
        """Whether a design's accuracy may lie below that of its integers."""
        return not all(point.exact for point in self.space.points(self.described, 1))


@dataclass(frozen=True)
class Network:
    """The float network of a search: with its trace, its weights' file, and its data."""

    module: nn.Module
    graph: SnnGraph
    weights: Path
    splits: DataSplits


@dataclass(frozen=True)
class _Answers:
    """A student's integers at work. x: integers [T, N, ...] of validation samples; labels: their classes."""

    session: Session
    x: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        from intsnn.analog.accuracy import answers, share

        parts = (self.session.answer(self.x[:, start : start + _AT_ONCE]) for start in range(0, len(self), _AT_ONCE))
        return share(np.concatenate([answers(part) for part in parts]), self.labels)

    def __len__(self) -> int:
        return len(self.labels)


class Students:
    """Evaluates the students of one network.

    Args:
        workspace: of the run; its recipe is what all students have in common.
        network: the float network.
        space: all students.
        standard: how they are judged.
        chip: what they are priced on.
    """

    def __init__(
        self, workspace: Workspace, network: Network, space: StudentSpace, *, standard: Standard, chip: Chip
    ) -> None:
        self._workspace, self._network, self.space = workspace, network, space
        self._standard, self._chip = standard, chip
        self.network_at = cache(self._network_at)
        validation = network.splits.validation.first(standard.samples, seed=workspace.recipe.seed)
        self._x, labels = labelled(validation)
        self._labels: npt.NDArray[np.int64] = labels.numpy()
        self.float_accuracy = _float_accuracy(network.module, validation)

    @property
    def graph(self) -> SnnGraph:
        """The trace of the float network."""
        return self._network.graph

    @property
    def splits(self) -> DataSplits:
        """The data."""
        return self._network.splits

    @property
    def samples(self) -> int:
        """Validation samples that students are judged on."""
        return len(self._labels)

    @property
    def least(self) -> float:
        """The accuracy below which no student is compared."""
        return max(self.float_accuracy - self._standard.points / 100, 0.0)

    def evaluate(self, indices: Indices) -> Outcome:
        """What comes of a student; where few samples show that it is hopeless, that is all."""
        return self._possible(indices, self._promising)

    def evaluate_whole(self, indices: Indices) -> Outcome:
        """What comes of a student, hopeless or not."""
        return self._possible(indices, self._whole)

    def recipe(self, choice: StudentChoice, *, name: str) -> Recipe:
        """The recipe of a student."""
        return self.space.recipe(self._workspace.recipe, choice, name=name, weights=self._network.weights)

    def figures(self, indices: Indices) -> StudentFigures:
        """What a student is, in numbers."""
        from mdcompress.search.result import StudentFigures

        choice = self.space.choice(indices)
        weight, membrane = (self.space.average(choice, part) for part in ("weight", "membrane"))
        return StudentFigures(choice.time_steps, weight, membrane, choice.bits)

    def _possible(self, indices: Indices, evaluated: Callable[[Indices], Outcome]) -> Outcome:
        """A student that cannot be made, or built, is an answer too."""
        from mdcompress.search.outcome import outcome

        try:
            return evaluated(indices)
        except _IMPOSSIBLE as error:
            return outcome(indices, accuracy=None, samples=0, reason=error.message)

    def _promising(self, indices: Indices) -> Outcome:
        from mdcompress.search.outcome import outcome

        first = self._standard.first
        if first < self.samples and self._standard.epochs == 0:  # what a training makes of a student is not seen yet
            choice = self.space.choice(indices)
            seen = self._answers(self._calibrated(choice, first), choice.time_steps, first).accuracy
            if upper_bound(seen, first) < self.least:
                return outcome(indices, accuracy=seen, samples=first, reason=self._too_low(seen, first))
        return self._whole(indices)

    def _whole(self, indices: Indices) -> Outcome:
        from mdcompress.search.outcome import outcome

        choice, recipe = self.space.choice(indices), self._workspace.recipe
        student = self._calibrated(choice, recipe.data.calibration_samples)
        self._distil(student, choice)
        found = self._answers(student, choice.time_steps, self.samples)
        accuracy = found.accuracy
        return outcome(
            indices,
            accuracy=accuracy,
            samples=self.samples,
            designs=self._designs(found, accuracy),
            reason="" if accuracy >= self.least else self._too_low(accuracy, self.samples),
        )

    def _too_low(self, accuracy: float, samples: int) -> str:
        return f"accuracy {percent(accuracy)} on {samples} samples; at least {percent(self.least)} is wanted"

    def _calibrated(self, choice: StudentChoice, samples: int) -> Student:
        """As `quantize` makes it of the student's recipe; fewer samples for a first look."""
        from mdcompress.calibration import calibrate
        from mdcompress.data import calibration
        from mdcompress.planning import plan
        from mdcompress.student.quantizing import quantize

        recipe, network, steps = self.recipe(choice, name="student"), self._network, choice.time_steps
        batches = calibration(network.splits, min(samples, recipe.data.calibration_samples), seed=recipe.seed)
        with seeded(recipe.seed):
            start = self.network_at(steps)
            student = quantize(start, network.graph, plan(recipe, network.graph))
            return calibrate(student, [x[:steps] for x, _ in batches], spec=recipe.calibrate, teacher=start)

    def _distil(self, student: Student, choice: StudentChoice) -> None:
        """A short training, where one is asked for."""
        if self._standard.epochs == 0:
            return
        from mdcompress.training import distill

        recipe = self.recipe(choice, name="student")
        distill(
            student,
            teacher=self._network.module,
            train=self._network.splits.train,
            validate=self._network.splits.validation,
            spec=recipe.distill.model_copy(update={"epochs": self._standard.epochs, "gradual": ()}),
            settings=recipe.train,
            seed=recipe.seed,
            device=torch_device(self._workspace),
        )

    def _network_at(self, steps: int) -> nn.Module:
        return at_steps(self._workspace, self._network.module, self._network.splits, steps)

    def _answers(self, student: Student, steps: int, samples: int) -> _Answers:
        """The student as integers, on the engine that is done first: every engine gives the same answers."""
        from intsnn.engines import Work, open_engine
        from mdcompress.student.lowering import lower

        graph = lower(student.cpu())
        opened = open_engine(graph, work=Work(samples=samples + min(samples, COUNTED_SAMPLES), time_steps=steps))
        for note in opened.notes:
            self._workspace.note_once(note)
        return _Answers(
            opened.session, integers_for(graph.input, self._x[:steps, :samples].numpy()), self._labels[:samples]
        )

    def _designs(self, found: _Answers, accuracy: float) -> tuple[PricedDesign, ...]:
        """The designs of a student that none of its others dominates."""
        from intsnn.activity import measure
        from intsnn.exploration.exploration import explore
        from mdcompress.search.outcome import PricedDesign, best_designs

        graph, chip = found.session.graph, self._chip
        activity = measure(graph, [found.x[:, :COUNTED_SAMPLES]], engine=found.session)
        trial = self._trial(found, accuracy) if chip.has_coarse_converters else None
        explored = explore(graph, activity, chip.described, space=chip.space, trial=trial, exact=found.session)
        least = 0.0 if trial is None else accuracy - trial.loss
        known = [
            PricedDesign(one.point, right, one.energy_pj, one.inference_time_ns, one.area_um2)
            for one in explored.designs
            if (right := accuracy if trial is None else one.accuracy) is not None and right >= least
        ]
        return best_designs(known, chip.costs)

    def _trial(self, found: _Answers, accuracy: float) -> Trial:
        """How designs whose converters are too coarse are judged: on chips, by the samples of the student itself."""
        from intsnn.analog import load_analog
        from intsnn.analog.accuracy import Samples
        from intsnn.exploration.chips import Trial
        from mdcompress.data import calibration

        steps, seed = len(found.x), self._workspace.recipe.seed
        x, _ = labelled(calibration(self._network.splits, CHIP_CALIBRATION_SAMPLES, seed=seed))
        return Trial(
            load_analog(self._standard.analog),
            self._standard.chips,
            Samples(found.x, found.labels),
            integers_for(found.session.graph.input, x[:steps].numpy()),
            max(accuracy - self.least, 0.0),
        )


def upper_bound(share: float, samples: int) -> float:
    """The largest share of all that a share of some makes likely: Wilson's bound, at three standard deviations."""
    z2 = _LIKELY**2
    spread = _LIKELY * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    return (share + z2 / (2 * samples) + spread) / (1 + z2 / samples)


def labelled(batches: Batches) -> tuple[Tensor, Tensor]:
    """All samples [T, N, ...] and their classes [N]."""
    import torch

    chosen = list(batches)
    return torch.cat([x for x, _ in chosen], dim=1), torch.cat([y for _, y in chosen])


def _float_accuracy(network: nn.Module, batches: Batches) -> float:
    from mdcompress.evaluation import evaluate

    return evaluate(network, batches).accuracy

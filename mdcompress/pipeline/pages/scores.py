"""The record of a run -> the accuracy of each of its networks, on how many samples, as `mdcompress run` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mdcompress.pipeline.other_teacher import OTHER_ACCURACY
from mdcompress.pipeline.pages.facts import RunFacts
from mdcompress.runs.manifest import Stage

Network = Literal["teacher", "other teacher", "quantized", "distilled"]


@dataclass(frozen=True)
class Score:
    """A network's test accuracy in [0, 1] at T = time_steps.

    samples: of the test split; None where the record, of an earlier version, does not say. mismatch: of its membranes
    with the teacher's, squared thresholds, mean over layers; None for teachers, and where it was not measured.
    """

    network: Network
    time_steps: int
    accuracy: float
    samples: int | None
    mismatch: float | None


def scores_of(run: RunFacts) -> tuple[Score, ...]:
    """Teacher, other teacher, quantized student, and the distilled one at each of its T; those that were measured."""
    return tuple(_scores(run))


def final_score(run: RunFacts) -> Score | None:
    """That of the newest student, at its most steps; None where there is none."""
    students = [score for score in scores_of(run) if score.network in ("quantized", "distilled")]
    return max(students, key=lambda score: (score.network == "distilled", score.time_steps), default=None)


def _scores(run: RunFacts) -> Iterator[Score]:
    seen, steps = run.recipe.data.time_steps, run.recipe.student_step_counts
    counted = run.measured(Stage.QUANTIZE, "test_samples")
    samples = None if counted is None else int(counted)
    teacher = run.measured(Stage.QUANTIZE, "teacher_test_accuracy")
    if teacher is None:
        teacher = run.measured(Stage.TRAIN, "test_accuracy")
    if teacher is not None:
        yield Score("teacher", seen, teacher, samples, None)
    other = run.measured(Stage.DISTILL, OTHER_ACCURACY)
    if other is not None:
        yield Score("other teacher", seen, other, samples, None)
    quantized = run.measured(Stage.QUANTIZE, "test_accuracy")
    if quantized is not None:
        before = run.measured(Stage.DISTILL, "membrane_mismatch_before")
        yield Score("quantized", max(steps), quantized, samples, before)
    for each in steps:
        accuracy = run.measured(Stage.DISTILL, f"test_accuracy_T{each}")
        if accuracy is not None:
            after = run.measured(Stage.DISTILL, "membrane_mismatch_after") if each == max(steps) else None
            yield Score("distilled", each, accuracy, samples, after)

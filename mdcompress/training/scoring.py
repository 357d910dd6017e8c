"""A network and validation batches -> how it is scored at each T at the end of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from mdcompress.calibration.norm_statistics import measure_statistics
from mdcompress.evaluation import evaluate
from mdcompress.training.determinism import Batch
from mdcompress.training.history import Validation

Validate = Callable[[Iterable[Batch], Sequence[int | None]], tuple[Validation, ...]]  # at each T; None: at all steps


@dataclass(frozen=True)
class Score:
    """`remeasure`: what is done before, with the last `batch_norm.remeasure` inputs x [T, N, ...] of the epoch, if
    anything; `validate`: the scores of the network as it then is.
    """

    remeasure: Callable[[Sequence[Tensor]], None] | None
    validate: Callable[[], tuple[Validation, ...]]


def student_scores(
    student: nn.Module, batches: Iterable[Batch], time_steps: Sequence[int] | None, validate: Validate
) -> tuple[Score, ...]:
    """At each of `time_steps` (None: all steps of the data), with one set of statistics, measured over all of them."""
    counts = time_steps or (None,)

    def remeasure(inputs: Sequence[Tensor]) -> None:
        measure_statistics(student, [x[:steps] for steps in counts for x in inputs])

    return (Score(remeasure, partial(validate, batches, counts)),)


def float_scores(network: nn.Module, batches: Iterable[Batch], time_steps: Sequence[int] | None) -> tuple[Score, ...]:
    """At all steps, with running averages; or at each of `time_steps`, with its own statistics.

    The network ends with those of the last of them: averages over several T fit none (`with_statistics` finds those of
    another T).
    """
    if time_steps is None:
        return (Score(None, _validation(network, batches, None)),)

    def at(steps: int) -> Score:
        return Score(
            lambda inputs: measure_statistics(network, [x[:steps] for x in inputs]),
            _validation(network, batches, steps),
        )

    return tuple(at(steps) for steps in time_steps)


def _validation(
    network: nn.Module, batches: Iterable[Batch], steps: int | None
) -> Callable[[], tuple[Validation, ...]]:
    def validate() -> tuple[Validation, ...]:
        metrics = evaluate(network, batches, time_steps=steps)
        return (Validation(metrics.time_steps, metrics.accuracy, metrics.loss),)

    return validate

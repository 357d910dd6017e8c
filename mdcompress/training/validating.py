"""A network and validation batches -> a function that scores it at each T."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import nn

from mdcompress.evaluation import evaluate
from mdcompress.training.determinism import Batch
from mdcompress.training.history import Validation


def validation(
    network: nn.Module, batches: Iterable[Batch], *, time_steps: Sequence[int] | None
) -> Callable[[], tuple[Validation, ...]]:
    """A function that evaluates `network` as it then is, at each of `time_steps` (None: at all steps of the data)."""

    def score() -> tuple[Validation, ...]:
        metrics = [evaluate(network, batches, time_steps=steps) for steps in time_steps or (None,)]
        return tuple(Validation(each.time_steps, each.accuracy, each.loss) for each in metrics)

    return score

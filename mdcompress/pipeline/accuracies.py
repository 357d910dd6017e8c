"""The test accuracy of a network at each of its numbers of steps: measured, recorded, said."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from mdcompress.pipeline.networks import at_steps
from mdcompress.pipeline.report import percent
from mdcompress.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from torch import nn

    from mdcompress.data import Batches, DataSplits
    from mdcompress.data.batches import Batch


class CountedTest:
    """The test batches of a stage, which remember how many samples they gave, and which labels in which order."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.samples = 0
        self.labels = 0  # CRC-32 of the labels: two runs with the same were scored on the same samples, if of one set

    def __iter__(self) -> Iterator[Batch]:
        """The batches, counted anew."""
        self.samples = self.labels = 0
        for x, y in self.batches:
            self.samples += len(y)
            self.labels = zlib.crc32(y.cpu().numpy().astype("<i8").tobytes(), self.labels)
            yield x, y

    @property
    def recorded(self) -> Mapping[str, float]:
        """As the run's record has it, so that accuracies of two runs are compared only on the same test part."""
        return {"test_samples": self.samples, "test_labels_crc32": self.labels}


def accuracies_at(network: nn.Module, batches: Batches, time_steps: Iterable[int]) -> dict[int, float]:
    """T -> the share of right answers on the first T steps of each sample, in [0, 1]."""
    from mdcompress.evaluation import evaluate

    return {steps: evaluate(network, batches, time_steps=steps).accuracy for steps in time_steps}


def float_accuracies_at(
    workspace: Workspace, network: nn.Module, splits: DataSplits, time_steps: Iterable[int]
) -> dict[int, float]:
    """The same of a trained float network on the test split, at each T with the statistics of that T."""
    from mdcompress.evaluation import evaluate

    return {
        steps: evaluate(at_steps(workspace, network, splits, steps), splits.test, time_steps=steps).accuracy
        for steps in time_steps
    }


def recorded(accuracies: Mapping[int, float]) -> dict[str, float]:
    """As the run's record has them: test_accuracy_T<T>, and test_accuracy at the most steps."""
    at_each = {f"test_accuracy_T{steps}": accuracy for steps, accuracy in accuracies.items()}
    return {**at_each, "test_accuracy": accuracies[max(accuracies)]}


def in_words(accuracies: Mapping[int, float]) -> str:
    """`98.61 %`, or `T=1 95.00 %, T=4 98.61 %` where there are several."""
    if len(accuracies) == 1:
        return percent(next(iter(accuracies.values())))
    return ", ".join(f"T={steps} {percent(accuracy)}" for steps, accuracy in accuracies.items())

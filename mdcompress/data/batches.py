"""Samples in an order -> batches (x float32 [T, N, ...], y int64 [N]) that can be walked again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcompress.data.randomness import permutation

Batch = tuple[Tensor, Tensor]
Indices = NDArray[np.int64]


class Batches(Protocol):
    """Batches (x float32 [T, N, ...], y int64 [N]); walking them twice gives them twice. No sample is dropped."""

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the current epoch."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and random encoding the next walk has (as DistributedSampler has it)."""
        ...

    def first(self, samples: int, *, seed: int) -> Batches:
        """At most `samples` of the samples, in an order that no epoch changes."""
        ...


@dataclass(frozen=True)
class Draw:
    """The random key of an encoding: one stream for each (seed, epoch, sample)."""

    seed: int
    epoch: int

    def key(self, sample: int) -> str:
        """The key of one sample's stream; `sample` is its index in the whole set, so batching does not matter."""
        return f"encoding seed={self.seed} epoch={self.epoch} sample={sample}"


EVALUATION = Draw(seed=0, epoch=0)  # validation and test are encoded the same way in every epoch of every run


class Samples(Protocol):
    """An indexed set of samples that can be encoded over time."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample, shape [S]."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step, [C, H, W]."""
        ...

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """The samples at `indices` as float32 [T, N, C, H, W]; `draw` seeds a random encoding."""
        ...


class Order(Enum):
    """In which order samples are walked."""

    FIXED = "fixed"
    SHUFFLED = "shuffled"


class SampleBatches:
    """Batches of some samples of a set.

    Shuffled, order and encoding depend on (seed, epoch) alone, so a resumed training sees the batches it would have
    seen. Fixed, both never change and do not depend on the run's seed.
    """

    def __init__(
        self, samples: Samples, indices: Indices, *, batch_size: int, order: Order = Order.FIXED, seed: int = 0
    ) -> None:
        self.samples = samples
        self.indices = indices
        self.batch_size = batch_size
        self.order = order
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Number of batches; the last may be smaller."""
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the current epoch."""
        walk, draw = self._walk(), self._draw()
        for start in range(0, len(walk), self.batch_size):
            chosen = walk[start : start + self.batch_size]
            yield self.samples.frames(chosen, draw), torch.from_numpy(self.samples.labels[chosen])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and random encoding the next walk has."""
        self.epoch = epoch

    def first(self, samples: int, *, seed: int) -> SampleBatches:
        """At most `samples` of the samples, classes interleaved, in a fixed order that depends on `seed` alone."""
        order = interleaved(self.samples.labels[self.indices], f"calibration seed={seed}")
        return SampleBatches(self.samples, self.indices[order[:samples]], batch_size=self.batch_size)

    def _walk(self) -> Indices:
        if self.order is Order.FIXED:
            return self.indices
        return self.indices[permutation(len(self.indices), f"order seed={self.seed} epoch={self.epoch}")]

    def _draw(self) -> Draw:
        return EVALUATION if self.order is Order.FIXED else Draw(self.seed, self.epoch)


class StoredBatches:
    """Batches that lie in memory already; every epoch is the same."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = tuple(batches)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches, in the order given."""
        return iter(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Nothing to choose: every epoch is the same."""

    def first(self, samples: int, *, seed: int) -> StoredBatches:
        """At most `samples` samples from the front; `seed` has no part in it."""
        return StoredBatches(list(leading(self, samples)))


def leading(batches: Batches, samples: int) -> Iterator[Batch]:
    """The first `samples` samples of a walk; the last batch is cut."""
    left = samples
    for x, y in batches:
        if left <= 0:
            return
        yield x[:, :left], y[:left]
        left -= len(y)


def interleaved(labels: NDArray[np.int64], key: str) -> Indices:
    """A random order whose every prefix holds each class in its share, to within one sample per class.

    Sample r (random rank) of the n of its class stands at (r + 1/2) / n on a line; the line is read from the left.
    """
    shuffled = permutation(len(labels), key)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]

"""Samples in an order -> batches (x float32 [T, N, ...], y int64 [N]) that can be walked again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcompress.data.feeding import IN_TURN, Feed, fed
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


Purpose = Literal["encoding", "augmentation"]


@dataclass(frozen=True)
class Draw:
    """The random keys of samples: one stream for each (purpose, seed, epoch, sample).

    augments: whether samples may be varied; those of calibration, validation and test are not.
    """

    seed: int
    epoch: int
    augments: bool = False

    def key(self, sample: int, purpose: Purpose = "encoding") -> str:
        """The key of one sample's stream; `sample` is its index in the whole set, so batching does not matter."""
        return f"{purpose} seed={self.seed} epoch={self.epoch} sample={sample}"


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

    Shuffled, order, encoding and augmentation depend on (seed, epoch) alone, so a resumed training sees the batches it
    would have seen. Fixed, order and encoding never change and do not depend on the run's seed; nothing is augmented.
    """

    def __init__(
        self, samples: Samples, indices: Indices, *, batch_size: int, order: Order = Order.FIXED, seed: int = 0,
        feed: Feed = IN_TURN,
    ) -> None:  # fmt: skip
        self.samples = samples
        self.indices = indices
        self.batch_size = batch_size
        self.order = order
        self.seed = seed
        self.feed = feed
        self.epoch = 0

    def __len__(self) -> int:
        """Number of batches; the last may be smaller."""
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the current epoch."""
        walk, samples, draw = self._walk(), self.samples, self._draw()
        chosen = [walk[start : start + self.batch_size] for start in range(0, len(walk), self.batch_size)]
        yield from fed(partial(_batch, samples, draw), chosen, feed=self.feed)

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
        return EVALUATION if self.order is Order.FIXED else Draw(self.seed, self.epoch, augments=True)


def _batch(samples: Samples, draw: Draw, chosen: Indices) -> Batch:
    return samples.frames(chosen, draw), torch.from_numpy(samples.labels[chosen])


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

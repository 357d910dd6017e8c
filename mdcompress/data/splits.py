"""One labelled set -> training, validation and test, each class in its share; and the calibration samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdcompress.data.batches import Batches, Indices, Order, SampleBatches, Samples
from mdcompress.data.feeding import Feed
from mdcompress.data.names import Loading, varies
from mdcompress.data.randomness import permutation

VALIDATION_FRACTION = 0.1  # of the training set, where a data set has no validation split of its own


@dataclass(frozen=True)
class DataSplits:
    """Training, validation and test batches.

    `classes`: their names in label order; empty where the user's own loaders do not name them.
    `sample_shape`: of one sample at one step, [C, H, W].
    """

    train: Batches
    validation: Batches
    test: Batches
    classes: tuple[str, ...]
    sample_shape: tuple[int, ...]


@dataclass(frozen=True)
class LabelledSet:
    """Training and test samples of a named set; `validation` is None where it is to be carved from training."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    validation: Samples | None = None


def calibration(splits: DataSplits, samples: int, *, seed: int) -> Batches:
    """At most `samples` training samples to find scales on, in a fixed order, classes interleaved.

    The user's own loaders give the first samples of their epoch 0 instead.
    """
    return splits.train.first(samples, seed=seed)


def stratified_split(labels: NDArray[np.int64], fraction: float, *, key: str) -> tuple[Indices, Indices]:
    """Indices (rest, chosen): of each class, round(fraction * n) are chosen, at least 1 and at most n - 1.

    Both ascend. A class of one sample stays in `rest`. The split depends on labels and `key` alone: never on the seed
    of a run, so that the test samples of one run are in no other run's training set.
    """
    order = permutation(len(labels), key)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[members[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_in_three(
    samples: Samples, classes: tuple[str, ...], loading: Loading, *, test: float, validation: float
) -> DataSplits:
    """Splits of a set that has none of its own; `validation` is a fraction of what `test` leaves."""
    rest, test_indices = stratified_split(samples.labels, test, key=f"{loading.name} test split")
    train, held_out = stratified_split(samples.labels[rest], validation, key=f"{loading.name} validation split")
    return DataSplits(
        train=training_batches(samples, rest[train], loading),
        validation=fixed_batches(samples, rest[held_out], loading),
        test=fixed_batches(samples, test_indices, loading),
        classes=classes,
        sample_shape=samples.shape,
    )


def split_training(found: LabelledSet, loading: Loading) -> DataSplits:
    """Splits of a set with a test split; validation is its own or VALIDATION_FRACTION of the training samples."""
    train, validation = found.train, found.validation
    if validation is None:
        validation = train
        kept, held_out = stratified_split(train.labels, VALIDATION_FRACTION, key=f"{loading.name} validation split")
    else:
        kept, held_out = everything(train), everything(validation)
    return DataSplits(
        train=training_batches(train, kept, loading),
        validation=fixed_batches(validation, held_out, loading),
        test=fixed_batches(found.test, everything(found.test), loading),
        classes=found.classes,
        sample_shape=train.shape,
    )


def everything(samples: Samples) -> Indices:
    """The indices of all samples, ascending."""
    return np.arange(len(samples.labels))


def training_batches(samples: Samples, indices: Indices, loading: Loading) -> SampleBatches:
    """Batches in an order of (seed, epoch), augmented as the recipe says."""
    if varies(loading.augment):
        from mdcompress.data.augmentation import augmenting  # brings torchvision, which not every set needs

        samples = augmenting(samples, loading.augment)
    return SampleBatches(
        samples,
        indices,
        batch_size=loading.batch_size,
        order=Order.SHUFFLED,
        seed=loading.seed,
        feed=Feed(loading.workers, pins=loading.pin_memory),
    )


def fixed_batches(samples: Samples, indices: Indices, loading: Loading) -> SampleBatches:
    """Batches in index order."""
    feed = Feed(loading.workers, pins=loading.pin_memory)
    return SampleBatches(samples, indices, batch_size=loading.batch_size, feed=feed)

"""A named set that is not here -> a stand-in: two drawn samples of the shape that the set's samples have.

With it a network can be traced and planned before the set is fetched. Nothing can be learned from it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from mdcompress.data.batches import EVALUATION, Batch, StoredBatches
from mdcompress.data.loading import recorded_set, request
from mdcompress.data.names import RECORDED_SETS, DataSource, Loading
from mdcompress.data.randomness import random_words
from mdcompress.data.recordings import frame_shape
from mdcompress.data.samples import ImageSamples
from mdcompress.data.shd import CHANNELS
from mdcompress.data.splits import DataSplits

IMAGE_SHAPES: Mapping[str, tuple[int, int, int]] = {
    "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32),
    "tiny_imagenet": (3, 64, 64),
}  # fmt: skip
SAMPLES = 2  # so that a batch can be told from a single sample
MOST_EVENTS = 4  # of a drawn pixel


def described(spec: DataSource, *, seed: int) -> DataSplits | None:
    """Splits of two drawn samples each, shaped and encoded as the set's are; None for sets of any shape.

    Args:
        spec: the recipe's `data` section.
        seed: of what is drawn.
    """
    loading = request(spec, seed=seed)
    if loading.name in IMAGE_SHAPES:
        batch = _images(loading, IMAGE_SHAPES[loading.name])
    elif loading.name in RECORDED_SETS:
        batch = _counts(loading, frame_shape(recorded_set(loading.name), loading.size))
    elif loading.name == "shd":
        batch = _counts(loading, (CHANNELS,))
    else:
        return None
    batches = StoredBatches([batch])
    return DataSplits(batches, batches, batches, classes=(), sample_shape=tuple(batch[0].shape[2:]))


def _images(loading: Loading, shape: tuple[int, int, int]) -> Batch:
    pixels = _drawn((SAMPLES, *shape), below=256, seed=loading.seed).astype(np.uint8)
    labels = np.zeros(SAMPLES, np.int64)
    images = ImageSamples(pixels.__getitem__, labels, shape, 255, loading.encoding, loading.time_steps)
    return images.frames(np.arange(SAMPLES), EVALUATION), torch.from_numpy(labels)


def _counts(loading: Loading, shape: tuple[int, ...]) -> Batch:
    counts = _drawn((loading.time_steps, SAMPLES, *shape), below=MOST_EVENTS + 1, seed=loading.seed)
    return torch.from_numpy(counts.astype(np.float32)), torch.zeros(SAMPLES, dtype=torch.int64)


def _drawn(shape: tuple[int, ...], *, below: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return (random_words(int(np.prod(shape)), f"described seed={seed}") % np.uint64(below)).reshape(shape)

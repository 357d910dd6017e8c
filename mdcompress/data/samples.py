"""Indexed samples of the kinds there are: images that are encoded when asked for, and frames held in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcompress.data.batches import EVALUATION, Draw, Indices, Samples
from mdcompress.data.encodings import encode, encoded_shape
from mdcompress.data.names import Encoding

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSamples:
    """Images whose intensity is pixel / white, an exact grid: pixel is what an integer input layer receives.

    Attributes:
        read: indices -> pixels uint8 [N, C, H, W]; `array.__getitem__` for images in memory.
        labels: class of each image, [S].
        image_shape: [C, H, W].
        white: the largest pixel value, 255 or the set's own.
        encoding: how an image is spread over time.
        time_steps: T.
        vary: pixels [N, C, H, W] and a random key of each -> varied pixels, for draws that augment; None: none.
    """

    read: Callable[[Indices], Pixels]
    labels: NDArray[np.int64]
    image_shape: tuple[int, ...]
    white: int
    encoding: Encoding
    time_steps: int
    vary: Callable[[Pixels, Sequence[str]], Pixels] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one encoded sample at one step."""
        return encoded_shape(self.image_shape, self.encoding)

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """The images at `indices`, encoded: float32 [T, N, ...]."""
        pixels = self.read(indices)
        if self.vary is not None and draw.augments:
            pixels = self.vary(pixels, [draw.key(int(index), "augmentation") for index in indices])
        images = torch.from_numpy(pixels).to(torch.float32) / self.white
        keys = [draw.key(int(index)) for index in indices]
        return encode(images, self.encoding, time_steps=self.time_steps, keys=keys)


@dataclass(frozen=True)
class StoredSamples:
    """Frames in memory: `stored` float32 [T, S, ...], `labels` [S]."""

    stored: Tensor
    labels: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step."""
        return tuple(self.stored.shape[2:])

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """The frames at `indices`, float32 [T, N, ...]; nothing is drawn."""
        return self.stored[:, torch.from_numpy(indices)]


def stored(samples: Samples) -> StoredSamples:
    """The same samples, encoded once and held in memory: for small sets whose encoding is slow and not random."""
    everything = np.arange(len(samples.labels))
    return StoredSamples(samples.frames(everything, EVALUATION), samples.labels)

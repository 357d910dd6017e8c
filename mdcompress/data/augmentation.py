"""Samples -> the same samples, varied anew in each epoch. What is drawn follows from (seed, epoch, sample) alone.

Images, before they are encoded: a part of the image on a dark margin, a mirror image (He et al., CVPR 2016), a dark
square (DeVries and Taylor, arXiv 1708.04552), by torchvision. Events, as counts: a mirror image and a shift around the
edges (Li et al., ECCV 2022), and events left out, each with one probability (Gu et al., IJCAI 2021; tonic's DropEvent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from mdcompress.data.batches import Draw, Indices, Samples
from mdcompress.data.names import Augment
from mdcompress.data.randomness import random_words
from mdcompress.data.samples import ImageSamples, Pixels

Words = NDArray[np.uint64]


def augmenting(samples: Samples, augment: Augment) -> Samples:
    """The samples, varied where a draw says so; images before they are encoded, events as frames."""
    if isinstance(samples, ImageSamples) and samples.encoding != "events":
        return replace(samples, vary=VaryImages(augment))
    return VariedFrames(samples, augment)


@dataclass(frozen=True)
class VaryImages:
    """Images and their keys -> varied images."""

    augment: Augment

    def __call__(self, pixels: Pixels, keys: Sequence[str]) -> Pixels:
        """Pixels uint8 [N, C, H, W] -> the same shape."""
        images = torch.from_numpy(pixels)
        return torch.stack([self._varied(image, key) for image, key in zip(images, keys, strict=True)]).numpy()

    def _varied(self, image: Tensor, key: str) -> Tensor:
        top, left, mirrored, row, column = random_words(5, key)
        height, width = image.shape[-2:]
        if margin := self.augment.crop:
            start = (_below(2 * margin + 1, top) - margin, _below(2 * margin + 1, left) - margin)
            image = functional.crop(image, *start, height, width)  # what lies outside is 0
        if self.augment.flip and _below(2, mirrored):
            image = functional.horizontal_flip(image)
        if side := self.augment.cutout:
            image = _cut_out(image, side, row=_below(height, row), column=_below(width, column))
        return image


def _cut_out(image: Tensor, side: int, *, row: int, column: int) -> Tensor:
    """The square of `side` pixels round a pixel is 0, as far as it lies in the image."""
    top, left = row - side // 2, column - side // 2
    above, before = max(top, 0), max(left, 0)
    height, width = top + side - above, left + side - before
    dark = torch.zeros((), dtype=image.dtype)
    erased: Tensor = functional.erase(image, above, before, height, width, dark)
    return erased


@dataclass(frozen=True)
class VariedFrames:
    """Frames of event counts, varied where a draw says so."""

    samples: Samples
    augment: Augment

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample."""
        return self.samples.labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step."""
        return self.samples.shape

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """The frames at `indices`, float32 [T, N, ...]."""
        frames = self.samples.frames(indices, draw)
        if not draw.augments:
            return frames
        keys = [draw.key(int(index), "augmentation") for index in indices]
        return torch.stack([self._varied(frames[:, n], key) for n, key in enumerate(keys)], dim=1)

    def _varied(self, frames: Tensor, key: str) -> Tensor:
        """Frames [T, 2, H, W] of one sample, or [T, C]."""
        mirrored, down, right = random_words(3, key)
        if self.augment.flip and _below(2, mirrored):
            frames = functional.horizontal_flip(frames)
        if most := self.augment.roll:
            shifts = (_below(2 * most + 1, down) - most, _below(2 * most + 1, right) - most)
            axes = min(frames.ndim - 1, len(shifts))  # never over time
            frames = frames.roll(shifts[-axes:], dims=(-2, -1)[-axes:])
        return _thinned(frames, self.augment.drop, key=f"drop {key}") if self.augment.drop else frames


def _thinned(frames: Tensor, probability: float, *, key: str) -> Tensor:
    """Counts of the events that are left where each is left out with a probability."""
    counts = frames.flatten().to(torch.int64).numpy()
    cells = np.repeat(np.arange(len(counts)), counts)
    kept = random_words(len(cells), key) >= np.uint64(int(probability * 2**64))
    left = np.bincount(cells[kept], minlength=len(counts))
    return torch.from_numpy(left.astype(np.float32)).reshape(frames.shape)


def _below(count: int, word: np.uint64) -> int:
    """A number in [0, count) from a random word."""
    return int(word) % count

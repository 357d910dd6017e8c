"""Images [N, C, H, W] in [0, 1] -> what a spiking network sees over T steps, [T, N, ...]. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from mdcompress.data.event_camera import camera_for, record
from mdcompress.data.event_frames import bin_events
from mdcompress.data.names import Encoding
from mdcompress.data.randomness import random_words

UNIFORM_BITS = 24  # of each random word: as many as a float32 in [0, 1) holds exactly
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: what a grey sensor sees of red, green, blue


def encode(images: Tensor, encoding: Encoding, *, time_steps: int, keys: Sequence[str]) -> Tensor:
    """Encode images over time.

    Args:
        images: intensities in [0, 1], float32 [N, C, H, W].
        encoding: `direct`, `rate` or `events`.
        time_steps: T.
        keys: a random key for each of the N images; `rate` alone reads them.

    Returns:
        float32 [T, N, C, H, W] (direct, rate) or [T, N, 2, H', W'] (events).
    """
    match encoding:
        case "direct":
            return encode_direct(images, time_steps)
        case "rate":
            return encode_rate(images, time_steps, keys=keys)
        case "events":
            return encode_events(images, time_steps)
        case _:
            assert_never(encoding)


def encoded_shape(shape: tuple[int, ...], encoding: Encoding) -> tuple[int, ...]:
    """Shape of one encoded sample at one step: [C, H, W] -> [C, H, W], or [2, H', W'] for `events`."""
    if encoding != "events":
        return shape
    camera = camera_for(shape[1], shape[2])
    return 2, camera.height, camera.width


def encode_direct(images: Tensor, time_steps: int) -> Tensor:
    """The image at every step: x[t] = I. [N, C, H, W] -> [T, N, C, H, W], no copy: it lies in memory once."""
    return images.expand(time_steps, *images.shape)


def encode_rate(images: Tensor, time_steps: int, *, keys: Sequence[str]) -> Tensor:
    """Bernoulli spikes: x[t] = [u[t] < I] with u uniform on the multiples of 2^-24 in [0, 1), so E[x] = I.

    Each image has a stream of its own (`keys`): its spikes do not depend on the batch it lies in.
    [N, C, H, W] -> {0, 1} as float32 [T, N, C, H, W].
    """
    shape = (time_steps, *images.shape[1:])
    words = np.stack([random_words(int(np.prod(shape)), key).reshape(shape) for key in keys], axis=1)
    uniform = (words >> np.uint64(64 - UNIFORM_BITS)).astype(np.float32) * np.float32(2.0**-UNIFORM_BITS)
    return (torch.from_numpy(uniform) < images).to(torch.float32)


def encode_events(images: Tensor, time_steps: int) -> Tensor:
    """Counts of the events of three saccades over the image (event_camera), in T bins of equal time.

    [N, C, H, W] with C = 1 or 3 (seen in grey, BT.601) -> [T, N, 2, H', W'].
    """
    camera = camera_for(images.shape[2], images.shape[3])
    span = (0, camera.duration_us)
    frames = [
        bin_events(events, time_steps, height=camera.height, width=camera.width, span=span)
        for events in record(_grey(images).numpy(), camera)
    ]
    return torch.from_numpy(np.stack(frames, axis=1).astype(np.float32))


def _grey(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H, W]."""
    if images.shape[1] == 1:
        return images[:, 0]
    weights = torch.tensor(LUMA, dtype=images.dtype)
    return torch.einsum("c,nchw->nhw", weights, images)

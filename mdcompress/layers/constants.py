"""Python's numbers as tensors on a device, made once.

An operation of a tensor with a Python number makes, converts and, on a GPU, sends a tensor each time: five calls of
ATen for one. All are shared: they are never written to.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from mdcompress.graph import Numbers, channel_values


def constant(value: float, like: Tensor) -> Tensor:
    """The number without axes, in the type and on the device of `like`."""
    return _scalar(value, like.dtype, like.device)


@functools.lru_cache(maxsize=4096)
def channel_constants(value: Numbers, device: torch.device, dtype: torch.dtype = torch.float64) -> Tensor:
    """A number, [1], or one for each channel, [C]."""
    with torch.inference_mode(False):  # gradients may flow by it later
        return torch.tensor(channel_values(value), dtype=dtype, device=device)


@functools.lru_cache(maxsize=4096)
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device=device)

"""Batches, of inputs alone or with labels -> their inputs, where they are to be computed with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Batch = Tensor | Sequence[Tensor]  # x [T, N, ...], or (x, y)


def inputs_of(batches: Iterable[Batch], device: torch.device | None = None) -> list[Tensor]:
    """x of each batch, on `device` (None: where it is)."""
    inputs = (batch if isinstance(batch, Tensor) else batch[0] for batch in batches)
    return [on_device(x, device or x.device) for x in inputs]


def on_device(x: Tensor, device: torch.device) -> Tensor:
    """X [T, N, ...] on the device; an image that is seen at every step goes there once, and is repeated there.

    Out of page-locked memory it is on its way when this returns: what the device is told to do afterwards waits for it.
    """
    if not is_still(x):
        return x.to(device, non_blocking=True)
    return x[:1].to(device, non_blocking=True).expand_as(x).contiguous()  # dense: networks may take views of it


def is_still(x: Tensor) -> bool:
    """Whether all steps of x [T, N, ...] are one piece of memory."""
    return x.dim() > 0 and len(x) > 1 and x.stride(0) == 0

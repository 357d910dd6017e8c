"""Batches, of inputs alone or with labels -> their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Batch = Tensor | Sequence[Tensor]  # x [T, N, ...], or (x, y)


def inputs_of(batches: Iterable[Batch], device: torch.device | None = None) -> list[Tensor]:
    """x of each batch, on `device` (None: where it is)."""
    return [(batch if isinstance(batch, Tensor) else batch[0]).to(device) for batch in batches]

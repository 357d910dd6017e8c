"""Batches of a data set as one pair of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from mdcompress.data.batches import Batch


def whole(batches: Iterable[Batch]) -> Batch:
    """(x [T, S, ...], y [S]): every sample of the batches, in their order."""
    pairs = list(batches)
    return torch.cat([x for x, _ in pairs], dim=1), torch.cat([y for _, y in pairs])

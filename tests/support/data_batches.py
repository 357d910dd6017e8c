"""Sections of recipes that name data, and batches of a data set as one pair of tensors."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import torch

from mdcompress.data.batches import Batch
from mdcompress.data.names import NoAugment


def whole(batches: Iterable[Batch]) -> Batch:
    """(x [T, S, ...], y [S]): every sample of the batches, in their order."""
    pairs = list(batches)
    return torch.cat([x for x, _ in pairs], dim=1), torch.cat([y for _, y in pairs])


def data_section(name: str, **changed: object) -> SimpleNamespace:
    """What the loaders read of a recipe's `data` section; no rule of a recipe is held to."""
    section = {
        "name": name, "time_steps": 2, "encoding": "direct", "batch_size": 8, "folder": None, "size": None,
        "cache": False, "augment": NoAugment(), "workers": 0, "pin_memory": False,
    }  # fmt: skip
    return SimpleNamespace(**{**section, **changed})

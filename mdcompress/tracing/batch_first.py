"""Whether a neuron reads the batch before time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mdcompress.adapters import Adapter
from mdcompress.adapters.calling import calling_of


def takes_batch_first(module: nn.Module, adapters: Sequence[Adapter] = ()) -> bool:
    """Whether a neuron takes [N, T, ...] or [N*T, ...]."""
    return calling_of(module, adapters).axes in (("N", "T"), ("NT",))

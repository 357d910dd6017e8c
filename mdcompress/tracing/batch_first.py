"""Whether a module reads the batch before time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mdcompress.adapters import Adapter
from mdcompress.adapters.calling import calling_of
from mdcompress.tracing.wrappers import BatchFirst


def takes_batch_first(module: nn.Module, adapters: Sequence[Adapter] = ()) -> bool:
    """Whether what a module reads has the batch before time: a neuron that takes it so, a network inside BatchFirst."""
    return isinstance(module, BatchFirst) or calling_of(module, adapters).axes in (("N", "T"), ("NT",))

"""Whether a module reads the batch before time."""

from __future__ import annotations

from torch import nn

from mdcompress.adapters.calling import calling_of
from mdcompress.tracing.wrappers import BatchFirst


def takes_batch_first(module: nn.Module) -> bool:
    """Whether what a module reads has the batch before time: a neuron of sinabs, a network inside BatchFirst."""
    return isinstance(module, BatchFirst) or calling_of(module).axes in (("N", "T"), ("NT",))

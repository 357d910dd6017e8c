"""Modes of a network: evaluation inside a `with`, and training with batch norms that are frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside. A network with some layers frozen in evaluation mode gets that mixture back."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def train_with_frozen_norms(network: nn.Module) -> None:
    """Training mode, but every batch norm uses its running statistics and leaves them as they are."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()

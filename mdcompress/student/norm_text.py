"""What a student's batch norms are beside their tensors, as text for its file: eps, momentum, constants."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter
from torch import nn

from mdcompress.layers.norms import BatchNorm

_TORCH = (1e-5, 0.1, True)  # torch's defaults


@dataclass(frozen=True)
class _Norm:
    eps: float
    momentum: float | None
    follows_batches: bool


_ADAPTER = TypeAdapter(dict[str, _Norm])


def norms_to_json(network: nn.Module) -> str | None:
    """The norms that are not torch's defaults, by name; None where all are."""
    found = {
        name: _Norm(norm.eps, norm.momentum, norm.track_running_stats)
        for name, norm in network.named_modules()
        if isinstance(norm, BatchNorm) and (norm.eps, norm.momentum, norm.track_running_stats) != _TORCH
    }
    return _ADAPTER.dump_json(found).decode() if found else None


def set_norms(network: nn.Module, text: str) -> None:
    """Make a network's norms those of `norms_to_json`; AttributeError or ValidationError where it has no such ones."""
    for name, norm in _ADAPTER.validate_json(text).items():
        own = network.get_submodule(name)
        assert isinstance(own, BatchNorm), f"{name} is no batch norm"
        own.eps, own.momentum, own.track_running_stats = norm.eps, norm.momentum, norm.follows_batches

"""One file per library of spiking neurons; `describe_neuron` asks them in turn."""

from __future__ import annotations

from torch import nn

from mdcompress.adapters.base import Adapter, probe, simulate
from mdcompress.adapters.own import OwnNeurons
from mdcompress.graph import NeuronModel

ADAPTERS: tuple[Adapter, ...] = (OwnNeurons(),)

__all__ = ["ADAPTERS", "Adapter", "describe_neuron", "probe", "simulate"]


def describe_neuron(module: nn.Module) -> NeuronModel | None:
    """The canonical model of a neuron module, or None where no adapter knows its class."""
    for adapter in ADAPTERS:
        if (model := adapter.describe(module)) is not None:
            return model
    return None

"""How a neuron module is called: with all steps or with one, in which layout, and who keeps its state in between."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mdcompress.adapters.axes import Axes, Calling
from mdcompress.adapters.base import Adapter
from mdcompress.adapters.lookup import adapter_of


def calling_of(module: nn.Module, adapters: Sequence[Adapter] = ()) -> Calling:
    """The convention of a described neuron; where the class is the user's own, whatever the network does with it."""
    return adapter_of(module, adapters).calling(module)


def advice_on(axes: Axes) -> str:
    """What to do where a neuron that takes these axes is given others."""
    match axes:
        case ("N",):
            return "give it one step after the other: loop over the steps, or wrap the network in mdcompress.Stepped"
        case ("N", "T") | ("NT",):
            return "this neuron takes the batch first: wrap the network in mdcompress.BatchFirst"
        case _:
            return "unflatten before the neuron: x.unflatten(0, (T, N))"

"""How a neuron module is called: with all steps or with one, in which layout, and who keeps its state in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from mdcompress.adapters.axes import Axes
from mdcompress.adapters.state import is_squeezed, library_of

Reduces = Literal["none", "mean", "max", "last"]

_NORSE_CELLS = ("SNNCell", "SNNRecurrentCell", "LILinearCell")
_DECODED: dict[object, Reduces] = {"mean-mem": "mean", "max-mem": "max", "last_mem": "last"}


@dataclass(frozen=True)
class Calling:
    """The convention of a neuron module.

    axes: the leading axes it takes, ("N",) where it takes one step; None where the class does not say.
    state: kept by the module from call to call (`hidden`), or passed in and out (`explicit`).
    reduces: what the module itself puts out of all steps: each, or one answer for all.
    """

    axes: Axes | None
    state: Literal["hidden", "explicit"]
    reduces: Reduces = "none"


def calling_of(module: nn.Module) -> Calling:
    """The convention of a described neuron; where the class is the user's own, whatever the network does with it."""
    match library_of(module):
        case "spikingjelly" if any(base.__name__ == "NonSpikingBaseNode" for base in type(module).__mro__):
            decoded = _DECODED.get(getattr(module, "decode", None), "none")
            return Calling(("T", "N"), "hidden", decoded)
        case "spikingjelly":
            return Calling(("T", "N") if getattr(module, "step_mode", "s") == "m" else ("N",), "hidden")
        case "snntorch":
            return Calling(("N",), "hidden")
        case "norse":
            cell = any(base.__name__ in _NORSE_CELLS for base in type(module).__mro__)
            return Calling(("N",) if cell else ("T", "N"), "explicit")
        case "sinabs":
            return Calling(("NT",) if is_squeezed(module) else ("N", "T"), "hidden")
        case _:
            return Calling(None, "hidden")


def advice_on(axes: Axes) -> str:
    """What to do where a neuron that takes these axes is given others."""
    match axes:
        case ("N",):
            return "give it one step after the other: loop over the steps, or wrap the network in mdcompress.Stepped"
        case ("N", "T") | ("NT",):
            return "this neuron takes the batch first: wrap the network in mdcompress.BatchFirst"
        case _:
            return "unflatten before the neuron: x.unflatten(0, (T, N))"

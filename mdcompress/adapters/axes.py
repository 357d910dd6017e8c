"""How a neuron is called: the leading axes of what it takes, and who keeps its state from call to call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["T", "N", "TN", "NT", "1"]  # TN: step-major, [T*N]; NT: sample-major, [N*T]


Axes = tuple[Axis, ...]
Reduces = Literal["none", "mean", "max", "last"]


@dataclass(frozen=True)
class Calling:
    """The convention of a neuron module.

    axes: the leading axes it takes, ("N",) where it takes one step; None where the class does not say.
    state: kept by the module from call to call (`hidden`), or passed in and out (`explicit`).
    reduces: what the module itself puts out of all steps: each, or one answer for all.
    """

    axes: Axes | None = None
    state: Literal["hidden", "explicit"] = "hidden"
    reduces: Reduces = "none"

"""What one forward pass of a float network or a student showed: the type that both views share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """What one forward pass showed, in real units.

    output: what the network returned; logits: per step [T, N, K]; potentials: membrane before reset, by neuron name,
    [T, N, *shape]; spikes: likewise.
    """

    output: Tensor
    logits: Tensor
    potentials: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor]

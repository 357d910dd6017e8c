"""Some of the arguments of a thing that tests make in many variants, by name."""

from __future__ import annotations

from typing import TypedDict

from mdcompress.distances import Distance, Normalize, Pool
from mdcompress.graph import (
    Comparator,
    FloorKind,
    NeuronOutput,
    Numbers,
    Rearm,
    ResetKind,
    ResetTiming,
    SpikeKind,
)
from mdcompress.recipe.distilling import Align


class NeuronChanges(TypedDict, total=False):
    """Of a `NeuronModel`."""

    decay: Numbers
    input_gain: Numbers
    drive: Numbers
    threshold: Numbers
    comparator: Comparator
    reset: ResetKind
    reset_value: Numbers
    soft_amount: Numbers
    initial: Numbers
    synapse_decay: Numbers | None
    synapse_gain: Numbers
    spike: SpikeKind
    max_spikes: int | None
    timing: ResetTiming
    floor: FloorKind
    floor_value: Numbers
    rearm: Rearm
    recurrent: str | None
    output: NeuronOutput


class LIFOptions(TypedDict, total=False):
    """Of `LIF`."""

    tau: float
    threshold: float
    reset: ResetKind
    reset_value: float
    decay_input: bool


class MembraneDistance(TypedDict, total=False):
    """Of `membrane_loss`, without the threshold."""

    distance: Distance
    normalize: Normalize
    align: Align
    pool: Pool

"""What an integer node adds beside its weights, as floats: biases and drives, without the halves that floors lose."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from intsnn.graph import IntNeuron, IntRecurrentNeuron, IntRequant

Floats: TypeAlias = npt.NDArray[np.floating[Any]]


def offset_of(node: IntRequant) -> Floats:
    """What a requant adds to its product, in units of its output: its bias, without the half that its floor loses."""
    offset: Floats = node.bias * 2.0**-node.shift - (0.5 if node.shift else 0.0)
    return offset


def feedback_of(node: IntNeuron) -> Floats | float:
    """What the recurrent path adds to the currents at every step, spikes or not."""
    return offset_of(node.recurrent_requant) if isinstance(node, IntRecurrentNeuron) else 0.0


def drive_of(node: IntNeuron) -> Floats:
    """What the membrane gains in a step beside the halves of its roundings, in units of s_f."""
    of_synapse = lost_half(node.synapse_shift) if node.has_synapse else 0.0
    drive: Floats = node.drive - lost_half(node.guard_bits) + of_synapse
    return drive


def synapse_drive_of(node: IntNeuron) -> Floats:
    """Likewise of the synaptic state."""
    drive: Floats = node.synapse_drive - (lost_half(node.synapse_shift) if node.has_synapse else 0.0)
    return drive


def lost_half(shift: int) -> int:
    """Half a unit of what a shift by so many bits leaves, in those units: what its floor loses on average."""
    return 2 ** (shift - 1) if shift > 0 else 0

"""QuantDigitizer: currents to small signed integers, for a synapse that reads them (a shortcut convolution).

q = clip(round(j / L), -2^(b-1), 2^(b-1) - 1), half to even, with a level L of whole units of the stream. The integer
graph holds it as a neuron without memory that counts levels from -2^(b-1) upwards: s = q + 2^(b-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from intsnn.arithmetic import IntType
from mdcompress.errors import CalibrationError
from mdcompress.layers.host_values import HostValue

MEMBRANE_BITS = 16  # of the memory that the neuron writes and never reads


@dataclass(frozen=True)
class ActivationIntegers:
    """L, and how many levels below zero are counted: drive = offset*L."""

    level: int
    offset: int
    largest: int


class ActivationQuantizer(nn.Module):
    """A signed word for currents.

    Args:
        bit_width: b.
    """

    largest: Tensor

    def __init__(self, bit_width: int) -> None:
        super().__init__()
        self.word = IntType(bit_width, signed=True)
        self._read_largest = HostValue()
        self.register_buffer("largest", torch.zeros((), dtype=torch.float64))  # real; 0: not calibrated

    def forward(self, current: Tensor, unit: Tensor) -> Tensor:
        """Integer currents in units of `unit` to the integers q, in float."""
        rounded: Tensor = round_ste(current.double() / self._level(unit))
        return rounded.clamp(self.word.low, self.word.high).to(current.dtype)

    def fit(self, current: Tensor, unit: Tensor) -> None:
        """Widen the range to the largest absolute current of calibration."""
        self.largest.clamp_min_(float(current.abs().max()) * float(unit))

    def integers(self, unit: Tensor) -> ActivationIntegers:
        """The integers that evaluation uses and export writes."""
        return ActivationIntegers(int(self._level(unit)), self.offset, self.word.high - self.word.low)

    @property
    def offset(self) -> int:
        """How many levels below zero are counted."""
        return -self.word.low

    def _level(self, unit: Tensor) -> Tensor:
        """L, float64; no gradient flows into the unit by it."""
        if not self._read_largest(self.largest) > 0.0:
            raise CalibrationError(
                "a synapse reads currents whose range is not known: the student must be calibrated first",
                hints=["call mdcompress.calibrate(student, batches) with some training data"],
            )
        return (self.largest / self.word.high / unit.detach().double()).round().clamp_min(1.0)

    def scale(self, unit: Tensor) -> Tensor:
        """Real value of one q, float64; no gradient flows into the unit by it."""
        return self._level(unit) * unit.detach().double()

    def membranes(self, current: Tensor, unit: Tensor) -> Tensor:
        """What the integer neuron stores: its potential, clipped to MEMBRANE_BITS."""
        word = IntType(MEMBRANE_BITS, signed=True)
        return (current + self.offset * self._level(unit)).clamp(word.low, word.high)

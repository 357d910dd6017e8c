"""QuantInput: real inputs to small integers, on the data's own grid where they have one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intsnn.arithmetic import IntType
from mdcompress.errors import CalibrationError
from mdcompress.layers.host_values import HostValue

_ON_GRID = 1e-3  # largest distance from a grid point, in grid steps, that float32 images stored as k/255 show


class QuantInput(nn.Module):
    """x_int = clip(round(x / scale)) to an unsigned or, where the data are signed, a signed word of at most 8 bits."""

    scale: Tensor
    signed: Tensor
    bit_width: Tensor

    def __init__(self, bit_width: int) -> None:
        super().__init__()
        self.largest_bit_width = bit_width
        self._read_scale, self._read_sign, self._read_bits = HostValue(), HostValue(), HostValue()
        self.register_buffer("scale", torch.zeros((), dtype=torch.float64))  # 0: not calibrated
        self.register_buffer("signed", torch.tensor(False))
        self.register_buffer("bit_width", torch.tensor(bit_width))

    def forward(self, x: Tensor) -> Tensor:
        """Integers in float, of x's shape."""
        word = self.word()
        return (x.double() / self.scale).round_().clamp_(word.low, word.high).float()

    def word(self) -> IntType:
        """The range of the integers; CalibrationError before calibration."""
        if not self.real_scale() > 0.0:
            raise CalibrationError(
                "the student has no input scale yet: it must be calibrated first",
                hints=["call mdcompress.calibrate(student, batches) with some training data"],
            )
        return IntType(round(self._read_bits(self.bit_width)), bool(self._read_sign(self.signed)))

    def real_scale(self) -> float:
        """The real value of one integer; 0 before calibration."""
        return self._read_scale(self.scale)

    def fit(self, values: Tensor, *, reach: float | None = None) -> None:
        """Choose scale and word from calibration values of any shape.

        Integers keep scale 1 and a grid of k/n keeps its step, if they fit the word; else `reach`, or where it is None
        the largest absolute value, takes the largest integer. 0/1 data need one bit.
        """
        values = torch.unique(values.detach().double())
        if not bool(torch.isfinite(values).all()):
            raise CalibrationError(
                "calibration inputs must be finite (got NaN or infinity)", hints=["look at the data set"]
            )
        signed, largest = bool(values.min() < 0), float(values.abs().max())
        word = IntType(self.largest_bit_width, signed)
        if largest == 0.0 or word.high < 1:
            raise CalibrationError(
                f"calibration inputs must hold a non-zero value that fits {word.bit_width} bits (largest {largest})",
                hints=["give real samples, and at least 2 input bits for signed data"],
            )
        scale = _grid(values, word.high) or (largest if reach is None else min(reach, largest)) / word.high
        bits = _bits_needed(round(largest / scale), signed) if scale != 1.0 or largest <= 1.0 else word.bit_width
        self.scale.fill_(scale)
        self.signed.fill_(signed)
        self.bit_width.fill_(min(bits, word.bit_width))


def _grid(values: Tensor, high: int) -> float | None:
    """The step of the grid that all values lie on: 1, or the smallest positive value; None where there is none."""
    magnitudes = values.abs()
    smallest, largest = float(magnitudes[magnitudes > 0].min()), float(magnitudes.max())
    for step in (1.0, largest / round(largest / smallest)):
        steps = values / step
        if largest / step <= high + _ON_GRID and float((steps - steps.round()).abs().max()) <= _ON_GRID:
            return step
    return None


def _bits_needed(largest: int, signed: bool) -> int:
    return max(1, largest.bit_length()) + int(signed)

"""A tensor of one element -> the number in it, read from its device once for each value that it takes."""

from __future__ import annotations

from torch import Tensor


class HostValue:
    """Reads a tensor's number when the tensor is another one, or was written to, since the last time.

    A scale that calibration finds stays what it is in training: no step waits for the device to say it again.
    """

    def __init__(self) -> None:
        self._tensor: Tensor | None = None
        self._version, self._number = -1, 0.0

    def __call__(self, tensor: Tensor) -> float:
        """The number."""
        if tensor.is_inference():  # it counts no writes
            return float(tensor)
        if self._tensor is not tensor or self._version != tensor._version:
            self._tensor, self._version, self._number = tensor, tensor._version, float(tensor)
        return self._number

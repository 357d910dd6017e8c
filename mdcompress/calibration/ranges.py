"""Values from calibration -> the range that a word of few integers shall cover."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_VALUES = 1_000_000  # that a percentile or an error is taken over, spread evenly
_FRACTIONS = 64  # of the largest value, tried by the least-squares search
_SMALLEST = 0.1  # the last of them


def percentile_of(batches: Sequence[Tensor], percentile: float) -> float:
    """The percentile of |x| over all values; 100: the largest."""
    values, _ = _sampled(batches).abs().sort()
    position = max(0, min(len(values) - 1, round(percentile / 100.0 * (len(values) - 1))))
    return float(values[position])


def best_reach(batches: Sequence[Tensor], *, high: int) -> float:
    """The reach r for which the integers r/high * clip(round(x*high/r)) lose least of x in squares.

    Args:
        batches: values of any shape.
        high: the largest integer; the smallest is -high, or 0 where no value is negative.
    """
    values = _sampled(batches).double()
    largest = float(values.abs().max())
    candidates = (largest * float(fraction) for fraction in torch.linspace(1.0, _SMALLEST, _FRACTIONS))

    def loss(reach: float) -> float:
        step = reach / high
        if not step > 0.0:
            return 0.0
        return float((values - (values / step).round().clamp(-high, high) * step).square().sum())

    return min(candidates, key=loss)


def _sampled(batches: Sequence[Tensor]) -> Tensor:
    total = sum(batch.numel() for batch in batches)
    return torch.cat([batch.detach().flatten()[:: max(1, total // _VALUES)] for batch in batches])

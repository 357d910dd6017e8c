"""Scales, offsets and statistics from data, without training."""

from mdcompress.calibration.calibration import calibrate

__all__ = [
    "calibrate",
]

"""The leading axes of a tensor of the pass: steps, samples, or both folded into one."""

from __future__ import annotations

from typing import Literal

Axis = Literal["T", "N", "TN", "NT", "1"]  # TN: step-major, [T*N]; NT: sample-major, [N*T]


Axes = tuple[Axis, ...]

"""The bits that a weight can have. No NumPy: recipes are checked against them before anything is loaded."""

from __future__ import annotations

TERNARY_BITS = 1.58  # log2(3): three levels, -1, 0, +1
WEIGHT_BITS: tuple[float, ...] = (1, TERNARY_BITS, 2, 3, 4, 5, 6, 7, 8)

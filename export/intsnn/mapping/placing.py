"""How each synapse lies on its arrays where the description leaves the choice: `auto`, or the rule of DNN+NeuroSim.

For a layer of K kernel positions, Ci/G inputs of a group and arrays of X_r rows, one read of a position takes

    kernel_split   K * ceil((Ci/G) / X_r)        im2col   ceil(K*(Ci/G) / X_r)

arrays of each block of columns. Each is built, and each converts its columns: that number is the cost.

    auto       the way of less cost; of equal ones kernel_split, whose sums stay inside a PE
    neurosim   kernel_split where K is the kernel that most layers have, and K*(Ci/G) >= X_r; im2col else. As
               ChipDesignInitialize marks layers in DNN+NeuroSim V1.4 (Chip.cpp, markNM), a weight taking one row

A kernel of one position lies the same way under both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from intsnn.hardware.chip import Crossbar, Placing
from intsnn.mapping.demand import SynapseDemand


def placings(layers: Sequence[SynapseDemand], crossbar: Crossbar) -> tuple[Placing, ...]:
    """The way of each layer under the description's `mapping`."""
    match crossbar.mapping:
        case "kernel_split" | "im2col":
            return (crossbar.mapping,) * len(layers)
        case "auto":
            return tuple(_cheaper(layer, crossbar.rows) for layer in layers)
        case "neurosim":
            most = _usual_kernel(layers)
            return tuple(_marked(layer, most, crossbar.rows) for layer in layers)
        case mapping:
            assert_never(mapping)


def _cheaper(layer: SynapseDemand, rows: int) -> Placing:
    split = layer.kernel * math.ceil(layer.in_per_group / rows)
    return "kernel_split" if split <= math.ceil(layer.kernel * layer.in_per_group / rows) else "im2col"


def _usual_kernel(layers: Sequence[SynapseDemand]) -> int:
    """The kernel of more than one position that most layers have, the first of equals; 0 where there is none."""
    counts = Counter(layer.kernel for layer in layers if layer.kernel > 1)
    return max(counts, key=lambda kernel: counts[kernel]) if counts else 0


def _marked(layer: SynapseDemand, usual: int, rows: int) -> Placing:
    large = layer.kernel * layer.in_per_group >= rows
    return "kernel_split" if layer.kernel == usual and large else "im2col"

"""Layers and an array budget -> how many copies of each layer: as many as fit, always to the slowest.

With D copies a layer works on D positions at a time. With p positions of c reads each and a arrays a copy:

    minimise  max_l ceil(p_l / D_l) * c_l     subject to  sum_l D_l * a_l <= budget,  D_l >= 1

Greedy on the slowest layer is optimal: while the slowest layer is above the optimum, the optimum gives it more copies
too, so the greedy choice never takes more arrays than the optimum does. What is left of the budget then stays unused.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from intsnn.errors import HardwareError


@dataclass(frozen=True)
class Replicable:
    """A layer's positions p, array reads of one position c, and arrays of one copy a."""

    positions: int
    reads: int
    arrays: int

    def reads_with(self, copies: int) -> int:
        """Reads one after another in a step: ceil(p / D) * c."""
        return -(-self.positions // copies) * self.reads

    def next_faster(self, copies: int) -> int:
        """The smallest number of copies that takes fewer rounds; needs ceil(p / D) > 1."""
        return -(-self.positions // (-(-self.positions // copies) - 1))


def duplicates(layers: Sequence[Replicable], budget: int) -> tuple[int, ...]:
    """Copies D_l of each layer under a budget of arrays.

    Raises:
        HardwareError: one copy of every layer does not fit.
    """
    needed = sum(layer.arrays for layer in layers)
    if needed > budget:
        raise HardwareError(
            f"the array budget must hold one copy of every layer, {needed:,} arrays (got {budget:,})",
            hints=["raise duplication.arrays, or take larger arrays or fewer weight bits"],
        )
    copies, left = [1] * len(layers), budget - needed
    slowest_first = [(-layer.reads_with(1), index) for index, layer in enumerate(layers)]
    heapq.heapify(slowest_first)
    while slowest_first:
        _, index = heapq.heappop(slowest_first)
        layer = layers[index]
        if layer.reads_with(copies[index]) == layer.reads:
            break  # the slowest layer does all its positions at once: nothing is gained any more
        more = layer.next_faster(copies[index]) - copies[index]
        if more * layer.arrays > left:
            break
        copies[index] += more
        left -= more * layer.arrays
        heapq.heappush(slowest_first, (-layer.reads_with(copies[index]), index))
    return tuple(copies)

"""Losses of each layer at each number of bits, and a budget -> the bits of every layer with the least sum of losses.

min sum_l L_l(b_l)  subject to  sum_l n_l * b_l <= budget: a multiple-choice knapsack. It is solved exactly, layer by
layer, on the choices that no cheaper one beats (Nemhauser and Ullmann 1969). That losses of layers add up is the
assumption behind it, as in HAWQ-V2 (Dong et al. 2020, eq. 8), whose losses are estimated and ours measured. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intsnn.errors import UsageError
from intsnn.weight_bits import TERNARY_BITS


@dataclass(frozen=True)
class BitChoice:
    """One layer at one number of bits: what it costs, in bits of memory, and what it loses."""

    bit_width: float
    cost: int
    loss: float


@dataclass(frozen=True)
class Allocation:
    """The bits of every layer by name, their memory in bits, and the sum of their losses."""

    bit_widths: Mapping[str, float]
    cost: int
    loss: float


def stored_bits(bit_width: float) -> int:
    """Bits of memory that a number takes: ternary ones take two."""
    return 2 if bit_width == TERNARY_BITS else int(bit_width)


def allocate(layers: Mapping[str, Sequence[BitChoice]], *, budget: int) -> Allocation:
    """The choice for each layer with the least sum of losses of all that cost at most `budget`.

    A loss below 0 is noise and counts as 0; of equal losses the cheaper choice wins.

    Raises:
        UsageError: even the cheapest choice for every layer costs more.
    """
    least = sum(min(choice.cost for choice in choices) for choices in layers.values())
    if least > budget:
        raise UsageError(
            f"the budget must hold the least bits of every layer, {least:,} in all (got {budget:,})",
            hints=["raise the budget, or let layers have fewer bits (--bits, --membrane-bits)"],
        )
    front: list[tuple[int, float, tuple[float, ...]]] = [(0, 0.0, ())]
    left = least
    for choices in layers.values():
        left -= min(choice.cost for choice in choices)
        extended = [
            (cost + choice.cost, loss + max(choice.loss, 0.0), (*widths, choice.bit_width))
            for cost, loss, widths in front
            for choice in choices
            if cost + choice.cost + left <= budget
        ]
        front = _pareto_set(extended)
    cost, loss, widths = front[-1]  # the dearest that is not beaten loses least
    return Allocation(dict(zip(layers, widths, strict=True)), cost, loss)


def _pareto_set(
    partial: Sequence[tuple[int, float, tuple[float, ...]]],
) -> list[tuple[int, float, tuple[float, ...]]]:
    """Those that no other one beats in cost without losing more, by increasing cost."""
    kept: list[tuple[int, float, tuple[float, ...]]] = []
    least = math.inf
    for candidate in sorted(partial):
        if candidate[1] < least:
            kept.append(candidate)
            least = candidate[1]
    return kept

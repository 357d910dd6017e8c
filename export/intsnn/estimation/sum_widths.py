"""A layer on its arrays -> the widths of its words: what an array sends, partial sums, whole sums, sums that are held.

In the letters of events.py:

    words          ADC bits, and (S-1)*cell bits more where slices are joined at the array; an accumulator has as many
    partial sums   words + ceil(log2(K_a*N_r))
    shifted sums   ADC bits + ceil(log2(K_a*N_r)) + (S-1)*cell bits + b - 1
    row counts     the word of K*Ci/G

An adder has the width of its result, everywhere; those of a tree the mean over the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from intsnn.arithmetic import Bounds, tree_bits, word_bits
from intsnn.hardware.catalogue import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping


class Words(NamedTuple):
    """Widths of one layer's words: what an array sends, a partial sum, and a sum over slices and input bits too."""

    sent: int
    partial: int
    whole: int


def words_of(layers: Sequence[LayerMapping], hardware: HardwareSpec) -> tuple[Words, ...]:
    """Of each layer."""
    crossbar = hardware.crossbar
    resolution, cell_bits, at_array = crossbar.resolution, crossbar.cell.bits, crossbar.joining == "at_array"
    found = []
    for layer in layers:
        slices = (layer.slices - 1) * cell_bits
        sent = resolution + slices if at_array else resolution
        partial = sent + (layer.array_kernel * layer.row_blocks - 1).bit_length()
        whole = partial + (0 if at_array else slices) + layer.input_bits - 1
        found.append(Words(sent, partial, whole))
    return tuple(found)


def item_bits(
    layers: Sequence[LayerMapping], hardware: HardwareSpec, words: Sequence[Words] | None = None
) -> dict[Item, tuple[float, ...]]:
    """Width at each layer, of each item whose cost depends on one. words: the `words_of`, where they are known."""
    crossbar, words = hardware.crossbar, words_of(layers, hardware) if words is None else words
    sent, partial, whole = zip(*words, strict=True)
    return {
        Item.ADC_CONVERSION: (crossbar.resolution,) * len(layers),
        Item.ADDER_TREE_ADD: (tree_bits(crossbar.rows, crossbar.cell.bits),) * len(layers),
        Item.ACCUMULATE_ADD: sent,
        Item.ACCUMULATE_STORE: sent,
        Item.PARTIAL_SUM_ADD: partial,
        Item.PARTIAL_SUM_STORE: partial,
        Item.SHIFT_ADD: whole,
        Item.SIGN_SUBTRACT: whole,
        Item.POPCOUNT_ADD: tuple(_count_bits(one.kernel * one.in_per_group) for one in layers),
    }


@cache
def _count_bits(rows: int) -> int:
    """Of a count of active rows."""
    return word_bits(Bounds(0, rows))


def partial_sum_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of a sum over a layer's arrays, of columns or of joined slices."""
    return words_of([layer], hardware)[0].partial


def sum_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of a sum over all arrays, slices and input bits."""
    return words_of([layer], hardware)[0].whole


def held_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Bits of the sums that wait in a buffer for the steps that follow; 0 of a layer that is read in every step."""
    return layer.positions * layer.out_channels * sum_bits(layer, hardware) if layer.held_steps > 1 else 0

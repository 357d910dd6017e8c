"""A layer on its arrays -> the widths of its words: what an array sends, partial sums, whole sums, sums that are held.

In the letters of events.py:

    words          ADC bits, and (S-1)*cell bits more where slices are joined at the array; an accumulator has as many
    partial sums   words + ceil(log2(K_a*N_r))
    shifted sums   ADC bits + ceil(log2(K_a*N_r)) + (S-1)*cell bits + b - 1
    row counts     the word of K*Ci/G

An adder has the width of its result, everywhere; those of a tree the mean over the tree.
"""

from __future__ import annotations

import math

from intsnn.arithmetic import Bounds, tree_bits, word_bits
from intsnn.hardware.catalogue import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping


def layer_bits(layer: LayerMapping, hardware: HardwareSpec) -> dict[Item, float]:
    """Width of each item whose cost depends on one."""
    resolution, summed = hardware.crossbar.resolution, partial_sum_bits(layer, hardware)
    joined = _joined_bits(layer, hardware, summed)
    return {
        Item.ADC_CONVERSION: resolution,
        Item.ADDER_TREE_ADD: tree_bits(hardware.crossbar.rows, hardware.crossbar.cell.bits),
        Item.ACCUMULATE_ADD: sent_bits(layer, hardware),
        Item.ACCUMULATE_STORE: sent_bits(layer, hardware),
        Item.PARTIAL_SUM_ADD: summed,
        Item.PARTIAL_SUM_STORE: summed,
        Item.SHIFT_ADD: joined,
        Item.SIGN_SUBTRACT: joined,
        Item.POPCOUNT_ADD: word_bits(Bounds(0, layer.kernel * layer.in_per_group)),
    }


def partial_sum_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of a sum over a layer's arrays, of columns or of joined slices."""
    return sent_bits(layer, hardware) + math.ceil(math.log2(layer.array_kernel * layer.row_blocks))


def sent_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of what an array sends: a column's code, or a weight's joined slices."""
    crossbar = hardware.crossbar
    joined = 0 if crossbar.joining == "after_sum" else (layer.slices - 1) * crossbar.cell.bits
    return crossbar.resolution + joined


def sum_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Width of a sum over all arrays, slices and input bits."""
    return _joined_bits(layer, hardware, partial_sum_bits(layer, hardware))


def held_bits(layer: LayerMapping, hardware: HardwareSpec) -> int:
    """Bits of the sums that wait in a buffer for the steps that follow; 0 of a layer that is read in every step."""
    return layer.positions * layer.out_channels * sum_bits(layer, hardware) if layer.held_steps > 1 else 0


def _joined_bits(layer: LayerMapping, hardware: HardwareSpec, summed: int) -> int:
    slices = (layer.slices - 1) * hardware.crossbar.cell.bits if hardware.crossbar.joining == "after_sum" else 0
    return summed + slices + layer.input_bits - 1

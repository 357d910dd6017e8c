"""A mapped layer and its activity -> the reads that have an active row: what gating leaves of the conversions.

A read is one output position and one input bit; it counts once for each group that shares the array. With p positions,
b input bits, G groups, K_a arrays of a PE and N_r blocks of rows there are p*b*G*K_a*N_r array reads, p*b*G*N_r PE
reads and p*b*G outputs. How many see an active row is counted from the spikes where the activity was measured with the
layer's cut (occupancy.py); else it is estimated from the rate r of active rows, rows taken as independent:

    arrays  p*b*K_a * sum over packs of n groups and blocks of R rows of n*(1 - (1-r)^(R*n));   pes: exponent * K_a
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity import SynapseActivity
from intsnn.activity.occupancy import Cut
from intsnn.hardware.chip import Gating
from intsnn.mapping import LayerMapping

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reads:
    """Reads of arrays, of PEs, and outputs with at least one of them, in each step [T], or [L, T] of several layers."""

    arrays: FloatArray
    pes: FloatArray
    outputs: FloatArray
    known_by: Literal["structure", "count", "estimate"]


def cut_of(layer: LayerMapping) -> Cut:
    """How the mapping cuts the layer's rows."""
    split = layer.array_kernel == layer.kernel
    return Cut("kernel_split" if split else "im2col", layer.rows[0], layer.groups_per_array)


def every_read(layer: LayerMapping, time_steps: int) -> Reads:
    """All reads, whether a row is active or not."""
    found = every_read_of([layer], time_steps)
    return Reads(found.arrays[0], found.pes[0], found.outputs[0], found.known_by)


def every_read_of(layers: Sequence[LayerMapping], time_steps: int) -> Reads:
    """All reads of layers side by side, [L, T]."""
    rows = [(one.positions * one.input_bits * one.groups, one.row_blocks, one.array_kernel) for one in layers]
    each, blocks, kernels = np.array(rows, dtype=np.float64).T[:, :, None]
    outputs = np.repeat(each, time_steps, axis=1)
    pes = outputs * blocks
    return Reads(pes * kernels, pes, outputs, "structure")


def active_reads(layer: LayerMapping, seen: SynapseActivity) -> Reads:
    """The reads with an active row: counted where the activity has the layer's cut, else estimated."""
    cut = cut_of(layer)
    for found in seen.occupancy:
        if found.cut == cut:
            return Reads(np.array(found.arrays), np.array(found.pes), np.array(found.outputs), "count")
    return _estimated(layer, seen)


def converted_reads(layer: LayerMapping, seen: SynapseActivity, gating: Gating) -> Reads:
    """The reads whose columns are converted under a gating; of a PE that works, every array."""
    match gating:
        case "none":
            return every_read(layer, len(seen.row_pulses))
        case "array":
            return active_reads(layer, seen)
        case "pe":
            active = active_reads(layer, seen)
            return replace(active, arrays=active.pes * layer.array_kernel)
        case _:
            assert_never(gating)


def row_rate(layer: LayerMapping, seen: SynapseActivity) -> FloatArray:
    """r = pulses / (p*K*Ci*b): the share of row reads that carry a pulse, [T]."""
    places = layer.positions * layer.kernel * layer.groups * layer.in_per_group * layer.input_bits
    return np.array(seen.row_pulses) / places


def _estimated(layer: LayerMapping, seen: SynapseActivity) -> Reads:
    quiet = 1 - row_rate(layer, seen)
    full, rest = divmod(layer.groups, layer.groups_per_array)
    packs = [(layer.groups_per_array, full), (rest, 1 if rest else 0)]
    arrays, pes, outputs = np.zeros_like(quiet), np.zeros_like(quiet), np.zeros_like(quiet)
    for groups, number in packs:
        weight = groups * number
        for rows in layer.rows:
            arrays += weight * (1 - quiet ** (rows * groups))
            pes += weight * (1 - quiet ** (rows * groups * layer.array_kernel))
        outputs += weight * (1 - quiet ** (sum(layer.rows) * groups * layer.array_kernel))
    reads = layer.positions * layer.input_bits
    return Reads(reads * layer.array_kernel * arrays, reads * pes, reads * outputs, "estimate")

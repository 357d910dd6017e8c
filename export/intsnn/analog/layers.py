"""One synapse on a chip: inputs -> pulses -> column sums -> codes -> integers, and what it takes to calibrate it.

An input of b bits is read bit by bit, the lowest first; the top bit of a signed word counts -2^(b-1). For each bit:

    sums   = drive @ levels (+ N * sqrt(drive @ variance))           every array, every column, in levels
    values = gains * convert(sums)                                   of sums, or of the differences of pairs

and the values are joined over arrays, slices and polarities (arrays.py), exactly as digital adders do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from intsnn.analog.arrays import FloatArray, LayerArrays, Sums
from intsnn.analog.converters import Converter, percentile_of, reaching
from intsnn.analog.spec import AnalogSpec
from intsnn.arithmetic import IntArray
from intsnn.hardware.chip import Crossbar

_WORKING_NUMBERS = 2**19  # pulses and column sums in memory at once: 2 MiB of float32, which a cache holds


@dataclass(frozen=True)
class ReadCounts:
    """What reading took, over all samples and steps.

    row_activations: pulses on rows of arrays. conversions: used columns converted, without gating.
    active_conversions: those of arrays with at least one pulse, all that gating by arrays leaves.
    """

    row_activations: int = 0
    conversions: int = 0
    active_conversions: int = 0

    def __add__(self, other: ReadCounts) -> ReadCounts:
        return ReadCounts(
            self.row_activations + other.row_activations,
            self.conversions + other.conversions,
            self.active_conversions + other.active_conversions,
        )


@dataclass(frozen=True, eq=False)
class AnalogLayer:
    """A layer's arrays as they came out.

    levels, variance: [A, Q, N, R, C] of one pulse, in levels. gains: [A, Q, N, 1, codes], None for 1. signed: whether
    inputs are two's complement.
    """

    arrays: LayerArrays
    levels: Sums
    variance: Sums | None
    converter: Converter
    signed: bool
    gains: Sums | None = None

    def accumulate(self, x: IntArray, random: np.random.Generator) -> tuple[IntArray, ReadCounts]:
        """Inputs [T, N, *input shape] -> accumulators [T, N, *output shape], and what was read for them."""
        folded, counts = x.reshape(-1, *x.shape[2:]), ReadCounts()
        outputs = []
        for part in _parts(self.arrays, folded):
            total = np.zeros(())
            for plane, weight in self.planes(part):
                drive = self.arrays.drive(plane)
                total = total + weight * self.arrays.joined(self._values(drive, random))
                counts += _counted(self.arrays, drive)
            outputs.append(self.arrays.corrected(total, part))
        return np.concatenate(outputs).reshape(*x.shape[:2], *self.arrays.node.shape), counts

    def planes(self, x: IntArray) -> Iterator[tuple[IntArray, int]]:
        """Each bit of the inputs with what it counts."""
        bits = self.arrays.layer.input_bits
        for bit in range(bits):
            yield (x >> bit) & 1, -(2**bit) if self.signed and bit == bits - 1 else 2**bit

    def _values(self, drive: Sums, random: np.random.Generator) -> FloatArray:
        """[A, Q, N, reads, R] -> what the converters give, added over places and row blocks: [Q, reads, codes]."""
        sums = drive @ self.levels
        if self.variance is not None:
            noise = random.standard_normal(sums.shape, dtype=np.float32)
            spread = drive @ self.variance
            noise *= np.sqrt(spread, out=spread)
            sums += noise
        values = self.converter.convert(self.arrays.coded(sums), random)
        if self.gains is not None:
            values *= self.gains
        added: FloatArray = values.sum(axis=(0, 2), dtype=np.float64)
        return added


def calibrated(layer: AnalogLayer, x: IntArray, spec: AnalogSpec, crossbar: Crossbar) -> AnalogLayer:
    """The layer with the range and the column gains that its exact inputs x [T, N, *input shape] ask for."""
    arrays, ideal = layer.arrays, layer.arrays.levels.astype(np.float32)
    most = 2 * crossbar.rows * (2**crossbar.cell.bits - 1)
    histogram = np.zeros(most + 1, dtype=np.int64)
    product, square = np.zeros((2, *arrays.coded(ideal[..., :1, :]).shape))
    for part in _parts(arrays, x.reshape(-1, *x.shape[2:])):
        for plane, _ in layer.planes(part):
            drive = arrays.drive(plane)
            sums = arrays.coded(drive @ layer.levels)
            reached = np.abs(sums) if crossbar.columns_of_a_code == 2 else sums
            counted = np.clip(np.rint(_used_columns(arrays, reached)), 0, most).astype(np.int64)
            histogram += np.bincount(counted, minlength=most + 1)
            product += np.einsum("aqnbc,aqnbc->aqnc", sums, arrays.coded(drive @ ideal), dtype=np.float64)[..., None, :]
            square += np.einsum("aqnbc,aqnbc->aqnc", sums, sums, dtype=np.float64)[..., None, :]
    if spec.converters.percentile is not None:
        reach = percentile_of(histogram, spec.converters.percentile)
        layer = replace(layer, converter=reaching(reach, crossbar, noise_codes=layer.converter.noise_codes))
    if spec.column_gains == "calibrated":
        gains = np.divide(product, square, out=np.ones_like(product), where=square > 0)
        layer = replace(layer, gains=gains.astype(np.float32))
    return layer


def _parts(arrays: LayerArrays, x: IntArray) -> Iterator[IntArray]:
    """[B, ...] in parts whose pulses and sums fit the working memory."""
    places, packs, blocks, rows, columns = arrays.levels.shape
    of_a_sample = arrays.layer.positions * places * packs * blocks * (rows + 2 * columns)
    together = max(1, _WORKING_NUMBERS // of_a_sample)
    for start in range(0, len(x), together):
        yield x[start : start + together]


def _groups_in_packs(arrays: LayerArrays) -> IntArray:
    """Groups in each pack: G_a, fewer in the last, [Q]."""
    together, packs = arrays.layer.groups_per_array, arrays.levels.shape[1]
    return np.minimum(together, arrays.layer.groups - together * np.arange(packs))


def _used_columns(arrays: LayerArrays, sums: Sums) -> Sums:
    """The sums of columns, or pairs of columns, that hold an output, flat."""
    width = sums.shape[-1] // arrays.layer.groups_per_array
    parts = [sums[:, pack, ..., : groups * width].ravel() for pack, groups in enumerate(_groups_in_packs(arrays))]
    return np.concatenate(parts)


def _counted(arrays: LayerArrays, drive: Sums) -> ReadCounts:
    places, _, blocks, reads, _ = drive.shape
    pulses = drive.sum(axis=-1)  # of one array: exact in float32
    width = arrays.layer.converted
    active = (pulses > 0).sum(axis=(0, 2, 3)) @ _groups_in_packs(arrays)
    return ReadCounts(
        row_activations=int(pulses.sum(dtype=np.float64)) * arrays.layer.column_blocks,
        conversions=places * blocks * reads * arrays.layer.groups * width,
        active_conversions=int(active) * width,
    )

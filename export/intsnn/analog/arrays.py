"""A synapse and its mapping -> the levels of its cells, array by array, and the way of the integers through them.

Cells, drive and column sums of a layer are arrays over

    A   kernel places of a kernel split (K_a), else 1        R   used rows of one array
    Q   packs of G_a groups that share an array              C   used columns of one row of arrays, G_a*(Co/G)*S*P
    N   blocks of rows (N_r)                                 B   reads: sample and step, output position

Column ((a*Co/G + o)*S + s)*P + p of a pack holds slice s (the least significant first) and polarity p of output o of
its group a; C goes on over the N_c blocks of columns. Rows of a group: input channel (kernel split) or input channel
and kernel place (im2col). A weight is stored as

    offset        q = w + 2^(b-1), b = ceil(bit width);  sum w*s = sum q*s - 2^(b-1) * (sum s)
    1-bit offset  q = (w + 1)/2, w in {-1, 1};           sum w*s = 2 * sum q*s - (sum s)
    differential  q+ = max(w, 0), q- = max(-w, 0);       sum w*s = sum q+*s - sum q-*s
                  (a layer with a weight of -2^(b-1) has slices for magnitudes of b bits, mapping.py)
    analog differential  as differential; a converter sees the difference of the two columns
    two's complement     q = w mod 2^b, b at least 2: the bits below the sign in slices, and the sign bit as the last

and the digits of q in base 2^(cell bits) are the levels of its S cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.graph import Synapse
from intsnn.graph.windows import NumberT, patches, placed, weight_rows
from intsnn.hardware.chip import Crossbar
from intsnn.mapping import LayerMapping

FloatArray = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerArrays:
    """One synapse on its arrays.

    levels: [A, Q, N, R, C]. digits: what a code of each slice and polarity counts, [S*P_c]. scale, offset:
    sum w*s = scale * (joined sums of levels) - offset * (sum s).
    """

    node: Synapse
    layer: LayerMapping
    cell_bits: int
    levels: IntArray
    digits: FloatArray
    scale: int
    offset: int

    def drive(self, plane: IntArray) -> Sums:
        """Pulses on the rows: one bit of the layer's inputs [B, *input shape] -> [A, Q, N, B*P, R], 0 or 1."""
        read = patches(self.node, plane.astype(np.float32))
        samples, positions, groups, inputs, kernel = read.shape
        reads, (places, packs, blocks, rows, _) = samples * positions, self.levels.shape
        # [A, G, B*P, rows of a group]
        by_group = read.reshape(reads, groups, inputs * kernel // places, places).transpose(3, 1, 0, 2)
        together = self.layer.groups_per_array
        by_group = _padded_to(by_group, 1, packs * together).reshape(places, packs, together, reads, -1)
        by_pack = by_group.swapaxes(2, 3).reshape(places, packs, reads, -1)
        by_block = _padded_to(by_pack, 3, blocks * rows).reshape(places, packs, reads, blocks, rows)
        return np.ascontiguousarray(by_block.swapaxes(2, 3))

    def coded(self, sums: Sums) -> Sums:
        """What converters see of the column sums [..., C]: the sums, or the differences of pairs."""
        if self.layer.codes == self.layer.polarity:
            return sums
        return sums[..., 0::2] - sums[..., 1::2]

    def joined(self, sums: FloatArray) -> FloatArray:
        """Sums of codes [Q, B*P, codes] -> scale * sum over slices and polarities, [B*P, G, Co/G]."""
        layer = self.layer
        packs, reads, _ = sums.shape
        columns = sums.reshape(packs, reads, layer.groups_per_array, layer.out_per_group, -1)
        outputs = columns @ (self.scale * self.digits)
        by_group: FloatArray = outputs.swapaxes(0, 1).reshape(reads, -1, layer.out_per_group)[:, : layer.groups]
        return by_group

    def corrected(self, sums: FloatArray, x: IntArray) -> IntArray:
        """Joined sums [B*P, G, Co/G] over all input bits, less the counted inputs, as integers [B, *output shape]."""
        outputs = sums.reshape(len(x), -1, *sums.shape[1:])
        if self.offset:
            outputs = outputs - self.offset * patches(self.node, x).sum(axis=(3, 4))[..., None]
        return placed(self.node, np.rint(outputs).astype(np.int64))


def cut(node: Synapse, layer: LayerMapping, crossbar: Crossbar) -> LayerArrays:
    """Place every weight of a layer on its arrays."""
    cell_bits, slices = crossbar.cell.bits, layer.slices
    if crossbar.encoding == "twos_complement":
        below = max(2, math.ceil(node.bit_width)) - 1
        weight = weight_rows(node).reshape(layer.out_channels, layer.in_per_group, -1, 1)
        low = _digits(weight & (2**below - 1), slices - 1, cell_bits)
        levels = np.concatenate([low, (weight < 0)[..., None, :].astype(np.int64)], axis=-2)
        digits = np.append(2.0 ** (cell_bits * np.arange(slices - 1)), -(2.0**below))
        return LayerArrays(node, layer, cell_bits, _placed_levels(levels, layer), digits, 1, 0)
    stored, scale, offset = _stored(node, layer, crossbar)
    signs = np.array([1.0, -1.0])[: layer.codes]
    digits = np.multiply.outer(2.0 ** (cell_bits * np.arange(slices)), signs).ravel()
    levels = _digits(stored, slices, cell_bits)
    return LayerArrays(node, layer, cell_bits, _placed_levels(levels, layer), digits, scale, offset)


def _digits(stored: IntArray, slices: int, cell_bits: int) -> IntArray:
    """Digits in base 2^(cell bits), the lowest first: [Co, Ci/G, K, P] -> [Co, Ci/G, K, S, P]."""
    found: IntArray = (stored[..., None, :] >> (cell_bits * np.arange(slices))[:, None]) & (2**cell_bits - 1)
    return found


def _stored(node: Synapse, layer: LayerMapping, crossbar: Crossbar) -> tuple[IntArray, int, int]:
    """The stored integers [Co, Ci/G, K, P], scale and offset."""
    weight = weight_rows(node).reshape(layer.out_channels, layer.in_per_group, -1, 1)
    if crossbar.polarity == 2:
        magnitudes = np.concatenate([np.maximum(weight, 0), np.maximum(-weight, 0)], axis=-1)
        held = 2 ** (layer.slices * crossbar.cell.bits) - 1
        assert int(magnitudes.max()) <= held, f"{node.name}: {layer.slices} cells hold magnitudes up to {held}"
        return magnitudes, 1, 0
    if node.bit_width == 1:
        return (weight + 1) // 2, 2, 1
    offset = 2 ** (math.ceil(node.bit_width) - 1)
    return weight + offset, 1, offset


def _placed_levels(levels: IntArray, layer: LayerMapping) -> IntArray:
    """[Co, Ci/G, K, S, P] -> [A, Q, N, R, C]: the groups of a pack are diagonal blocks, all else is level 0."""
    places, together, height = layer.array_kernel, layer.groups_per_array, sum(layer.rows)
    packs, width = math.ceil(layer.groups / together), layer.out_per_group * layer.slices * layer.polarity
    by_group = levels.reshape(layer.groups, layer.out_per_group, layer.in_per_group, layer.kernel, -1)
    by_row = by_group.transpose(0, 2, 3, 1, 4).reshape(layer.groups, height, places, width)  # [G, rows, A, columns]
    cells = _padded_to(by_row, 0, packs * together).reshape(packs, together, height, places, width)
    packed = np.zeros((places, packs, together, height, together, width), dtype=np.int64)
    for group in range(together):
        packed[:, :, group, :, group] = cells[:, group].transpose(2, 0, 1, 3)
    blocks, rows = layer.row_blocks, together * layer.rows[0]
    rows_of_pack = packed.reshape(places, packs, together * height, together * width)
    return _padded_to(rows_of_pack, 2, blocks * rows).reshape(places, packs, blocks, rows, together * width)


def _padded_to(array: npt.NDArray[NumberT], axis: int, size: int) -> npt.NDArray[NumberT]:
    """The array with zeros added at the end of an axis."""
    missing = size - array.shape[axis]
    if missing == 0:
        return array
    zeros = np.zeros((*array.shape[:axis], missing, *array.shape[axis + 1 :]), dtype=array.dtype)
    return np.concatenate([array, zeros], axis=axis)

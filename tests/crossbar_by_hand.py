"""An independent crossbar for tests: places every weight cell on an array and reads the arrays pulse by pulse."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.graph import IntConv, Synapse
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.hardware.spec import Crossbar

# row of the weight matrix a cell belongs to, to find its pulse again: (group, input channel, kernel position)
Row = tuple[int, int, int]
# array (kernel position or 0, pack of groups, row block, column block), row, column, then the Row it is driven by
PlacedCell = tuple[int, int, int, int, int, int, Row]


def small_hardware(
    *,
    rows: int,
    columns: int,
    cell_bits: int,
    encoding: Literal["offset", "differential"] = "offset",
    mapping: Literal["kernel_split", "im2col"] = "kernel_split",
    gating: Literal["none", "pe", "array"] = "none",
    input_reuse: Literal["none", "line_buffer"] = "none",
    transport: Literal["bitmap", "address_event", "smaller"] = "bitmap",
    column_mux: int = 1,
    joining: Literal["after_sum", "at_array"] = "after_sum",
) -> HardwareSpec:
    """The shipped description with another crossbar."""
    shipped = load_hardware("rram_64x64_65nm")
    assert isinstance(shipped, HardwareSpec)
    crossbar = {
        **shipped.crossbar.model_dump(),
        "rows": rows,
        "columns": columns,
        "cell": {"kind": "test", "bits": cell_bits},
        "encoding": encoding,
        "mapping": mapping,
        "gating": gating,
        "column_mux": column_mux,
        "joining": joining,
    }
    return HardwareSpec.model_validate(
        {
            **shipped.model_dump(),
            "crossbar": crossbar,
            "buffers": {"input_reuse": input_reuse},
            "interconnect": {"encoding": transport, "hops": 2},
        }
    )


def _shape(node: Synapse) -> tuple[int, int, int, int]:
    """Groups, inputs of a group, outputs of a group, kernel positions."""
    groups = node.groups if isinstance(node, IntConv) else 1
    kernel = int(np.prod(node.weight.shape[2:]))
    return groups, int(node.weight.shape[1]), int(node.weight.shape[0]) // groups, kernel


def slices_of(node: Synapse, crossbar: Crossbar) -> int:
    """Digits in base 2^(cell bits) of the largest number that a column can be asked to hold."""
    bits = math.ceil(node.bit_width)
    largest = 2**bits - 1
    if crossbar.encoding == "differential":  # the format's largest magnitude, or the one that the layer has beyond it
        largest = max(2 ** (bits - 1) - 1, int(np.abs(node.weight).max()), 1)
    digits = 1
    while largest >= 2 ** (digits * crossbar.cell.bits):
        digits += 1
    return digits


def place_cells(node: Synapse, crossbar: Crossbar) -> list[PlacedCell]:
    """Every cell of every weight: its array, its row and column in it, and the weight row that drives it."""
    groups, inputs, outputs, kernel = _shape(node)
    signs = 2 if crossbar.encoding == "differential" else 1
    slices = slices_of(node, crossbar)
    split = crossbar.mapping == "kernel_split"
    height, width = (inputs if split else inputs * kernel), outputs * slices * signs
    fit = 1
    while fit < groups and (fit + 1) * height <= crossbar.rows and (fit + 1) * width <= crossbar.columns:
        fit += 1
    cells: list[PlacedCell] = []
    for g, i, k, o in itertools.product(range(groups), range(inputs), range(kernel), range(outputs)):
        row = (g % fit) * height + (i if split else i * kernel + k)
        for part in range(slices * signs):
            column = (g % fit) * width + o * slices * signs + part
            array = (k if split else 0, g // fit, row // crossbar.rows, column // crossbar.columns)
            cells.append((*array, row % crossbar.rows, column % crossbar.columns, (g, i, k)))
    return cells


def pulses(node: Synapse, x: IntArray, *, bits: int) -> list[dict[Row, int]]:
    """For one sample x [*input shape]: each array read (an output position and an input bit) -> its rows' pulses."""
    groups, inputs, _, _ = _shape(node)
    reads = []
    for window in _windows(node, x):
        for bit in range(bits):
            reads.append({(c // inputs, c % inputs, k): (value >> bit) & 1 for (c, k), value in window.items()})
    assert groups >= 1
    return reads


def _windows(node: Synapse, x: IntArray) -> list[dict[tuple[int, int], int]]:
    """For each output position: (input channel, kernel position) -> value; padding is 0."""
    if not isinstance(node, IntConv):
        rows = x.reshape(-1, x.shape[-1])
        return [{(c, 0): int(row[c]) for c in range(len(row))} for row in rows]
    kh, kw = node.weight.shape[2:]
    found = []
    for oy, ox in itertools.product(range(node.shape[1]), range(node.shape[2])):
        window = {}
        for c, ky, kx in itertools.product(range(x.shape[0]), range(kh), range(kw)):
            y = oy * node.stride[0] + ky * node.dilation[0] - node.padding[0]
            z = ox * node.stride[1] + kx * node.dilation[1] - node.padding[1]
            inside = 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
            window[c, ky * kw + kx] = int(x[c, y, z]) if inside else 0
        found.append(window)
    return found

"""An independent crossbar for tests: places every weight cell on an array and reads the arrays pulse by pulse."""

from __future__ import annotations

import itertools
import math
from typing import Literal, TypedDict

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.graph import IntConv, IntConvTranspose, IntLinear, Sizes, Synapse
from intsnn.hardware import HardwareSpec, load_hardware, with_sections
from intsnn.hardware.chip import Crossbar, Encoding, Gating, KernelMapping, Readout

# row of the weight matrix a cell belongs to, to find its pulse again: (group, input channel, kernel position)
Row = tuple[int, int, int]
# array (kernel position or 0, pack of groups, row block, column block), row, column, then the Row it is driven by
PlacedCell = tuple[int, int, int, int, int, int, Row]


ENCODINGS: tuple[Encoding, ...] = ("offset", "differential", "analog_differential", "twos_complement")
MAPPINGS: tuple[KernelMapping, ...] = ("kernel_split", "im2col", "auto")
InputReuse = Literal["none", "line_buffer"]


class CrossbarOptions(TypedDict, total=False):
    """What `small_hardware` can be told beside the sizes of an array."""

    encoding: Encoding
    mapping: KernelMapping
    gating: Gating
    input_reuse: InputReuse
    transport: Literal["bitmap", "address_event", "smaller"]
    column_mux: int
    joining: Literal["after_sum", "at_array"]
    constant_input: Literal["repeat", "hold"]
    readout: Readout


def hardware_spec(name: str) -> HardwareSpec:
    """The shipped description of that name, which must be one of crossbars and prices."""
    found = load_hardware(name)
    assert isinstance(found, HardwareSpec)
    return found


def plain_hardware(name: str = "rram_64x64_65nm") -> HardwareSpec:
    """The shipped description with split kernels, layer after layer, one copy of each, its input read in every step."""
    return with_sections(
        hardware_spec(name),
        crossbar={"mapping": "kernel_split"},
        buffers={"constant_input": "repeat"},
        schedule={"rule": "layer_by_layer"},
        duplication={"arrays": None},
    )


def small_hardware(
    *,
    rows: int,
    columns: int,
    cell_bits: int,
    encoding: Encoding = "offset",
    mapping: KernelMapping = "kernel_split",
    gating: Gating = "none",
    input_reuse: InputReuse = "none",
    transport: Literal["bitmap", "address_event", "smaller"] = "bitmap",
    column_mux: int = 1,
    joining: Literal["after_sum", "at_array"] = "after_sum",
    constant_input: Literal["repeat", "hold"] = "repeat",
    readout: Readout = "converter",
) -> HardwareSpec:
    """The shipped description with another crossbar."""
    shipped = hardware_spec("rram_64x64_65nm")
    crossbar = {
        **shipped.crossbar.model_dump(),
        "rows": rows,
        "columns": columns,
        "cell": {**shipped.crossbar.cell.model_dump(), "bits": cell_bits},
        "encoding": encoding,
        "mapping": mapping,
        "gating": gating,
        "column_mux": column_mux,
        "joining": joining,
        "readout": readout,
    }
    return HardwareSpec.model_validate(
        {
            **shipped.model_dump(),
            "crossbar": crossbar,
            "buffers": {"input_reuse": input_reuse, "place": "local", "constant_input": constant_input},
            "interconnect": {"encoding": transport, "hops": 2},
            "schedule": {"rule": "layer_by_layer"},
            "duplication": {},
        }
    )


def _shape(node: Synapse) -> tuple[int, int, int, int]:
    """Groups, inputs of a group, outputs of a group, kernel positions."""
    first, second, *kernel = (int(size) for size in node.weight.shape)
    if isinstance(node, IntConvTranspose):
        return node.groups, first // node.groups, second, math.prod(kernel)
    groups = node.groups if isinstance(node, IntConv) else 1
    return groups, second, first // groups, math.prod(kernel)


def weights_by_row(node: Synapse) -> IntArray:
    """[Co, Ci/G, K], kernel positions in the order of the rows: a transposed kernel lies mirrored (mapping.py)."""
    groups, inputs, outputs, kernel = _shape(node)
    if not isinstance(node, IntConvTranspose):
        return node.weight.reshape(groups * outputs, inputs, kernel)
    found = np.zeros((groups * outputs, inputs, kernel), dtype=np.int64)
    for g, o, i in itertools.product(range(groups), range(outputs), range(inputs)):
        found[g * outputs + o, i] = node.weight[g * inputs + i, o].ravel()[::-1]
    return found


def slices_of(node: Synapse, crossbar: Crossbar) -> int:
    """Digits in base 2^(cell bits) of the largest number that a column can be asked to hold."""
    bits = math.ceil(node.bit_width)
    largest = 2**bits - 1
    if crossbar.encoding == "twos_complement":  # below the sign bit, which has a column of its own
        largest = 2 ** max(bits - 1, 1) - 1
    if "differential" in crossbar.encoding:  # the format's largest magnitude, or the one that the layer has beyond it
        largest = max(2 ** (bits - 1) - 1, int(np.abs(node.weight).max()), 1)
    digits = 1
    while largest >= 2 ** (digits * crossbar.cell.bits):
        digits += 1
    return digits + 1 if crossbar.encoding == "twos_complement" else digits


def is_split(node: Synapse, crossbar: Crossbar) -> bool:
    """Whether each kernel position has its own arrays; `auto`: where both ways take as many blocks of rows."""
    if crossbar.mapping != "auto":
        return crossbar.mapping == "kernel_split"
    blocks = {split: {cell[:3:2] for cell in _cells(node, crossbar, split=split)} for split in (True, False)}
    return len(blocks[True]) == len(blocks[False])


def place_cells(node: Synapse, crossbar: Crossbar) -> list[PlacedCell]:
    """Every cell of every weight: its array, its row and column in it, and the weight row that drives it."""
    return _cells(node, crossbar, split=is_split(node, crossbar))


def _cells(node: Synapse, crossbar: Crossbar, *, split: bool) -> list[PlacedCell]:
    groups, inputs, outputs, kernel = _shape(node)
    signs = 2 if "differential" in crossbar.encoding else 1
    slices = slices_of(node, crossbar)
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
    """For each output position: (input channel, kernel position) -> value; padding and inserted zeros are 0."""
    if isinstance(node, IntLinear):
        rows = x.reshape(-1, x.shape[-1])
        return [{(c, 0): int(row[c]) for c in range(len(row))} for row in rows]
    offsets = list(itertools.product(*map(range, node.weight.shape[2:])))
    found = []
    for output in itertools.product(*map(range, node.shape[1:])):
        window = {}
        for c, (index, offset) in itertools.product(range(x.shape[0]), enumerate(offsets)):
            transposed = isinstance(node, IntConvTranspose)
            place = _place_before(node, output, offset) if transposed else _place_read(node, output, offset)
            position = len(offsets) - 1 - index if transposed else index
            inside = place is not None and all(0 <= p < size for p, size in zip(place, x.shape[1:], strict=True))
            window[c, position] = int(x[(c, *place)]) if inside and place is not None else 0
        found.append(window)
    return found


def _place_read(node: Synapse, output: Sizes, offset: Sizes) -> Sizes:
    assert isinstance(node, IntConv)
    numbers = zip(output, offset, node.stride, node.dilation, node.padding, strict=True)
    return tuple(o * stride + k * dilation - padding for o, k, stride, dilation, padding in numbers)


def _place_before(node: Synapse, output: Sizes, offset: Sizes) -> Sizes | None:
    """The input that adds to this output through this kernel position; None where there is none."""
    assert isinstance(node, IntConvTranspose)
    numbers = zip(output, offset, node.stride, node.dilation, node.padding, strict=True)
    reached = [(o + padding - k * dilation, stride) for o, k, stride, dilation, padding in numbers]
    return None if any(at % stride for at, stride in reached) else tuple(at // stride for at, stride in reached)

"""What a chip is built of: the sections of a hardware description that are no prices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from intsnn.yaml.file import Count, Physical, RuleError, StrictModel, Text

Encoding = Literal["offset", "differential", "analog_differential", "twos_complement"]
Placing = Literal["kernel_split", "im2col"]  # of one layer
KernelMapping = Literal["kernel_split", "im2col", "auto", "neurosim"]
Gating = Literal["none", "pe", "array"]
Readout = Literal["converter", "adder_tree", "accumulator"]
ScheduleRule = Literal["layer_by_layer", "row_pipeline"]
_READ_BY: Mapping[Readout, str] = {
    "converter": "a converter", "adder_tree": "an adder tree", "accumulator": "an accumulator",
}  # fmt: skip
_BUDGET = re.compile(r"\+\d+(\.\d+)?%|\d+(\.\d+)? ?mm2")


def _budget_in_words(text: str) -> str:
    if not _BUDGET.fullmatch(text):
        raise ValueError(
            'must be text such as "+25%", so many more arrays than one copy of each layer takes, or "20 mm2", the area '
            "of the arrays alone"
        )
    return text


ArrayBudget = Count | Annotated[str, AfterValidator(_budget_in_words)]


class Technology(StrictModel):
    """Node, supply and clock of the digital parts. Designs are comparable only where these are equal."""

    node_nm: Physical
    voltage_v: Physical
    clock_mhz: Physical

    @property
    def clock_ns(self) -> float:
        """Length of a clock, ns."""
        return 1000 / self.clock_mhz


class Endurance(StrictModel):
    """Writes that a cell survives: of the published devices the least and the most, and where they are published."""

    least: Physical
    most: Physical
    source: Text


class Cell(StrictModel):
    """Memory cell: kind (a word for the reader), the weight bits it stores, and the writes it survives, if known."""

    kind: Text
    bits: Annotated[int, Field(ge=1, le=8)]
    endurance: Endurance | None = None


class Crossbar(StrictModel):
    """One array and how weights lie in it.

    encoding: `offset` stores w + 2^(b-1) and subtracts 2^(b-1) times the number of active rows; `differential` stores
    the magnitude in a positive or a negative column, each converted, and subtracts the codes; `analog_differential`
    subtracts the two currents before the converter, which then gives a signed code; `twos_complement` stores the bits
    below the sign in slices and the sign bit in a column of its own, which counts -2^(b-1). mapping: `kernel_split`
    gives each kernel position its own arrays, `im2col` unrolls the kernel along the rows, `auto` and `neurosim` choose
    one of the two for each layer (mapping/placing.py). readout: how a column is summed, by an analog-to-digital
    `converter` on currents, by a digital `adder_tree` over the rows, or by an `accumulator` under each weight, to which
    active rows are added one after another (IMPULSE, arXiv:2105.08217). column_mux: columns, or subtracted pairs of
    columns, that share a converter or tree. adc_bits: resolution, or `lossless`: ceil(log2(levels)) for the
    rows * (2^cell_bits - 1) + 1 sums of a column, or nearly twice as many of a subtracted pair; a digital sum is always
    lossless. gating: `array` skips an array none of whose rows is active, `pe` skips a PE all of whose arrays are idle.
    joining: the slices of a weight are shifted and added once, `after_sum` over all arrays, or `at_array` before
    anything is summed or sent.
    """

    rows: Count
    columns: Count
    cell: Cell
    encoding: Encoding
    mapping: KernelMapping
    column_mux: Count
    adc_bits: Annotated[int, Field(ge=1, le=16)] | Literal["lossless"]
    gating: Gating
    readout: Readout = "converter"
    joining: Literal["after_sum", "at_array"] = "after_sum"

    @property
    def is_digital(self) -> bool:
        """Whether columns are summed exactly, without converters."""
        return self.readout != "converter"

    @property
    def lossless_adc_bits(self) -> int:
        """Smallest resolution that tells every column sum apart."""
        return lossless_bits(self.rows, self.cell.bits, self.encoding)

    @property
    def polarity(self) -> Literal[1, 2]:
        """P: columns of opposite sign that hold a slice of a weight."""
        return 2 if self.encoding in ("differential", "analog_differential") else 1

    @property
    def columns_of_a_code(self) -> Literal[1, 2]:
        """Columns that give one code: two where their currents are subtracted."""
        return 2 if self.encoding == "analog_differential" else 1

    @property
    def resolution(self) -> int:
        """Bits of the converter."""
        return self.lossless_adc_bits if self.adc_bits == "lossless" else self.adc_bits

    @property
    def converters(self) -> int:
        """Converters, or adder trees, of one array."""
        return math.ceil(self.columns // self.columns_of_a_code / self.column_mux)

    @model_validator(mode="after")
    def _mux_fits(self) -> Self:
        most = max(1, self.columns // self.columns_of_a_code)
        if self.column_mux > most:
            words = "columns" if self.columns_of_a_code == 1 else "pairs of columns"
            message = f"must be at most the {most} {words} of an array (got {self.column_mux})"
            raise RuleError(message, field="column_mux", hint=f"write the number of {words} that share one converter")
        if self.columns_of_a_code == 2 and self.is_digital:
            words = _READ_BY[self.readout]
            message = f"currents are subtracted before a converter: {words} has none (got analog_differential)"
            raise RuleError(message, field="encoding", hint="write differential, offset or twos_complement")
        if self.columns_of_a_code == 2 and self.columns % 2:
            message = f"the columns of a pair lie on one array: columns must be even (got {self.columns})"
            raise RuleError(message, field="columns", hint="write an even number, or another encoding")
        if self.columns_of_a_code == 2 and self.adc_bits == 1:
            message = "the code of a subtracted pair has a sign: adc_bits must be at least 2 (got 1)"
            raise RuleError(message, field="adc_bits", hint="write 2 or more bits, or another encoding")
        if self.is_digital and self.adc_bits != "lossless":
            message = f"{_READ_BY[self.readout]} sums exactly: adc_bits must be lossless (got {self.adc_bits})"
            raise RuleError(message, field="adc_bits", hint="write `lossless`, or read the columns by a converter")
        return self

    @model_validator(mode="after")
    def _accumulators_add_whole_weights(self) -> Self:
        if self.readout == "accumulator" and self.joining != "at_array":
            message = f"an accumulator adds whole weights: joining must be at_array (got {self.joining})"
            raise RuleError(message, field="joining", hint="write `joining: at_array`")
        if self.readout == "accumulator" and self.column_mux != 1:
            message = f"every weight of a row has an accumulator: column_mux must be 1 (got {self.column_mux})"
            raise RuleError(message, field="column_mux", hint="write `column_mux: 1`")
        return self


def lossless_bits(rows: int, cell_bits: int, encoding: Encoding) -> int:
    """ceil(log2) of the number of sums that a code must tell apart."""
    most = rows * (2**cell_bits - 1)
    return math.ceil(math.log2(2 * most + 1 if encoding == "analog_differential" else most + 1))


class Tile(StrictModel):
    """PEs of a tile. A PE is a kernel's arrays on a bus (kernel_split) or one array (im2col); layers share no tile."""

    pe: Count


class Neuron(StrictModel):
    """parallelism: lanes that each layer of neurons, pools, sums and readouts has: results per clock.

    membrane: `memory` reads a membrane's word, updates it in a lane and writes it back; `fused` adds and compares
    inside the memory that holds it, a clock and an access for each operation (IMPULSE, arXiv:2105.08217).
    """

    parallelism: Count
    membrane: Literal["memory", "fused"] = "memory"


class Buffers(StrictModel):
    """input_reuse: `none` reads an input for every window it lies in; `line_buffer` reads it once and keeps it.

    place: a `local` buffer stands beside the layer's arrays, so an input travels to it once; from a `global` buffer
    every read travels to the arrays.
    constant_input: what is done where the network's input is the same in every step, in the layers that read it
    through nodes without state: `repeat` reads their arrays anew in each step, `hold` reads them in the first and keeps
    the sums in a buffer for the others.
    """

    input_reuse: Literal["none", "line_buffer"]
    place: Literal["local", "global"] = "local"
    constant_input: Literal["repeat", "hold"] = "repeat"


class Interconnect(StrictModel):
    """Form in which a layer's input travels, one bit per value or an address per active value, and mean hops.

    hops: a number for every input, and 1 for partial sums; or `mesh`: the mean distance of two tiles of a square mesh,
    2/3 of its side, at least 1: of the chip's tiles for inputs, of the layer's own tiles for its partial sums.
    """

    encoding: Literal["bitmap", "address_event", "smaller"]
    hops: Physical | Literal["mesh"]


class Schedule(StrictModel):
    """`layer_by_layer`: nothing overlaps; each step runs each layer after the one before it.

    `row_pipeline`: every layer works at the same time, on a row as soon as the rows that it reads exist.
    """

    rule: ScheduleRule


class Duplication(StrictModel):
    """arrays: budget of the whole chip, spent on copies of the slowest layers; null: one copy of each layer.

    A number of arrays, how many more than one copy of each layer takes, "+5%", or what they may fill, "20 mm2": area of
    the arrays alone, with drivers, cells and converters or trees, without tiles, buffers, lanes and wires. Fewer
    arrays than one copy of each layer takes mean that weights are reloaded (mapping/reloading.py).
    """

    arrays: ArrayBudget | None = None

    @property
    def is_area(self) -> bool:
        """Whether the budget is an area."""
        return isinstance(self.arrays, str) and self.arrays.endswith("mm2")

    def budget(self, once: int, array_um2: float) -> int | None:
        """Arrays of the chip, where one copy of each layer takes `once`, an array `array_um2`; None: no copies."""
        if not isinstance(self.arrays, str):
            return self.arrays
        if self.is_area:
            return math.floor(float(self.arrays.removesuffix("mm2")) * 1e6 / array_um2)
        return once + math.floor(once * Fraction(self.arrays.removeprefix("+").removesuffix("%")) / 100)


class Reloading(StrictModel):
    """samples: inferences that run on a group of layers before the next group's weights are loaded.

    More of them share the energy and the time of a load, and wait for each other: latency and buffers grow.
    """

    samples: Count = 1

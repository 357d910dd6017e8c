"""Descriptions fitted to published chips, beside what was published: energy, area, speed; writes a Markdown page.

    python -m benchmarks chips > docs/results/chips.md

`benchmarks/chip_descriptions/` has a description for each chip. A macro's figure is asked as a network's: one linear
layer fills one macro, every input is active, and the parts that the macro has are priced. A figure is `fitted` where
the description's prices are read off it, `sum` where it follows from fitted ones by adding them up, and `predicted`
where nothing was fitted to it: then the ratio says how far the model goes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from intsnn.activity import assume
from intsnn.arithmetic import word_bits
from intsnn.estimation.costs import price_of
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.graph import IntGraph, IntInput, IntLinear, IntNeuron, IntNode, IntReadout, IntRequant
from intsnn.graph.bounds import bounds
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.hardware.catalogue import Item

FOLDER = Path(__file__).resolve().parent / "chip_descriptions"
Kind = Literal["fitted", "sum", "predicted"]
BAR = 1.5  # of what is fitted, and of sums of it


@dataclass(frozen=True)
class Figure:
    """One published figure and ours."""

    chip: str
    what: str
    unit: str
    published: float
    ours: float
    kind: Kind

    @property
    def ratio(self) -> float:
        """Ours over the published one."""
        return self.ours / self.published

    @property
    def holds(self) -> bool:
        """Within 1.5 in either direction."""
        return 1 / BAR <= self.ratio <= BAR


@dataclass(frozen=True)
class Macro:
    """Figures of one layer on one macro. product_ns: time of one product of all inputs and weights."""

    report: HardwareReport
    inputs: int
    outputs: int

    def energy_pj(self, *items: Item) -> float:
        """Of some items, of all where none is named."""
        names = {item.value for item in items}
        return math.fsum(part.energy_pj for part in self.report.energy if not names or part.component in names)

    def area_mm2(self, *items: Item) -> float:
        """Of some items, of all where none is named."""
        names = {item.value for item in items}
        pieces = self.report.area if isinstance(self.report.area, tuple) else ()
        return math.fsum(piece.area_um2 for piece in pieces if not names or piece.component in names) * 1e-6

    @property
    def product_ns(self) -> float:
        """Time of the layer."""
        busy = self.report.latency if isinstance(self.report.latency, tuple) else ()
        return math.fsum(one.time_ns for one in busy if one.node == "layer")

    @property
    def operations(self) -> int:
        """2 for each weight."""
        return 2 * self.inputs * self.outputs

    def tops(self) -> float:
        """Dense operations a second, 1e12."""
        return self.operations / self.product_ns * 1e-3

    def tops_per_w(self, *items: Item) -> float:
        """Dense operations per energy of some items, of all where none is named."""
        return self.operations / self.energy_pj(*items)


@cache
def description(name: str) -> HardwareSpec:
    """The description of a chip."""
    found = load_hardware(FOLDER / f"{name}.yaml")
    assert isinstance(found, HardwareSpec)
    return found


@cache
def macro(name: str, inputs: int, outputs: int, bits: tuple[int, int], adc_bits: int | None = None) -> Macro:
    """One linear layer on a chip's description. bits: of inputs and of weights; adc_bits: other than described."""
    hardware = description(name)
    if adc_bits is not None:
        hardware = hardware.model_copy(update={"crossbar": hardware.crossbar.model_copy(update={"adc_bits": adc_bits})})
    graph = one_layer(inputs, outputs, input_bits=bits[0], weight_bits=bits[1])
    return Macro(estimate(graph, assume(graph, rate=1.0, time_steps=1), hardware), inputs, outputs)


def one_layer(inputs: int, outputs: int, *, input_bits: int, weight_bits: int) -> IntGraph:
    """A linear layer whose weights are as large as their bits allow."""
    low = -1 if weight_bits == 1 else -(2 ** (weight_bits - 1)) + 1
    nodes: list[IntNode] = [
        IntInput("input", (), (inputs,), input_bits, False, 1.0),
        IntLinear("layer", ("input",), (outputs,), np.full((outputs, inputs), low, np.int64), weight_bits),
        IntReadout("readout", ("layer",), (outputs,), "steps", 1.0),
    ]
    return IntGraph(tuple(nodes))


def figures() -> tuple[Figure, ...]:
    """Every figure of every chip."""
    return (*jia(), *neurram(), *colonnade(), *dimc(), *impulse())


def jia() -> tuple[Figure, ...]:
    """Jia et al., JSSC 2020, 65 nm, 0.85 V, 1-bit inputs and weights (CIMLoop, jia_jssc_2020/_tests.py)."""
    name, columns = "jia_2020_65nm", 256
    one = macro(name, 2304, columns, (1, 1))
    eight = macro(name, 2304, columns, (8, 1))
    analog, digital = (Item.CELL_READ, Item.ADC_CONVERSION), (Item.SIGN_SUBTRACT, Item.POPCOUNT_ADD, Item.SHIFT_ADD)
    figure = _of("Jia, JSSC 2020, 65 nm")
    return (
        figure("converters, a product", "pJ", 1.79 * columns, one.energy_pj(Item.ADC_CONVERSION), "fitted"),
        figure("cells and drivers, a product", "pJ", 9.7 * columns, one.energy_pj(Item.CELL_READ), "fitted"),
        figure("converters", "mm2", 0.497, one.area_mm2(Item.ADC_CONVERSION), "fitted"),
        figure("cells and drivers", "mm2", 2.91, one.area_mm2(Item.CELL_READ), "fitted"),
        figure("1-bit products", "TOPS", 0.874, one.tops(), "fitted"),
        figure("1-bit products, cells and converters", "TOPS/W", 400, one.tops_per_w(*analog), "sum"),
        figure("the same per area", "TOPS/mm2", 0.24, one.tops() / one.area_mm2(*analog), "sum"),
        figure("8-bit inputs, 1-bit weights", "TOPS", 0.874 / (600 / 64), eight.tops(), "predicted"),
        figure("near-memory data path, a product", "pJ", 8.3 * columns, one.energy_pj(*digital), "predicted"),
    )


def neurram() -> tuple[Figure, ...]:
    """NeuRRAM, Nature 2022, 130 nm (CIMLoop, wan_nature_2022/_tests.py): fJ for each of 65536 operations of a core."""
    name, operations = "neurram_2022_130nm", 65536
    one = macro(name, 128, 256, (1, 4))
    two = macro(name, 128, 256, (2, 4), adc_bits=4)
    neurons = (Item.ADC_CONVERSION, Item.MUX_SWITCH)
    area = 1270 * 256 / 0.28 * 1e-6
    figure = _of("NeuRRAM, Nature 2022, 130 nm")
    return (
        figure("word lines, a product", "pJ", 8.99015248e-3 * operations, one.energy_pj(Item.ROW_ACTIVATION), "fitted"),
        figure("input pulses, a product", "pJ", 3.446220545e-3 * operations, one.energy_pj(Item.CELL_READ), "fitted"),
        figure("neurons, a product", "pJ", 10.6186848e-3 * operations, one.energy_pj(*neurons), "sum"),
        figure("array drivers", "mm2", 0.21 * area, one.area_mm2(Item.ROW_ACTIVATION), "fitted"),
        figure("cells", "mm2", 0.12 * area, one.area_mm2(Item.CELL_READ), "fitted"),
        figure("neurons", "mm2", 0.28 * area, one.area_mm2(*neurons), "sum"),
        figure("3 output, 1 input bits", "TOPS/W", 43.07875866, one.tops_per_w(), "sum"),
        figure("3 output, 1 input bits, a core", "TOPS", 2.12230988 / 48, one.tops(), "sum"),
        figure("4 output, 2 input bits", "TOPS/W", 40.33412834, two.tops_per_w(), "predicted"),
        figure("4 output, 2 input bits, a core", "TOPS", 1.793083771 / 48, two.tops(), "predicted"),
    )


def colonnade() -> tuple[Figure, ...]:
    """Colonnade, JSSC 2021, 65 nm, 0.8 V, 100 MHz (CIMLoop, colonnade_jssc_2021/_tests.py)."""
    name, whole = "colonnade_2021_65nm", 0.1443 * 128 * 8  # pJ of a product of 128 x 8 weights of 8 bits, 1-bit inputs
    one, eight = (macro(name, 128, 8, (bits, 8)) for bits in (1, 8))
    four, single = macro(name, 128, 16, (4, 4)), macro(name, 128, 32, (1, 1))
    figure = _of("Colonnade, JSSC 2021, 65 nm")
    return (
        figure("array, 8-bit weights", "pJ", 0.602 * whole, one.energy_pj(Item.ADDER_TREE_ADD), "fitted"),
        figure("drivers", "pJ", 0.288 * whole, one.energy_pj(Item.ROW_ACTIVATION), "fitted"),
        figure("control, registers, decoder", "pJ", 0.11 * whole, one.energy_pj(Item.CELL_READ), "fitted"),
        figure("macro", "mm2", 0.2272, one.area_mm2(Item.CELL_READ, Item.ROW_ACTIVATION), "fitted"),
        figure("8-bit inputs and weights, a product of two", "pJ", 1.169653111, _each(eight), "predicted"),
        figure("8-bit inputs and weights", "TOPS/W", 2 / 1.169653111, eight.tops_per_w(), "predicted"),
        figure("8-bit inputs and weights", "TOPS", 0.02575, eight.tops(), "fitted"),
        figure("4-bit inputs and weights, a product of two", "pJ", 0.4234320763, _each(four), "predicted"),
        figure("1-bit inputs and weights, a product of two", "pJ", 0.06810051312, _each(single), "predicted"),
    )


def dimc() -> tuple[Figure, ...]:
    """ISSCC 2023, 7.2, 28 nm, 0.9 V, 8-bit inputs and weights (ZigZag-IMC, dimc_validation.py)."""
    sets, clock_ns = 8, 1000 / 182
    eight = macro("dimc_2023_28nm", 128, 8 * sets, (8, 8))
    figure = _of("digital macro, ISSCC 2023 7.2, 28 nm")
    return (
        figure("8-bit inputs and weights", "TOPS/W", 19.5, eight.tops_per_w(), "sum"),
        figure("macro", "mm2", 0.1462, eight.area_mm2(), "sum"),
        figure("8-bit inputs and weights", "TOPS", 2 * 128 * 8 / (4 * clock_ns) * 1e-3, eight.tops(), "fitted"),
    )


def impulse() -> tuple[Figure, ...]:
    """IMPULSE, 65 nm: 0.99 TOPS/W of signed 11-bit operations (arXiv:2105.08217)."""
    graph = _integrate_and_fire(64)
    report = estimate(graph, assume(graph, rate=0.5, time_steps=1), description("impulse_2021_65nm"))
    done = 64 * 3  # an addition, a comparison and the subtraction of the reset
    fused = math.fsum(part.energy_pj for part in report.energy if part.component == Item.MEMBRANE_OPERATION.value)
    figure = _of("IMPULSE, 2021, 65 nm")
    return (
        figure("an operation of 11 bits, fused", "pJ", 1 / 0.99, fused / done, "fitted"),
        figure("read, added, written apart (rram_64x64_65nm)", "pJ", 1 / 0.99, _apart(11), "predicted"),
    )


def _integrate_and_fire(neurons: int) -> IntGraph:
    """Neurons whose potentials have 11 bits."""
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    nodes: list[IntNode] = [
        IntInput("input", (), (8,), 1, False, 1.0),
        IntLinear("layer", ("input",), (neurons,), np.ones((neurons, 8), np.int64), 4),
        IntRequant("current", ("layer",), (neurons,), one, zero, 0, 1.0),
        IntNeuron("neuron", ("current",), (neurons,), one, zero, 8 * one, "soft", zero, one, 0, 10, 0, 1.0),
        IntReadout("readout", ("neuron",), (neurons,), "steps", 1.0),
    ]
    graph = IntGraph(tuple(nodes))
    stored = bounds(graph)["current"]
    assert word_bits(type(stored)(-512 + stored.low, 511 + stored.high)) == 11
    return graph


def _apart(bits: int) -> float:
    """A word read from its memory, added to and written back, pJ."""
    hardware = load_hardware("rram_64x64_65nm")
    assert isinstance(hardware, HardwareSpec)
    moved = [price_of(item, "energy_pj", hardware) or 0.0 for item in (Item.MEMBRANE_READ, Item.MEMBRANE_WRITE)]
    return bits * math.fsum(moved) + (price_of(Item.NEURON_ADD, "energy_pj", hardware, bits=bits) or 0.0)


def _each(found: Macro) -> float:
    return found.energy_pj() / (found.operations / 2)


def _of(chip: str) -> Callable[[str, str, float, float, Kind], Figure]:
    return lambda what, unit, published, ours, kind: Figure(chip, what, unit, published, ours, kind)


def page() -> str:
    """The Markdown page."""
    parts = [_HEAD]
    found = figures()
    for chip in dict.fromkeys(one.chip for one in found):
        parts += [f"## {chip}", _table([one for one in found if one.chip == chip]), _ABOUT[chip]]
    return "\n\n".join(parts) + "\n"


def _table(found: list[Figure]) -> str:
    lines = ["| figure | unit | published | ours | ratio | how |", "| --- | --- | --- | --- | --- | --- |"]
    for one in found:
        misses = "" if one.holds else ", **misses**"
        numbers = f"{one.published:.4g} | {one.ours:.4g} | {one.ratio:.2f}"
        lines.append(f"| {one.what} | {one.unit} | {numbers} | {one.kind}{misses} |")
    return "\n".join(lines)


_HEAD = """\
# Beside published chips

`python -m benchmarks chips > docs/results/chips.md` writes this page.

Each chip has a description in `benchmarks/chip_descriptions/`, and one linear layer that fills its macro is priced on
it, every input active. *Fitted*: a price of the description is read off this figure. *Sum*: it follows from fitted
figures, or from parts that the same source publishes. *Predicted*: nothing was fitted to it. Fitted figures and sums
are within a factor of 1.5 (`tests/benchmarks/test_chips.py`); predictions say how far the model goes beyond its fit,
and those that miss are marked.

Published figures are those that CIMLoop (d6e1390) and ZigZag-IMC (df34a6f) encode from the papers, and of IMPULSE its
abstract; the papers themselves were not read."""

_ABOUT = {
    "Jia, JSSC 2020, 65 nm": """\
A product takes 54 clocks of 25 ns; with a pulse and a conversion of 10 ns each, as in the shipped descriptions, the
same array would reach 40 TOPS. Of the near-memory data path only what this tool knows is priced, the correction of the
offset code.""",
    "NeuRRAM, Nature 2022, 130 nm": """\
The neuron integrates 2^b - 1 pulses of a b-bit input and converts once; this tool reads bit by bit and converts each
bit. A ternary input of 2 bits, sign and magnitude, takes one pulse there: the two predictions miss by that.""",
    "Colonnade, JSSC 2021, 65 nm": """\
A weight of b bits takes b + 7 columns there, since sums ripple through the columns; here a column is a weight's bit
with a tree below it. So 8-bit weights fit, and the fewer bits a weight has, the more of the chip's columns hold sums:
7 of 8 for a weight of 1 bit, which takes two columns here (two's complement has a sign).""",
    "digital macro, ISSCC 2023 7.2, 28 nm": """\
ZigZag-IMC's own model meets this macro within 2.5 % in energy and 0.1 % in area; ours, with its gates, counts adders
at the width of their result and one input bit at a time.""",
    "IMPULSE, 2021, 65 nm": """\
A membrane that is read from an 8 KB memory, added to and written back costs several times what IMPULSE's fused memory
takes: `neuron: {membrane: fused}` chooses the latter. The abstract gives no area.""",
}


def main() -> None:
    """Print the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.stdout.write(page())


if __name__ == "__main__":
    main()

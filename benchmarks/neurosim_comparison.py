"""Our energy model beside DNN+NeuroSim V1.4's 27 recorded runs of one network; writes a Markdown page.

    python -m benchmarks neurosim_comparison > docs/results/neurosim.md

Two descriptions are held against the runs: `benchmarks/neurosim_65nm.yaml`, whose prices are read off three of the
runs (anchors) and whose other figures are predictions, and the shipped `rram_64x64_65nm` with the runs' arrays and its
own prices. Slopes are elasticities, d ln(energy) / d ln(parameter), between two runs that differ in one parameter.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, assert_never

import numpy as np

from benchmarks.neurosim_22nm import section as section_at_22nm
from benchmarks.neurosim_runs import Run, activity_at, as_in_the_runs, network, network_demand, recorded_runs
from intsnn.estimation.costs import price_of
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.hardware.catalogue import Item
from intsnn.mapping.widths import with_weight_bits

REPOSITORY = Path(__file__).resolve().parents[1]
ANCHORED = REPOSITORY / "benchmarks" / "neurosim_65nm.yaml"
ANCHORS = ("65_x64_r0.05", "65_x64_r0.15", "65_x64_r0.40")

LOGIC_65_TO_22 = 0.237058  # Stillmaker & Baas 2017 at 0.8 V, as in rram_128x128_22nm.yaml
LOW_RESISTANCE = (1 / 20e3 + 1 / 200e3) / (1 / 100e3 + 1 / 1.7e6)  # mean conductance: 20/200 over 100/1700 kohm

Converters = Literal["survey", "ISAAC", "NeuroSim", "SpikeSim"]
Transports = Literal["unpriced", "slices apart", "by length"]
Which = Literal["anchored", "shipped"] | Converters | Transports

CONVERTERS: Mapping[Converters, tuple[tuple[float, ...], tuple[float, ...], str]] = {
    "survey": ((4, 6), (3.501, 4.036), "regression on published converters, 65 nm, 100 MS/s"),
    "ISAAC": ((4, 5, 6, 8), (0.79, 0.99, 1.20, 1.6667), "32 nm, unscaled (accelergy library, isaac_adc.csv)"),
    "NeuroSim": ((4, 6), (0.147, 0.232), "read off these runs at 15 %"),
    "SpikeSim": ((1, 4, 16), (0.05641, 0.22565, 0.90260), "65 nm, a ninth of a PE's, in proportion to the bits"),
}  # pJ of a conversion by bits, and where the numbers come from

TRANSPORTS: Mapping[Transports, str] = {
    "unpriced": "no price on a PE's bus",
    "slices apart": "the bus, but every slice's code travels: `joining: after_sum`",
    "by length": "wires instead of the bus: 0.5 fF/um (Noxim), 1 V, half the bits switch, two sides of an array",
}  # the shipped description with another transport inside its PEs
WIRE_PJ_PER_MM = 0.5 * 0.5 * 1.0**2  # half of C V^2: 0.5 pF/mm at 1 V


@dataclass(frozen=True)
class Slope:
    """Elasticity of the energy between two runs that differ in one parameter."""

    parameter: str
    low: str
    high: str
    neurosim: float
    ours: float

    @property
    def ratio(self) -> float:
        """Ours over NeuroSim's; the same direction where it is positive."""
        return self.ours / self.neurosim

    @property
    def holds(self) -> bool:
        """The same direction, and within a factor of 2."""
        return 0.5 <= self.ratio <= 2


PAIRS = (
    ("spike rate", "65_x64_r0.05", "65_x64_r0.40"),
    ("spike rate", "65_x128_r0.05", "65_x128_r0.40"),
    ("spike rate", "65_x64_adc6_r0.05", "65_x64_adc6_r0.40"),
    ("spike rate", "65_x64_cell1_r0.05", "65_x64_cell1_r0.40"),
    ("spike rate", "65_x64_lowR_r0.05", "65_x64_lowR_r0.40"),
    ("spike rate", "22_x64_r0.05", "22_x64_r0.40"),
    ("ADC bits", "65_x64_r0.05", "65_x64_adc6_r0.05"),
    ("ADC bits", "65_x64_r0.15", "65_x64_adc6_r0.15"),
    ("ADC bits", "65_x64_r0.40", "65_x64_adc6_r0.40"),
    ("cell bits", "65_x64_cell1_r0.05", "65_x64_r0.05"),
    ("cell bits", "65_x64_cell1_r0.15", "65_x64_r0.15"),
    ("cell bits", "65_x64_cell1_r0.40", "65_x64_r0.40"),
    ("weight bits", "65_x64_r0.15", "65_x64_w8_r0.15"),
    ("weight bits", "65_x64_r0.15", "65_x64_w16_r0.15"),
    ("weight bits", "65_x64_w8_r0.15", "65_x64_w16_r0.15"),
    ("array size", "65_x64_r0.05", "65_x128_r0.05"),
    ("array size", "65_x64_r0.15", "65_x128_r0.15"),
    ("array size", "65_x64_r0.40", "65_x128_r0.40"),
)


@cache
def report_of(run: Run, which: Which) -> HardwareReport | None:
    """Our figures for a run; None where a description has nothing that could differ (global wiring as a tree)."""
    if run.variant == "htree":
        return None
    hardware = _description(which)
    if which == "by length":
        hardware = _with_bus(hardware, _wire_pj(_with_arrays(hardware, run)), TRANSPORTS[which])
    hardware = _with_structure(hardware, run)
    demand = with_weight_bits(network_demand(), run.weight_bits)
    return estimate(network(), activity_at(run.rate), hardware, demand=demand)


def _description(which: Which) -> HardwareSpec:
    hardware = load_hardware(ANCHORED if which == "anchored" else "rram_64x64_65nm")
    assert isinstance(hardware, HardwareSpec)
    hardware = as_in_the_runs(hardware, "layer_by_layer")
    match which:
        case "survey" | "ISAAC" | "NeuroSim" | "SpikeSim":
            return _with_converters(hardware, which)
        case "unpriced":
            return _with_bus(hardware, 0.0, "no transport inside a PE")
        case "slices apart":
            crossbar = hardware.crossbar.model_copy(update={"joining": "after_sum"})
            return hardware.model_copy(update={"crossbar": crossbar})
        case "anchored" | "shipped" | "by length":
            return hardware
        case _:
            assert_never(which)


def _with_bus(hardware: HardwareSpec, energy_pj: float, source: str) -> HardwareSpec:
    """The description with another price of a bit on a PE's bus."""
    document = hardware.model_dump()
    document["costs"]["pe_transfer"] = {"energy_pj": energy_pj, "source": source}
    return HardwareSpec.model_validate(document)


def _wire_pj(hardware: HardwareSpec) -> float:
    """A bit over two sides of an array with its drivers, multiplexers and converters: a corner to the middle of 3x3."""
    crossbar = hardware.crossbar
    built = {
        Item.ROW_ACTIVATION: crossbar.rows,
        Item.CELL_READ: crossbar.rows * crossbar.columns,
        Item.ADC_CONVERSION: crossbar.converters,
        Item.MUX_SWITCH: crossbar.converters,
    }
    areas = [
        number * (price_of(item, "area_um2", hardware, bits=crossbar.resolution) or 0) for item, number in built.items()
    ]
    return 2 * math.sqrt(math.fsum(areas)) * 1e-3 * WIRE_PJ_PER_MM


def _with_converters(hardware: HardwareSpec, which: Converters) -> HardwareSpec:
    """The shipped description with another source's energy of a conversion; areas are not compared."""
    bits, energy_pj, source = CONVERTERS[which]
    document = hardware.model_dump()
    document["costs"]["adc_conversion"] = {
        "bits": bits, "energy_pj": energy_pj, "latency_ns": 10.0, "interpolation": "linear", "source": source,
        "missing": {"area_um2": source, "leakage_uw": source},
    }  # fmt: skip
    return HardwareSpec.model_validate(document)


def _with_structure(hardware: HardwareSpec, run: Run) -> HardwareSpec:
    hardware = _with_arrays(hardware, run)
    if run.variant == "lowR":
        return _scaled_prices(hardware, LOW_RESISTANCE, only="cell_read")
    return _scaled_prices(hardware, LOGIC_65_TO_22) if run.variant == "22nm" else hardware


def _with_arrays(hardware: HardwareSpec, run: Run) -> HardwareSpec:
    cell = hardware.crossbar.cell.model_copy(update={"bits": run.cell_bits})
    size = {"rows": run.crossbar, "columns": run.crossbar}
    crossbar = hardware.crossbar.model_copy(update={**size, "cell": cell, "adc_bits": run.adc_bits})
    return hardware.model_copy(update={"crossbar": crossbar})


def _scaled_prices(hardware: HardwareSpec, factor: float, *, only: str | None = None) -> HardwareSpec:
    """Every energy, or that of one item, times a factor."""
    document = hardware.model_dump()
    converters = hardware.cost(Item.ADC_CONVERSION)
    assert converters is not None
    document["costs"]["adc_conversion"] = converters.model_dump()  # in numbers, where a name stands for them
    for section in ("components", "costs"):
        for name, cost in document[section].items():
            if isinstance(cost, dict) and cost["energy_pj"] is not None and only in (None, name):
                energy = cost["energy_pj"]
                many = isinstance(energy, tuple)
                cost["energy_pj"] = tuple(factor * one for one in energy) if many else factor * energy
    return HardwareSpec.model_validate(document)


def slopes(which: Which) -> tuple[Slope, ...]:
    """One elasticity for each pair of runs."""
    runs = {run.name: run for run in recorded_runs()}
    return tuple(_slope(parameter, runs[low], runs[high], which) for parameter, low, high in PAIRS)


def _slope(parameter: str, low: Run, high: Run, which: Which) -> Slope:
    values = {
        "spike rate": (low.rate, high.rate),
        "ADC bits": (low.adc_bits, high.adc_bits),
        "cell bits": (low.cell_bits, high.cell_bits),
        "weight bits": (low.weight_bits, high.weight_bits),
        "array size": (low.crossbar, high.crossbar),
    }[parameter]
    step = math.log(values[1] / values[0])
    reports = [report_of(run, which) for run in (low, high)]
    assert low.energy_pj and high.energy_pj and reports[0] and reports[1]
    return Slope(
        parameter,
        low.name,
        high.name,
        math.log(high.energy_pj / low.energy_pj) / step,
        math.log(reports[1].energy_pj / reports[0].energy_pj) / step,
    )


def page() -> str:
    """The Markdown page."""
    parts = [_HEAD, _slope_table("anchored"), _SHIPPED, _slope_table("shipped"), _missed()]
    parts += [_OTHER_TRANSPORTS, _transport_table(), _WHY_TRANSPORT]
    parts += [_OTHER_CONVERTERS, _converter_table(), _WHY_NOT_CONVERTERS, section_at_22nm()]
    parts += [_ALL, _run_table(), _TAIL]
    return "\n\n".join(parts) + "\n"


def _slope_table(which: Which) -> str:
    runs = {run.name: run for run in recorded_runs()}
    lines = [
        "| parameter | runs | NeuroSim uJ | ours uJ | slope, NeuroSim | slope, ours | ratio | within 2 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for slope in slopes(which):
        theirs = " -> ".join(f"{(runs[name].energy_pj or 0) * 1e-6:.3f}" for name in (slope.low, slope.high))
        mine = " -> ".join(_energy_uj(runs[name], which) for name in (slope.low, slope.high))
        lines.append(
            f"| {slope.parameter} | {slope.low} -> {slope.high} | {theirs} | {mine} | {slope.neurosim:+.3f} | "
            f"{slope.ours:+.3f} | {slope.ratio:.2f} | {'yes' if slope.holds else '**no**'} |"
        )
    return "\n".join(lines)


def _energy_uj(run: Run, which: Which) -> str:
    report = report_of(run, which)
    return "-" if report is None else f"{report.energy_pj * 1e-6:.3f}"


def _missed() -> str:
    missed = [slope for slope in slopes("shipped") if not slope.holds]
    names = ", ".join(f"{slope.parameter}, {slope.low} -> {slope.high}: {slope.ratio:.2f}" for slope in missed)
    which = f" ({names})" if names else ""
    return f"Missed with the shipped prices: {len(missed)} of {len(PAIRS)}{which}.\n{_WHY_MISSED}"


def _transport_table() -> str:
    anchor = next(run for run in recorded_runs() if run.name == "65_x64_r0.15")
    lines = [
        "| inside a PE | pe_transfer, uJ | 65_x64_r0.15, uJ (NeuroSim 4.364) | slopes within 2 | ratios | missed |",
        "| --- | --- | --- | --- | --- | --- |",
        _transport_row("ISAAC's bus, slices joined at the array (shipped)", anchor, "shipped"),
    ]
    return "\n".join([*lines, *(_transport_row(words, anchor, which) for which, words in TRANSPORTS.items())])


def _transport_row(words: str, anchor: Run, which: Which) -> str:
    found = slopes(which)
    ratios = sorted(slope.ratio for slope in found)
    missed = Counter(slope.parameter for slope in found if not slope.holds)
    report = report_of(anchor, which)
    assert report is not None
    moved = math.fsum(part.energy_pj for part in report.energy if part.component == Item.PE_TRANSFER.value)
    return (
        f"| {words} | {moved * 1e-6:.3f} | {report.energy_pj * 1e-6:.3f} | "
        f"{len(found) - missed.total()} of {len(found)} | {ratios[0]:.2f} to {ratios[-1]:.2f} | "
        f"{', '.join(f'{number} {name}' for name, number in missed.items()) or '-'} |"
    )


def _converter_table() -> str:
    anchor = next(run for run in recorded_runs() if run.name == "65_x64_r0.15")
    lines = [
        "| converters | pJ at 4, 6 bits | 65_x64_r0.15, uJ (NeuroSim 4.364) | slopes within 2 | ratios |",
        "| --- | --- | --- | --- | --- |",
        _converter_row("Jia, 65 nm, measured (shipped)", "0.965, 1.113", anchor, "shipped"),
    ]
    for name, (bits, energy_pj, source) in CONVERTERS.items():
        at = ", ".join(f"{np.interp(width, bits, energy_pj):.3f}" for width in (4, 6))
        lines.append(_converter_row(f"{name}: {source}", at, anchor, name))
    return "\n".join(lines)


def _converter_row(name: str, price: str, anchor: Run, which: Which) -> str:
    found = slopes(which)
    ratios = sorted(slope.ratio for slope in found)
    held = sum(slope.holds for slope in found)
    energy = _energy_uj(anchor, which)
    return f"| {name} | {price} | {energy} | {held} of {len(found)} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"


def _run_table() -> str:
    lines = [
        "| run | energy uJ: NeuroSim | anchored | ratio | shipped | ratio | latency us: NeuroSim | anchored | "
        "area mm2: NeuroSim, floorplan | anchored, sum |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in recorded_runs():
        anchored, shipped = report_of(run, "anchored"), report_of(run, "shipped")
        energy = "none (NaN)" if run.energy_pj is None else f"{run.energy_pj * 1e-6:.3f}"
        latency = "-" if run.latency_ns is None else f"{run.latency_ns * 1e-3:.0f}"
        name = f"{run.name} (anchor)" if run.name in ANCHORS else run.name
        lines.append(
            f"| {name} | {energy} | {_energy_uj(run, 'anchored')} | {_ratio(anchored, run)} | "
            f"{_energy_uj(run, 'shipped')} | {_ratio(shipped, run)} | {latency} | "
            f"{'-' if anchored is None else f'{anchored.latency_ns * 1e-3:.0f}'} | {run.area_um2 * 1e-6:.1f} | "
            f"{'-' if anchored is None else f'{anchored.area_um2 * 1e-6:.1f}'} |"
        )
    return "\n".join(lines)


def _ratio(report: HardwareReport | None, run: Run) -> str:
    return "-" if report is None or run.energy_pj is None else f"{report.energy_pj / run.energy_pj:.2f}"


_HEAD = """\
# Beside DNN+NeuroSim V1.4

`python -m benchmarks neurosim_comparison > docs/results/neurosim.md` writes this page.

27 runs of DNN+NeuroSim V1.4 (commit ac828e6; only its printed numbers are recorded, `tests/data/neurosim_runs.json`) on
VGG9's convolutions, one time step, 1-bit inputs, with one setting changed at a time. A run's name is
`<node>_x<array side>[_variant]_r<spike rate>`.

`benchmarks/neurosim_65nm.yaml` describes the chip of the runs. Its prices are read off three of them, marked *anchor*:
how the energy splits at 15 %, and what 5 % and 40 % change. No price is fitted to any other run; their figures follow
from mapping, event counts and width rules. The description's *structure* was chosen with the runs in view, so this is
no blind prediction: every array's sum travels (`im2col`, one array a PE), slices are joined before they travel
(`at_array`), and distances grow with the side of the chip (`mesh`). With kernel-split PEs that add nine arrays before
anything travels, ADC bits came out at 0.42 and cell bits at up to 2.2 of NeuroSim's slope.

A slope is d ln(energy) / d ln(parameter); the bar is the same direction and a factor of 2.

## Slopes with the anchored prices"""

_SHIPPED = """\
## Slopes with the shipped prices

The same runs with `rram_64x64_65nm`, whose prices come from other sources, set to the runs' array side, cell bits and
converter bits and nothing else. It prices neurons, membranes and requantization too, which NeuroSim's network does not
have."""

_WHY_MISSED = """\
Converters at 0.96 pJ, as measured in a macro of the node (`jia_2020_65nm`), and cells at the current that NeuroSim's
own fit to circuit simulation gives them. Before, with converters after the survey (3.5 pJ) and cells at V^2 G, one was
missed: cell bits, 2.09 at 5 %."""

_OTHER_TRANSPORTS = """\
## What explained the misses

Before transport inside a PE was priced, three slopes were missed: one ADC bits (0.48), two cell bits (2.19, 2.08).
NeuroSim's energy is three quarters transport (3.19 of 4.364 uJ): 6 bits for 4 take it to 4.08, 1-bit cells, with four
times as many conversions, only to 4.41, 8-bit weights to 4.49. Its PEs have an input bus and an output bus, and an
array joins a weight's slices and sends one word (`ProcessingUnit.cpp`: `busInputNM`, `busOutputNM`;
`numBitSubarrayOutput`, ADC bits and a cell's bits for each slice more, with bits for inputs and sign).

Both are modelled now. `pe_transfer` counts the bits of inputs to arrays and of words to the PE's adders, at the price
of ISAAC's bus, which the descriptions held already for sums between PEs; the two RRAM descriptions join slices at the
array. That structure was chosen with these runs in view. No price was fitted to them, but that a price by length would
meet fewer slopes was seen before the bus was kept. What each does:"""

_WHY_TRANSPORT = """\
The bus mends ADC bits, the joined slices cell bits. Wires by length take half of what the bus takes, and grow with the
converters at an array's edge (sides of 0.12 and 0.17 mm for 64 and 128 columns, nearly all of it converters): array
size is missed then, NeuroSim's slope being near -0.9. The bus keeps its published price at every size; `not_modelled`
lists lengths inside a PE."""

_OTHER_CONVERTERS = """\
## Is it the price of the converters?

The same slopes with `rram_64x64_65nm` and the energy of a conversion from other sources:"""

_WHY_NOT_CONVERTERS = """\
In part. After the survey, conversions outweigh all that follows spikes, and slopes of the spike rate are missed. With
NeuroSim's converters the energy is NeuroSim's within a tenth, but rows, which follow the spike rate in full, and sums
weigh too much. Measured converters, and ISAAC's, meet all slopes."""

_ALL = "## All runs"

_TAIL = """\
NeuroSim prints no energy for 32-bit weights (NaN), and its H-tree variant has no counterpart here: the mesh knows no
tree. At 22 nm every energy is the 65 nm one times the logic factor 0.237 (Stillmaker & Baas 2017); NeuroSim's own ratio
is 0.176 at 15 %. `lowR` multiplies the price of a cell read by the ratio of the mean conductances, 5.19.

Not met, and not claimed: **latency** (NeuroSim's sensing time depends on resolution, resistance and array side, and its
clock with it; a conversion takes the same time here), and **area** (NeuroSim's is a floorplan with white space, ours a
sum of components)."""


def main() -> None:
    """Print the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.stdout.write(page())


if __name__ == "__main__":
    main()

"""`rram_128x128_22nm` beside NeuroSim's three runs at 22 nm: what remains between them, part by part.

The description gets the runs' arrays (64 x 64, 4-bit cells, 4-bit converters) and the price of NeuroSim's converters:
what the arrays cost is compared, not the converters. Two readings of that price are shown. NeuroSim's converter senses
a column for (bits + 1) ns and draws the column's current itself (SarADC.cpp), so its energy rises with the spike rate;
what it takes without a spike is the converter's own.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, assert_never

from benchmarks.neurosim_runs import activity_at, as_in_the_runs, network, network_demand, printed
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.hardware.catalogue import Item
from intsnn.shares import percent

Reading = Literal["pulse", "sensing"]
RATES = (0.05, 0.15, 0.40)
ADC_BITS = 4
SENSING_NS = ADC_BITS + 1.0  # SarADC.cpp: (log2(levels) + 1) ns
CONVERSIONS = 3_538_944  # of a step of the network on 64 x 64 arrays of 4-bit cells, a PE for each kernel


def recorded_uj(rate: float) -> float:
    """NeuroSim's energy of a step at 22 nm."""
    return _printed(rate, "energy_pJ") * 1e-6


@cache
def report_at(rate: float, reading: Reading) -> HardwareReport:
    """Ours. `pulse`: cells conduct for the description's 10 ns; `sensing`: for the 5 ns of NeuroSim's converter."""
    return estimate(network(), activity_at(rate), _hardware(reading), demand=network_demand())


def _hardware(reading: Reading) -> HardwareSpec:
    shipped = load_hardware("rram_128x128_22nm")
    assert isinstance(shipped, HardwareSpec)
    document = as_in_the_runs(shipped, "row_pipeline").model_dump()
    document["crossbar"] |= {
        "rows": 64, "columns": 64, "cell": {"kind": "rram", "bits": 4}, "adc_bits": ADC_BITS
    }  # fmt: skip
    costs = document["costs"]
    pulse_ns = costs["cell_read"]["latency_ns"]
    match reading:
        case "pulse":
            conversion_pj, conducting = _printed(0.15, "adc_energy_pJ") / CONVERSIONS, 1.0
        case "sensing":
            conversion_pj, conducting = _silent_adc_pj() / CONVERSIONS, SENSING_NS / pulse_ns
        case _:
            assert_never(reading)
    costs["adc_conversion"] = {
        "energy_pj": conversion_pj, "area_um2": 92.0, "latency_ns": 10.0, "missing": {"leakage_uw": "in the energy"},
        "source": "NeuroSim runs at 22 nm: ADC energy over conversions, ADC area over converters",
    }  # fmt: skip
    costs["cell_read"]["energy_pj"] *= conducting
    return HardwareSpec.model_validate(document)


def _silent_adc_pj() -> float:
    """NeuroSim's ADC energy at a spike rate of 0: the line through 5 and 40 %."""
    low, high = (_printed(rate, "adc_energy_pJ") for rate in (0.05, 0.40))
    return low - (high - low) * 0.05 / 0.35


def _printed(rate: float, key: str) -> float:
    return printed()[f"22_x64_r{rate:.2f}"][key]


def section() -> str:
    """The section of the page."""
    return "\n\n".join((_HEAD, _totals(), _PARTS, _parts(0.40), _WHY))


def _totals() -> str:
    lines = [
        "| spike rate | NeuroSim uJ | ours, cells conduct 10 ns | ratio | ours, 5 ns, current counted once | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rate in RATES:
        theirs = recorded_uj(rate)
        found = [report_at(rate, reading).energy_pj * 1e-6 for reading in ("pulse", "sensing")]
        ours = " | ".join(f"{energy:.3f} | {energy / theirs:.2f}" for energy in found)
        lines.append(f"| {percent(rate, 0)} | {theirs:.3f} | {ours} |")
    return "\n".join(lines)


def _parts(rate: float) -> str:
    """Parts of NeuroSim's energy that the recorded figures tell apart, and ours."""
    own = _silent_adc_pj()
    risen = {key: _printed(0.40, key) - _printed(0.05, key) for key in ("energy_pJ", "adc_energy_pJ")}
    theirs = {
        "transport": _printed(rate, "ic_energy_pJ"),
        "cells": _printed(rate, "adc_energy_pJ") - own,
        "row drivers": (risen["energy_pJ"] - risen["adc_energy_pJ"]) * rate / 0.35,
        "converters, multiplexers": own,
    }
    theirs["all else"] = _printed(rate, "energy_pJ") - math.fsum(theirs.values())
    mine = [_our_parts(report_at(rate, reading)) for reading in ("pulse", "sensing")]
    lines = ["| part | NeuroSim uJ | ours, 10 ns | ours, 5 ns |", "| --- | --- | --- | --- |"]
    for part, energy in theirs.items():
        ours = " | ".join(f"{parts[part] * 1e-6:.3f}" for parts in mine)
        lines.append(f"| {part} | {energy * 1e-6:.3f} | {ours} |")
    return "\n".join(lines)


_PART_OF = {
    Item.SPIKE_TRANSFER: "transport",
    Item.PE_TRANSFER: "transport",
    Item.PARTIAL_SUM_TRANSFER: "transport",
    Item.CELL_READ: "cells",
    Item.ROW_ACTIVATION: "row drivers",
    Item.ADC_CONVERSION: "converters, multiplexers",
    Item.MUX_SWITCH: "converters, multiplexers",
}


def _our_parts(report: HardwareReport) -> dict[str, float]:
    names = {item.value: part for item, part in _PART_OF.items()}
    found = dict.fromkeys((*_PART_OF.values(), "all else"), 0.0)
    for part in report.energy:
        found[names.get(part.component, "all else")] += part.energy_pj
    return found


_HEAD = """\
## The 22 nm description, and 40 % spikes

`rram_128x128_22nm` with the runs' arrays (64 x 64, 4-bit cells, 4 bits) and the price of NeuroSim's converters, the
same spike rate at every layer's input:"""

_PARTS = "At 40 %, part by part:"

_WHY = """\
The excess grows with the spike rate, so it lies in what follows spikes in full, cells and row drivers. Part of it was
the comparison's fault. NeuroSim's converter senses a column for 5 ns (`SarADC.cpp`: one ns a bit, and one) and its
energy holds the column's current; cells that conduct for 10 ns beside it, at a converter price that holds their current
at 15 %, are charged twice over. The last two columns mend that. An earlier figure also let pools raise the rate of the
layers behind them, which the runs do not. The description's own pulse stays 10 ns: its converters take 10 ns a column.

What remains is price, not count. Cells take what NeuroSim's fit to circuit simulation draws, G * 0.0796 V^2 at 22 nm
(0.072341 * 0.55/0.5), a quarter of 0.55^2. Row drivers: ISAAC's 0.417 pJ a row, which is
4 mW over 1024 drivers for 128 conversions at 1.2 GS/s, at 32 nm, unscaled; NeuroSim's take about 0.03 pJ. Transport is
0.79 of NeuroSim's."""

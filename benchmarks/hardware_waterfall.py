"""From the plainest design to the shipped one, a choice at a time, and from there to others: the page of the defaults.

    python -m benchmarks hardware_waterfall runs/4bit [--output docs/results/hardware_waterfall.md]

RUN is a folder with model.onnx and activity.json, as `mdcompress run --recipe recipes/4bit.yaml` leaves them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intsnn.activity import Activity, read_activity
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, load_hardware, with_converter, with_sections
from intsnn.onnx.file import read_onnx
from intsnn.report.words import markdown_table, readable

SHIPPED = "rram_64x64_65nm"
PLAIN: Mapping[str, Mapping[str, Any]] = {
    "crossbar": {"mapping": "kernel_split"},
    "buffers": {"constant_input": "repeat"},
    "schedule": {"rule": "layer_by_layer"},
    "duplication": {"arrays": None},
}
CHOICES: tuple[tuple[str, Mapping[str, Mapping[str, Any]]], ...] = (
    ("the sums of the still input are held, not read anew in every step", {"buffers": {"constant_input": "hold"}}),
    ("each layer is mapped the way that takes fewer arrays", {"crossbar": {"mapping": "auto"}}),
    ("rows are pipelined from layer to layer", {"schedule": {"rule": "row_pipeline"}}),
    ("a quarter more arrays, for copies of the slowest layers", {"duplication": {"arrays": "+25%"}}),
)
SURVEY = "survey"
OTHERS: tuple[tuple[str, Mapping[str, Mapping[str, Any]]], ...] = (
    ("two columns for a weight, both converted", {"crossbar": {"encoding": "differential"}}),
    ("two columns for a weight, subtracted before the converter", {"crossbar": {"encoding": "analog_differential"}}),
    ("two's complement, the sign bit in a column of its own", {"crossbar": {"encoding": "twos_complement"}}),
    ("idle arrays are not read", {"crossbar": {"gating": "array"}}),
    ("an input is read from its buffer once, not for every window", {"buffers": {"input_reuse": "line_buffer"}}),
    ("kernels apart, as SpikeSim and NeuroSim lay them", {"crossbar": {"mapping": "kernel_split"}}),
    ("NeuroSim's rule for small convolutions", {"crossbar": {"mapping": "neurosim"}}),
)
CONVERTERS = ("jia_2020_65nm", "survey", "isaac_32nm", "timely_65nm", "neurosim_sar_65nm")


def main() -> None:
    """Write or print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder with model.onnx and activity.json")
    parser.add_argument("--output", type=Path, help="where the page goes; without it, to the terminal")
    given = parser.parse_args()
    text = page(read_onnx(given.run / "model.onnx"), read_activity(given.run / "activity.json"))
    if given.output is None:
        sys.stdout.write(text)
    else:
        given.output.write_text(text, "utf-8")


def page(graph: IntGraph, activity: Activity) -> str:
    """The whole page."""
    shipped = load_hardware(SHIPPED)
    assert isinstance(shipped, HardwareSpec)
    waterfall, hardware = [], with_converter(with_sections(shipped, **PLAIN), SURVEY)
    words = f"split kernels, layer after layer, one copy, every step read anew, converters as `{SURVEY}`"
    for choice, sections in ((words, {}), *CHOICES):
        hardware = with_sections(hardware, **sections)
        waterfall.append((choice, estimate(graph, activity, hardware)))
    waterfall.append((f"converters as measured on a chip, `{shipped.converter}`", estimate(graph, activity, shipped)))
    others = [(words, estimate(graph, activity, with_sections(shipped, **sections))) for words, sections in OTHERS]
    converters = [(f"`{name}`", estimate(graph, activity, with_converter(shipped, name))) for name in CONVERTERS]
    return "\n\n".join(
        [
            "# What the shipped design saves, choice by choice",
            f"The student of `mdcompress run --recipe recipes/4bit.yaml` (digits, T = {activity.time_steps}, "
            f"{activity.samples} samples) on `{SHIPPED}`. Made by `python -m benchmarks hardware_waterfall runs/4bit "
            "--output docs/results/hardware_waterfall.md`. Every row computes the same integers.",
            "## From the plainest design to the shipped one",
            "Each row adds its choice to the row above.",
            _table(waterfall),
            "## From the shipped design, one other choice each",
            _table(others),
            "## The shipped design with other converters",
            "Energies and areas of a converter differ by more than ten times between sources; each is a named choice "
            "(`estimate-hw --converter NAME`, an axis of `explore`).",
            _table(converters),
        ]
    ) + "\n"  # fmt: skip


def _table(rows: list[tuple[str, HardwareReport]]) -> str:
    columns = ("choice", "uJ", "us", "mm2", "TOPS/W, dense", "TOPS/W, effective", "pJ / synaptic operation")
    return markdown_table(columns, ((words, *_figures(report)) for words, report in rows))


def _figures(report: HardwareReport) -> tuple[str, ...]:
    return tuple(
        readable(number)
        for number in (
            report.energy_pj * 1e-6,
            report.latency_ns * 1e-3,
            report.area_um2 * 1e-6,
            report.dense_tops_per_w,
            report.effective_tops_per_w,
            report.pj_per_synaptic_operation,
        )
    )


if __name__ == "__main__":
    main()

"""DNN+NeuroSim V1.4's 27 recorded runs, and the network that they were made with.

Run names and what was printed: tests/data/neurosim_runs.json. The network is VGG9's convolutions; every layer's input
is active with the run's spike rate, after pooling too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from intsnn.activity import Activity, SynapseActivity, assume
from intsnn.arithmetic import IntArray
from intsnn.graph import IntConv, IntGraph, IntInput, IntNeuron, IntNode, IntPool, IntReadout, IntRequant
from intsnn.hardware import HardwareSpec, with_sections
from intsnn.hardware.chip import ScheduleRule
from intsnn.mapping.demand import Demand, demand_of

RUNS = Path(__file__).resolve().parents[1] / "tests" / "data" / "neurosim_runs.json"

LAYERS = (
    (32, 3, 64), (32, 64, 64), (16, 64, 128), (16, 128, 128), (8, 128, 256), (8, 256, 256), (8, 256, 256)
)  # fmt: skip  # side, Ci, Co of VGG9's convolutions, 3x3


@dataclass(frozen=True)
class Run:
    """One recorded run: its parameters and what NeuroSim printed, pJ (None: it printed none), ns, um2."""

    name: str
    rate: float
    crossbar: int
    adc_bits: int
    cell_bits: int
    weight_bits: int
    variant: str
    energy_pj: float | None
    latency_ns: float | None
    area_um2: float


@cache
def recorded_runs() -> tuple[Run, ...]:
    """The 27 runs, by the parameters in their names: <node>_x<side>[_variant]_r<rate>."""
    return tuple(_run(name, figures) for name, figures in printed().items())


@cache
def printed() -> dict[str, dict[str, float]]:
    """What NeuroSim printed of each run, by its own names; lists (layers) are left out."""
    document = json.loads(RUNS.read_text())["runs"]
    return {
        name: {key: value for key, value in figures.items() if not isinstance(value, list)}
        for name, figures in document.items()
    }


def _run(name: str, printed: dict[str, float]) -> Run:
    parts = name.split("_")
    variant = parts[2] if len(parts) == 4 else ""
    if parts[0] != "65":
        variant = f"{parts[0]}nm"
    return Run(
        name=name,
        rate=float(parts[-1][1:]),
        crossbar=int(parts[1][1:]),
        adc_bits=6 if variant == "adc6" else 4,
        cell_bits=1 if variant == "cell1" else 4,
        weight_bits=int(variant[1:]) if variant.startswith("w") else 4,
        variant=variant,
        energy_pj=printed.get("energy_pJ", printed.get("pipe_energy_pJ")),
        latency_ns=printed.get("latency_ns"),
        area_um2=printed["chip_area_um2"],
    )


@cache
def network() -> IntGraph:
    """VGG9's convolutions on spikes of one bit; weights are ones, since only sizes and widths are priced."""
    nodes: list[IntNode] = [IntInput("input", (), (3, 32, 32), 1, False, 1.0)]
    zero, one, two = (np.full(1, value, np.int64) for value in (0, 1, 2))
    for index, (side, channels, outputs) in enumerate(LAYERS):
        name, read = f"conv{index + 1}", nodes[-1].name
        if nodes[-1].shape[1] != side:
            pooled = (channels, side, side)
            nodes.append(IntPool(f"pool{index}", (read,), pooled, "max", (2, 2), (2, 2), (0, 0)))
            read = nodes[-1].name
        weight: IntArray = np.ones((outputs, channels, 3, 3), np.int64)
        shape = (outputs, side, side)
        nodes.append(IntConv(name, (read,), shape, weight, 4, (1, 1), (1, 1), (1, 1), 1))
        nodes.append(IntRequant(f"current{index + 1}", (name,), shape, one, zero, 0, 1.0))
        nodes.append(
            IntNeuron(
                f"lif{index + 1}", (f"current{index + 1}",), shape, two, zero, one, "hard", zero, zero, 1, 4, 0, 1.0
            )
        )  # fmt: skip
    nodes.append(IntReadout("readout", (nodes[-1].name,), nodes[-1].shape, "steps", 1.0))
    return IntGraph(tuple(nodes))


@cache
def network_demand() -> Demand:
    """What the network asks of a chip."""
    return demand_of(network())


@cache
def activity_at(rate: float) -> Activity:
    """One step in which every layer's input is active with `rate`, after pooling too, as in the runs."""
    full = assume(network(), rate=1.0, time_steps=1)
    return replace(full, synapses=tuple(_scaled(synapse, rate) for synapse in full.synapses))


def _scaled(synapse: SynapseActivity, rate: float) -> SynapseActivity:
    return replace(
        synapse,
        active_inputs=tuple(rate * count for count in synapse.active_inputs),
        row_activations=tuple(rate * count for count in synapse.row_activations),
        row_pulses=tuple(rate * count for count in synapse.row_pulses),
        input_sum=tuple(rate * count for count in synapse.input_sum),
    )


def as_in_the_runs(hardware: HardwareSpec, rule: ScheduleRule) -> HardwareSpec:
    """A description with the structure of the runs: one way of mapping, one copy of each layer, inputs read anew."""
    mapping = "kernel_split" if hardware.crossbar.mapping == "auto" else hardware.crossbar.mapping
    return with_sections(
        hardware,
        crossbar={"mapping": mapping},
        buffers={"constant_input": "repeat"},
        schedule={"rule": rule},
        duplication={"arrays": None},
    )

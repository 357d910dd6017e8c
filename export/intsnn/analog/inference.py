"""Graph, hardware and analog description -> a chip of one seed; the chip and inputs -> a trace like the interpreter's.

Only the sums of synapses come from arrays. Thresholds, leaks, requantization, pools and sums are the exact
integer code of the interpreter, so with ideal cells, no wires and lossless converters every value is the same.
"""

from __future__ import annotations

from collections.abc import Mapping as ByName
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from intsnn.analog.arrays import cut
from intsnn.analog.conductance import make_cells, read_levels, read_variance
from intsnn.analog.converters import full_scale
from intsnn.analog.layers import AnalogLayer, ReadCounts, calibrated
from intsnn.analog.spec import AnalogSpec
from intsnn.arithmetic import IntArray
from intsnn.errors import UsageError
from intsnn.execution.interpreter import Trace, evaluate, run
from intsnn.graph import IntGraph, Synapse
from intsnn.graph.bounds import read_bounds
from intsnn.graph.windows import Accumulate
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import LayerMapping, map_graph

_CELLS, _READING = 0, 1  # the two kinds of random streams of a seed


@dataclass(frozen=True, eq=False)
class AnalogChip:
    """A graph programmed into the arrays of one chip, by layer name. `seed` decides its cells and its read noise."""

    graph: IntGraph
    hardware: HardwareSpec
    spec: AnalogSpec
    seed: int
    layers: ByName[str, AnalogLayer]


@dataclass(frozen=True)
class AnalogRun:
    """What a run on a chip saw, and what each synapse read."""

    trace: Trace
    reads: ByName[str, ReadCounts]


def make_chip(
    graph: IntGraph,
    hardware: HardwareSpec,
    *,
    spec: AnalogSpec,
    seed: int = 0,
    calibration: npt.ArrayLike | None = None,
) -> AnalogChip:
    """Program a legal graph into arrays.

    Args:
        graph: the network.
        hardware: its crossbars: size, cell bits, encoding, mapping, converter resolution.
        spec: what cells, wires and converters are like.
        seed: of the chip; equal seeds give equal chips and equal runs.
        calibration: integer inputs [T, N, *input shape] for ranges and column gains, where the description has such.
            Every layer sees what the exact network would give it.

    Raises:
        HardwareError: the graph does not fit the crossbars.
        UsageError: the crossbars are digital, or the description needs a calibration and there is none.
    """
    if spec.needs_calibration and calibration is None:
        raise UsageError(
            f"a chip of {spec.name!r} needs inputs to calibrate its ranges or column gains (got none)",
            hints=["give calibration inputs, best from the training data"],
        )
    if hardware.crossbar.is_digital:
        raise UsageError(
            f"{hardware.name}: arrays without converters are digital and exact (readout: {hardware.crossbar.readout})",
            hints=["choose a description whose columns are read by converters"],
        )
    mapping, read = map_graph(graph, hardware), read_bounds(graph)
    synapses = {synapse.name: synapse for synapse in graph.all_synapses}
    layers = {
        layer.name: _layer(
            synapses[layer.name], layer, hardware, spec, (seed, _CELLS, index),
            signed=read[layer.name].low < 0,
        )
        for index, layer in enumerate(mapping.layers)
    }  # fmt: skip
    chip = AnalogChip(graph, hardware, spec, seed, layers)
    return chip if calibration is None or not spec.needs_calibration else _calibrated(chip, calibration)


def is_undisturbed(spec: AnalogSpec, hardware: HardwareSpec) -> bool:
    """Whether nothing in a description changes a sum, so that every value is the exact network's.

    No cell deviates, drifts or sticks, wires have no resistance, converters tell every sum apart, and columns have no
    gains fitted to data. A range that is set to what it sees makes a lossless converter no finer and no coarser.
    """
    converter = full_scale(hardware.crossbar, noise_codes=spec.converters.noise_codes)
    lossless = converter.step == 1 and not converter.noise_codes
    exact_cells = spec.drift is None and spec.wires is None and spec.is_noiseless
    return lossless and exact_cells and spec.column_gains == "none"


def run_analog(chip: AnalogChip, x: npt.ArrayLike) -> AnalogRun:
    """Run the chip on integer input x [T, N, *input shape]. The same chip and input give the same trace."""
    reads: dict[str, ReadCounts] = {}
    return AnalogRun(run(chip.graph, x, accumulate=analog_sums(chip, reads)), reads)


def analog_sums(chip: AnalogChip, reads: dict[str, ReadCounts]) -> Accumulate:
    """The chip's synapses, for one run of the interpreter; what each of them reads is added to `reads`.

    A recurrent layer is read step by step: its read noise goes on from step to step. A layer whose sums the hardware
    holds is read once for all steps of an input that stays the same, with one noise for all of them.
    """
    streams = {
        name: np.random.Generator(np.random.SFC64((chip.seed, _READING, index)))  # the fastest for normal float32
        for index, name in enumerate(chip.layers)
    }

    held = {name for name, layer in chip.layers.items() if layer.arrays.layer.is_held_by(chip.hardware.buffers)}

    def accumulate(node: Synapse, x: IntArray) -> IntArray:
        once = node.name in held and np.array_equal(x[1:], x[:-1])
        sums, counts = chip.layers[node.name].accumulate(x[:1] if once else x, streams[node.name])
        reads[node.name] = reads.get(node.name, ReadCounts()) + counts
        return sums.repeat(len(x), axis=0) if once else sums

    return accumulate


def _layer(
    node: Synapse,
    layer: LayerMapping,
    hardware: HardwareSpec,
    spec: AnalogSpec,
    seed: tuple[int, ...],
    *,
    signed: bool,
) -> AnalogLayer:
    crossbar = hardware.crossbar
    arrays = cut(node, layer, crossbar)
    cells = make_cells(arrays, spec, seed)
    variance = read_variance(cells, spec, arrays)
    return AnalogLayer(
        arrays=arrays,
        levels=read_levels(cells, spec, arrays, crossbar).astype(np.float32),
        variance=None if variance is None else variance.astype(np.float32),
        converter=full_scale(crossbar, noise_codes=spec.converters.noise_codes),
        signed=signed,
    )


def _calibrated(chip: AnalogChip, x: npt.ArrayLike) -> AnalogChip:
    layers = {
        node.name: calibrated(chip.layers[node.name], read, chip.spec, chip.hardware.crossbar)
        for node, read in (step.weight_layer for step in evaluate(chip.graph, x) if step.weight_layer is not None)
    }
    return replace(chip, layers=layers)

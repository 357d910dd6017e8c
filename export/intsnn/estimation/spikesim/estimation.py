"""An integer graph's convolutions under the SpikeSim rules -> the report, with what those rules leave out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from intsnn.activity import Activity
from intsnn.errors import HardwareError
from intsnn.estimation.costs import AreaPart, EnergyPart
from intsnn.estimation.report import (
    Basis,
    Floorplan,
    HardwareReport,
    NodeSummary,
    NotModelled,
    Provenance,
    Technology,
    Unavailable,
    Workload,
    or_none,
)
from intsnn.estimation.schedule import Busy
from intsnn.estimation.spikesim.rules import SpikeSimLayer, SpikeSimReport, spikesim
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
)
from intsnn.hardware.spikesim_spec import DeviceValues, SpikeSimSpec


def estimate_by_spikesim(graph: IntGraph, activity: Activity, rules: SpikeSimSpec) -> HardwareReport:
    """Figures of the graph's convolutions under the SpikeSim rules; the report says what those leave out."""
    _require_known(graph)
    convolutions = graph.of_type(IntConv)
    result = spikesim(
        [_spikesim_layer(graph, node) for node in convolutions],
        kernel=_one_kernel(convolutions),
        time_steps=activity.time_steps,
        rules=rules,
    )
    names = [node.name for node in convolutions]
    return HardwareReport(
        hardware=rules.name,
        summary=rules.summary,
        technology=Technology(rules.technology.node_nm, None, rules.technology.clock_mhz),
        workload=Workload.of(activity),
        nodes=_spikesim_nodes(convolutions, result, activity),
        energy=_spikesim_energy(names, result, activity.time_steps),
        area=_spikesim_area(names, result),
        latency=_spikesim_latency(names, result),
        provenance=_spikesim_provenance(rules),
        not_modelled=tuple(NotModelled(**dict(entry)) for entry in rules.excluded),
        notes=_spikesim_notes(graph, result),
        floorplan=Floorplan(**dict(rules.floorplan)),
        basis=Basis(graph, activity),
    )


def _require_known(graph: IntGraph) -> None:
    """Raise HardwareError with every node whose work the rules would leave out without a word."""
    found = [f"  {node.name}: {words}" for node in graph if (words := _work_without_rule(node))]
    if found:
        raise HardwareError(
            "\n".join(
                ["SpikeSim knows convolutions and leaves linear layers out (got nodes it has no rule for)", *found]
            ),
            hints=["use rram_64x64_65nm, which prices every node"],
        )


def _work_without_rule(node: IntNode) -> str:
    """What work of a node the rules do not know, in words; "" for a node that they price, or whose absence they say."""
    match node:
        case IntConvTranspose():
            return "a transposed convolution"
        case IntRecurrentNeuron():
            return "a recurrent synapse"
        case IntMatMul():
            return "a product of activations"
        case IntInput() | IntConv() | IntLinear() | IntRequant() | IntNeuron() | IntPool() | IntAdd() | IntConcat():
            return ""
        case IntMultiply() | IntSum() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            return ""
        case _:
            assert_never(node)


def _spikesim_layer(graph: IntGraph, node: IntConv) -> SpikeSimLayer:
    """Sizes of the convolution itself, before pooling; the tool's example passes sizes after it."""
    read, written = graph.node(node.inputs[0]).shape, node.shape
    kernel = node.kernel
    if len(kernel) != 2:
        raise HardwareError(
            f"node {node.name!r}: SpikeSim knows convolutions of images (got a kernel of {len(kernel)} axes)",
            hints=["use rram_64x64_65nm, which maps every convolution"],
        )
    if node.groups != 1 or kernel[0] != kernel[1] or read[1] != read[2] or written[1] != written[2]:
        raise HardwareError(
            f"node {node.name!r}: SpikeSim knows square maps, square kernels and one group "
            f"(got maps {read} -> {written}, kernel {kernel[0]} x {kernel[1]}, {node.groups} groups)",
            hints=["use rram_64x64_65nm, which maps every convolution"],
        )
    return SpikeSimLayer(in_channels=read[0], out_channels=written[0], in_size=read[1], out_size=written[1])


def _one_kernel(convolutions: Sequence[IntConv]) -> int:
    kernels = sorted({node.kernel[0] for node in convolutions})
    if len(kernels) != 1:
        seen = ", ".join(map(str, kernels)) or "no convolution"
        raise HardwareError(
            f"SpikeSim needs convolutions of one kernel size (got {seen})",
            hints=["use rram_64x64_65nm, which maps every synapse"],
        )
    return kernels[0]


def _spikesim_nodes(
    convolutions: Sequence[IntConv], result: SpikeSimReport, activity: Activity
) -> tuple[NodeSummary, ...]:
    summaries = []
    for node, figures in zip(convolutions, result.layers, strict=True):
        seen = activity.synapse(node.name)
        operations = figures.layer.outputs * int(node.weight[0].size)
        summaries.append(
            NodeSummary(
                name=node.name,
                kind=node.kind,
                shape=node.shape,
                arrays=figures.n_pe * int(node.weight[0, 0].size),
                pes=figures.n_pe,
                input_rate=seen.rate,
                dense_operations=2 * operations * activity.time_steps,
                effective_operations=math.fsum(seen.row_activations) * node.weight.shape[0],
            )
        )
    return tuple(summaries)


def _spikesim_energy(names: Sequence[str], result: SpikeSimReport, time_steps: int) -> tuple[EnergyPart, ...]:
    return tuple(
        EnergyPart(name, part.component, part.component, (part.value / time_steps,) * time_steps)
        for name, figures in zip(names, result.layers, strict=True)
        for part in figures.energy_parts
    )


def _spikesim_area(names: Sequence[str], result: SpikeSimReport) -> tuple[AreaPart, ...] | Unavailable:
    parts: list[AreaPart] = []
    for name, figures in zip(names, result.layers, strict=True):
        if isinstance(figures.area_parts, Unavailable):
            return figures.area_parts
        parts += (AreaPart(name, part.component, part.component, part.value) for part in figures.area_parts)
    return tuple(parts)


def _spikesim_latency(names: Sequence[str], result: SpikeSimReport) -> tuple[Busy, ...] | Unavailable:
    parts: list[Busy] = []
    for name, figures in zip(names, result.layers, strict=True):
        if isinstance(figures.latency_figure, Unavailable):
            return figures.latency_figure
        parts.append(Busy(name, figures.latency_figure))
    return tuple(parts)


def _spikesim_provenance(rules: SpikeSimSpec) -> tuple[Provenance, ...]:
    prices = [
        (one.component, f"energy_pj {_in_words(one.energy_pj)} per {one.per}", one.source) for one in rules.energy
    ]
    prices += [(one.component, f"area_um2 {_in_words(one.area_um2)} per {one.per}", one.source) for one in rules.area]
    clocks = f"{rules.schedule.cycles_per_pe} clocks per PE cycle, overlap {rules.schedule.overlap}"
    parts = [Provenance(component, words, source, None) for component, words, source in prices]
    return (*parts, Provenance("schedule", clocks, rules.schedule.source, None))


def _in_words(value: float | DeviceValues) -> str:
    return f"{value.rram:g} (rram), {value.sram:g} (sram)" if isinstance(value, DeviceValues) else f"{value:.10g}"


def _spikesim_notes(graph: IntGraph, result: SpikeSimReport) -> tuple[str, ...]:
    notes = [] if or_none(result.tile_figure) is None else [f"Tiles, shared by the layers: {result.n_tiles}."]
    notes += ["Output sizes are the convolutions' own, before pooling; SpikeSim's example passes sizes after pooling."]
    linear = [node.name for node in graph.of_type(IntLinear)]
    if linear:
        notes.append(f"SpikeSim maps no linear layers; not in these figures: {', '.join(linear)}.")
    apart = [node.name for node in graph if not _as_in_the_tool(node)]
    if apart:
        notes.append(
            "SpikeSim has one price for a neuron, a spike of one bit, a norm that is folded away and nothing between "
            f"layers; what these need beyond that is not in these figures: {', '.join(apart)}."
        )
    notes.append("SpikeSim knows no activity: figures are the same for every spike rate.")
    return tuple(notes)


def _as_in_the_tool(node: IntNode) -> bool:
    """Whether a node is of a kind that SpikeSim's networks have: layers of plain neurons, pools, residual sums."""
    match node:
        case IntNeuron():
            plain = (node.spike, node.timing, node.floor, node.rearm) == ("binary", "same_step", "none", "plain")
            return plain and not node.has_synapse
        case IntRequant():
            return node.multiplier.ndim == node.bias.ndim == 1
        case IntMultiply() | IntSum():
            return False
        case IntInput() | IntConv() | IntConvTranspose() | IntLinear() | IntPool() | IntAdd() | IntConcat():
            return True
        case IntMatMul() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            return True
        case _:
            assert_never(node)

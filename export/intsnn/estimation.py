"""Graph, activity and hardware description -> the report: map, count, schedule, price; or the SpikeSim rules."""

from __future__ import annotations

import math
from pathlib import Path

from intsnn.activity import Activity, fingerprint
from intsnn.costs import price
from intsnn.errors import HardwareError
from intsnn.events import count, row_rate
from intsnn.graph import IntGraph, IntNode
from intsnn.hardware import Hardware, HardwareSpec, SpikeSimSpec, load_hardware
from intsnn.hardware.items import Item
from intsnn.hardware.spec import QUANTITIES, Cost
from intsnn.mapping import LayerMapping, Mapping, map_graph
from intsnn.report import HardwareReport, NodeSummary, NotModelled, Provenance, Technology, Workload
from intsnn.schedule import schedule
from intsnn.spikesim_estimation import estimate_by_spikesim

_LOW_UTILISATION = 0.1  # below this share of used cells a note says so


def estimate(graph: IntGraph, activity: Activity, hardware: str | Path | Hardware) -> HardwareReport:
    """Energy, latency and area of one inference of a legal graph.

    Args:
        graph: the network.
        activity: of this graph; its T is the T that is priced.
        hardware: name of a shipped description, path of a file, or the description itself.

    Raises:
        HardwareError: the activity is of another graph, or the graph does not fit the description.
    """
    spec = load_hardware(hardware) if isinstance(hardware, str | Path) else hardware
    if activity.graph != fingerprint(graph):
        raise HardwareError(
            "the activity must be of the graph that is priced (its fingerprint is another)",
            hints=["measure the activity again on this graph"],
        )
    if isinstance(spec, SpikeSimSpec):
        return estimate_by_spikesim(graph, activity, spec)
    return _by_components(graph, activity, spec)


def _by_components(graph: IntGraph, activity: Activity, hardware: HardwareSpec) -> HardwareReport:
    mapping = map_graph(graph, hardware)
    counts = count(mapping, activity)
    busy = schedule(mapping, time_steps=activity.time_steps)
    prices = price(counts, hardware, latency_ns=math.fsum(one.time_ns for one in busy))
    technology = hardware.technology
    return HardwareReport(
        hardware=hardware.name,
        summary=hardware.summary,
        technology=Technology(technology.node_nm, technology.voltage_v, technology.clock_mhz),
        workload=Workload.of(activity),
        nodes=_mapped_nodes(graph, mapping, activity),
        energy=prices.energy,
        area=prices.area,
        latency=busy,
        provenance=_provenance(hardware),
        not_modelled=_left_out(hardware),
        notes=_notes(mapping),
    )


def _mapped_nodes(graph: IntGraph, mapping: Mapping, activity: Activity) -> tuple[NodeSummary, ...]:
    layers = {layer.name: layer for layer in mapping.layers}
    digital = {node.name for node in mapping.digital}
    summaries = []
    for node in graph:
        if node.name in layers:
            summaries.append(_layer_summary(node, layers[node.name], activity))
        elif node.name in digital:
            summaries.append(NodeSummary(node.name, node.kind, node.shape))
    return tuple(summaries)


def _layer_summary(node: IntNode, layer: LayerMapping, activity: Activity) -> NodeSummary:
    seen = activity.synapse(node.name)
    quiet = 1 - row_rate(layer, seen)
    idle = [float((quiet ** (rows * layer.groups_per_array)).mean()) for rows in layer.rows]
    return NodeSummary(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        arrays=layer.arrays,
        pes=layer.pes,
        tiles=layer.tiles,
        utilisation=layer.utilisation,
        input_rate=seen.rate,
        idle_arrays=math.fsum(idle) / len(idle),
        dense_operations=2 * layer.synaptic_operations * activity.time_steps,
        effective_operations=math.fsum(seen.row_activations) * layer.out_per_group,
    )


def _notes(mapping: Mapping) -> tuple[str, ...]:
    crossbar = mapping.hardware.crossbar
    notes = [f"{mapping.arrays:,} arrays in {mapping.pes:,} PEs on {mapping.tiles:,} tiles."]
    if crossbar.resolution < crossbar.lossless_adc_bits:
        notes.append(
            f"Converters have {crossbar.resolution} bits, exact column sums need {crossbar.lossless_adc_bits}: a chip "
            "with these figures does not compute the graph's integers exactly."
        )
    if crossbar.gating == "array":
        notes.append("Idle arrays are skipped; how many are idle is estimated from the row rate, rows independent.")
    sparse = [layer.name for layer in mapping.layers if layer.utilisation < _LOW_UTILISATION]
    if sparse:
        notes.append(f"Less than {_LOW_UTILISATION:.0%} of the cells are used in: {', '.join(sparse)}.")
    return tuple(notes)


def _left_out(hardware: HardwareSpec) -> tuple[NotModelled, ...]:
    excluded = [NotModelled(name, reason) for name, reason in hardware.excluded.items()]
    missing = [
        NotModelled(f"{name}: {quantity}", reason)
        for name, cost in _priced(hardware)
        for quantity, reason in cost.missing.items()
    ]
    others = [NotModelled(entry.effect, entry.reason) for entry in hardware.not_modelled]
    return (*excluded, *missing, *others)


def _priced(hardware: HardwareSpec) -> list[tuple[str, Cost]]:
    found = [(item.value, hardware.cost(item)) for item in Item]
    return [(name, cost) for name, cost in found if cost is not None]


def _provenance(hardware: HardwareSpec) -> tuple[Provenance, ...]:
    return tuple(
        Provenance(name, _prices_in_words(cost), cost.source, _scaling_in_words(cost))
        for name, cost in _priced(hardware)
    )


def _prices_in_words(cost: Cost) -> str:
    """`energy_pj 0.0062, 0.0218 at 2, 4 bits (linear); area_um2 …`."""
    words = []
    for quantity in QUANTITIES:
        published = getattr(cost, quantity)
        if isinstance(published, tuple) and cost.bits is not None:
            widths = ", ".join(f"{width:g}" for width in cost.bits)
            prices = ", ".join(f"{price:.10g}" for price in published)
            words.append(f"{quantity} {prices} at {widths} bits ({cost.interpolation})")
        elif published is not None:
            words.append(f"{quantity} {published:.10g}")
    return "; ".join(words)


def _scaling_in_words(cost: Cost) -> str | None:
    if cost.scaling is None:
        return None
    factors = [f"{quantity} x {cost.factor(quantity):g}" for quantity in QUANTITIES if cost.factor(quantity) != 1]
    return f"{cost.scaling.rule}: {', '.join(factors)}"

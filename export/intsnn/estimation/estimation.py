"""Graph, activity and hardware description -> the report: map, count, schedule, price; or the SpikeSim rules."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from intsnn.activity import Activity
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.costs import price
from intsnn.estimation.events import count
from intsnn.estimation.loading import SHARED, leaking_ns
from intsnn.estimation.programming import Programming, programming
from intsnn.estimation.remarks import idle_share, remarks
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
)
from intsnn.estimation.schedule import Timeline, schedule, timeline
from intsnn.estimation.spikesim.estimation import estimate_by_spikesim
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint
from intsnn.hardware import Hardware, HardwareSpec, SpikeSimSpec, load_hardware
from intsnn.hardware.catalogue import QUANTITIES, QUANTITY_WORDS, Item
from intsnn.hardware.cost import Cost
from intsnn.mapping import LayerMapping, Mapping, place
from intsnn.mapping.demand import Demand, DigitalNode, SynapseDemand, demand_of


def estimate(
    graph: IntGraph, activity: Activity, hardware: str | Path | Hardware, *, demand: Demand | None = None
) -> HardwareReport:
    """Energy, latency and area of one inference of a legal graph.

    Args:
        graph: the network.
        activity: of this graph; its T is the T that is priced.
        hardware: name of a shipped description, path of a file, or the description itself.
        demand: what the graph asks for, with words of other widths (widths.py); None: its own.

    Returns:
        The report as data: energies in pJ, times in ns, areas in um2. `intsnn.report` renders it.

    Raises:
        HardwareError: the activity is of another graph, or the graph does not fit the description.
        UsageError: the description is not shipped, or prices every bit width alike and a demand is given.
    """
    spec = load_hardware(hardware) if isinstance(hardware, str | Path) else hardware
    if activity.graph != fingerprint(graph):
        raise HardwareError(
            "the activity must be of the graph that is priced (its fingerprint is another)",
            hints=["measure the activity again on this graph"],
        )
    if isinstance(spec, SpikeSimSpec):
        if demand is not None:
            raise UsageError(
                f"{spec.name} prices every bit width alike, so words of other widths have no figures of their own",
                hints=["choose a description that knows bit widths, such as spikesim_fixed"],
            )
        return estimate_by_spikesim(graph, activity, spec)
    return _by_components(graph, activity, spec, demand or demand_of(graph))


def _by_components(graph: IntGraph, activity: Activity, hardware: HardwareSpec, demand: Demand) -> HardwareReport:
    mapping = place(demand, hardware, constant_steps=activity.constant_steps)
    counts = count(mapping, activity)
    when = timeline(mapping, time_steps=activity.time_steps)
    prices = price(counts, hardware, leaking_ns=leaking_ns(mapping, when.latency_ns))
    return HardwareReport(
        hardware=hardware.name,
        summary=hardware.summary,
        technology=Technology(**dict(hardware.technology)),
        workload=Workload.of(activity),
        nodes=_mapped_nodes(demand, mapping, activity),
        energy=prices.energy,
        area=prices.area,
        latency=schedule(mapping, time_steps=activity.time_steps),
        provenance=_provenance(hardware),
        not_modelled=_left_out(hardware),
        notes=remarks(mapping, activity, prices.energy),
        floorplan=Floorplan(**dict(hardware.floorplan)),
        basis=Basis(graph, activity, mapping, counts, demand),
        timeline=when,
        programming=_programming(mapping, when),
        batch=mapping.batch,
    )


def _programming(mapping: Mapping, when: Timeline) -> Programming | Unavailable:
    try:
        return programming(mapping, when)
    except HardwareError as error:  # absent from the report with its reason; all other figures stand without it
        return Unavailable(error.message, error.hints)


def _mapped_nodes(demand: Demand, mapping: Mapping, activity: Activity) -> tuple[NodeSummary, ...]:
    layers = {layer.name: layer for layer in mapping.layers}
    shared = () if mapping.reload is None else (NodeSummary(SHARED, "reload", ()),)
    return shared + tuple(
        _layer_summary(node, layers[node.name], activity)
        if isinstance(node, SynapseDemand)
        else _digital_summary(node, activity)
        for node in demand.nodes
    )


def _layer_summary(node: SynapseDemand, layer: LayerMapping, activity: Activity) -> NodeSummary:
    seen = activity.synapse(node.name)
    read = layer.read_steps(activity.time_steps)
    return NodeSummary(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        arrays=layer.arrays,
        pes=layer.pes,
        tiles=layer.tiles,
        utilisation=layer.utilisation,
        input_rate=seen.rate,
        idle_arrays=idle_share(layer, activity),
        copies=layer.copies,
        dense_operations=2 * layer.synaptic_operations * read,
        effective_operations=math.fsum(seen.row_activations[:read]) * layer.out_per_group,
    )


def _digital_summary(node: DigitalNode, activity: Activity) -> NodeSummary:
    about = NodeSummary(node.name, node.kind, node.shape)
    if not node.pairs:
        return about
    active = math.fsum(activity.product(node.name).active_pairs)
    return replace(about, dense_operations=2 * node.pairs * activity.time_steps, effective_operations=active)


def _left_out(hardware: HardwareSpec) -> tuple[NotModelled, ...]:
    excluded = [NotModelled(name, reason) for name, reason in hardware.excluded.items()]
    missing = [
        NotModelled(f"{name}: {QUANTITY_WORDS[quantity]}", reason)
        for name, cost in _priced(hardware)
        for quantity, reason in cost.missing.items()
    ]
    others = [NotModelled(**dict(entry)) for entry in hardware.not_modelled]
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

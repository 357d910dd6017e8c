"""A hardware report -> its JSON document, in the form that hardware_report.schema.json publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic_core import to_json as written_json

from intsnn.activity import NeuronActivity
from intsnn.estimation.assumptions import Assumption
from intsnn.estimation.costs import AreaPart
from intsnn.estimation.price_sensitivity import PriceSensitivity
from intsnn.estimation.programming import Programming
from intsnn.estimation.report import (
    DEFINITIONS,
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
from intsnn.estimation.schedule import Busy, Timeline
from intsnn.mapping import LayerMapping
from intsnn.report.context import PROXY_SOURCE, arithmetic_proxy, spikesim_figures

REPORT_SCHEMA: Literal["mdcompress.hardware_report/1"] = "mdcompress.hardware_report/1"


@dataclass(frozen=True)
class EnergyEntry:
    """Energy of one component at one node in each step, and their sum, pJ. group: the part of the chip."""

    node: str
    component: str
    group: str
    steps_pj: tuple[float, ...]
    energy_pj: float


@dataclass(frozen=True)
class PlacedEntry:
    """One synapse on arrays, in the letters of intsnn.mapping.

    positions: output positions; kernel: K; slices: S; polarity: P; array_kernel: arrays of a PE; rows: used rows of
    each block of rows; column_blocks: N_c; groups_per_array: G_a; input_bits: bits of an input, one after another;
    copies: D, which arrays, pes and tiles count all of.
    """

    node: str
    positions: int
    kernel: int
    groups: int
    in_per_group: int
    out_per_group: int
    input_bits: int
    slices: int
    polarity: int
    array_kernel: int
    rows: tuple[int, ...]
    column_blocks: int
    groups_per_array: int
    copies: int
    arrays: int
    pes: int
    tiles: int
    utilisation: float


@dataclass(frozen=True)
class EventEntry:
    """How often an item happens at a node in each step, mean per sample; bits where its price depends on a width."""

    node: str
    item: str
    bits: float | None
    steps: tuple[float, ...]


@dataclass(frozen=True)
class InstanceEntry:
    """How many of an item are built for a node."""

    node: str
    item: str
    bits: float | None
    count: int


@dataclass(frozen=True)
class SpikeSimEntry:
    """One total by SpikeSim's formulas and here, in the unit named, and here / SpikeSim; null where unavailable."""

    figure: str
    unit: str
    spikesim: float | None
    here: float | None
    ratio: float | None


@dataclass(frozen=True)
class ProxyEntry:
    """Arithmetic only, not comparable with the totals: this inference, and one pass with real values, pJ."""

    source: str
    snn_pj: float
    ann_pj: float
    additions: float
    multiply_additions: float


@dataclass(frozen=True)
class ReportDocument:
    """Figures of one inference of one network on one hardware description.

    Units stand in the names. `totals` holds null where the hardware's rules cannot give a figure, `unavailable` the
    reason. area, latency, programming: null where unavailable; timeline: null where the rules give no times. batch:
    inferences that one latency serves. placed, events, instances, neurons, sensitivities, assumptions: empty under
    rules that do not know them.
    """

    schema: Literal["mdcompress.hardware_report/1"]
    hardware: str
    summary: str
    technology: Technology
    workload: Workload
    totals: Mapping[str, float | None]
    unavailable: Mapping[str, str]
    energy_per_step_pj: tuple[float, ...]
    dense_operations: float
    effective_operations: float
    definitions: tuple[str, ...]
    floorplan: Floorplan
    nodes: tuple[NodeSummary, ...]
    energy: tuple[EnergyEntry, ...]
    area: tuple[AreaPart, ...] | None
    latency: tuple[Busy, ...] | None
    timeline: Timeline | None
    programming: Programming | None
    batch: int
    placed: tuple[PlacedEntry, ...]
    events: tuple[EventEntry, ...]
    instances: tuple[InstanceEntry, ...]
    neurons: tuple[NeuronActivity, ...]
    sensitivities: tuple[PriceSensitivity, ...]
    assumptions: tuple[Assumption, ...]
    spikesim: tuple[SpikeSimEntry, ...] | None
    arithmetic_proxy: ProxyEntry | None
    provenance: tuple[Provenance, ...]
    not_modelled: tuple[NotModelled, ...]
    notes: tuple[str, ...]


def to_json(report: HardwareReport) -> str:
    """The whole report as one JSON document (hardware_report.schema.json); the same report gives the same text."""
    text = written_json(document(report), indent=1).decode()
    if "NaN" in text or "Infinity" in text:
        json.loads(text, parse_constant=_refuse)
    return f"{text}\n"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"a report has finite numbers (got {constant})")


def document(report: HardwareReport) -> ReportDocument:
    """Everything the report knows, as plain values."""
    totals = report.totals()
    basis = report.basis
    return ReportDocument(
        schema=REPORT_SCHEMA,
        hardware=report.hardware,
        summary=report.summary,
        technology=report.technology,
        workload=report.workload,
        totals={total.key: or_none(total.figure) for total in totals},
        unavailable={total.key: total.figure.reason for total in totals if isinstance(total.figure, Unavailable)},
        energy_per_step_pj=report.energy_per_step_pj,
        dense_operations=report.dense_operations,
        effective_operations=report.effective_operations,
        definitions=DEFINITIONS,
        floorplan=report.floorplan,
        nodes=report.nodes,
        energy=tuple(
            EnergyEntry(part.node, part.component, part.group, part.steps_pj, part.energy_pj) for part in report.energy
        ),
        area=or_none(report.area),
        latency=or_none(report.latency),
        timeline=report.timeline,
        programming=or_none(report.programming),
        batch=report.batch,
        placed=_placed(basis),
        events=_events(basis),
        instances=_instances(basis),
        neurons=() if basis is None else basis.activity.neurons,
        sensitivities=report.sensitivities,
        assumptions=report.assumptions,
        spikesim=_spikesim(report),
        arithmetic_proxy=_proxy(report),
        provenance=report.provenance,
        not_modelled=report.not_modelled,
        notes=report.notes,
    )


def _placed(basis: Basis | None) -> tuple[PlacedEntry, ...]:
    return () if basis is None or basis.mapping is None else tuple(map(_placed_layer, basis.mapping.layers))


def _placed_layer(layer: LayerMapping) -> PlacedEntry:
    return PlacedEntry(
        node=layer.name,
        positions=layer.positions,
        kernel=layer.kernel,
        groups=layer.groups,
        in_per_group=layer.in_per_group,
        out_per_group=layer.out_per_group,
        input_bits=layer.input_bits,
        slices=layer.slices,
        polarity=layer.polarity,
        array_kernel=layer.array_kernel,
        rows=layer.rows,
        column_blocks=layer.column_blocks,
        groups_per_array=layer.groups_per_array,
        copies=layer.copies,
        arrays=layer.arrays,
        pes=layer.pes,
        tiles=layer.tiles,
        utilisation=layer.utilisation,
    )


def _events(basis: Basis | None) -> tuple[EventEntry, ...]:
    counts = None if basis is None else basis.counts
    events = () if counts is None else counts.events
    return tuple(EventEntry(one.node, one.item.value, one.bits, one.steps) for one in events)


def _instances(basis: Basis | None) -> tuple[InstanceEntry, ...]:
    counts = None if basis is None else basis.counts
    built = () if counts is None else counts.instances
    return tuple(InstanceEntry(one.node, one.item.value, one.bits, one.count) for one in built)


def _spikesim(report: HardwareReport) -> tuple[SpikeSimEntry, ...] | None:
    figures = or_none(spikesim_figures(report))
    if figures is None:
        return None
    return tuple(
        SpikeSimEntry(one.key, one.unit, or_none(one.spikesim), or_none(one.here), or_none(one.ratio))
        for one in figures
    )


def _proxy(report: HardwareReport) -> ProxyEntry | None:
    proxy = arithmetic_proxy(report)
    if proxy is None:
        return None
    return ProxyEntry(PROXY_SOURCE, proxy.snn_pj, proxy.ann_pj, proxy.additions, proxy.multiply_additions)

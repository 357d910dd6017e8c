"""The hardware figures of one inference: every part, the totals that are their sums, and the origin of each number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

from intsnn.activity import Activity
from intsnn.errors import HardwareError
from intsnn.estimation.assumptions import Assumption, Estimated, assumptions
from intsnn.estimation.costs import LEAKAGE, AreaPart, EnergyPart, total_energy_pj
from intsnn.estimation.counts import EventCounts
from intsnn.estimation.per_inference import PerInference
from intsnn.estimation.price_sensitivity import Outcome, PriceSensitivity, sensitivities
from intsnn.estimation.programming import Programming
from intsnn.estimation.schedule import Busy, Timeline
from intsnn.graph import IntGraph, Shape
from intsnn.mapping import Mapping
from intsnn.mapping.demand import Demand

Known = TypeVar("Known")


@dataclass(frozen=True)
class Unavailable:
    """Why a figure cannot be given, and what to do instead."""

    reason: str
    hints: tuple[str, ...] = ()


Figure = float | Unavailable


def value_of(figure: Known | Unavailable) -> Known:
    """The number or the parts; what is missing is never a zero.

    Raises:
        HardwareError: there are none; the message is the reason.
    """
    if isinstance(figure, Unavailable):
        raise HardwareError(figure.reason, hints=figure.hints)
    return figure


def or_none(figure: Known | Unavailable) -> Known | None:
    """The number or the parts, None where there are none: what tables and files show."""
    return None if isinstance(figure, Unavailable) else figure


DEFINITIONS = (
    "A dense operation is a multiplication or an addition: 2 for each weight x input pair of every synapse and "
    "for each pair of activations of every matrix product, whether the input is zero or not, in each step in which the "
    "chip computes it: all T, or the first alone of a layer whose sums are held.",
    "An effective operation is one synaptic operation: the addition of one weight for one input that is not zero "
    "(a multi-bit input counts once), or a pair of activations of which neither is zero, in the same steps.",
    "TOPS/W = operations / energy; TOPS/mm2 = operations / (latency x area); power = energy / latency.",
    "Throughput = 1 / interval, the time after which the next inference may start: the latency where nothing overlaps.",
    "EDP = energy x time per inference; EDAP = energy x time per inference x area. Area is the sum of components in "
    "all of these.",
    "Leakage power = leakage energy / latency; dynamic power is the rest.",
    "Time per inference = latency / inferences that it serves: the latency, but where a batch of them shares loads of "
    "weights. There the latency is that of the batch; power and TOPS/mm2 count all of it, and the timeline has its "
    "first inference in each group of layers.",
)


@dataclass(frozen=True)
class Technology:
    """Node, supply (None: the description names none) and clock. Compare designs only where these are equal."""

    node_nm: float
    voltage_v: float | None
    clock_mhz: float


@dataclass(frozen=True)
class Workload:
    """What was run: T, the activity's source, its samples (0: assumed), and spikes per neuron and step."""

    time_steps: int
    activity: Literal["measured", "assumed"]
    samples: int
    mean_rate: float

    @classmethod
    def of(cls, activity: Activity) -> Workload:
        """The header of an activity."""
        return cls(activity.time_steps, activity.source, activity.samples, activity.mean_rate)


@dataclass(frozen=True)
class NodeSummary:
    """One node on the hardware. What does not apply is None.

    dense_operations, effective_operations: of one inference (DEFINITIONS). input_rate: active inputs per input and
    step. idle_arrays: share of array reads without an active row (gating.py). copies: D of the layer.
    """

    name: str
    kind: str
    shape: Shape
    arrays: int | None = None
    pes: int | None = None
    tiles: int | None = None
    utilisation: float | None = None
    input_rate: float | None = None
    idle_arrays: float | None = None
    copies: int | None = None
    dense_operations: float = 0
    effective_operations: float = 0


@dataclass(frozen=True)
class Provenance:
    """Prices of one component as published, their source, and the rule that scaled them (None: as published)."""

    component: str
    prices: str
    source: str
    scaling: str | None


@dataclass(frozen=True)
class NotModelled:
    """An effect or item that no figure contains, and why."""

    effect: str
    reason: str


@dataclass(frozen=True)
class Floorplan:
    """Chip area = factor * sum of the components' areas, and where the factor comes from."""

    factor: float
    source: str


@dataclass(frozen=True)
class Basis:
    """What the figures were computed from, for pictures, sensitivities and comparison lines.

    mapping, counts, demand: None under rules that place and count nothing (SpikeSim's).
    """

    graph: IntGraph
    activity: Activity
    mapping: Mapping | None = None
    counts: EventCounts | None = None
    demand: Demand | None = None


@dataclass(frozen=True)
class TotalKind:
    """A figure of the whole: the property of HardwareReport that gives it, words, and its unit."""

    key: str
    label: str
    unit: str


TOTALS = (
    TotalKind("energy_pj", "Energy per inference", "pJ"),
    TotalKind("mean_step_energy_pj", "Energy per step", "pJ"),
    TotalKind("latency_ns", "Latency", "ns"),
    TotalKind("inference_time_ns", "Time per inference", "ns"),
    TotalKind("throughput_per_s", "Throughput", "inferences/s"),
    TotalKind("area_um2", "Area", "um2"),
    TotalKind("floorplan_um2", "Area with floorplan factor", "um2"),
    TotalKind("power_mw", "Power", "mW"),
    TotalKind("dynamic_power_mw", "Power, dynamic", "mW"),
    TotalKind("leakage_power_mw", "Power, leakage", "mW"),
    TotalKind("edp_pj_ns", "EDP", "pJ ns"),
    TotalKind("edap_pj_ns_um2", "EDAP", "pJ ns um2"),
    TotalKind("dense_tops_per_w", "TOPS/W, dense", "TOPS/W"),
    TotalKind("effective_tops_per_w", "TOPS/W, effective", "TOPS/W"),
    TotalKind("dense_tops_per_mm2", "TOPS/mm2, dense", "TOPS/mm2"),
    TotalKind("effective_tops_per_mm2", "TOPS/mm2, effective", "TOPS/mm2"),
    TotalKind("pj_per_synaptic_operation", "Per synaptic operation", "pJ"),
)


@dataclass(frozen=True)
class Total:
    """One figure of the whole: key, words and unit, and the figure in that unit."""

    key: str
    label: str
    unit: str
    figure: Figure


NO_PROGRAMMING = Unavailable("these rules know no writing of weights")


def time_key(*reports: HardwareReport) -> Literal["latency_ns", "inference_time_ns"]:
    """The total by which the time of these is compared: the latency where each serves one inference."""
    return "latency_ns" if all(one.batch == 1 for one in reports) else "inference_time_ns"


@dataclass(frozen=True)
class HardwareReport(PerInference):
    """Everything known about one network on one hardware. Totals are sums of the parts.

    A figure that the hardware's rules cannot give raises HardwareError when read; in tables and JSON it is absent,
    with its reason. latency: what each node is busy; timeline: when, and None where nothing overlaps in any rule.
    programming: what writing the weights takes. batch: inferences that one latency serves, more than 1 only where
    several share the loads of weights.
    """

    hardware: str
    summary: str
    technology: Technology
    workload: Workload
    nodes: tuple[NodeSummary, ...]
    energy: tuple[EnergyPart, ...]
    area: tuple[AreaPart, ...] | Unavailable
    latency: tuple[Busy, ...] | Unavailable
    provenance: tuple[Provenance, ...]
    not_modelled: tuple[NotModelled, ...]
    notes: tuple[str, ...]
    floorplan: Floorplan
    timeline: Timeline | None = None
    programming: Programming | Unavailable = NO_PROGRAMMING
    batch: int = 1
    basis: Basis | None = field(default=None, repr=False, compare=False)

    @property
    def energy_pj(self) -> float:
        """Energy of one inference, pJ."""
        return total_energy_pj(self.energy)

    @property
    def energy_per_step_pj(self) -> tuple[float, ...]:
        """Energy of each time step, pJ."""
        return tuple(math.fsum(step) for step in zip(*(part.steps_pj for part in self.energy), strict=True))

    @property
    def mean_step_energy_pj(self) -> float:
        """Energy of a time step, mean over the steps, pJ."""
        return self.energy_pj / self.workload.time_steps

    @property
    def area_um2(self) -> float:
        """Sum of the components' areas, um2."""
        return math.fsum(part.area_um2 for part in value_of(self.area))

    @property
    def latency_ns(self) -> float:
        """Time until the answer, ns: the timeline's, or the sum over the nodes where nothing overlaps.

        Of a batch that shares loads of weights, until the last of its answers.
        """
        busy = value_of(self.latency)
        return math.fsum(one.time_ns for one in busy) if self.timeline is None else self.timeline.latency_ns

    @property
    def interval_ns(self) -> float:
        """Time from one inference to the next where they follow each other, ns: the latency where nothing overlaps."""
        return self.latency_ns if self.timeline is None else self.timeline.interval_ns

    @property
    def throughput_per_s(self) -> float:
        """Inferences per second where they follow each other: 1/ns = 1e9/s."""
        return 1e9 * _ratio(1, self.interval_ns, "interval")

    @property
    def floorplan_um2(self) -> float:
        """Area on the chip: the components' area times the floorplan factor, um2."""
        return self.floorplan.factor * self.area_um2

    @property
    def power_mw(self) -> float:
        """Mean power while inferences run: pJ/ns = mW."""
        return _ratio(self.batch * self.energy_pj, self.latency_ns, "latency")

    @property
    def leakage_pj(self) -> float:
        """The part of the energy that leaks, pJ.

        Raises:
            HardwareError: the hardware prices no leakage.
        """
        leaks = [part.energy_pj for part in self.energy if part.component == LEAKAGE]
        if not leaks:
            raise HardwareError(
                f"{self.hardware} prices no leakage", hints=["give leakage_uw of its items in the description"]
            )
        return math.fsum(leaks)

    @property
    def leakage_power_mw(self) -> float:
        """Leakage energy / latency: pJ/ns = mW."""
        return _ratio(self.batch * self.leakage_pj, self.latency_ns, "latency")

    @property
    def dynamic_power_mw(self) -> float:
        """What is not leakage / latency: pJ/ns = mW."""
        dynamic = math.fsum(part.energy_pj for part in self.energy if part.component != LEAKAGE)
        return _ratio(self.batch * dynamic, self.latency_ns, "latency")

    @property
    def dense_operations(self) -> float:
        """2 * weight x input pairs * the steps in which they are computed."""
        return math.fsum(node.dense_operations for node in self.nodes)

    @property
    def effective_operations(self) -> float:
        """Synaptic operations of one inference, mean per sample."""
        return math.fsum(node.effective_operations for node in self.nodes)

    @property
    def dense_tops_per_w(self) -> float:
        """Dense operations per energy: 1 op/pJ = 1 TOPS/W."""
        return _ratio(self.dense_operations, self.energy_pj, "energy")

    @property
    def effective_tops_per_w(self) -> float:
        """Synaptic operations per energy: 1 op/pJ = 1 TOPS/W."""
        return _ratio(self.effective_operations, self.energy_pj, "energy")

    @property
    def dense_tops_per_mm2(self) -> float:
        """Dense operations per time and area: 1 op/(ns*um2) = 1e3 TOPS/mm2."""
        return 1e3 * _ratio(self.batch * self.dense_operations, self.latency_ns * self.area_um2, "latency x area")

    @property
    def effective_tops_per_mm2(self) -> float:
        """Synaptic operations per time and area: 1 op/(ns*um2) = 1e3 TOPS/mm2."""
        operations = self.batch * self.effective_operations
        return 1e3 * _ratio(operations, self.latency_ns * self.area_um2, "latency x area")

    @property
    def pj_per_synaptic_operation(self) -> float:
        """Energy of the whole chip per synaptic operation, pJ."""
        return _ratio(self.energy_pj, self.effective_operations, "number of synaptic operations")

    def totals(self) -> tuple[Total, ...]:
        """Every total in the order of the tables, each with its unit."""
        return tuple(Total(kind.key, self._label(kind), kind.unit, self._figure(kind.key)) for kind in TOTALS)

    def shown_totals(self) -> tuple[Total, ...]:
        """The totals of the tables: the time per inference only where it is not the latency."""
        return tuple(one for one in self.totals() if self.batch > 1 or one.key != "inference_time_ns")

    def _label(self, kind: TotalKind) -> str:
        whole = kind.key == "latency_ns" and self.batch > 1
        return f"{kind.label} of {self.batch:,} inferences" if whole else kind.label

    def _figure(self, key: str) -> Figure:
        try:
            return float(getattr(self, key))
        except HardwareError as error:  # absent from tables with its reason, not hidden: reading it raises
            return Unavailable(error.message, error.hints)

    @cached_property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What each assumption of the description moves; () where nothing was mapped."""
        basis = self.basis
        if basis is None or basis.mapping is None or basis.counts is None or basis.demand is None:
            return ()
        as_it_is = Outcome(self.energy_pj, self.latency_ns, self.area_um2, self.batch)
        return assumptions(Estimated(basis.demand, basis.activity, basis.mapping, basis.counts, as_it_is))

    @cached_property
    def sensitivities(self) -> tuple[PriceSensitivity, ...]:
        """What each price does to the totals when it is halved or doubled; () without mapping and counts."""
        if self.basis is None or self.basis.mapping is None or self.basis.counts is None:
            return ()
        return sensitivities(self.basis.mapping, self.basis.counts)


def _ratio(over: float, under: float, name: str) -> float:
    if under == 0:
        raise HardwareError(f"the figure needs a {name} above 0 (got 0)", hints=["give inputs that make neurons fire"])
    return over / under

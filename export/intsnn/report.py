"""The hardware figures of one inference: every part, the totals that are their sums, and the origin of each number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

from intsnn.activity import Activity
from intsnn.costs import AreaPart, EnergyPart
from intsnn.errors import HardwareError
from intsnn.graph import Shape
from intsnn.hardware.figures import Figure, Unavailable
from intsnn.report_text import markdown, short_table
from intsnn.schedule import Busy

Part = TypeVar("Part")

REPORT_SCHEMA = "mdcompress.hardware_report/1"

DEFINITIONS = (
    "A dense operation is a multiplication or an addition: 2 for each weight x input pair of every weight layer, "
    "times T, whether the input is zero or not.",
    "An effective operation is one synaptic operation: the addition of one weight for one input that is not zero "
    "(a multi-bit input counts once).",
    "TOPS/W = operations / energy; TOPS/mm2 = operations / (latency x area); power = energy / latency.",
    "EDP = energy x latency; EDAP = energy x latency x area.",
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
    step. idle_arrays: chance that an array sees no active row in a read, rows taken as independent.
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
class Total:
    """One figure of the whole: key, words and unit, and the figure in that unit."""

    key: str
    label: str
    unit: str
    figure: Figure


@dataclass(frozen=True)
class HardwareReport:
    """Everything known about one network on one hardware. Totals are sums of the parts.

    A figure that the hardware's rules cannot give raises HardwareError when read; in tables and JSON it is absent,
    with its reason.
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

    @property
    def energy_pj(self) -> float:
        """Energy of one inference, pJ."""
        return math.fsum(part.energy_pj for part in self.energy)

    @property
    def energy_per_step_pj(self) -> tuple[float, ...]:
        """Energy of each time step, pJ."""
        return tuple(math.fsum(step) for step in zip(*(part.steps_pj for part in self.energy), strict=True))

    @property
    def area_um2(self) -> float:
        """Sum of the components' areas, um2."""
        return math.fsum(part.area_um2 for part in _available(self.area))

    @property
    def latency_ns(self) -> float:
        """Time of one inference, ns."""
        return math.fsum(busy.time_ns for busy in _available(self.latency))

    @property
    def power_mw(self) -> float:
        """Mean power while an inference runs: pJ/ns = mW."""
        return _ratio(self.energy_pj, self.latency_ns, "latency")

    @property
    def edp_pj_ns(self) -> float:
        """Energy-delay product, pJ*ns."""
        return self.energy_pj * self.latency_ns

    @property
    def edap_pj_ns_um2(self) -> float:
        """Energy-delay-area product, pJ*ns*um2."""
        return self.edp_pj_ns * self.area_um2

    @property
    def dense_operations(self) -> float:
        """2 * weight x input pairs * T."""
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
        return 1e3 * _ratio(self.dense_operations, self.latency_ns * self.area_um2, "latency x area")

    @property
    def effective_tops_per_mm2(self) -> float:
        """Synaptic operations per time and area: 1 op/(ns*um2) = 1e3 TOPS/mm2."""
        return 1e3 * _ratio(self.effective_operations, self.latency_ns * self.area_um2, "latency x area")

    @property
    def pj_per_synaptic_operation(self) -> float:
        """Energy of the whole chip per synaptic operation, pJ."""
        return _ratio(self.energy_pj, self.effective_operations, "number of synaptic operations")

    def totals(self) -> tuple[Total, ...]:
        """Every total in the order of the tables, each with its unit."""
        read: tuple[tuple[str, str, str, Callable[[], float]], ...] = (
            ("energy_pj", "Energy per inference", "pJ", lambda: self.energy_pj),
            ("latency_ns", "Latency", "ns", lambda: self.latency_ns),
            ("area_um2", "Area", "um2", lambda: self.area_um2),
            ("power_mw", "Power", "mW", lambda: self.power_mw),
            ("edp_pj_ns", "EDP", "pJ ns", lambda: self.edp_pj_ns),
            ("edap_pj_ns_um2", "EDAP", "pJ ns um2", lambda: self.edap_pj_ns_um2),
            ("dense_tops_per_w", "TOPS/W, dense", "TOPS/W", lambda: self.dense_tops_per_w),
            ("effective_tops_per_w", "TOPS/W, effective", "TOPS/W", lambda: self.effective_tops_per_w),
            ("dense_tops_per_mm2", "TOPS/mm2, dense", "TOPS/mm2", lambda: self.dense_tops_per_mm2),
            ("effective_tops_per_mm2", "TOPS/mm2, effective", "TOPS/mm2", lambda: self.effective_tops_per_mm2),
            ("pj_per_synaptic_operation", "Per synaptic operation", "pJ", lambda: self.pj_per_synaptic_operation),
        )
        return tuple(Total(key, label, unit, _figure(get)) for key, label, unit, get in read)

    def to_json(self) -> str:
        """The whole report as one JSON document; the same report gives the same text."""
        totals = self.totals()
        document = {
            "schema": REPORT_SCHEMA,
            "hardware": self.hardware,
            "summary": self.summary,
            "technology": asdict(self.technology),
            "workload": asdict(self.workload),
            "totals": {total.key: _number(total.figure) for total in totals},
            "unavailable": {
                total.key: total.figure.reason for total in totals if isinstance(total.figure, Unavailable)
            },
            "energy_per_step_pj": self.energy_per_step_pj,
            "dense_operations": self.dense_operations,
            "effective_operations": self.effective_operations,
            "definitions": DEFINITIONS,
            "nodes": [asdict(node) for node in self.nodes],
            "energy": [{**asdict(part), "energy_pj": part.energy_pj} for part in self.energy],
            "area": None if isinstance(self.area, Unavailable) else [asdict(part) for part in self.area],
            "latency": None if isinstance(self.latency, Unavailable) else [asdict(busy) for busy in self.latency],
            "provenance": [asdict(entry) for entry in self.provenance],
            "not_modelled": [asdict(entry) for entry in self.not_modelled],
            "notes": self.notes,
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The whole report for a reader."""
        return markdown(self, DEFINITIONS)

    def summary_table(self) -> str:
        """The totals as a short Markdown table."""
        return short_table(self)


def _available(parts: tuple[Part, ...] | Unavailable) -> tuple[Part, ...]:
    if isinstance(parts, Unavailable):
        raise HardwareError(parts.reason, hints=parts.hints)
    return parts


def _ratio(over: float, under: float, name: str) -> float:
    if under == 0:
        raise HardwareError(f"the figure needs a {name} above 0 (got 0)", hints=["give inputs that make neurons fire"])
    return over / under


def _figure(read: Callable[[], float]) -> Figure:
    try:
        return read()
    except HardwareError as error:  # absent from tables with its reason, not hidden: reading it raises
        return Unavailable(error.message, error.hints)


def _number(figure: Figure) -> float | None:
    return None if isinstance(figure, Unavailable) else figure

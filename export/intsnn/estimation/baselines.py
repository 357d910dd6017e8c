"""A named baseline -> the same network mapped with weights, membranes and accumulators of that width.

A baseline answers one question: what would this network cost on this hardware if nothing had been quantized? It is not
another network: shape, T, spikes and input are those of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from intsnn.activity import Activity
from intsnn.errors import UsageError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.graph import IntGraph
from intsnn.hardware import Hardware
from intsnn.mapping.demand import Demand, demand_of
from intsnn.mapping.widths import of_one_width


@dataclass(frozen=True)
class Baseline:
    """A width by name, and what is assumed with it."""

    name: str
    bits: int
    assumptions: tuple[str, ...]

    def demand(self, graph: IntGraph) -> Demand:
        """What the graph asks for at this width."""
        return of_one_width(demand_of(graph), self.bits)


_SAME = (
    "the baseline has the same layers, the same T, the same input and the same spikes as the network",
    "{name}: weights, membranes, accumulators and currents have {bits} bits each; sums of spikes keep their width",
    "{name}: a weight takes as many cells as its {bits} bits need; converters have the resolution that the description "
    "names; a budget for copies that is a share of the arrays is the same share of more arrays",
    "{name}: every batch norm multiplies and adds at {bits} bits",
)
_AS_INTEGER = (
    "{name}: a {bits}-bit float is priced as a {bits}-bit integer: aligning exponents and normalizing would cost more, "
    "so the ratios understate the cost of floating point"
)


def named_baselines() -> tuple[str, ...]:
    """The names that can stand after --against."""
    return ("float32", "float16", "int8")


def named_baseline(name: str) -> Baseline:
    """The baseline of that name.

    Raises:
        UsageError: there is none.
    """
    match name:
        case "float32" | "float16":
            return _baseline(name, 32 if name == "float32" else 16, (*_SAME, _AS_INTEGER))
        case "int8":
            return _baseline(name, 8, _SAME)
        case _:
            raise UsageError(f"there is no baseline {name!r}", hints=[f"choose one of {', '.join(named_baselines())}"])


def estimate_baseline(
    graph: IntGraph, activity: Activity, hardware: str | Path | Hardware, *, name: str
) -> HardwareReport:
    """The figures of the named baseline of a graph.

    Raises:
        UsageError: there is no baseline of that name.
        HardwareError: as `estimate` does.
    """
    return estimate(graph, activity, hardware, demand=named_baseline(name).demand(graph))


def _baseline(name: str, bits: int, assumptions: tuple[str, ...]) -> Baseline:
    return Baseline(name, bits, tuple(text.format(name=name, bits=bits) for text in assumptions))

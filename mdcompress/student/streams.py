"""A student's streams: currents that share one unit, the module that holds it, and the neurons that read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdcompress.graph import Carries, SnnGraph, typical
from mdcompress.layers.neuron import MembraneUnit, QuantNeuron, ReadoutUnit
from mdcompress.planning.units import PlannedStream, UnitPlan


@dataclass(frozen=True)
class Reader:
    """A neuron that reads a stream: s_f = unit * factor (mean gain included), and as planned s_v = s_f * 2^guard_bits.

    stream: the stream's name; answers: whether the neuron's membrane is the network's answer.
    """

    name: str
    stream: str
    layer: QuantNeuron
    factor: float
    guard_bits: int
    answers: bool

    @property
    def threshold(self) -> float:
        """theta in real units; where channels differ, the mean."""
        return typical(self.layer.model.threshold)

    @property
    def never_fires(self) -> bool:
        """Whether the neuron puts out its membrane, so that no threshold says how large that is."""
        return self.layer.model.output == "membrane"


@dataclass(frozen=True)
class Stream:
    """Currents that share one unit; the stream has the name of the first of them.

    unit: gives the real value of one integer. currents: by tensor its factor, real value = integer * unit * factor.
    readers: in the graph's order; the first is the reference.
    """

    name: str
    unit: MembraneUnit | ReadoutUnit
    currents: Mapping[str, float]
    readers: tuple[Reader, ...]

    @property
    def reference(self) -> Reader | None:
        """The neuron whose stored scale sets the unit; None: a readout's stream, which no neuron reads."""
        return self.readers[0] if self.readers else None


def make_streams(graph: SnnGraph, units: UnitPlan, layers: Mapping[str, QuantNeuron]) -> tuple[Stream, ...]:
    """The planned streams with a unit module each, not calibrated yet. `layers`: the graph's neurons by node."""
    return tuple(_stream(graph, planned, layers) for planned in units.streams)


def layer_key(name: str) -> str:
    """A node's name as a module key: a dot separates modules there."""
    return name.replace(".", "/")


def _stream(graph: SnnGraph, planned: PlannedStream, layers: Mapping[str, QuantNeuron]) -> Stream:
    nodes, readers = [graph.node(name) for name in planned.readers], []
    for node in nodes:
        unit, answers = planned.readers[node.name], node.carries is Carries.CURRENT
        readers.append(Reader(node.name, planned.name, layers[node.name], unit.factor, unit.guard_bits, answers))
    count = sum(math.prod(node.shape) for node in nodes)
    return Stream(planned.name, _unit(readers, count), planned.currents, tuple(readers))


def _unit(readers: Sequence[Reader], count: int) -> MembraneUnit | ReadoutUnit:
    """The module of a stream that so many neurons read in a sample, those of some layers."""
    if not readers:
        return ReadoutUnit()
    layer, guard_bits, factor = readers[0].layer, readers[0].guard_bits, readers[0].factor
    return MembraneUnit(layer.model, layer.policy, guard_bits=guard_bits, factor=factor, neurons=count)

"""What one integer of every tensor is worth: assign_units(graph, plan) -> UnitPlan. Pure, no torch.

Spikes, counts and the input have a fixed scale. Currents that are added, pooled or passed on form a *stream*: one
unit for all of it, so that a residual sum is an integer addition. A neuron reads its stream in that same unit; its
stored membrane is 2^R units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mdcompress.errors import PlanError
from mdcompress.graph import Carries, NeuronModel, NodeKind, PoolSpec, SnnGraph, SnnNode
from mdcompress.planning import QuantPlan
from mdcompress.planning.leak import leak_bits

_LARGEST_WORD = 28  # bit_width - 1 + guard_bits, so that D*v stays below 2^28 (FORMAT.md, "Bounds")


@dataclass(frozen=True)
class ValueUnit:
    """Spikes, counts or input: real value = integer * scale (* the input's scale where `from_input`)."""

    scale: float
    from_input: bool
    largest: int


@dataclass(frozen=True)
class CurrentUnit:
    """A tensor of currents: real value = integer * unit(stream) * factor."""

    stream: str
    factor: float


@dataclass(frozen=True)
class NeuronUnit:
    """How a neuron reads its stream: lsb = unit(stream) * factor (input gain included); s_v = lsb * 2^guard_bits."""

    stream: str
    factor: float
    guard_bits: int


@dataclass(frozen=True)
class UnitPlan:
    """Units by tensor (node) name. `references`: by stream, the neuron whose scale sets its unit; None: a readout's."""

    values: Mapping[str, ValueUnit]
    currents: Mapping[str, CurrentUnit]
    neurons: Mapping[str, NeuronUnit]
    references: Mapping[str, str | None]


def assign_units(graph: SnnGraph, plan: QuantPlan) -> UnitPlan:
    """Assign a unit to every tensor; PlanError where two branches of a sum cannot share one."""
    values = _value_units(graph, plan)
    currents = _current_units(graph)
    references: dict[str, str | None] = {unit.stream: None for unit in currents.values()}
    for node in graph.of_kind(NodeKind.NEURON):
        stream = currents[node.inputs[0]].stream
        references[stream] = references[stream] or node.name
    neurons: dict[str, NeuronUnit] = {}
    for stream, reference in references.items():
        if reference is not None:
            neurons |= _neuron_units(graph, plan, currents, stream, reference)
    return UnitPlan(values, currents, neurons, references)


def _value_units(graph: SnnGraph, plan: QuantPlan) -> dict[str, ValueUnit]:
    units: dict[str, ValueUnit] = {}
    for node in graph:
        if node.carries is Carries.CURRENT or node.kind is NodeKind.READOUT:
            continue
        match node.kind:
            case NodeKind.INPUT:
                policy = plan.node(node.name).input
                assert policy is not None
                units[node.name] = ValueUnit(1.0, True, 2**policy.bit_width - 1)
            case NodeKind.NEURON:
                units[node.name] = ValueUnit(1.0, False, 1)
            case NodeKind.POOL if _is_average(node):
                unit, window = units[node.inputs[0]], _window(node)
                units[node.name] = ValueUnit(unit.scale / window, unit.from_input, unit.largest * window)
            case NodeKind.ADD:
                units[node.name] = _summed(node, [units[name] for name in node.inputs])
            case _:
                units[node.name] = units[node.inputs[0]]
    return units


def _summed(node: SnnNode, units: list[ValueUnit]) -> ValueUnit:
    first = units[0]
    if not all(math.isclose(unit.scale, first.scale) and unit.from_input == first.from_input for unit in units):
        scales = " and ".join(f"{unit.scale:g}" for unit in units)
        raise PlanError(
            f"sum {node.name!r} adds spike tensors of different scales ({scales})",
            hints=["pool both branches alike before adding them"],
        )
    return ValueUnit(first.scale, first.from_input, sum(unit.largest for unit in units))


def _current_units(graph: SnnGraph) -> dict[str, CurrentUnit]:
    """Walk each connected set of currents from its first tensor, carrying the factor along."""
    neighbours: dict[str, list[tuple[str, float]]] = {
        node.name: [] for node in graph if node.carries is Carries.CURRENT and node.kind is not NodeKind.READOUT
    }
    for node in graph:
        for source, ratio in _unit_ratios(node):
            neighbours[source].append((node.name, ratio))
            neighbours[node.name].append((source, 1.0 / ratio))
    units: dict[str, CurrentUnit] = {}
    for start in neighbours:
        if start not in units:
            units |= _walk(start, neighbours)
    return units


def _unit_ratios(node: SnnNode) -> Iterator[tuple[str, float]]:
    """(input, unit of the output / unit of that input) for nodes from currents to currents."""
    passes_on = node.kind in (NodeKind.ADD, NodeKind.POOL, NodeKind.FLATTEN)
    if passes_on and node.carries is Carries.CURRENT:
        ratio = 1.0 / _window(node) if _is_average(node) else 1.0
        for source in node.inputs:
            yield source, ratio


def _walk(start: str, neighbours: Mapping[str, list[tuple[str, float]]]) -> dict[str, CurrentUnit]:
    factors, waiting = {start: 1.0}, [start]
    while waiting:
        here = waiting.pop()
        for there, ratio in neighbours[here]:
            factor = factors[here] * ratio
            if there not in factors:
                factors[there] = factor
                waiting.append(there)
            elif not math.isclose(factors[there], factor):
                raise PlanError(
                    f"currents {here!r} and {there!r} meet in units {factor:g} and {factors[there]:g} of {start!r}",
                    hints=["an average pooling of currents stands in one branch of a residual sum only"],
                )
    return {name: CurrentUnit(start, factor) for name, factor in factors.items()}


def _neuron_units(
    graph: SnnGraph, plan: QuantPlan, currents: Mapping[str, CurrentUnit], stream: str, reference: str
) -> dict[str, NeuronUnit]:
    """Guard bits of all neurons on one stream: powers of two between their stored scales, so one unit serves all."""
    readers = {node.name: node for node in graph.of_kind(NodeKind.NEURON) if currents[node.inputs[0]].stream == stream}
    models = {name: _model(node) for name, node in readers.items()}
    factors = {name: currents[node.inputs[0]].factor * models[name].input_gain for name, node in readers.items()}

    def stored_scale(name: str) -> float:  # s_v up to a factor common to the stream
        membrane = plan.node(name).membrane
        assert membrane is not None
        return models[name].threshold / 2.0 ** (membrane.bit_width - 1)

    base = stored_scale(reference) / factors[reference]
    offsets = {name: round(math.log2(stored_scale(name) / factors[name] / base)) for name in readers}
    planned = {name: _guard_bits(plan, name) for name in readers}
    lift = max(leak_bits(models[name].decay) - planned[reference] - offsets[name] for name in readers)
    common = planned[reference] + max(0, lift)
    units = {name: NeuronUnit(stream, factors[name], common + offsets[name]) for name in readers}
    _check_words(plan, units)
    return units


def _check_words(plan: QuantPlan, units: Mapping[str, NeuronUnit]) -> None:
    for name, unit in units.items():
        membrane = plan.node(name).membrane
        assert membrane is not None
        if membrane.bit_width - 1 + unit.guard_bits > _LARGEST_WORD:
            raise PlanError(
                f"neuron {name!r} needs {unit.guard_bits} guard bits to share a stream with {', '.join(units)}: "
                f"with {membrane.bit_width} membrane bits that is more than {_LARGEST_WORD + 1} bits",
                hints=["give the neurons of one residual stream similar thresholds and bit widths"],
            )


def _guard_bits(plan: QuantPlan, name: str) -> int:
    membrane = plan.node(name).membrane
    assert membrane is not None and membrane.guard_bits is not None
    return membrane.guard_bits


def _model(node: SnnNode) -> NeuronModel:
    assert isinstance(node.spec, NeuronModel)
    return node.spec


def _is_average(node: SnnNode) -> bool:
    return isinstance(node.spec, PoolSpec) and node.spec.mode == "average"


def _window(node: SnnNode) -> int:
    assert isinstance(node.spec, PoolSpec)
    return node.spec.kernel[0] * node.spec.kernel[1]

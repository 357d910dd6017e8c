"""What one integer of every tensor is worth: assign_units(graph, plan) -> UnitPlan. Pure, no torch.

Spikes, counts and the input have a fixed scale. Currents that are added, pooled or passed on form a *stream*: one
unit for all of it, so that a residual sum is an integer addition. A neuron reads its stream in that same unit; its
stored membrane is 2^R units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mdcompress.errors import PlanError
from mdcompress.graph import (
    Carries,
    MultiplySpec,
    NeuronModel,
    NodeKind,
    PoolSpec,
    ScaleSpec,
    SnnGraph,
    SnnNode,
    SumSpec,
    count_limit,
    typical,
)
from mdcompress.planning import QuantPlan
from mdcompress.planning.neurons import most_leak_bits

_LARGEST_WORD = 28  # bit_width - 1 + guard_bits, so that D*v stays below 2^28 (FORMAT.md, "Bounds")


@dataclass(frozen=True)
class ValueUnit:
    """Spikes, counts, input or digitized currents: real value = integer * scale.

    Times the input's scale where `from_input`; times the digitizer's where one is named.
    """

    scale: float
    from_input: bool
    largest: int
    digitizer: str | None = None


@dataclass(frozen=True)
class NeuronUnit:
    """How a neuron reads its stream: lsb = unit * factor (mean gain included); s_v = lsb * 2^guard_bits."""

    factor: float
    guard_bits: int


@dataclass(frozen=True)
class PlannedStream:
    """Currents that share one unit; the stream has the name of the first of them.

    currents: by tensor its factor, real value = integer * unit * factor. readers: by name, in the graph's order; the
    first is the reference, whose stored scale sets the unit. A stream without readers is a readout's.
    """

    name: str
    currents: Mapping[str, float]
    readers: Mapping[str, NeuronUnit]


@dataclass(frozen=True)
class UnitPlan:
    """Every tensor's unit: those of values by tensor (node) name, those of currents by stream."""

    values: Mapping[str, ValueUnit]
    streams: tuple[PlannedStream, ...]


def assign_units(graph: SnnGraph, plan: QuantPlan) -> UnitPlan:
    """Assign a unit to every tensor; PlanError where two branches of a sum cannot share one."""
    return UnitPlan(_value_units(graph, plan), _streams(graph, plan))


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
            case NodeKind.DIGITIZER:
                policy = plan.node(node.name).input
                assert policy is not None
                # lowered to counts of 0..2^b - 1, with 2^(b-1) of each taken off again by the reader's bias
                units[node.name] = ValueUnit(1.0, False, 3 * 2 ** (policy.bit_width - 1), node.name)
            case NodeKind.NEURON:
                units[node.name] = ValueUnit(1.0, False, count_limit(_model(node)))
            case NodeKind.POOL if _is_average(node):
                unit, window = units[node.inputs[0]], _window(node)
                units[node.name] = ValueUnit(unit.scale / window, unit.from_input, unit.largest * window)
            case _:
                units[node.name] = _derived(node, graph, [units[name] for name in node.inputs])
    return units


def _derived(node: SnnNode, graph: SnnGraph, units: list[ValueUnit]) -> ValueUnit:
    """The unit of values computed from values."""
    first = units[0]
    match node.kind:
        case NodeKind.ADD:
            return replace(_common(node, units), largest=sum(unit.largest for unit in units))
        case NodeKind.CONCAT:
            return replace(_common(node, units), largest=max(unit.largest for unit in units))
        case NodeKind.MULTIPLY if isinstance(node.spec, MultiplySpec) and node.spec.mode == "inhibit":
            return _inhibited(node, *units)
        case NodeKind.MULTIPLY:
            return _product(node, units, terms=1)
        case NodeKind.MATMUL:
            return _product(node, units, terms=graph.node(node.inputs[0]).shape[-1])
        case NodeKind.SUM if isinstance(node.spec, SumSpec):
            terms = graph.node(node.inputs[0]).shape[node.spec.axis]
            return replace(first, largest=first.largest * terms)
        case NodeKind.SCALE if isinstance(node.spec, ScaleSpec):
            return replace(first, scale=first.scale * node.spec.factor)
        case _:
            return first


def _inhibited(node: SnnNode, inhibitor: ValueUnit, unit: ValueUnit) -> ValueUnit:
    if (inhibitor.scale, inhibitor.from_input, inhibitor.largest) != (1.0, False, 1):
        raise PlanError(
            f"product {node.name!r} takes 1 - {node.inputs[0]!r}, which must be 0 or 1 (it reaches "
            f"{inhibitor.scale * inhibitor.largest:g})",
            hints=["take 1 - spikes straight from a neuron, not from sums or averages of them"],
        )
    return unit


def _product(node: SnnNode, units: list[ValueUnit], *, terms: int) -> ValueUnit:
    left, right = units
    if left.from_input and right.from_input:
        raise PlanError(
            f"product {node.name!r} multiplies the network's input by itself",
            hints=["multiply spikes; the input's scale is known once only"],
        )
    largest = left.largest * right.largest * terms
    return ValueUnit(left.scale * right.scale, left.from_input or right.from_input, largest)


def _common(node: SnnNode, units: list[ValueUnit]) -> ValueUnit:
    """The unit that all terms of a sum or concatenation have."""
    first = units[0]
    if not all(math.isclose(unit.scale, first.scale) and unit.from_input == first.from_input for unit in units):
        scales = " and ".join(f"{unit.scale:g}" for unit in units)
        does = "sum {!r} adds" if node.kind is NodeKind.ADD else "concatenation {!r} joins"
        raise PlanError(
            f"{does.format(node.name)} spike tensors of different scales ({scales})",
            hints=["pool both branches alike before adding them"],
        )
    return first


def _streams(graph: SnnGraph, plan: QuantPlan) -> tuple[PlannedStream, ...]:
    currents = {next(iter(factors)): factors for factors in _connected_currents(graph)}
    home = {tensor: stream for stream, factors in currents.items() for tensor in factors}
    nodes: dict[str, list[SnnNode]] = {stream: [] for stream in currents}
    for node in graph.of_kind(NodeKind.NEURON):
        nodes[home[node.inputs[0]]].append(node)
    readers = {stream: _neuron_units(plan, nodes[stream], factors) for stream, factors in currents.items()}
    for node in graph.of_kind(NodeKind.NEURON):
        if node.carries is Carries.CURRENT:  # it writes its potential, in its own fine unit
            stream, own = home[node.inputs[0]], currents.pop(home[node.name])
            lsb = readers[stream][node.name].factor
            currents[stream] |= {tensor: lsb * factor / own[node.name] for tensor, factor in own.items()}
    return tuple(PlannedStream(stream, factors, readers[stream]) for stream, factors in currents.items())


def _connected_currents(graph: SnnGraph) -> Iterator[dict[str, float]]:
    """Each connected set of currents, from its first tensor on: the factor of each, carried along."""
    neighbours: dict[str, list[tuple[str, float]]] = {
        node.name: [] for node in graph if node.carries is Carries.CURRENT and node.kind is not NodeKind.READOUT
    }
    for node in graph:
        for source, target, ratio in _unit_ratios(node):
            neighbours[source].append((target, ratio))
            neighbours[target].append((source, 1.0 / ratio))
    seen: set[str] = set()
    for start in neighbours:
        if start not in seen:
            factors = _walk(start, neighbours)
            seen |= factors.keys()
            yield factors


def _unit_ratios(node: SnnNode) -> Iterator[tuple[str, str, float]]:
    """(one tensor of currents, another, unit of the other / unit of the one).

    For nodes from currents to currents their input and output; for a recurrent neuron what it adds up.
    """
    if node.kind is NodeKind.NEURON:
        first, *others = node.inputs
        yield from ((first, other, 1.0) for other in others)
    starts = (NodeKind.SYNAPSE, NodeKind.RECURRENT, NodeKind.AFFINE, NodeKind.NEURON, NodeKind.READOUT)
    if node.carries is Carries.CURRENT and node.kind not in starts:
        ratio = 1.0 / _window(node) if _is_average(node) else 1.0
        ratio = node.spec.factor if isinstance(node.spec, ScaleSpec) else ratio
        for source in node.inputs:
            yield source, node.name, ratio


def _walk(start: str, neighbours: Mapping[str, list[tuple[str, float]]]) -> dict[str, float]:
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
    return factors


def _neuron_units(plan: QuantPlan, nodes: Sequence[SnnNode], currents: Mapping[str, float]) -> dict[str, NeuronUnit]:
    """Guard bits of all neurons on one stream: powers of two between their stored scales, so one unit serves all."""
    if not nodes:
        return {}
    reference, models = nodes[0].name, {node.name: _model(node) for node in nodes}
    factors = {node.name: currents[node.inputs[0]] * typical(models[node.name].current_gain) for node in nodes}
    scales = {  # s_v in the unit, up to a factor common to the stream
        name: typical(model.threshold) / 2.0 ** (_bit_width(plan, name) - 1) / factors[name]
        for name, model in models.items()
    }
    offsets = {name: round(math.log2(scale / scales[reference])) for name, scale in scales.items()}
    planned = plan.node(reference).guard_bits
    lift = max(most_leak_bits(model.decay) - planned - offsets[name] for name, model in models.items())
    common = planned + max(0, lift)
    units = {name: NeuronUnit(factors[name], common + offset) for name, offset in offsets.items()}
    _check_words(plan, units)
    return units


def _check_words(plan: QuantPlan, units: Mapping[str, NeuronUnit]) -> None:
    for name, unit in units.items():
        bits = _bit_width(plan, name)
        if bits - 1 + unit.guard_bits > _LARGEST_WORD:
            raise PlanError(
                f"neuron {name!r} needs {unit.guard_bits} guard bits to share a stream with {', '.join(units)}: "
                f"with {bits} membrane bits that is more than {_LARGEST_WORD + 1} bits",
                hints=["give the neurons of one residual stream similar thresholds and bit widths"],
            )


def _bit_width(plan: QuantPlan, name: str) -> int:
    membrane = plan.node(name).membrane
    assert membrane is not None
    return membrane.bit_width


def _model(node: SnnNode) -> NeuronModel:
    assert isinstance(node.spec, NeuronModel)
    return node.spec


def _is_average(node: SnnNode) -> bool:
    return isinstance(node.spec, PoolSpec) and node.spec.mode == "average"


def _window(node: SnnNode) -> int:
    assert isinstance(node.spec, PoolSpec)
    return math.prod(node.spec.kernel)

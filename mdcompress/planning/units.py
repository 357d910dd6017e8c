"""What one integer of every tensor is worth: assign_units(graph, plan) -> UnitPlan. Pure, no torch.

Spikes, counts and the input have a fixed scale. Currents that are added, pooled or passed on form a *stream*: one
unit for all of it, so that a residual sum is an integer addition. A neuron reads its stream in that same unit; its
stored membrane is 2^R units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from mdcompress.errors import PlanError
from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    Carries,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    NeuronModel,
    NodeSpec,
    PoolSpec,
    ReadoutSpec,
    RecurrentSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SnnGraph,
    SnnNode,
    SumSpec,
    SynapseSpec,
    TransposeSpec,
    count_limit,
    typical,
)
from mdcompress.planning import QuantPlan
from mdcompress.planning.neurons import most_leak_bits

_LARGEST_WORD = 28  # bit_width - 1 + guard_bits, so that D*v stays below 2^28 (FORMAT.md, "Bounds")


@dataclass(frozen=True)
class ValueUnit:
    """Spikes, counts, input or quantized currents: real value = integer * scale.

    Times the input's scale where `from_input`; times the activation quantizer's where one is named.
    """

    scale: float
    from_input: bool
    largest: int
    activation_quantizer: str | None = None


@dataclass(frozen=True)
class NeuronUnit:
    """How a neuron reads its stream: s_f = unit * factor (mean gain included); s_v = s_f * 2^guard_bits."""

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
    for node in graph.before_readout:
        if node.carries is not Carries.CURRENT:
            units[node.name] = _value_unit(node, graph, plan, [units[name] for name in node.inputs if name in units])
    return units


def _value_unit(node: SnnNode, graph: SnnGraph, plan: QuantPlan, units: list[ValueUnit]) -> ValueUnit:
    """The unit of the values that a node writes, from those that it reads."""
    match node.spec:
        case InputSpec():
            return ValueUnit(1.0, True, 2 ** _input_bits(plan, node) - 1)
        case ActivationSpec():
            # lowered to counts of 0..2^b - 1, with 2^(b-1) of each taken off again by the reader's bias
            return ValueUnit(1.0, False, 3 * 2 ** (_input_bits(plan, node) - 1), node.name)
        case NeuronModel() as model:
            return ValueUnit(1.0, False, count_limit(model))
        case AddSpec():
            return replace(_common(f"sum {node.name!r} adds", units), largest=sum(unit.largest for unit in units))
        case ConcatSpec():
            joined = _common(f"concatenation {node.name!r} joins", units)
            return replace(joined, largest=max(unit.largest for unit in units))
        case MultiplySpec(mode="inhibit"):
            return _inhibited(node, *units)
        case MultiplySpec():
            return _product(node, units, terms=1)
        case MatMulSpec():
            return _product(node, units, terms=graph.node(node.inputs[0]).shape[-1])
        case PoolSpec(mode="average", kernel=kernel):
            (unit,), window = units, math.prod(kernel)
            return ValueUnit(unit.scale / window, unit.from_input, unit.largest * window)
        case SumSpec(axis):
            return replace(units[0], largest=units[0].largest * graph.node(node.inputs[0]).shape[axis])
        case ScaleSpec(factor):
            return replace(units[0], scale=units[0].scale * factor)
        case PoolSpec() | TransposeSpec() | ReshapeSpec() | SliceSpec() | FlattenSpec():
            return units[0]
        case SynapseSpec() | RecurrentSpec() | AffineSpec() | ReadoutSpec():
            raise AssertionError(f"{node.kind} {node.name!r} writes currents, or the answer")
        case _:
            assert_never(node.spec)


def _input_bits(plan: QuantPlan, node: SnnNode) -> int:
    policy = plan.node(node.name).input
    assert policy is not None
    return policy.bit_width


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


def _common(does: str, units: list[ValueUnit]) -> ValueUnit:
    """The unit that all terms of a sum or concatenation have."""
    first = units[0]
    if not all(math.isclose(unit.scale, first.scale) and unit.from_input == first.from_input for unit in units):
        scales = " and ".join(f"{unit.scale:g}" for unit in units)
        raise PlanError(
            f"{does} spike tensors of different scales ({scales})",
            hints=["pool both branches alike, or by the maximum, or join them behind a layer with weights"],
        )
    return first


def _streams(graph: SnnGraph, plan: QuantPlan) -> tuple[PlannedStream, ...]:
    currents = {next(iter(factors)): factors for factors in _connected_currents(graph)}
    home = {tensor: stream for stream, factors in currents.items() for tensor in factors}
    nodes: dict[str, list[SnnNode[NeuronModel]]] = {stream: [] for stream in currents}
    for node in graph.of(NeuronModel):
        nodes[home[node.inputs[0]]].append(node)
    readers = {stream: _neuron_units(plan, nodes[stream], factors) for stream, factors in currents.items()}
    for node in graph.membranes:  # it writes its potential, in its own unit of s_f
        stream, own = home[node.inputs[0]], currents.pop(home[node.name])
        fine_scale = readers[stream][node.name].factor
        currents[stream] |= {tensor: fine_scale * factor / own[node.name] for tensor, factor in own.items()}
    return tuple(PlannedStream(stream, factors, readers[stream]) for stream, factors in currents.items())


def _connected_currents(graph: SnnGraph) -> Iterator[dict[str, float]]:
    """Each connected set of currents, from its first tensor on: the factor of each, carried along."""
    neighbours: dict[str, list[tuple[str, float]]] = {
        node.name: [] for node in graph.before_readout if node.carries is Carries.CURRENT
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
    if isinstance(node.spec, NeuronModel):
        first, *others = node.inputs
        yield from ((first, other, 1.0) for other in others)
    ratio = _unit_ratio(node.spec) if node.carries is Carries.CURRENT else None
    if ratio is not None:
        yield from ((source, node.name, ratio) for source in node.inputs)


def _unit_ratio(spec: NodeSpec) -> float | None:
    """Unit of the currents that a node writes / unit of those that it reads; None where its own do not follow them."""
    match spec:
        case PoolSpec(mode="average", kernel=kernel):
            return 1.0 / math.prod(kernel)
        case ScaleSpec(factor):
            return factor
        case (
            PoolSpec() | SumSpec() | TransposeSpec() | ReshapeSpec() | SliceSpec() | FlattenSpec()
            | AddSpec() | ConcatSpec() | MultiplySpec() | MatMulSpec()
        ):  # fmt: skip
            return 1.0
        case (
            InputSpec() | SynapseSpec() | RecurrentSpec() | AffineSpec() | ActivationSpec() | NeuronModel()
            | ReadoutSpec()
        ):  # fmt: skip
            return None
        case _:
            assert_never(spec)


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


def _neuron_units(
    plan: QuantPlan, nodes: Sequence[SnnNode[NeuronModel]], currents: Mapping[str, float]
) -> dict[str, NeuronUnit]:
    """Guard bits of all neurons on one stream: powers of two between their stored scales, so one unit serves all."""
    if not nodes:
        return {}
    reference, models = nodes[0].name, {node.name: node.spec for node in nodes}
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

"""plan(recipe, graph): a recipe's rules become one policy for each node; whatever does not fit is an error here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from intsnn.yaml.file import RuleError
from mdcompress.errors import PlanError
from mdcompress.graph import (
    ActivationSpec,
    AffineSpec,
    InputSpec,
    NeuronModel,
    NodeKind,
    RearrangingSpec,
    RecurrentSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
)
from mdcompress.planning.neurons import LARGEST_GUARD_BITS, most_leak_bits, neuron_faults
from mdcompress.planning.selection import list_names, no_match_hint, select
from mdcompress.planning.types import Origin, PlannedNode, QuantPlan
from mdcompress.recipe.distilling import LayerLossSpec, SparsitySpec
from mdcompress.recipe.patterns import match_names
from mdcompress.recipe.policies import BatchNormPolicy, InputPolicy, MembranePolicy, Override, WeightPolicy
from mdcompress.recipe.sections import Recipe
from mdcompress.recipe.values import NEURON_ROLES

PolicyT = TypeVar("PolicyT", WeightPolicy, MembranePolicy, BatchNormPolicy, InputPolicy)

_WEIGHTED: tuple[NodeKind, ...] = ("synapse", "recurrent")
_KINDS_OF_SECTION: Mapping[str, tuple[NodeKind, ...]] = {
    "weight": _WEIGHTED,
    "membrane": ("neuron",),
    "batch_norm": _WEIGHTED,
}


@dataclass(frozen=True)
class _Fault:
    """One thing that does not fit: where (a key path or a node), what, and what to do."""

    place: str
    message: str
    hint: str


@dataclass(frozen=True)
class _Rule:
    """An override with its name in origins, as it applies to one node: `quantize.overrides.0 (@first)`."""

    override: Override
    name: str


class _ContradictionError(Exception):
    """What several rules for a section ask of one node cannot be together: `narrow_range must be true at 1 bit …`."""

    def __init__(self, section: str, rules: Sequence[_Rule], error: ValidationError) -> None:
        super().__init__(str(error))
        self.messages = tuple(_wording(detail) for detail in error.errors())
        named = [f"quantize.{section}", *(rule.name for rule in rules if section in rule.override.sections)]
        self.hint = f"look at {' and '.join(named)}"


def plan(recipe: Recipe, graph: SnnGraph) -> QuantPlan:
    """Every node's policy with the origin of every field.

    Overrides apply in order, a later one winning field by field.

    Args:
        recipe: the policies: defaults, then overrides in their order.
        graph: the trace of the network.

    Returns:
        A policy for each node, with what set each of its fields.

    Raises:
        PlanError: a pattern matches no node, an override applies to none of the nodes it matches, or a policy is
            impossible for a node; all of them at once.
    """
    faults = [*_unmatched(recipe, graph)]
    rules = [_rules_by_node(index, override, graph) for index, override in enumerate(recipe.quantize.overrides)]
    planned = []
    for node in graph:
        match _planned(graph, node, recipe, rules):
            case PlannedNode() as plan:
                planned.append(plan)
            case list() as found:
                faults += found
            case other:
                assert_never(other)
    if faults:
        raise _error(recipe, faults)
    return QuantPlan(tuple(planned))


def _error(recipe: Recipe, faults: Sequence[_Fault]) -> PlanError:
    count = f"{len(faults)} problem{'s' if len(faults) > 1 else ''}"
    lines = [f"recipe {recipe.name!r} does not fit the network ({count})"]
    lines += [f"  {fault.place}: {fault.message}" for fault in faults]
    return PlanError("\n".join(lines), hints=list(dict.fromkeys(fault.hint for fault in faults)))


def _unmatched(recipe: Recipe, graph: SnnGraph) -> Iterator[_Fault]:
    names = [node.name for node in graph]
    for index, override in enumerate(recipe.quantize.overrides):
        place = f"quantize.overrides.{index}"
        matched: list[str] = []
        for pattern in override.patterns:
            found = select(pattern, graph)
            matched += found
            if not found:
                yield _Fault(f"{place}.match", f"{pattern!r} matches no node", no_match_hint(pattern, names))
        yield from _inapplicable(override, place, [graph.node(name) for name in dict.fromkeys(matched)], graph)
    yield from _unmatched_losses(recipe, graph)
    for key, listed in (("teacher", recipe.teacher.time_steps), ("distill", recipe.distill.time_steps)):
        for steps in listed or ():
            if graph.fixed_steps not in (None, steps):
                message = f"must be {graph.fixed_steps}, for each of which the network's norms differ (got {steps})"
                yield _Fault(f"{key}.time_steps", message, f"leave {key}.time_steps out")


def _unmatched_losses(recipe: Recipe, graph: SnnGraph) -> Iterator[_Fault]:
    """The patterns of losses that match no neuron. Roles need none of a certain name: a network that fires has some."""
    neurons = [node.name for node in graph.of(NeuronModel)]
    distill = recipe.distill
    sections: dict[str, LayerLossSpec | None] = {
        "membrane": distill.membrane,
        "rates": distill.rates,
        "sparsity": distill.sparsity,
    }
    for section, loss in sections.items():
        if loss is None:
            continue
        given = {"match": loss.patterns, "layer_weights": tuple(loss.layer_weights)}
        if isinstance(loss, SparsitySpec):
            given["layer_targets"] = tuple(loss.layer_targets)
        for key, patterns in given.items():
            for pattern in patterns:
                if pattern not in NEURON_ROLES and not match_names(pattern, neurons):
                    hint = no_match_hint(pattern, neurons)
                    yield _Fault(f"distill.{section}.{key}", f"{pattern!r} matches no neuron", hint)


def _inapplicable(override: Override, place: str, matched: Sequence[SnnNode], graph: SnnGraph) -> Iterator[_Fault]:
    """The sections of an override that apply to none of the nodes it matches."""
    for section in override.sections:
        kinds = _KINDS_OF_SECTION[section]
        if matched and not any(node.kind in kinds for node in matched):
            seen = list_names([f"{node.name} ({node.kind})" for node in matched])
            hint = f"the {kinds[0]}s are: {list_names([node.name for node in graph if node.kind in kinds])}"
            yield _Fault(f"{place}.{section}", f"applies to {kinds[0]}s, and matches none (got {seen})", hint)


def _rules_by_node(index: int, override: Override, graph: SnnGraph) -> dict[str, _Rule]:
    """For each node that the override matches, the rule; it is named after the first pattern that does."""
    rules: dict[str, _Rule] = {}
    for pattern in override.patterns:
        for name in select(pattern, graph):
            rules.setdefault(name, _Rule(override, f"quantize.overrides.{index} ({pattern})"))
    return rules


def _rules_of(names: Sequence[str], rules: Sequence[Mapping[str, _Rule]]) -> list[_Rule]:
    """The rules that match any of the nodes, in the order of the recipe."""
    matching = (next((by_node[name] for name in names if name in by_node), None) for by_node in rules)
    return [rule for rule in matching if rule is not None]


def _planned(
    graph: SnnGraph, node: SnnNode, recipe: Recipe, by_node: Sequence[Mapping[str, _Rule]]
) -> PlannedNode | list[_Fault]:
    """The node with its policies, or what is impossible about them.

    Weights that several places share have one policy: a rule that matches one of the places holds for them.
    """
    quantize, rules = recipe.quantize, _rules_of([node.name], by_node)
    places = [node.name, *(place.name for place in graph.places(node) if place is not node)]
    if isinstance(node.spec, RearrangingSpec):
        return PlannedNode(node.name, node.kind, node.shape)
    try:
        match node.spec:
            case (SynapseSpec() as synapse) | RecurrentSpec(synapse):
                weight, weight_origin = _merged(quantize.weight, "weight", _rules_of(places, by_node))
                merged = _merged(quantize.batch_norm, "batch_norm", rules)
                batch_norm, batch_norm_origin = merged if len(places) == 1 and _folds(synapse) else _unfolded(*merged)
                origin = (*weight_origin, *batch_norm_origin)
                return PlannedNode(
                    node.name, node.kind, node.shape, weight=weight, batch_norm=batch_norm, origin=origin
                )
            case AffineSpec():
                batch_norm, origin = _merged(quantize.batch_norm, "batch_norm", rules)
                return PlannedNode(node.name, node.kind, node.shape, batch_norm=batch_norm, origin=origin)
            case NeuronModel() as model:
                membrane, origin = _merged(quantize.membrane, "membrane", rules)
                return _planned_neuron(node, model, membrane, origin)
            case InputSpec() | ActivationSpec():
                policy, origin = _merged(quantize.input, "input", ())
                return PlannedNode(node.name, node.kind, node.shape, input=policy, origin=origin)
            case _:
                assert_never(node.spec)
    except _ContradictionError as contradiction:
        place = f"{node.kind} {node.name}"
        return [_Fault(place, message, contradiction.hint) for message in contradiction.messages]


def _merged(base: PolicyT, section: str, rules: Sequence[_Rule]) -> tuple[PolicyT, tuple[Origin, ...]]:
    """The policy after all rules, checked anew, and where each field came from.

    Raises:
        _ContradictionError: rules, each sound, contradict each other together.
    """
    values: dict[str, object] = base.model_dump()
    given = base.model_fields_set
    origins = {name: f"quantize.{section}" if name in given else "default" for name in values}
    for rule in rules:
        changes = rule.override.changes(section)
        values |= changes
        origins |= dict.fromkeys(changes, rule.name)
    try:
        merged = type(base).model_validate(values)
    except ValidationError as error:
        raise _ContradictionError(section, rules, error) from error
    return merged, tuple((f"{section}.{name}", origin) for name, origin in origins.items())


def _wording(detail: ErrorDetails) -> str:
    """A broken rule of a policy, with the key that breaks it."""
    rule = detail.get("ctx", {}).get("error")
    key = rule.field if isinstance(rule, RuleError) else None
    message = detail["msg"] if rule is None else str(rule)
    return " ".join(filter(None, [key or ".".join(map(str, detail["loc"])), message]))


def _folds(spec: SynapseSpec) -> bool:
    """Whether a norm has one gain to fold into the weights: not where it differs from step to step."""
    return not (spec.step_norms or spec.step_scales)


def _unfolded(policy: BatchNormPolicy, origin: tuple[Origin, ...]) -> tuple[BatchNormPolicy, tuple[Origin, ...]]:
    """The policy for weights that no norm can be folded into, shared ones too: quantized instead."""
    if policy.mode != "fold":
        return policy, origin
    rules = tuple((name, "automatic" if name == "batch_norm.mode" else rule) for name, rule in origin)
    return policy.model_copy(update={"mode": "quantize"}), rules


def _planned_neuron(
    node: SnnNode, model: NeuronModel, membrane: MembranePolicy, origin: Sequence[Origin]
) -> PlannedNode | list[_Fault]:
    """The neuron with its guard bits resolved: R = max(leak's need, 8 below 8 stored bits, else 4) unless given.

    With a synaptic state R is 12 up to 8 stored bits, and less beyond, where x needs the room: the state, often smaller
    than the membrane, is stored in a unit between the fine one and the membrane's (FORMAT.md, "Neuron").
    """
    faults = [_Fault(f"neuron {node.name}", *fault) for fault in neuron_faults(model, membrane)]
    if faults:
        return faults
    if membrane.guard_bits is None:
        usual = 8 if membrane.bit_width < 8 else 4
        if model.has_synapse:
            usual = max(usual, LARGEST_GUARD_BITS - max(0, membrane.bit_width - 8))
        membrane = membrane.model_copy(update={"guard_bits": max(most_leak_bits(model.decay), usual)})
        origin = [(name, "automatic" if name == "membrane.guard_bits" else rule) for name, rule in origin]
    return PlannedNode(node.name, node.kind, node.shape, membrane=membrane, origin=tuple(origin))

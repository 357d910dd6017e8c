"""Patterns and roles -> the nodes they select, and errors that help where they select none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import assert_never

from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
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
)
from mdcompress.recipe.patterns import REGEX_PREFIX, ROLES, Role, match_names

LONGEST_LIST = 40  # names in a hint; beyond, --dry-run is the better list

_WHY_NO_ROLE: dict[Role, str] = {
    "@first": "the network has no synapse",
    "@last": "the network has no synapse",
    "@residual": "the network has no residual addition; delete the pattern",
    "@readout": "no synapse reaches the readout without passing a neuron; delete the pattern",
}


def select(pattern: str, graph: SnnGraph) -> tuple[str, ...]:
    """The names of the nodes that one pattern or role selects, in graph order."""
    for role in ROLES:
        if pattern == role:
            return tuple(node.name for node in _nodes_of_role(role, graph))
    return match_names(pattern, [node.name for node in graph])


def no_match_hint(pattern: str, names: Sequence[str]) -> str:
    """What to write instead of a pattern that matches none of the names."""
    for role in ROLES:
        if pattern == role:
            return _WHY_NO_ROLE[role]
    wider = pattern.replace("**", "*").replace("*", "**")
    if not pattern.startswith(REGEX_PREFIX) and match_names(wider, names):
        return f"`*` stops at a dot; write `{wider}`"
    near = get_close_matches(pattern.removeprefix(REGEX_PREFIX), names, n=3, cutoff=0.5)
    if near:
        return f"near to {pattern!r}: {', '.join(near)}"
    return f"the nodes are: {list_names(names)}"


def list_names(names: Sequence[str]) -> str:
    """The names, or as many as are still readable."""
    if len(names) <= LONGEST_LIST:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:LONGEST_LIST])} and {len(names) - LONGEST_LIST} more (--dry-run lists them)"


def _nodes_of_role(role: Role, graph: SnnGraph) -> tuple[SnnNode, ...]:
    synapses = graph.of(SynapseSpec)
    match role:
        case "@first":
            return synapses[:1]
        case "@last":
            return synapses[-1:]
        case "@residual":
            sources = graph.of(SynapseSpec, NeuronModel)
            return tuple(node for node in sources if _reaches(node, graph.of(AddSpec), _stays_in_branch, graph))
        case "@readout":
            ends = [node for node in synapses if _reaches(node, [graph.readout], _fires_not, graph)]
            last = graph.membrane_readout  # a neuron that does not fire is part of the readout, and has a membrane
            if last is None:
                return tuple(ends)
            before = (node for node in synapses if _reaches(node, [last], _fires_not, graph))
            return (*ends, *before, last)
        case _:
            assert_never(role)


def _fires_not(spec: NodeSpec) -> bool:
    return spec.kind != "neuron"


def _stays_in_branch(spec: NodeSpec) -> bool:
    """Whether it may stand between a layer and the residual sum that its branch ends in."""
    match spec:
        case PoolSpec() | AffineSpec() | ScaleSpec() | ReshapeSpec():
            return True
        case (
            InputSpec() | SynapseSpec() | RecurrentSpec() | ActivationSpec() | NeuronModel() | AddSpec() | ConcatSpec()
            | MultiplySpec() | MatMulSpec() | SumSpec() | TransposeSpec() | SliceSpec() | FlattenSpec() | ReadoutSpec()
        ):  # fmt: skip
            return False
        case _:
            assert_never(spec)


def _reaches(node: SnnNode, goals: Sequence[SnnNode], passes: Callable[[NodeSpec], bool], graph: SnnGraph) -> bool:
    """Whether a path leads from the node to one of the goals, with only nodes between that `passes` lets through."""
    visited: set[str] = set()
    waiting = [node]
    while waiting:
        for reader in graph.readers(waiting.pop().name):
            if reader in goals:
                return True
            if passes(reader.spec) and reader.name not in visited:
                visited.add(reader.name)
                waiting.append(reader)
    return False

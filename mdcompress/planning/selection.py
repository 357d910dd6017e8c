"""Patterns and roles -> the nodes they select, and errors that help where they select none."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from mdcompress.graph import NodeKind, SnnGraph, SnnNode
from mdcompress.recipe.patterns import REGEX_PREFIX, ROLES, Role, match_names

LONGEST_LIST = 40  # names in a hint; beyond, --dry-run is the better list

_PASSING = (NodeKind.POOL, NodeKind.AFFINE, NodeKind.SCALE, NodeKind.RESHAPE)  # between a branch and its sum
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
    synapses = graph.of_kind(NodeKind.SYNAPSE)
    match role:
        case "@first":
            return synapses[:1]
        case "@last":
            return synapses[-1:]
        case "@residual":
            sources = [node for node in graph if node.kind in (NodeKind.SYNAPSE, NodeKind.NEURON)]
            return tuple(node for node in sources if _reaches(node, NodeKind.ADD, _PASSING, graph))
        case "@readout":
            through = [kind for kind in NodeKind if kind not in (NodeKind.NEURON, NodeKind.READOUT)]
            ends = [node for node in synapses if _reaches(node, NodeKind.READOUT, through, graph)]
            last = graph.membrane_readout  # a neuron that does not fire is part of the readout, and has a membrane
            if last is None:
                return tuple(ends)
            before = (node for node in synapses if _reaches(node, NodeKind.NEURON, through, graph, name=last.name))
            return (*ends, *before, last)


def _reaches(
    node: SnnNode, goal: NodeKind, through: Sequence[NodeKind], graph: SnnGraph, *, name: str | None = None
) -> bool:
    """Whether a path leads from the node to one of kind `goal` (that of a name), with only `through` kinds between."""
    visited: set[str] = set()
    waiting = [node]
    while waiting:
        for reader in graph.readers(waiting.pop().name):
            if reader.kind is goal and name in (None, reader.name):
                return True
            if reader.kind in through and reader.name not in visited:
                visited.add(reader.name)
                waiting.append(reader)
    return False

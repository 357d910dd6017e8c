"""A NIR graph, subgraphs and all -> its nodes in the order of execution, each with what it reads. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mdcompress.errors import TraceError
from mdcompress.nir.interpretation import SPIKING

_WEIGHTS = ("Affine", "Linear", "Conv1d", "Conv2d")
_PASSING = ("Input", "Output", "Identity")


@dataclass(frozen=True)
class Wire:
    """One node: the sum of `sources` is what it reads. `loop`: the weight node that brings its last spikes back."""

    name: str
    node: Any
    sources: tuple[str, ...]
    loop: tuple[str, Any] | None = None

    @property
    def kind(self) -> str:
        """The class name of the NIR node."""
        return type(self.node).__name__


@dataclass(frozen=True)
class Wiring:
    """The nodes between one input and one output. `sources`: what the output is the sum of."""

    input: str
    wires: tuple[Wire, ...]
    output: str
    sources: tuple[str, ...]


def wire(graph: Any) -> Wiring:
    """Flatten subgraphs (`graph.node`), follow inputs and outputs inside them, and order what is left.

    Raises:
        TraceError: a loop is not a neuron and one weight node, a node leads nowhere, or there is not one input and
            one output; the nodes are named.
    """
    nodes, edges = _flat(graph, "")
    _require_edges_between(nodes, edges)
    own = {name: node for name, node in graph.nodes.items() if name in nodes}
    entry, exit_ = (_only(kind, own) for kind in ("Input", "Output"))
    passing = {name for name, node in nodes.items() if type(node).__name__ in _PASSING} - {entry, exit_}
    sources = {name: tuple(_behind(name, edges, passing, frozenset())) for name in nodes if name not in passing}
    wires = {name: Wire(name, nodes[name], found) for name, found in sources.items() if name not in (entry, exit_)}
    wires = _with_loops(wires, sources[exit_])
    ordered = tuple(_ordered(entry, wires))
    _require_connected(entry, ordered, sources[exit_])
    return Wiring(entry, ordered, exit_, sources[exit_])


def _flat(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes by their path, and edges between them; an edge to a subgraph goes to its input."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    inside: dict[str, tuple[str, str]] = {}  # a subgraph's input and output
    for name, node in graph.nodes.items():
        path = f"{prefix}{name}"
        if type(node).__name__ != "NIRGraph":
            nodes[path] = node
            continue
        inner, inner_edges = _flat(node, f"{path}.")
        inside[path] = (f"{path}.{_only('Input', node.nodes)}", f"{path}.{_only('Output', node.nodes)}")
        nodes |= inner
        edges += inner_edges
    for source, target in graph.edges:
        source, target = f"{prefix}{source}", f"{prefix}{target}"
        edges.append((inside.get(source, ("", source))[1], inside.get(target, (target, ""))[0]))
    return nodes, edges


def _require_edges_between(nodes: Mapping[str, Any], edges: list[tuple[str, str]]) -> None:
    for edge in edges:
        for name in edge:
            if name not in nodes:
                raise TraceError(
                    f"an edge of the NIR graph must join its nodes (got {edge[0]!r} -> {edge[1]!r}, and {name!r} is "
                    "none)",
                    hints=["export the network again"],
                )


def _only(kind: str, nodes: Mapping[str, Any]) -> str:
    names = [name for name, node in nodes.items() if type(node).__name__ == kind]
    if len(names) != 1:
        found = ", ".join(map(repr, names)) or "none"
        raise TraceError(
            f"a NIR graph must have one {kind} (it has {found})",
            hints=["compress networks of several inputs or outputs one by one"],
        )
    return names[0]


def _behind(name: str, edges: list[tuple[str, str]], passing: set[str], seen: frozenset[str]) -> Iterator[str]:
    """What a node reads, seen through nodes that pass on. Edges that are written twice count once."""
    for source in dict.fromkeys(source for source, target in edges if target == name):
        if source not in passing:
            yield source
        elif source not in seen:
            yield from _behind(source, edges, passing, seen | {source})


def _with_loops(wires: Mapping[str, Wire], answer: tuple[str, ...]) -> dict[str, Wire]:
    """Put each weight node that a spiking neuron alone reads and feeds into that neuron."""
    found = dict(wires)
    for name, back in wires.items():
        if back.kind not in _WEIGHTS or name in answer or len(back.sources) != 1:
            continue
        neuron = found.get(back.sources[0])
        readers = [other.name for other in wires.values() if name in other.sources]
        if neuron is None or neuron.kind not in SPIKING or readers != [neuron.name]:
            continue
        if neuron.loop is not None:
            raise _looping([neuron.name, neuron.loop[0], name])
        others = tuple(source for source in neuron.sources if source != name)
        found[neuron.name] = replace(neuron, sources=others, loop=(name, back.node))
        del found[name]
    return found


def _ordered(entry: str, wires: Mapping[str, Wire]) -> Iterator[Wire]:
    """Every node behind what it reads; TraceError names those that wait for each other."""
    known, waiting = {entry}, dict(wires)
    while waiting:
        ready = [one for one in waiting.values() if known.issuperset(one.sources)]
        if not ready:
            raise _looping(list(waiting))
        for one in ready:
            yield one
            known.add(one.name)
            del waiting[one.name]


def _looping(names: list[str]) -> TraceError:
    return TraceError(
        f"NIR nodes {', '.join(map(repr, names))} wait for each other: the only loop that has a canonical form is a "
        "spiking neuron with one weight node that brings its own spikes back",
        hints=["merge what lies in the loop into one Linear or Affine node"],
    )


def _require_connected(entry: str, wires: tuple[Wire, ...], answer: tuple[str, ...]) -> None:
    read = {source for one in wires for source in one.sources} | set(answer)
    idle = [one.name for one in wires if one.name not in read or not one.sources]
    if idle or not answer:
        raise TraceError(
            f"every node of a NIR graph must lead from the input {entry!r} to the output (unconnected: "
            f"{', '.join(map(repr, idle)) or 'the output'})",
            hints=["delete the node, or give it its edges"],
        )

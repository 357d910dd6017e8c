"""NIR, the neuromorphic intermediate representation: networks from it, and compressed networks to it (docs/nir.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdcompress.nir.files import graph_of
from mdcompress.nir.interpretation import interpret
from mdcompress.nir.network import NirNetwork
from mdcompress.nir.wiring import wire
from mdcompress.recipe.nir import NirSpec, nir_spec

__all__ = ["NirNetwork", "NirSpec", "from_nir"]


def from_nir(source: str | Path | Any, spec: NirSpec | None = None, **options: object) -> NirNetwork:
    """The network of a `.nir` file or a nir.NIRGraph, [T, N, *shape] to [T, N, K], in evaluation mode.

    Args:
        source: a path, or the graph.
        spec: how its neurons are read; or the keys of `NirSpec` one by one, `from_nir(path, exporter="norse", …)`.
            What the graph needs and neither gives is asked for.
        options: keys of `NirSpec`.

    Errors: UsageError lists the keys that are missing; TraceError names the nodes that have no canonical form.
    """
    graph = graph_of(source)
    wiring = wire(graph)
    how = interpret(nir_spec(spec, options), (one.kind for one in wiring.wires))
    return NirNetwork(wiring, how).eval()

"""NIR, the neuromorphic intermediate representation: networks from it, and compressed networks to it (docs/nir.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from intsnn.graph import IntGraph
from mdcompress.nir.dequantizing import STEPS, Reader, dequantized
from mdcompress.nir.files import graph_of, nir_bytes, nir_package, reading_nir, write_nir
from mdcompress.nir.integers import holds_integers, integers_of, metadata_of, reader_of
from mdcompress.nir.interpretation import interpret
from mdcompress.nir.network import NirNetwork
from mdcompress.nir.wiring import wire
from mdcompress.recipe.nir import NirSpec, ReaderReset, ReaderStep, nir_spec
from mdcompress.student import Student
from mdcompress.student.lowering import lower

__all__ = ["NirNetwork", "NirSpec", "from_nir", "integers_from_nir", "nir_bytes", "to_nir", "write_nir"]


def from_nir(source: str | Path | Any, spec: NirSpec | None = None, **options: object) -> NirNetwork:
    """The network of a `.nir` file or a nir.NIRGraph, [T, N, *shape] to [T, N, K], in evaluation mode.

    Args:
        source: a path, or the graph.
        spec: how its neurons are read; or the keys of `NirSpec` one by one, `from_nir(path, exporter="norse", …)`.
            What the graph needs and neither gives is asked for; a graph of `to_nir` brings its own.
        options: keys of `NirSpec`.

    Returns:
        The network, float, with the file's weights.

    Raises:
        UsageError: keys are missing; all are listed.
        TraceError: nodes have no canonical form; all are named.
    """
    with reading_nir(source):
        graph = graph_of(source)
        wiring = wire(graph)
        if spec is None and holds_integers(graph):
            spec = _own_spec(reader_of(graph))
        how = interpret(nir_spec(spec, options), (one.kind for one in wiring.wires))
        return NirNetwork(wiring, how).eval()


def to_nir(source: Student | IntGraph, *, step: ReaderStep = "euler", reset: ReaderReset = "hard") -> Any:
    """A compressed network as a nir.NIRGraph: floats that any reader of NIR runs, and the integers as metadata.

    Args:
        source: a calibrated student, or its integer graph.
        step: how the reader discretizes: `euler` with dt = 1e-4 (snnTorch, SpikingJelly, Norse with that dt), or
            `jump` with time constants in steps (sinabs).
        reset: what the reader does at a spike. NIR's neurons reset to v_reset (`hard`); sinabs subtracts (`soft`).

    Returns:
        The nir.NIRGraph; `write_nir` makes a file of it.

    Raises:
        ExportError: NIR cannot hold some nodes; all are named.
    """
    graph = lower(source) if isinstance(source, Student) else source
    reader = Reader(step, reset)
    nodes, edges = dequantized(graph, reader)
    return nir_package().NIRGraph(nodes, edges, metadata=metadata_of(graph, reader))


def integers_from_nir(source: str | Path | Any) -> IntGraph:
    """The integer graph in a file or graph of `to_nir`, equal to that of model.onnx in every array and attribute.

    Args:
        source: a path, or the nir.NIRGraph.

    Returns:
        The graph, legal (`intsnn.check`).

    Raises:
        InvalidFileError: it holds none, or floats or integers were changed since.
    """
    with reading_nir(source):
        return integers_of(graph_of(source))


def _own_spec(reader: Reader) -> NirSpec:
    return NirSpec(dt=STEPS[reader.step], reset=reader.reset, comparator="greater", discretization=reader.step)

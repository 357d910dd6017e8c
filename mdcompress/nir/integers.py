"""An integer graph as the metadata of a NIR graph, and back: dictionaries of text and integer arrays, no pickles.

metadata["mdcompress"] = {format_version, origin, reader, nodes: {"00000": {name, kind, attributes, <arrays>}, …}} of
the NIR graph itself: not every class of node has metadata in every version of nir. Names of layers are those of the
NIR nodes; attributes and origin are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.checking.stages import check
from intsnn.errors import IntsnnError, InvalidFileError, Problem
from intsnn.graph import FORMAT_VERSION, NODE_TYPES, READABLE_VERSIONS, IntGraph, IntNode
from intsnn.onnx.metadata import attribute_names, attribute_value
from mdcompress.nir.dequantizing import Reader, dequantized
from mdcompress.recipe.nir import ReaderReset, ReaderStep

KEY = "mdcompress"
_KINDS: Mapping[str, type[IntNode]] = {kind.kind: kind for kind in NODE_TYPES}


def metadata_of(graph: IntGraph, reader: Reader) -> dict[str, Any]:
    """What the NIR graph of an integer graph holds beside its floats."""
    nodes = {f"{index:05d}": _described(node) for index, node in enumerate(graph)}
    about = {"format_version": FORMAT_VERSION, "origin": json.dumps(dict(graph.metadata)), **asdict(reader)}
    return {KEY: {**about, "nodes": nodes}}


def holds_integers(graph: Any) -> bool:
    """Whether a NIR graph was written by mdcompress."""
    return KEY in (graph.metadata or {})


def reader_of(graph: Any) -> Reader:
    """For whom the floats of a NIR graph were written; InvalidFileError where it does not say."""
    about = graph.metadata[KEY]
    step, reset = (str(about.get(key)) for key in ("step", "reset"))
    if step not in get_args(ReaderStep) or reset not in get_args(ReaderReset):
        raise _broken(f"the reader must be one that mdcompress writes for (got {step}, {reset})")
    return Reader(step, reset)  # type: ignore[arg-type]  # both were just looked up


def integers_of(graph: Any) -> IntGraph:
    """The integer graph in a NIR graph's metadata, equal to the one that was written.

    Raises:
        InvalidFileError: it was not written by mdcompress, or floats or integers were changed since.
    """
    if not holds_integers(graph):
        raise _broken("it must be written by `mdcompress export --format nir` (it has no integers)")
    about = graph.metadata[KEY]
    if int(about["format_version"]) not in READABLE_VERSIONS:
        known = " or ".join(map(str, READABLE_VERSIONS))
        raise _broken(f"its format version must be {known} (got {about['format_version']})")
    try:
        nodes = tuple(_node(about["nodes"][index]) for index in sorted(about["nodes"]))
        found = IntGraph(nodes, json.loads(about["origin"]))
        check(found)
    except (KeyError, TypeError, ValueError, IntsnnError) as error:
        raise _broken(f"its integers must be as they were written ({error})") from error
    _require_same_floats(graph, found)
    return found


def _described(node: IntNode) -> dict[str, Any]:
    attributes = {name: getattr(node, name) for name in attribute_names(type(node))}
    arrays = {name: _small(getattr(node, name)) for name in node.arrays}
    return {"name": node.name, "kind": node.kind, "attributes": json.dumps(attributes), **arrays}


def _small(values: IntArray) -> IntArray:
    """In the smallest signed type that holds them."""
    kinds = (np.int8, np.int16, np.int32)
    fits = [kind for kind in kinds if np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max]
    return values.astype(fits[0]) if fits else values


def _node(described: Mapping[str, Any]) -> IntNode:
    kind = _KINDS[described["kind"]]
    attributes = {
        name: attribute_value(json.dumps(value)) for name, value in json.loads(described["attributes"]).items()
    }
    arrays = {name: np.asarray(described[name]).astype(np.int64) for name in kind.arrays}
    make: Callable[..., IntNode] = kind
    return make(name=described["name"], **attributes, **arrays)


def _require_same_floats(graph: Any, integers: IntGraph) -> None:
    """The float nodes are those of the integers; a network that was trained on since is another one."""
    nodes, edges = dequantized(integers, reader_of(graph))
    if set(graph.nodes) != set(nodes) or set(graph.edges) != set(edges):
        raise _broken("its nodes and edges must be those of its integers (some were added or removed)")
    for name, node in nodes.items():
        for field, values in vars(node).items():
            if isinstance(values, np.ndarray) and not np.array_equal(
                values, np.asarray(getattr(graph.nodes[name], field))
            ):
                raise _broken(f"node {name!r} must be that of its integers ({field} was changed)")


def _broken(message: str) -> InvalidFileError:
    problem = Problem("NIR graph", 0, 0, "", message)
    return InvalidFileError(
        "the NIR graph holds no integer graph", [problem], hints=["export the student again, or read its floats"]
    )

"""fingerprint(graph): the content hash that ties an activity or golden values to their graph; digest(graph): of all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

import numpy as np

from intsnn.graph.graph import IntGraph
from intsnn.graph.nodes import IntNode


def fingerprint(graph: IntGraph) -> str:
    """SHA-256 over every node's kind, name, wiring, shape and integers: equal where the computation is equal."""
    return graph.derived(_fingerprint)


def _fingerprint(graph: IntGraph) -> str:
    digest = hashlib.sha256()
    for node in graph:
        digest.update(f"\n{node.kind}".encode())
        for field in fields(node):
            value = getattr(node, field.name)
            if field.name in node.arrays:
                digest.update(f"\n{field.name}={list(value.shape)}:".encode())
                digest.update(np.ascontiguousarray(value, dtype="<i8").data)
            elif field.name != "scale":  # metadata: no arithmetic depends on it
                digest.update(f"\n{field.name}={_plain(value)}".encode())
    return digest.hexdigest()


def digest(graph: IntGraph) -> str:
    """SHA-256 over all that a model.onnx holds of a graph: its fingerprint, each scale, and its own metadata."""
    scales = [[node.name, repr(_scale(node))] for node in graph]
    text = json.dumps([fingerprint(graph), scales, sorted(graph.metadata.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _scale(node: IntNode) -> float | None:
    """What one unit is worth; None of a node that says nothing of it."""
    scale = getattr(node, "scale", None)
    return None if scale is None else float(scale)


def _plain(value: object) -> str:
    """One text for 4, 4.0 and a NumPy 4, which compute the same."""
    match value:
        case tuple():
            return f"({', '.join(map(_plain, value))})"
        case str():
            return value
        case _:
            return repr(float(value))  # type: ignore[arg-type]

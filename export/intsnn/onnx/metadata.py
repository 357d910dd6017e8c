"""The part of an integer graph that ONNX has no place for, as `metadata_props`: the kind, attributes as JSON, bounds.

Names of tensors, shapes, bit widths, scales and proved bounds stand on the ONNX node that carries the layer's name.
Arrays are never here: they are read from the initializers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields

from intsnn.arithmetic import Bounds
from intsnn.graph import IntGraph, IntNode
from intsnn.graph.fingerprint import digest

PREFIX = "mdcompress."
KIND_KEY = f"{PREFIX}kind"
FORMAT_KEY = f"{PREFIX}format_version"
DIGEST_KEY = f"{PREFIX}digest"  # files of versions before have none
ORIGIN_PREFIX = f"{PREFIX}origin."  # the graph's own metadata: recipe, policy, tool version


def node_metadata(node: IntNode, interval: Bounds) -> dict[str, str]:
    """What stands on a layer's ONNX node: its kind, every attribute that is not an array, the bounds of its output."""
    values: dict[str, object] = {name: getattr(node, name) for name in attribute_names(type(node))}
    values["bounds"] = [interval.low, interval.high]
    return {KIND_KEY: node.kind} | {PREFIX + name: json.dumps(value) for name, value in values.items()}


def attribute_names(kind: type[IntNode]) -> Iterator[str]:
    """The fields of a node type that metadata hold: all but its name and its arrays."""
    return (field.name for field in fields(kind) if field.name != "name" and field.name not in kind.arrays)


def model_metadata(graph: IntGraph, *, version: int) -> dict[str, str]:
    """What stands on the model: the format's version, the graph's digest and its own metadata."""
    own = {ORIGIN_PREFIX + key: text for key, text in graph.metadata.items()}
    return {FORMAT_KEY: str(version), DIGEST_KEY: digest(graph)} | own


def graph_metadata(properties: Mapping[str, str]) -> dict[str, str]:
    """The graph's own metadata, from the model's properties."""
    return {key.removeprefix(ORIGIN_PREFIX): text for key, text in properties.items() if key.startswith(ORIGIN_PREFIX)}


def unknown_properties(properties: Mapping[str, str]) -> list[str]:
    """Keys of the model's properties that begin as ours do, and that no version of the format has."""
    ours = [key for key in properties if key.startswith(PREFIX) and not key.startswith(ORIGIN_PREFIX)]
    return [key for key in ours if key not in (FORMAT_KEY, DIGEST_KEY)]


def attribute_value(text: str) -> object:
    """One attribute from its JSON text: lists become tuples. ValueError where it is no JSON."""
    value: object = json.loads(text)
    return tuple(value) if isinstance(value, list) else value

"""model.onnx: an integer graph written as an ONNX file, and read back. FORMAT.md, "ONNX", has the mapping.

`read_onnx` gives exactly the graph that `write_onnx` was given. Reading takes the topology and the scalars from each
node's metadata and the arrays from the initializers, checks the graph, and then builds the model anew: a file whose
ONNX nodes are not the ones its metadata describe is refused, and so is one whose graph does not have the digest that
the file was given. Nothing is executed, no other file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # ships with onnx, no types
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from intsnn.arithmetic import IntArray
from intsnn.checking.attributes import is_weight_bit_width
from intsnn.errors import InvalidFileError, MissingFileError, Problem, reading
from intsnn.files import write_atomically
from intsnn.graph import NODE_TYPES, READABLE_VERSIONS, IntConvTranspose, IntGraph, IntNode
from intsnn.graph.fingerprint import digest
from intsnn.graph.windows import mirrored
from intsnn.onnx.metadata import (
    DIGEST_KEY,
    FORMAT_KEY,
    KIND_KEY,
    PREFIX,
    attribute_names,
    attribute_value,
    graph_metadata,
    unknown_properties,
)
from intsnn.onnx.model import build_model, build_streaming_model, neuron_outputs
from intsnn.onnx.weights import initializer, stored_weights, weight_zero_point

__all__ = [
    "build_model",
    "build_streaming_model",
    "load_model",
    "read_model",
    "read_onnx",
    "write_onnx",
    "write_streaming_onnx",
]

_EXPORT_AGAIN = "export the network again; a model.onnx is read only as mdcompress wrote it"
_KINDS: Mapping[str, type[IntNode]] = {kind.kind: kind for kind in NODE_TYPES}


def write_onnx(graph: IntGraph, path: str | Path) -> None:
    """Write model.onnx, whole or not at all: input `x` [T, N, ...] uint8 or int8, output `logits` int32.

    Args:
        graph: legal.
        path: of the file; its folder must exist.

    Raises:
        GraphError: the graph breaks a rule of FORMAT.md.
        MissingFileError: the folder does not exist.
    """
    write_atomically(path, build_model(graph).SerializeToString(deterministic=True))


def write_streaming_onnx(graph: IntGraph, path: str | Path) -> None:
    """Write one step: inputs `x` [N, ...] and `<neuron>.state`, outputs `logits`, spikes and next states. Atomic."""
    write_atomically(path, build_streaming_model(graph).SerializeToString(deterministic=True))


def read_onnx(path: str | Path) -> IntGraph:
    """The integer graph in a model.onnx.

    Args:
        path: a file that `write_onnx` or `mdcompress export` wrote.

    Returns:
        The graph, legal, equal to the one that was written.

    Raises:
        MissingFileError: there is no such file.
        InvalidFileError: it is no such model, or its nodes are not those that the graph in it would write.
        GraphError: the graph breaks a rule of FORMAT.md.
    """
    with reading(path, "a model of mdcompress"):
        return read_model(load_model(path), name=str(path))


def load_model(path: str | Path) -> ModelProto:
    """Parse an ONNX file without looking into it (and without opening external data)."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there must be an ONNX file (got none)", hints=["run the export first"])
    try:
        return ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise _foreign(
            str(path), f"must be an ONNX file ({error})", "it is truncated or no ONNX: export again"
        ) from None


def read_model(model: ModelProto, *, name: str = "model.onnx") -> IntGraph:
    """The integer graph in a parsed model; `name` is what errors call it."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    version = _version(properties, name)
    stored = _Stored({tensor.name: tensor for tensor in model.graph.initializer}, version)
    problems: list[Problem] = []
    nodes: list[IntNode] = []
    for proto in model.graph.node:
        described = {entry.key: entry.value for entry in proto.metadata_props}
        if KIND_KEY not in described:
            continue  # a node inside a layer: the shape of a Reshape, a Cast, ...
        try:
            nodes.append(_node(proto, described, stored))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(name, 0, 0, f"node {proto.name!r}", str(error)))
    _require_none(problems, f"{name} is not a valid model of mdcompress")
    graph = IntGraph(tuple(nodes), graph_metadata(properties))
    differences = _differences(
        model, graph, name, version
    )  # builds the graph's own model, and so checks every rule of it
    _require_none(list(differences), f"{name} does not match its own metadata")
    _require_digest(properties, graph, name)
    return graph


def has_digest(path: str | Path) -> bool:
    """Whether a model.onnx says what its digest is; those that versions before wrote do not."""
    return any(entry.key == DIGEST_KEY for entry in load_model(path).metadata_props)


def _require_digest(properties: Mapping[str, str], graph: IntGraph, name: str) -> None:
    """The graph is the one that was written. A file without a digest is of a version before: nothing can be said."""
    found = digest(graph)
    expected = properties.get(DIGEST_KEY, found)
    if found != expected:
        message = f"the graph must have the digest that it was written with, {expected[:12]} (got {found[:12]})"
        _require_none([Problem(name, 0, 0, DIGEST_KEY, message)], f"{name} was changed after it was written")


def _require_none(problems: Sequence[Problem], message: str) -> None:
    if problems:
        raise InvalidFileError(message, problems, hints=[_EXPORT_AGAIN])


@dataclass(frozen=True)
class _Stored:
    """The initializers of a file by name, and the version of the format that says how they are stored."""

    arrays: Mapping[str, TensorProto]
    version: int


def _version(properties: Mapping[str, str], name: str) -> int:
    """The version of the format that a file of ours has."""
    if not _are_text(*properties, *properties.values()):
        raise _foreign(name, "must have UTF-8 text as metadata (got bytes)", "the file is damaged: export again")
    text = properties.get(FORMAT_KEY)
    if text is None:
        hint = "only files from `mdcompress export` hold an integer graph; other ONNX models cannot be read"
        raise _foreign(name, f"must be written by mdcompress (it has no {FORMAT_KEY})", hint)
    if unknown := unknown_properties(properties):
        hint = "the file is damaged, or of a later version: export again"
        raise _foreign(name, f"must have no other property of {PREFIX}* (it has {unknown[0]!r})", hint)
    version = next((number for number in READABLE_VERSIONS if text == str(number)), None)
    if version is None:
        hint = "install the version of mdcompress that wrote it, or export the network again with this one"
        known = " or ".join(map(str, READABLE_VERSIONS))
        raise _foreign(name, f"must have format version {known} (got {text!r})", hint)
    return version


def _are_text(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _foreign(name: str, message: str, hint: str) -> InvalidFileError:
    problem = Problem(name, 0, 0, "", message, hint)
    return InvalidFileError(f"{name} cannot be read as an integer graph", [problem])


def _node(proto: NodeProto, described: Mapping[str, str], stored: _Stored) -> IntNode:
    """One layer from its metadata and its initializers. ValueError says what is missing or wrong."""
    if not _are_text(proto.name, *described, *described.values()):
        raise ValueError("names and metadata must be UTF-8 text (got bytes)")
    kind = _KINDS.get(described[KIND_KEY])
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)} (got {described[KIND_KEY]!r})")
    values: dict[str, object] = {}
    for name in attribute_names(kind):
        if PREFIX + name not in described:
            raise ValueError(f"the metadata must give {name} (got nothing)")
        values[name] = attribute_value(described[PREFIX + name])
    inputs = values["inputs"]
    if not isinstance(inputs, tuple) or not _are_text(*inputs):
        raise ValueError(f"inputs must be names (got {inputs!r})")
    for name in kind.arrays:
        values[name] = _array(kind, proto.name, name, values, stored)
    make: Callable[..., IntNode] = kind
    return make(name=proto.name, **values)


_OPTIONAL = frozenset({"reset_value", "soft_amount", "level", "floor_value", "synapse_leak", "synapse_drive"})


def _array(kind: type[IntNode], node: str, name: str, attributes: Mapping[str, object], stored: _Stored) -> IntArray:
    """One array of a layer, in the graph's own form: signed weights, [C], [1] or [T, C] parameters."""
    if name.endswith("weight"):
        return _weight(kind, node, name, attributes, stored)
    if name in _OPTIONAL and f"{node}/{name}" not in stored.arrays:
        return np.zeros(1, np.int64)  # a parameter that a neuron's options do not read is no part of the file
    tensor, shape = initializer(f"{node}/{name}", TensorProto.INT32, stored.arrays), attributes["shape"]
    values = np.asarray(numpy_helper.to_array(tensor)).astype(np.int64)
    if isinstance(shape, tuple) and values.ndim == 2 + len(shape) and values.size:
        return values.reshape(values.shape[0], -1)  # [T, 1, C, 1, 1]: one row per step
    return values.reshape(-1)


def _weight(kind: type[IntNode], node: str, name: str, attributes: Mapping[str, object], stored: _Stored) -> IntArray:
    bits_name = name.replace("weight", "bit_width")
    bit_width = attributes[bits_name]
    if not isinstance(bit_width, int | float) or not is_weight_bit_width(bit_width):
        raise ValueError(f"{bits_name} must be that of a weight (got {bit_width!r})")
    found = stored_weights(f"{node}/{name}", bit_width, stored.arrays, version=stored.version)
    weight = found.astype(np.int16) - np.int16(weight_zero_point(bit_width))  # of bytes; a node makes int64 of them
    if kind is IntConvTranspose:
        groups = attributes["groups"]
        if type(groups) is not int or groups < 1 or weight.ndim < 2:
            raise ValueError(f"groups must divide the channels of the weight (got {groups!r})")
        weight = mirrored(weight, groups)
    return weight.T if weight.ndim == 2 else weight


def _differences(model: ModelProto, graph: IntGraph, name: str, version: int) -> Iterator[Problem]:
    """The first place in each part of the file where it is not what building its graph gives."""
    built = build_model(graph, version=version)
    if len(model.graph.output) > 1:
        built.graph.output.extend(neuron_outputs(graph))
    parts = (
        ("node", model.graph.node, built.graph.node),
        ("initializer", model.graph.initializer, built.graph.initializer),
        ("input", model.graph.input, built.graph.input),
        ("output", model.graph.output, built.graph.output),
        ("function", model.functions, built.functions),
        ("opset", model.opset_import, built.opset_import),
        ("value_info", model.graph.value_info, built.graph.value_info),
        ("sparse_initializer", model.graph.sparse_initializer, built.graph.sparse_initializer),
        ("quantization_annotation", model.graph.quantization_annotation, built.graph.quantization_annotation),
        ("training_info", model.training_info, built.training_info),
    )
    for part, seen, expected in parts:
        place = _first_difference(seen, expected)
        if place is not None:
            message = "must be as the metadata describe it (it was changed or is missing)"
            yield Problem(name, 0, 0, f"{part} {place}", message)
    if model.ir_version != built.ir_version:
        yield Problem(name, 0, 0, "ir_version", f"must be {built.ir_version} (got {model.ir_version})")


def _first_difference(seen: Sequence[Message], expected: Sequence[Message]) -> str | None:
    for left, right in zip(seen, expected, strict=False):
        if left != right:
            return repr(getattr(right, "name", None) or getattr(right, "domain", ""))
    if len(seen) != len(expected):
        return f"list (got {len(seen)} of {len(expected)})"
    return None

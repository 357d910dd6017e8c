"""A float graph as JSON that reads back equal: the part of a student's file that says what its layers are.

A node is written with the word for its kind beside its spec, which is null for kinds that have no options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from pydantic import TypeAdapter

from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    Carries,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    NeuronModel,
    NodeKind,
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
    TensorShape,
    TransposeSpec,
)

_Options: TypeAlias = (  # of a node's spec, as they are written; those of recurrent weights are a synapse's
    SynapseSpec | AffineSpec | NeuronModel | PoolSpec | MultiplySpec | ScaleSpec | SumSpec | TransposeSpec | SliceSpec
    | ReadoutSpec
)  # fmt: skip
_PLAIN: Mapping[NodeKind, NodeSpec] = {
    spec.kind: spec
    for spec in (InputSpec(), ActivationSpec(), AddSpec(), ConcatSpec(), MatMulSpec(), ReshapeSpec(), FlattenSpec())
}


@dataclass(frozen=True)
class _NodeDocument:
    name: str
    kind: NodeKind
    inputs: tuple[str, ...]
    shape: TensorShape
    carries: Carries
    spec: _Options | None = None
    of: str | None = None
    calls: tuple[int, ...] = ()


@dataclass(frozen=True)
class _GraphDocument:
    nodes: tuple[_NodeDocument, ...]
    time_steps: int


_DOCUMENT = TypeAdapter(_GraphDocument)


def graph_to_json(graph: SnnGraph) -> str:
    """The graph as one JSON document; `graph_from_json` gives back an equal graph."""
    nodes = (
        _NodeDocument(
            node.name, node.kind, node.inputs, node.shape, node.carries, _options(node.spec), node.of, node.calls
        )
        for node in graph
    )
    return _DOCUMENT.dump_json(_GraphDocument(tuple(nodes), graph.time_steps)).decode()


def graph_from_json(text: str) -> SnnGraph:
    """The graph of a document.

    Raises:
        ValidationError, LookupError: the text is no such document, or a node's options are not those of its kind.
    """
    document = _DOCUMENT.validate_json(text)
    nodes = (
        SnnNode(node.name, _spec(node.kind, node.spec), node.inputs, node.shape, node.carries, node.of, node.calls)
        for node in document.nodes
    )
    return SnnGraph(tuple(nodes), document.time_steps)


def _options(spec: NodeSpec) -> _Options | None:
    match spec:
        case RecurrentSpec(synapse):
            return synapse
        case InputSpec() | ActivationSpec() | AddSpec() | ConcatSpec() | MatMulSpec() | ReshapeSpec() | FlattenSpec():
            return None
        case (
            SynapseSpec() | AffineSpec() | NeuronModel() | PoolSpec() | MultiplySpec() | ScaleSpec() | SumSpec()
            | TransposeSpec() | SliceSpec() | ReadoutSpec()
        ):  # fmt: skip
            return spec
        case _:
            assert_never(spec)


def _spec(kind: NodeKind, options: _Options | None) -> NodeSpec:
    if options is None:
        return _PLAIN[kind]
    spec = RecurrentSpec(options) if kind == "recurrent" and isinstance(options, SynapseSpec) else options
    if spec.kind != kind:
        raise LookupError(f"a node of kind {kind} has the options of {spec.kind}")
    return spec

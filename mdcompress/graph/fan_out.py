"""A graph -> how many synaptic operations a spike of each neuron layer causes in its step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

from mdcompress.graph.graph import SnnGraph, SnnNode
from mdcompress.graph.neuron import NeuronModel
from mdcompress.graph.specs import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    PoolSpec,
    ReadoutSpec,
    RecurrentSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SumSpec,
    SynapseSpec,
    TransposeSpec,
)


def operations_per_spike(graph: SnnGraph) -> Mapping[str, float]:
    """Of each neuron layer: weights that a spike of it meets in the synapses that it reaches; means over the layer.

    conv, linear: outputs * weights of an output / inputs; padding counts as if it were read
    matrix product [n, d] x [d, m]: m for a value of the left one, n for one of the right one
    pool: the operations of the window it is part of, as if it were alone in it; of several windows, their sum

    A product of spikes counts as if each of its factors went through alone too. 0: no synapse is reached, as by the
    spikes of the answer.
    """
    reach: dict[str, float] = {}

    def of(name: str) -> float:
        if name not in reach:
            node = graph.node(name)
            reach[name] = math.fsum(
                _through(reader, node, position, of(reader.name))
                for reader in graph.readers(name)
                for position, source in enumerate(reader.inputs)
                if source == name
            )
        return reach[name]

    return {node.name: of(node.name) + _recurrent_operations(graph, node) for node in graph.of(NeuronModel)}


def _recurrent_operations(graph: SnnGraph, neuron: SnnNode[NeuronModel]) -> float:
    """Per spike, in the neuron's own recurrent weights."""
    found = (node for node in graph.of(RecurrentSpec) if graph.neuron_behind(node) is neuron)
    return math.fsum(_synapse_operations(node.spec.synapse, neuron, neuron) for node in found)


def _through(reader: SnnNode, node: SnnNode, position: int, beyond: float) -> float:
    """Operations of a value of `node` by way of one reader. beyond: those of a value that the reader writes."""
    match reader.spec:
        case SynapseSpec():
            return _synapse_operations(reader.spec, node, reader)
        case MatMulSpec():
            return float(reader.shape[-1] if position == 0 else reader.shape[-2])
        case PoolSpec(kernel=kernel):
            return beyond * math.prod(kernel) * math.prod(reader.shape) / math.prod(node.shape)
        case SliceSpec():
            return beyond * math.prod(reader.shape) / math.prod(node.shape)
        case ScaleSpec() | SumSpec() | TransposeSpec() | ReshapeSpec() | FlattenSpec():
            return beyond
        case AddSpec() | ConcatSpec() | MultiplySpec():
            return beyond
        case RecurrentSpec() | AffineSpec() | ActivationSpec() | NeuronModel() | InputSpec() | ReadoutSpec():
            return 0.0  # what it writes are no spikes of this layer
        case _:
            assert_never(reader.spec)


def _synapse_operations(synapse: SynapseSpec, read: SnnNode, written: SnnNode) -> float:
    """Weights that a value of `read` meets on its way to `written`."""
    outputs, inputs = math.prod(written.shape), math.prod(read.shape)
    out_channels, *of_an_output = synapse.weight_shape
    if synapse.is_transposed:
        return out_channels / synapse.groups * math.prod(of_an_output[1:])
    return outputs * math.prod(of_an_output) / inputs

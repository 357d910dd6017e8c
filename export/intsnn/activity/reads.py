"""A graph, its input and its neurons' spikes -> what synapses and matrix products read, without running a synapse.

What lies between spikes and a synapse is recomputed on bit planes (planes.py): a maximum of spikes is an OR, a sum a
row of adders, what only moves values moves words. Products of wider values are made of the values themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import assert_never

import numpy as np
import numpy.typing as npt

from intsnn.activity.planes import Pack, Planes, Word, Words, added, added_along, packed, unpacked
from intsnn.arithmetic import Bounds
from intsnn.execution.interpreter import node_output
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
)
from intsnn.graph.bounds import value_bounds

Integers = npt.NDArray[np.integer]


def words_of(graph: IntGraph) -> dict[str, Word]:
    """The word of each tensor of values, by the name of the node that writes it; of a neuron that of its spikes."""
    spikes = {node.name: Bounds(0, node.max_spikes) for node in graph.neurons}
    return {name: Word.holding(interval) for name, interval in {**value_bounds(graph), **spikes}.items()}


def read_tensors(
    graph: IntGraph, x: Integers, spikes: Mapping[str, Integers], *, words: Mapping[str, Word], pack: Pack
) -> Iterator[tuple[IntNode, Planes]]:
    """Each neuron with its spikes, and each node that lies between these and a synapse or a product, with its output.

    Args:
        graph: legal.
        x: its input, [T, N, *input shape], of at most 64 samples.
        spikes: by neuron name, [T, N, *shape].
        words: of `words_of`.
        pack: makes words of values.

    Yields:
        Nodes in the order of the graph, what they write as bit planes.
    """
    needed, found = _needed(graph), dict[str, Planes]()
    for node in graph:
        if isinstance(node, IntInput):
            found[node.name] = packed(x, words[node.name], pack=pack)
        elif isinstance(node, IntNeuron):
            found[node.name] = packed(spikes[node.name], words[node.name], pack=pack)
        elif node.name in needed:
            read = [found[name] for name in node.inputs]
            found[node.name] = _written(node, read, words[node.name], samples=x.shape[1], pack=pack)
        else:
            continue
        yield node, found[node.name]


def _needed(graph: IntGraph) -> set[str]:
    """Names of the tensors that synapses and products read, and of those that these are made of."""
    wanted = {name for node in (*graph.synapses, *graph.of_type(IntMatMul)) for name in node.inputs}
    for node in reversed(graph.nodes):
        if node.name in wanted and not isinstance(node, IntNeuron):
            wanted.update(node.inputs)
    return wanted


def _written(node: IntNode, read: list[Planes], word: Word, *, samples: int, pack: Pack) -> Planes:
    """What a node makes of values, as bit planes."""
    x = read[0]
    match node:
        case IntPool(mode="max") if x.binary:
            return Planes(reduce(np.bitwise_or, _windows(node, x.words)), signed=False)
        case IntPool(mode="sum"):
            return added([Planes(window, x.signed) for window in _windows(node, x.words)], word)
        case IntAdd():
            return added(read, word)
        case IntSum():
            return added_along(x, node.axis, word)
        case IntConcat():
            return Planes(np.concatenate([part.to(word).words for part in read], axis=2), word.signed)
        case IntMultiply() if x.binary:
            mask = x.words if node.mode == "product" else ~x.words
            return Planes(mask & read[1].words, read[1].signed).to(word)
        case IntFlatten() | IntReshape() | IntTranspose() | IntSlice():
            return _moved(node, x).to(word)
        case IntPool() | IntMultiply() | IntMatMul():
            values = tuple(unpacked(part, samples) for part in read)
            return packed(node_output(node, values), word, pack=pack)
        case IntInput() | IntNeuron() | IntConv() | IntConvTranspose() | IntLinear() | IntRequant() | IntReadout():
            raise AssertionError(f"{node.name}: no synapse reads what a {node.kind} makes (FORMAT.md)")
        case _:
            assert_never(node)


def _moved(node: IntFlatten | IntReshape | IntTranspose | IntSlice, x: Planes) -> Planes:
    """Values in another order are words in another order; bits and steps are the leading axes here."""
    return Planes(node_output(node, (x.words.view(np.int64),)).view(np.uint64), x.signed)


def _windows(node: IntPool, words: Words) -> Iterator[Words]:
    """For each position of the window, what it reads at every output: [B, T, C, *outputs]; 0 in the padding."""
    pad = [(0, 0)] * 3 + [(size, size) for size in node.padding]
    padded = np.pad(words, pad) if any(node.padding) else words
    for position in itertools.product(*map(range, node.kernel)):
        places = (
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, stride, size in zip(position, node.stride, node.shape[1:], strict=True)
        )
        yield padded[(slice(None),) * 3 + tuple(places)]

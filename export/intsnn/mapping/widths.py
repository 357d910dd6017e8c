"""A demand -> the same demand with weights, membranes and accumulators of other widths; spikes and inputs stay.

Wide words are those that hold accumulators or currents: products, sums and states of every node that reads them. Words
that hold spikes or counts of spikes (a pool, a sum of spikes) keep their width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from intsnn.errors import UsageError
from intsnn.graph import IntRequant
from intsnn.graph.bounds import TensorRole
from intsnn.hardware.catalogue import Item
from intsnn.mapping.demand import Demand, DigitalNode, SynapseDemand
from intsnn.mapping.operations import Operation


def of_one_width(demand: Demand, bits: int) -> Demand:
    """Weights, membranes, accumulators and currents of `bits`; every requantization multiplies and adds.

    Raises:
        UsageError: the bits lie outside 1 to 64.
    """
    _check(bits, "bits")
    written = {name: replace(one, bits=bits) if one.wide else one for name, one in demand.written.items()}
    changed = _changed(demand, lambda layer: replace(layer, weight_bits=bits), lambda node: _one_width(node, bits))
    return replace(changed, written=written)


def with_weight_bits(demand: Demand, bits: float) -> Demand:
    """Every weight of `bits`; accumulators grow or shrink by as many bits as the weights they sum.

    Raises:
        UsageError: the bits lie outside 1 to 64.
    """
    _check(bits, "weight_bits")
    change = {layer.name: math.ceil(bits) - math.ceil(layer.weight_bits) for layer in demand.layers}
    return _changed(
        demand,
        lambda layer: replace(layer, weight_bits=bits),
        lambda node: _widened(node, change.get(node.inputs[0], 0)),
    )


def with_membrane_bits(demand: Demand, bits: int) -> Demand:
    """Every membrane of `bits`; each neuron's words by as many bits, currents as those of the widest membrane.

    Raises:
        UsageError: the bits lie outside 1 to 64.
    """
    _check(bits, "membrane_bits")
    widest = max((_membrane_bits(node) for node in demand.digital if _membrane_bits(node)), default=bits)
    return _changed(demand, lambda layer: layer, lambda node: _with_membrane(node, bits, widest=widest))


def _changed(
    demand: Demand, layer: Callable[[SynapseDemand], SynapseDemand], digital: Callable[[DigitalNode], DigitalNode]
) -> Demand:
    """The demand with each of its synapses and digital nodes changed."""
    nodes = (layer(node) if isinstance(node, SynapseDemand) else digital(node) for node in demand.nodes)
    return replace(demand, nodes=tuple(nodes))


def _check(bits: float, name: str) -> None:
    if not 1 <= bits <= 64:
        raise UsageError(f"{name} must lie between 1 and 64 (got {bits:g})")


def _one_width(node: DigitalNode, bits: int) -> DigitalNode:
    if node.reads is TensorRole.VALUES:
        return node
    if node.kind == IntRequant.kind:
        product = Operation(Item.REQUANTIZE_MULTIPLY, 1, bits, by=bits)
        table = replace(node.table, row_bits=node.table.words * bits)
        return replace(node, operations=(product, Operation(Item.REQUANTIZE_ADD, 1, bits)), table=table)
    return replace(
        node,
        operations=tuple(replace(operation, word=bits) for operation in node.operations),
        states=tuple(word if word.holds == "spikes" else replace(word, bits=bits) for word in node.states),
        operands=tuple(replace(operand, bits=bits) for operand in node.operands),
    )


def _with_membrane(node: DigitalNode, bits: int, *, widest: int) -> DigitalNode:
    if _membrane_bits(node):
        states = tuple(replace(word, bits=bits) if word.holds == "membrane" else word for word in node.states)
        return replace(_widened(node, bits - _membrane_bits(node)), states=states)
    if node.kind == IntRequant.kind or node.reads is TensorRole.VALUES:
        return node  # a product is as wide as accumulator and multiplier; a count of spikes as its window
    return _widened(node, bits - widest)


def _membrane_bits(node: DigitalNode) -> int:
    """N of a neuron, of its membrane and its synaptic state alike; 0 of any other node."""
    return next((word.bits for word in node.states if word.holds == "membrane"), 0)


def _widened(node: DigitalNode, change: int) -> DigitalNode:
    """Words, sums and waiting operands `change` bits wider, at least 1 bit; membranes and spikes stay."""
    if change == 0:
        return node
    return replace(
        node,
        operations=tuple(replace(operation, word=max(1, operation.word + change)) for operation in node.operations),
        states=tuple(
            replace(word, bits=max(1, word.bits + change)) if word.holds == "sum" else word for word in node.states
        ),
        operands=tuple(replace(operand, bits=max(1, operand.bits + change)) for operand in node.operands),
    )

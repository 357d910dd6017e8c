"""Plan and graph -> how many weights each layer has, and of how many bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mdcompress.graph import RecurrentSpec, SnnGraph, SynapseSpec
from mdcompress.planning.types import QuantPlan


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer: how many, and their bits."""

    layer: str
    count: int
    bit_width: float


def layer_weights(plan: QuantPlan, graph: SnnGraph) -> Iterator[LayerWeights]:
    """The weights of each layer as they are planned.

    Args:
        plan: the plan.
        graph: the trace that it plans.
    """
    for node in graph.of(SynapseSpec, RecurrentSpec):
        policy = plan.node(node.name).weight
        if policy is not None:
            yield LayerWeights(node.name, math.prod(node.spec.weight_shape), policy.bit_width)


def weights_by_bits(layers: Iterable[LayerWeights]) -> Mapping[float, int]:
    """Bits of a weight -> the number of weights that have them."""
    found: Counter[float] = Counter()
    for layer in layers:
        found[layer.bit_width] += layer.count
    return found

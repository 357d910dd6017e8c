"""A graph and its activity -> synaptic additions of one step: how often a weight is added to a sum.

An input that is not 0 adds one row of weights at every window that reads it: row_activations * (outputs of its group).
Where a synapse reads the network's input of several bits, or counts of spikes, each is a product and an addition. A
matrix product adds once for each pair of which neither is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from intsnn.activity.activity import Activity, SynapseActivity
from intsnn.activity.occupancy import Steps, input_uses
from intsnn.graph import IntConvTranspose, IntGraph, IntMatMul, Synapse


@dataclass(frozen=True)
class SynapticAdditions:
    """Of one synapse or matrix product, in one step of one sample.

    most: with no input at 0. mean: as measured, over samples and steps.
    """

    name: str
    most: int
    mean: float


def synaptic_additions(graph: IntGraph, activity: Activity) -> tuple[SynapticAdditions, ...]:
    """The additions of each synapse, then of each matrix product, in order.

    Raises:
        HardwareError: the activity is of another graph.
    """
    synapses = (
        SynapticAdditions(each.name, _reads(graph, each) * _outputs(each), _mean(activity.synapse(each.name), each))
        for each in graph.all_synapses
    )
    products = (
        SynapticAdditions(
            node.name,
            math.prod(node.shape) * graph.node(node.inputs[0]).shape[-1],
            _over_steps(activity.product(node.name).active_pairs),
        )
        for node in graph.of_type(IntMatMul)
    )
    return (*synapses, *products)


def _mean(counted: SynapseActivity, synapse: Synapse) -> float:
    return _over_steps(counted.row_activations) * _outputs(synapse)


def _reads(graph: IntGraph, synapse: Synapse) -> int:
    """How many values all windows read, padding left out."""
    shape = graph.node(synapse.inputs[0]).shape
    uses = input_uses(synapse, shape)
    return int(uses.sum()) * (math.prod(shape) // uses.size)


def _outputs(synapse: Synapse) -> int:
    """Output channels of one group."""
    weights = synapse.weight.shape
    return int(weights[1] if isinstance(synapse, IntConvTranspose) else weights[0] // synapse.groups)


def _over_steps(counts: Steps) -> float:
    return math.fsum(counts) / len(counts)

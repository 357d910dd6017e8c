"""An integer graph and inputs -> how often each neuron fires and how many rows each synapse drives, per step.

Counts are means per sample. They depend on the network and the data only, so one activity serves every hardware.
For a synapse with input s, summed over output positions p and kernel positions k that read an input (padding
reads nothing):

    active_inputs   = sum [s != 0]                  row_activations = sum_{p,k} [s != 0] = sum(conv(s != 0, ones))
    input_sum       = sum s                         row_pulses      = sum_{p,k} ones in the binary word of s

Pulses are what bit-serial rows see: of spikes they equal the activations; of negative inputs the word is two's
complement in the bits of the tensor's proved interval. Output channels (the fan-out) multiply later. A recurrent
synapse reads its neuron's spikes of the step before, none in the first. Measured activity also holds, for each usual
way of cutting the rows into arrays, the reads that see an active row (occupancy.py).

A matrix product reads activations a and b: active_left = sum [a != 0], active_right = sum [b != 0], and active_pairs
are the pairs it multiplies of which neither is 0: sum_{n,d,m} [a_nd != 0] [b_dm != 0].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from intsnn.activity.assumption import expected_counts, operand_sizes
from intsnn.activity.occupancy import Cut, FloatArray, Occupancy, Steps
from intsnn.arithmetic import is_number, word_bits
from intsnn.errors import HardwareError, UsageError
from intsnn.graph import IntGraph, IntMatMul, IntRecurrentNeuron
from intsnn.graph.bounds import read_bounds
from intsnn.graph.fingerprint import fingerprint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PartT = TypeVar("PartT", bound="DataclassInstance")
_COUNTS = 4  # lists of counts of a synapse before its occupancies


@dataclass(frozen=True)
class NeuronActivity:
    """Spikes of one neuron node in each step, of `size` neurons."""

    name: str
    size: int
    spikes: Steps

    @property
    def rate(self) -> float:
        """Spikes per neuron and step."""
        return math.fsum(self.spikes) / (self.size * len(self.spikes))


@dataclass(frozen=True)
class SynapseActivity:
    """What one synapse reads in each step (equations above), from `size` inputs."""

    name: str
    size: int
    active_inputs: Steps
    row_activations: Steps
    row_pulses: Steps
    input_sum: Steps
    occupancy: tuple[Occupancy, ...] = ()

    @property
    def rate(self) -> float:
        """Active inputs per input and step."""
        return math.fsum(self.active_inputs) / (self.size * len(self.active_inputs))


@dataclass(frozen=True)
class ProductActivity:
    """What one matrix product reads in each step (equations above); sizes: values of the left and right operand."""

    name: str
    sizes: tuple[int, int]
    active_left: Steps
    active_right: Steps
    active_pairs: Steps


@dataclass(frozen=True)
class Activity:
    """Activity of a graph: measured on `samples` inputs, or assumed from one firing rate (samples = 0).

    graph: fingerprint of the graph it belongs to. constant_input: whether every sample's input is the same in all
    steps, as of a still image.
    """

    source: Literal["measured", "assumed"]
    samples: int
    time_steps: int
    graph: str
    neurons: tuple[NeuronActivity, ...]
    synapses: tuple[SynapseActivity, ...]
    products: tuple[ProductActivity, ...] = ()
    constant_input: bool = False

    @property
    def constant_steps(self) -> int:
        """T where the input is the same in every step, else 1."""
        return self.time_steps if self.constant_input else 1

    @property
    def mean_rate(self) -> float:
        """Spikes per neuron and step over all neurons; 0 where there are none."""
        spikes = math.fsum(count for neuron in self.neurons for count in neuron.spikes)
        places = sum(neuron.size for neuron in self.neurons) * self.time_steps
        return spikes / places if places else 0.0

    def synapse(self, name: str) -> SynapseActivity:
        """The activity of one synapse.

        Raises:
            HardwareError: there is none of that name.
        """
        for synapse in self.synapses:
            if synapse.name == name:
                return synapse
        raise HardwareError(f"the activity has no layer {name!r}", hints=["measure it again on this graph"])

    def product(self, name: str) -> ProductActivity:
        """The activity of one matrix product.

        Raises:
            HardwareError: there is none of that name.
        """
        for product in self.products:
            if product.name == name:
                return product
        raise HardwareError(f"the activity has no matrix product {name!r}", hints=["measure it again on this graph"])


def first_steps(activity: Activity, time_steps: int) -> Activity:
    """The activity of the first steps only: what a run of fewer steps does, since no step knows how many follow.

    Raises:
        UsageError: the activity has not so many steps.
    """
    if not 1 <= time_steps <= activity.time_steps:
        raise UsageError(
            f"time_steps must lie between 1 and the activity's {activity.time_steps} (got {time_steps})",
            hints=["measure or assume an activity of more steps"],
        )
    return replace(_first_of(activity, time_steps), time_steps=time_steps)


def _first_of(part: PartT, steps: int) -> PartT:
    """A part of an activity with every field of `Steps` cut, in the parts that it holds too."""
    cut: dict[str, object] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.type == "Steps":
            cut[field.name] = value[:steps]
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            cut[field.name] = tuple(_first_of(one, steps) for one in value)
    return replace(part, **cut)


def assume(graph: IntGraph, *, rate: float, time_steps: int, constant_input: bool = False) -> Activity:
    """The activity expected if every neuron fires with probability `rate` in every step, independently of all others.

    A neuron that counts up to L spikes has L chances of rate / L each, so the mean is `rate` for every neuron. Inputs
    of one bit are active with the same probability; wider inputs are taken as uniform over their range. Pools, sums and
    products follow from the distribution of what they read, without the effect of pool padding.

    Args:
        graph: the network.
        rate: spikes per neuron and step, in [0, 1] for a binary neuron.
        time_steps: T.
        constant_input: whether the input is to be taken as the same in every step, as of a still image.

    Returns:
        The activity, with `samples` 0.

    Raises:
        UsageError: the rate is no probability, or the graph's norms fix another T.
    """
    if not is_number(rate) or not 0 <= rate <= 1:
        raise UsageError(f"rate must lie in [0, 1], spikes per neuron and step (got {rate!r})")
    if type(time_steps) is not int or time_steps < 1:
        raise UsageError(f"time_steps must be an integer of at least 1 (got {time_steps!r})")
    if graph.time_steps not in (None, time_steps):
        raise UsageError(f"time_steps must be {graph.time_steps}, for which the graph has its norms (got {time_steps})")
    widths = {name: word_bits(interval) for name, interval in read_bounds(graph).items()}
    means: dict[str, FloatArray] = {}
    for node in graph.neurons:
        means[node.name] = np.full((1, time_steps), rate * math.prod(node.shape))
    for name, expected in expected_counts(graph, rate=rate, widths=widths).items():
        means[name] = np.repeat(expected[:, None], time_steps, axis=1)
    for recurrent in graph.of_type(IntRecurrentNeuron):
        means[recurrent.recurrent_synapse.name][:, 0] = 0  # nothing has fired before the first step
    found = activity_of(graph, means, {}, source="assumed", samples=0, time_steps=time_steps)
    return replace(found, constant_input=constant_input)


def activity_of(
    graph: IntGraph,
    means: Mapping[str, FloatArray],
    cuts: Mapping[str, Sequence[Cut]],
    *,
    source: Literal["measured", "assumed"],
    samples: int,
    time_steps: int,
) -> Activity:
    """Means by node name as an Activity: [1, T] of a neuron, [4 + 3 for each cut, T] of a synapse, [3, T]."""
    steps = {name: [tuple(row) for row in counts.tolist()] for name, counts in means.items()}
    return Activity(
        source=source,
        samples=samples,
        time_steps=time_steps,
        graph=fingerprint(graph),
        neurons=tuple(NeuronActivity(node.name, math.prod(node.shape), *steps[node.name]) for node in graph.neurons),
        synapses=tuple(
            SynapseActivity(
                node.name,
                math.prod(graph.node(node.inputs[0]).shape),
                *_four(steps[node.name]),
                occupancy=_occupancies(cuts.get(node.name, ()), steps[node.name][_COUNTS:]),
            )
            for node in graph.all_synapses
        ),
        products=tuple(
            ProductActivity(node.name, operand_sizes(graph, node), *_three(steps[node.name]))
            for node in graph.of_type(IntMatMul)
        ),
    )


def _four(counts: Sequence[Steps]) -> tuple[Steps, Steps, Steps, Steps]:
    """Active inputs, row activations, row pulses, input sum."""
    active, activations, pulses, total = counts[:_COUNTS]
    return active, activations, pulses, total


def _three(counts: Sequence[Steps]) -> tuple[Steps, Steps, Steps]:
    """Active values of the left and of the right operand, active pairs."""
    left, right, pairs = counts
    return left, right, pairs


def _occupancies(cuts: Sequence[Cut], counts: Sequence[Steps]) -> tuple[Occupancy, ...]:
    return tuple(Occupancy(cut, *counts[3 * index : 3 * index + 3]) for index, cut in enumerate(cuts))

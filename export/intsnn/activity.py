"""An integer graph and inputs -> how often each neuron fires and how many rows each weight layer drives, per step.

Counts are means per sample. They depend on the network and the data only, so one activity serves every hardware.
For a weight layer with input s, summed over output positions p and kernel positions k that read an input (padding
reads nothing):

    active_inputs   = sum [s != 0]                  row_activations = sum_{p,k} [s != 0] = sum(conv(s != 0, ones))
    input_sum       = sum s                         row_pulses      = sum_{p,k} ones in the binary word of s

Pulses are what bit-serial rows see: of spikes they equal the activations; of negative inputs the word is two's
complement in the bits of the tensor's proved interval. Output channels (the fan-out) multiply later.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, model_validator

from intsnn.arithmetic import IntArray, IntType
from intsnn.errors import HardwareError, InputError, UsageError
from intsnn.files import write_atomically
from intsnn.graph import IntAdd, IntConv, IntFlatten, IntGraph, IntInput, IntNeuron, IntNode, IntPool, Shape, Synapse
from intsnn.hardware.words import word_bits
from intsnn.interpreter import Evaluation, checked_input, evaluate
from intsnn.tensors import bounds
from intsnn.yamlfile import RuleError, StrictModel, read_yaml

ACTIVITY_SCHEMA = "intsnn.activity/1"
FloatArray = npt.NDArray[np.float64]
Steps = tuple[float, ...]


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
    """What one weight layer reads in each step (equations above), from `size` inputs."""

    name: str
    size: int
    active_inputs: Steps
    row_activations: Steps
    row_pulses: Steps
    input_sum: Steps

    @property
    def rate(self) -> float:
        """Active inputs per input and step."""
        return math.fsum(self.active_inputs) / (self.size * len(self.active_inputs))


@dataclass(frozen=True)
class Activity:
    """Activity of a graph: measured on `samples` inputs, or assumed from one firing rate (samples = 0).

    graph: fingerprint of the graph it belongs to.
    """

    source: Literal["measured", "assumed"]
    samples: int
    time_steps: int
    graph: str
    neurons: tuple[NeuronActivity, ...]
    synapses: tuple[SynapseActivity, ...]

    @property
    def mean_rate(self) -> float:
        """Spikes per neuron and step over all neurons; 0 where there are none."""
        spikes = math.fsum(count for neuron in self.neurons for count in neuron.spikes)
        places = sum(neuron.size for neuron in self.neurons) * self.time_steps
        return spikes / places if places else 0.0

    def synapse(self, name: str) -> SynapseActivity:
        """The activity of one weight layer; HardwareError where there is none."""
        for synapse in self.synapses:
            if synapse.name == name:
                return synapse
        raise HardwareError(f"the activity has no layer {name!r}", hints=["measure it again on this graph"])


def measure(graph: IntGraph, batches: Iterable[npt.ArrayLike]) -> Activity:
    """Run the interpreter on batches [T, N, *input shape] of integers and count.

    Raises:
        InputError: there is no batch, or T differs between batches.
    """
    widths = {name: word_bits(interval) for name, interval in bounds(graph).items()}
    totals: dict[str, FloatArray] = {}
    time_steps = samples = 0
    for batch in batches:
        array = checked_input(graph, batch)
        if samples and len(array) != time_steps:
            raise InputError(f"every batch must have the same number of steps (got {time_steps} and {len(array)})")
        time_steps, samples = len(array), samples + array.shape[1]
        for name, counts in _count_batch(graph, array, widths):
            totals[name] = totals.get(name, 0.0) + counts
    if samples == 0:
        raise InputError(
            "the activity needs at least one batch (got none)", hints=["give batches of shape [T, N, ...]"]
        )
    means = {name: counts / samples for name, counts in totals.items()}
    return _activity(graph, means, source="measured", samples=samples, time_steps=time_steps)


def assume(graph: IntGraph, *, rate: float, time_steps: int) -> Activity:
    """The activity expected if every neuron fires with probability `rate` in every step, independently of all others.

    Inputs of one bit are active with the same probability; wider inputs are taken as uniform over their range. Pools
    and sums follow from the distribution of what they read, without the effect of pool padding.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise UsageError(f"rate must lie in [0, 1], spikes per neuron and step (got {rate!r})")
    if isinstance(time_steps, bool) or not isinstance(time_steps, int) or time_steps < 1:
        raise UsageError(f"time_steps must be an integer of at least 1 (got {time_steps!r})")
    widths = {name: word_bits(interval) for name, interval in bounds(graph).items()}
    values = _distributions(graph, rate)
    means: dict[str, FloatArray] = {}
    for node in graph:
        if isinstance(node, IntNeuron):
            means[node.name] = np.full((1, time_steps), rate * math.prod(node.shape))
    for synapse in graph.synapses:
        read = graph.node(synapse.inputs[0])
        expected = _expected_counts(synapse, read, values[read.name], widths[read.name])
        means[synapse.name] = np.repeat(expected[:, None], time_steps, axis=1)
    return _activity(graph, means, source="assumed", samples=0, time_steps=time_steps)


def write_activity(activity: Activity, path: str | Path) -> None:
    """Write activity.json, whole or not at all."""
    text = json.dumps({"schema": ACTIVITY_SCHEMA, **asdict(activity)}, indent=1) + "\n"
    write_atomically(path, text.encode())


def read_activity(path: str | Path) -> Activity:
    """Read activity.json; every fault with its place."""
    file = read_yaml(
        Path(path), _ActivityFile, schema=ACTIVITY_SCHEMA
    )  # JSON is YAML, and this reader knows the places
    return Activity(
        source=file.source,
        samples=file.samples,
        time_steps=file.time_steps,
        graph=file.graph,
        neurons=tuple(NeuronActivity(**dict(neuron)) for neuron in file.neurons),
        synapses=tuple(SynapseActivity(**dict(synapse)) for synapse in file.synapses),
    )


def fingerprint(graph: IntGraph) -> str:
    """SHA-256 over every node's kind, name, wiring, shape and integers: equal where the computation is equal."""
    digest = hashlib.sha256()
    for node in graph:
        digest.update(f"\n{node.kind}".encode())
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray):
                digest.update(f"\n{field.name}={list(value.shape)}:".encode() + value.astype("<i8").tobytes())
            elif field.name != "scale":  # metadata: no arithmetic depends on it
                digest.update(f"\n{field.name}={_plain(value)}".encode())
    return digest.hexdigest()


def _plain(value: object) -> str:
    """One text for 4, 4.0 and a NumPy 4, which compute the same."""
    match value:
        case tuple():
            return f"({', '.join(map(_plain, value))})"
        case str():
            return value
        case _:
            return repr(float(value))  # type: ignore[arg-type]


NotNegativeSteps = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]


class _NeuronEntry(StrictModel):
    name: str
    size: Annotated[int, Field(ge=1)]
    spikes: NotNegativeSteps


class _SynapseEntry(StrictModel):
    name: str
    size: Annotated[int, Field(ge=1)]
    active_inputs: NotNegativeSteps
    row_activations: NotNegativeSteps
    row_pulses: NotNegativeSteps
    input_sum: Annotated[tuple[float, ...], Field(min_length=1)]


class _ActivityFile(StrictModel):
    model_config = ConfigDict(title="activity file")

    source: Literal["measured", "assumed"]
    samples: Annotated[int, Field(ge=0)]
    time_steps: Annotated[int, Field(ge=1)]
    graph: str
    neurons: tuple[_NeuronEntry, ...]
    synapses: tuple[_SynapseEntry, ...]

    @model_validator(mode="after")
    def _every_step_is_there(self) -> Self:
        lists = [neuron.spikes for neuron in self.neurons]
        for one in self.synapses:
            lists += [one.active_inputs, one.row_activations, one.row_pulses, one.input_sum]
        for steps in lists:
            if len(steps) != self.time_steps:
                message = f"every list of counts must have {self.time_steps} steps (got {len(steps)})"
                raise RuleError(message, field="time_steps", hint="measure the activity again")
        return self


def _activity(
    graph: IntGraph,
    means: Mapping[str, FloatArray],
    *,
    source: Literal["measured", "assumed"],
    samples: int,
    time_steps: int,
) -> Activity:
    """Means by node name, [1, T] for neurons and [4, T] for weight layers, as an Activity."""
    steps = {name: [tuple(row) for row in counts.tolist()] for name, counts in means.items()}
    return Activity(
        source=source,
        samples=samples,
        time_steps=time_steps,
        graph=fingerprint(graph),
        neurons=tuple(NeuronActivity(node.name, math.prod(node.shape), *steps[node.name]) for node in graph.neurons),
        synapses=tuple(
            SynapseActivity(node.name, math.prod(graph.node(node.inputs[0]).shape), *steps[node.name])
            for node in graph.synapses
        ),
    )


def _count_batch(graph: IntGraph, batch: IntArray, widths: Mapping[str, int]) -> Iterator[tuple[str, FloatArray]]:
    for step in evaluate(graph, batch):
        match step:
            case Evaluation(node=IntNeuron() as node):
                yield node.name, step.output.sum(axis=tuple(range(1, step.output.ndim)))[None].astype(np.float64)
            case Evaluation(node=node) if isinstance(node, Synapse):
                yield node.name, _measured_counts(node, step.inputs[0], widths[node.inputs[0]])


def _measured_counts(node: Synapse, x: IntArray, width: int) -> FloatArray:
    """[4, T]: active inputs, row activations, row pulses, input sum, over the whole batch."""
    uses = _uses(node, x.shape[2:])
    pulses = sum(((x >> bit) & 1 for bit in range(width)), start=np.zeros_like(x))
    counts = [(x != 0), (x != 0) * uses, pulses * uses, x]
    return np.stack([part.reshape(len(x), -1).sum(axis=1) for part in counts]).astype(np.float64)


def _uses(node: Synapse, shape: Shape) -> IntArray:
    """How many windows read each input, broadcast over the input's shape: 1 for a linear layer."""
    if not isinstance(node, IntConv):
        return np.ones((1,) * len(shape), dtype=np.int64)
    kernel = node.weight.shape[2:]
    per_axis = [
        _uses_along(shape[1 + axis], node.shape[1 + axis], (kernel[axis], node.stride[axis], node.dilation[axis]), pad)
        for axis, pad in enumerate(node.padding)
    ]
    return np.multiply.outer(per_axis[0], per_axis[1])[None]


def _uses_along(size: int, outputs: int, window: tuple[int, int, int], padding: int) -> IntArray:
    """Along one axis: the number of pairs (output o, kernel position k) with o*stride + k*dilation - padding = i."""
    kernel, stride, dilation = window
    reads = np.add.outer(np.arange(outputs) * stride, np.arange(kernel) * dilation).ravel() - padding
    return np.bincount(reads[(reads >= 0) & (reads < size)], minlength=size).astype(np.int64)


@dataclass(frozen=True)
class _Distribution:
    """Probabilities of the integers low, low + 1, …, the same for every element of a tensor."""

    low: int
    probabilities: FloatArray

    @property
    def values(self) -> IntArray:
        return self.low + np.arange(len(self.probabilities), dtype=np.int64)

    def mean(self, of: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> float:
        return float(self.probabilities @ of)

    def plus(self, other: _Distribution) -> _Distribution:
        return _Distribution(self.low + other.low, np.convolve(self.probabilities, other.probabilities))

    def largest_of(self, count: int) -> _Distribution:
        below = np.concatenate([[0.0], np.cumsum(self.probabilities)]) ** count
        return _Distribution(self.low, np.diff(below))


def _distributions(graph: IntGraph, rate: float) -> dict[str, _Distribution | None]:
    """The assumed distribution of every tensor; None for accumulators and currents, which no rate describes."""
    found: dict[str, _Distribution | None] = {}
    spike = _Distribution(0, np.array([1 - rate, rate]))
    for node in graph:
        match node:
            case IntInput():
                word = IntType(node.bit_width, node.signed)
                uniform = np.full(word.high - word.low + 1, 2.0**-node.bit_width)
                found[node.name] = spike if (word.low, word.high) == (0, 1) else _Distribution(word.low, uniform)
            case IntNeuron():
                found[node.name] = spike
            case IntPool():
                found[node.name] = _pooled(node, found[node.inputs[0]])
            case IntAdd():
                found[node.name] = _sum([found[name] for name in node.inputs])
            case IntFlatten():
                found[node.name] = found[node.inputs[0]]
            case _:
                found[node.name] = None
    return found


def _pooled(node: IntPool, x: _Distribution | None) -> _Distribution | None:
    count = math.prod(node.kernel)
    if x is None:
        return None
    return x.largest_of(count) if node.mode == "max" else _sum([x] * count)


def _sum(parts: list[_Distribution | None]) -> _Distribution | None:
    total = _Distribution(0, np.ones(1))
    for part in parts:
        if part is None:
            return None
        total = total.plus(part)
    return total


def _expected_counts(node: Synapse, read: IntNode, x: _Distribution | None, width: int) -> FloatArray:
    """[4]: what _measured_counts would give on average, for one sample and step."""
    if x is None:
        raise HardwareError(
            f"node {node.name!r} reads {read.name!r}, whose values no firing rate describes",
            hints=["measure the activity on data instead of assuming a rate"],
        )
    size = math.prod(read.shape)
    uses = int(np.broadcast_to(_uses(node, read.shape), read.shape).sum())
    pulses = sum(((x.values >> bit) & 1 for bit in range(width)), start=np.zeros_like(x.values))
    active = x.mean(x.values != 0)
    return np.array([active * size, active * uses, x.mean(pulses) * uses, x.mean(x.values) * size])

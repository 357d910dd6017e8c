"""The reference: evaluates an integer graph in int64 NumPy, bit-exact, membranes included.

Every line is one line of FORMAT.md. It is written to be read, not to be fast; onnxruntime is the fast one. The sums of
synapses come from a function that the caller may replace (analog arrays do); all else stays this exact code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray, IntType, shift_floor
from intsnn.errors import GraphError, InputError
from intsnn.execution.neuron import along_channels, integrate_and_fire
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
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Synapse,
)
from intsnn.graph.windows import Accumulate, exact_sums, matrix_product, pool


@dataclass(frozen=True)
class Trace:
    """What a run saw. Arrays are int64.

    output: [N, *shape], or [T, N, *shape] where the readout keeps every step (`per_step`; None: whoever made the trace
    did not say). spikes and membranes: by neuron name, [T, N, *shape]. A membrane is the stored value v.
    """

    output: IntArray
    spikes: Mapping[str, IntArray]
    membranes: Mapping[str, IntArray]
    per_step: bool | None = None


@dataclass(frozen=True)
class Evaluation:
    """One node with the tensors it read and wrote, all [T, N, ...]; of a neuron also its spikes and membranes."""

    node: IntNode
    inputs: tuple[IntArray, ...]
    output: IntArray
    spikes: IntArray | None = None
    membrane: IntArray | None = None

    @property
    def weight_layer(self) -> tuple[Synapse, IntArray] | None:
        """The synapse that worked and what it read; of a recurrent neuron its spikes of the step before."""
        match self.node:
            case IntConv() | IntConvTranspose() | IntLinear():
                return self.node, self.inputs[0]
            case IntRecurrentNeuron():
                return self.node.recurrent_synapse, self.spikes_before
            case IntInput() | IntRequant() | IntNeuron() | IntPool() | IntAdd() | IntConcat() | IntMultiply():
                return None
            case IntMatMul() | IntSum() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
                return None
            case _:
                assert_never(self.node)

    @property
    def spikes_before(self) -> IntArray:
        """A neuron's spikes of the step before, none in the first."""
        assert self.spikes is not None, f"{self.node.name} is no neuron"
        before = np.zeros_like(self.spikes)
        before[1:] = self.spikes[:-1]
        return before


def run(graph: IntGraph, x: npt.ArrayLike, *, accumulate: Accumulate = exact_sums) -> Trace:
    """Run the graph on integers and keep every spike and membrane. NumPy only; FORMAT.md defines each value.

    Args:
        graph: legal.
        x: integers [T, N, *input shape], in the range of the graph's input.
        accumulate: makes a synapse's sums; exact by default.

    Returns:
        output [N, *shape] or [T, N, *shape]; spikes and membranes by neuron name, [T, N, *shape], int64.

    Raises:
        InputError: x has another shape, is no integers, or leaves the range.
    """
    spikes: dict[str, IntArray] = {}
    membranes: dict[str, IntArray] = {}
    output = np.zeros(0, dtype=np.int64)
    for step in evaluate(graph, x, accumulate=accumulate):
        if step.spikes is not None and step.membrane is not None:
            spikes[step.node.name], membranes[step.node.name] = step.spikes, step.membrane
        output = step.output
    return Trace(output, spikes, membranes, per_step=graph.output.mode == "steps")


def evaluate(graph: IntGraph, x: npt.ArrayLike, *, accumulate: Accumulate = exact_sums) -> Iterator[Evaluation]:
    """Run the graph node by node; a tensor is freed after its last reader.

    Args:
        graph: legal.
        x: integers [T, N, *input shape], in the range of the graph's input.
        accumulate: makes a synapse's sums; exact by default (analog arrays put their own here).

    Yields:
        Each node with its output [T, N, *shape], int64, and what a neuron kept.

    Raises:
        InputError: x has another shape, is no integers, or leaves the range.
    """
    values: dict[str, IntArray] = {}
    last_reader = {name: node.name for node in graph for name in node.inputs}
    for node in graph:
        if not isinstance(node, IntNode):
            raise GraphError(f"node {node.name!r}: the interpreter knows no {type(node).__name__}")
        inputs = tuple(values[name] for name in node.inputs)
        if isinstance(node, IntInput):
            inputs = (checked_input(graph, x),)
        evaluation = _evaluated(node, inputs, accumulate)
        values[node.name] = evaluation.output
        yield evaluation
        for name in set(node.inputs):
            if last_reader[name] == node.name:
                del values[name]


def checked_input(graph: IntGraph, x: npt.ArrayLike) -> IntArray:
    """X as int64 [T, N, *shape], after shape, type, range and the graph's own T are checked."""
    array = checked_frames(graph, x)
    if graph.time_steps not in (None, len(array)):
        raise InputError(
            f"the input must have {graph.time_steps} steps, for which this graph has its norms (got {len(array)})",
            hints=["a norm with one set of statistics per time step fixes T: give as many steps as in training"],
        )
    return array


def checked_frames(graph: IntGraph, x: npt.ArrayLike) -> IntArray:
    """The same of some of a sample's steps: any T."""
    array, node = np.asarray(x), graph.input
    if array.ndim != 2 + len(node.shape) or array.shape[2:] != node.shape or 0 in array.shape:
        expected = ", ".join(["T", "N", *map(str, node.shape)])
        raise InputError(
            f"the input must have shape [{expected}] (got {list(array.shape)})",
            hints=["put time first, then the batch: x of one sample and one step is x[None, None]"],
        )
    if array.dtype.kind not in "iub":
        raise InputError(
            f"the input of an integer graph must be integers (got {array.dtype})",
            hints=[f"divide real values by the input scale {node.scale!r} and round; a student does it for you"],
        )
    word = IntType(node.bit_width, node.signed)
    if int(array.min()) < word.low or int(array.max()) > word.high:
        raise InputError(
            f"the input must lie in [{word.low}, {word.high}] (got [{array.min()}, {array.max()}])",
            hints=["clip it, or quantize the network with more input bits"],
        )
    return array.astype(np.int64)


def _evaluated(node: IntNode, inputs: tuple[IntArray, ...], accumulate: Accumulate) -> Evaluation:
    if not isinstance(node, IntNeuron):
        return Evaluation(node, inputs, node_output(node, inputs, accumulate=accumulate))
    firing = integrate_and_fire(node, inputs[0], accumulate=accumulate)
    output = firing.spikes if node.output == "spikes" else firing.potentials
    return Evaluation(node, inputs, output, firing.spikes, firing.membranes)


def node_output(node: IntNode, inputs: tuple[IntArray, ...], *, accumulate: Accumulate = exact_sums) -> IntArray:
    """What a node without memory writes, [T, N, *shape], from what it reads."""
    x = inputs[0]
    match node:
        case IntConv() | IntConvTranspose() | IntLinear():
            return accumulate(node, x)
        case IntInput() | IntFlatten() | IntReshape():
            return x.reshape(*x.shape[:2], *node.shape)
        case IntRequant():
            return _requantized(node, x)
        case IntPool():
            return _folded(x, lambda maps: pool(node, maps))
        case IntAdd():
            return _reduced(np.add, np.stack(inputs), 0)
        case IntConcat():
            return np.concatenate(inputs, axis=2)
        case IntMultiply():
            return (x if node.mode == "product" else 1 - x) * inputs[1]
        case IntMatMul():
            return matrix_product(x, inputs[1])
        case IntSum():
            return np.expand_dims(_reduced(np.add, x, 2 + node.axis), 2 + node.axis)
        case IntTranspose():
            return x.transpose(0, 1, *(2 + axis for axis in node.permutation))
        case IntSlice():
            return x.take(np.arange(node.start, node.stop), axis=2 + node.axis)
        case IntReadout():
            return _read_out(node, x)
        case IntNeuron():
            raise AssertionError(f"{node.name} has a membrane")
        case _:
            assert_never(node)


def _reduced(operation: np.ufunc, x: IntArray, axis: int) -> IntArray:
    """Sum or maximum over one axis."""
    result: IntArray = operation.reduce(x, axis=axis)
    return result


def _folded(x: IntArray, operation: Callable[[IntArray], IntArray]) -> IntArray:
    """Apply an operation without memory to all steps at once: [T, N, ...] -> [T*N, ...] -> [T, N, ...]."""
    result = operation(x.reshape(-1, *x.shape[2:]))
    return result.reshape(*x.shape[:2], *result.shape[1:])


def _requantized(node: IntRequant, accumulator: IntArray) -> IntArray:
    multiplier, bias = (_per_step(values, node.shape) for values in (node.multiplier, node.bias))
    return shift_floor(accumulator * multiplier + bias, node.shift)


def _per_step(values: IntArray, shape: tuple[int, ...]) -> IntArray:
    """[T, C] or [T, 1] -> [T, 1, C, 1, ...], which broadcasts over [T, N, *shape]; [C] and [1] as in a neuron."""
    if values.ndim == 1:
        return along_channels(values, shape)
    return values.reshape(len(values), 1, -1, *(1 for _ in shape[1:]))


def _read_out(node: IntReadout, x: IntArray) -> IntArray:
    match node.mode:
        case "sum":
            return _reduced(np.add, x, 0)
        case "max":
            return _reduced(np.maximum, x, 0)
        case "last":
            return _reduced(np.add, x[-1:], 0)
        case "steps":
            return x
        case _:
            assert_never(node.mode)

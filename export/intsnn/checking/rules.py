"""The rules of an integer graph that need no proof: order, attributes, arrays, shapes. Each rule is one function.

A rule yields a Violation for each place where it is broken. STAGES orders them: a rule relies on those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import assert_never

from intsnn.arithmetic import ACCUMULATOR_LIMIT, Bounds
from intsnn.checking.attributes import ATTRIBUTES
from intsnn.checking.neuron_rules import (
    initial_membrane_fits_its_word,
    leaks_are_decays,
    levels_are_positive,
    neuron_options_fit_together,
    recurrent_weights_keep_the_shape,
    unused_parameters_are_zero,
)
from intsnn.checking.violations import Violation, outside, outside_weight_word
from intsnn.errors import GraphError
from intsnn.graph import (
    NODE_TYPES,
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
)
from intsnn.graph.bounds import INT32, MAX_TIME_STEPS, TensorRole, carries
from intsnn.graph.shapes import output_shape

Rule = Callable[[IntGraph], Iterator[Violation]]


def nodes_are_of_this_format(graph: IntGraph) -> Iterator[Violation]:
    """Every node is one of the node types of the format."""
    for node in graph:
        if type(node) not in NODE_TYPES:
            words = ", ".join(kind.__name__ for kind in NODE_TYPES)
            yield Violation(node.name, f"a node must be one of {words} (got {type(node).__name__})", "use those")


def names_are_unique(graph: IntGraph) -> Iterator[Violation]:
    """Every node has a name of its own, without '/', which separates a node from its parts in the ONNX file."""
    seen: set[str] = set()
    for node in graph:
        if not node.name or "/" in node.name:
            yield Violation(repr(node.name), "a name must be non-empty and without '/'", "rename the node")
        if node.name in seen:
            yield Violation(node.name, "the name must be unique (got it twice)", "rename one of the nodes")
        seen.add(node.name)


def input_first_and_readout_last(graph: IntGraph) -> Iterator[Violation]:
    """Exactly one IntInput, the first node, and exactly one IntReadout, the last."""
    for position, kind in ((0, IntInput), (-1, IntReadout)):
        found = graph.of_type(kind)
        word = "first" if position == 0 else "last"
        if len(found) != 1 or graph.nodes[position] is not found[0]:
            names = ", ".join(node.name for node in found) or "none"
            message = f"there must be one {kind.__name__}, the {word} node (got {names})"
            yield Violation("graph", message, f"put the only {kind.__name__} {word}")


def inputs_stand_before_readers(graph: IntGraph) -> Iterator[Violation]:
    """A node reads only what earlier nodes wrote."""
    seen: set[str] = set()
    for node in graph:
        for name in node.inputs:
            if name not in seen:
                known = name in {other.name for other in graph}
                message = f"reads {name!r}, which {'comes later' if known else 'no node writes'}"
                yield Violation(node.name, message, "order the nodes so that every input stands before its reader")
        seen.add(node.name)


def nodes_read_as_many_tensors_as_they_take(graph: IntGraph) -> Iterator[Violation]:
    """An input reads nothing, a product two tensors, an addition or concatenation two or more, every other node one."""
    for node in graph:
        low, high = _arity(node)
        if not low <= len(node.inputs) <= high:
            expected = f"{low}" if low == high else f"{low} or more"
            message = f"a node of kind {node.kind!r} must read {expected} tensors (got {len(node.inputs)})"
            yield Violation(node.name, message, "FORMAT.md lists what each kind reads; a sum of one tensor is no node")


def _arity(node: IntNode) -> tuple[int, float]:
    match node:
        case IntInput():
            return 0, 0
        case IntAdd() | IntConcat():
            return 2, math.inf
        case IntMultiply() | IntMatMul():
            return 2, 2
        case IntConv() | IntConvTranspose() | IntLinear() | IntRequant() | IntNeuron() | IntPool() | IntSum():
            return 1, 1
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            return 1, 1
        case _:
            assert_never(node)


def every_tensor_is_read(graph: IntGraph) -> Iterator[Violation]:
    """Only the readout's output leaves the graph; any other tensor is read by a node."""
    read = {name for node in graph for name in node.inputs}
    for node in graph.nodes[:-1]:
        if node.name not in read:
            yield Violation(node.name, "its output must be read by a node (got no reader)", "drop the dead branch")


# --- attributes ------------------------------------------------------------------------------------------------------


def attributes_are_legal(graph: IntGraph) -> Iterator[Violation]:
    """Every scalar is a plain Python value in its range (the table ATTRIBUTES), so that a file holds it exactly."""
    hint = "FORMAT.md lists the attributes; numbers are plain Python ones: int(x) or float(x), not NumPy's"
    for node in graph:
        for field in fields(node):
            expected, holds = ATTRIBUTES.get((node.kind, field.name), ATTRIBUTES.get(("", field.name), (None, None)))
            value = getattr(node, field.name)
            if holds is not None and not holds(value):
                message = f"{field.name} must be {expected} (got {value!r})"
                yield Violation(node.name, message, hint)


def metadata_is_text(graph: IntGraph) -> Iterator[Violation]:
    """The graph's metadata map text to text."""
    for key, value in graph.metadata.items():
        if not all(isinstance(text, str) for text in (key, value)):
            yield Violation("graph", f"metadata must be text (got {key!r}: {value!r})", "write numbers with repr()")


def arrays_have_their_shape(graph: IntGraph) -> Iterator[Violation]:
    """A weight has 2 axes (linear) or 3 to 5; other arrays are [C] or [1], a requant's also [T, C] or [T, 1].

    C is the first axis of `shape`.
    """
    for node in graph:
        for name in node.arrays:
            shape = getattr(node, name).shape
            expected, legal = _array_shape(node, name, shape)
            if not legal:
                message = f"{name} must have shape {expected} (got {list(shape)})"
                yield Violation(node.name, message, "give one value for all channels, or one per channel")


def _array_shape(node: IntNode, name: str, shape: tuple[int, ...]) -> tuple[str, bool]:
    per_channel = (1, node.shape[0])
    match node:
        case IntLinear():
            return "[O, I]", len(shape) == 2 and 0 not in shape
        case IntConv():
            return "[Co, Ci/groups, *kernel], a kernel of 1 to 3 axes", 3 <= len(shape) <= 5 and 0 not in shape
        case IntConvTranspose():
            return "[Ci, Co/groups, *kernel], a kernel of 1 to 3 axes", 3 <= len(shape) <= 5 and 0 not in shape
        case IntRecurrentNeuron() if name == "recurrent_weight":
            return "[C, C] or [C, C/groups, *kernel]", 2 <= len(shape) <= 5 and 0 not in shape
        case IntRequant() if len(shape) == 2:
            expected = f"[T, {node.shape[0]}] or [T, 1], T up to {MAX_TIME_STEPS}"
            return expected, 1 <= shape[0] <= MAX_TIME_STEPS and shape[1] in per_channel
        case IntRequant() | IntNeuron():
            return f"[{node.shape[0]}] or [1]", len(shape) == 1 and shape[0] in per_channel
        case IntInput() | IntPool() | IntAdd() | IntConcat() | IntMultiply() | IntMatMul() | IntSum():
            raise AssertionError(f"a node of kind {node.kind!r} has no arrays")
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            raise AssertionError(f"a node of kind {node.kind!r} has no arrays")
        case _:
            assert_never(node)


def steps_agree(graph: IntGraph) -> Iterator[Violation]:
    """Requants with one row per time step all have the same number of rows: it is the graph's T."""
    for node in graph.of_type(IntRequant):
        for name in node.arrays:
            values = getattr(node, name)
            if values.ndim == 2 and len(values) != graph.time_steps:
                message = f"{name} must have {graph.time_steps} rows, one per step, as elsewhere (got {len(values)})"
                yield Violation(node.name, message, "export the network for one number of steps")


def windows_have_one_number_per_axis(graph: IntGraph) -> Iterator[Violation]:
    """Stride, padding, dilation and output padding have as many numbers as the kernel, which has 1 to 3."""
    for node in graph:
        if not isinstance(node, IntConv | IntConvTranspose | IntPool):
            continue
        rank = len(node.kernel)
        if not 1 <= rank <= 3:
            message = f"kernel must have 1 to 3 numbers (got {rank})"
            yield Violation(node.name, message, "pool one axis after the other")
        for name in ("stride", "padding", "dilation", "output_padding"):
            sizes = getattr(node, name, None)
            if sizes is not None and len(sizes) != rank:
                message = f"{name} must have {rank} numbers, as the kernel has (got {sizes})"
                yield Violation(node.name, message, "give one number per axis of the window")


def parameters_fit_their_word(graph: IntGraph) -> Iterator[Violation]:
    """Multiplier and bias are int32; a neuron's parameters lie in [-2^30, 2^30]: beyond it no membrane gets."""
    hint = "lower the scale's resolution (shift or guard_bits)"
    for node in graph:
        for name in node.arrays:
            if name.endswith(("multiplier", "bias")):
                yield from outside(node, name, INT32, hint)
            elif isinstance(node, IntNeuron):
                yield from outside(node, name, Bounds(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT), hint)


def weights_fit_their_bit_width(graph: IntGraph) -> Iterator[Violation]:
    """1 bit: -1 or 1; 1.58 bit: -1, 0 or 1; b bit: [-2^(b-1), 2^(b-1) - 1]."""
    for layer in graph.synapses:
        yield from outside_weight_word(layer, "weight", layer.bit_width)
    for neuron in graph.of_type(IntRecurrentNeuron):
        yield from outside_weight_word(neuron, "recurrent_weight", neuron.recurrent_bit_width)


# --- shapes ----------------------------------------------------------------------------------------------------------


def shapes_agree(graph: IntGraph) -> Iterator[Violation]:
    """Every node writes the shape that its equation gives for the shapes it reads."""
    shapes = {node.name: node.shape for node in graph}
    for node in graph:
        hint = "compute the shape from the inputs (intsnn.graph.shapes.output_shape)"
        try:
            shape = output_shape(node, tuple(shapes[name] for name in node.inputs))
        except GraphError as error:
            yield Violation(node.name, error.message.removeprefix(f"node {node.name!r} "), hint)
        else:
            if shape != node.shape:
                yield Violation(node.name, f"shape must be {shape} (got {node.shape})", hint)


def transposed_padding_stays_within_the_kernel(graph: IntGraph) -> Iterator[Violation]:
    """padding <= dilation*(kernel - 1): the mirrored convolution is padded, never cropped."""
    for node in graph.of_type(IntConvTranspose):
        reach = tuple(d * (k - 1) for d, k in zip(node.dilation, node.kernel, strict=True))
        if any(p > r for p, r in zip(node.padding, reach, strict=True)):
            message = f"padding must be at most dilation*(kernel - 1) = {reach} (got {node.padding})"
            yield Violation(node.name, message, "lower the padding, or crop with a slice")


def pool_padding_is_smaller_than_its_kernel(graph: IntGraph) -> Iterator[Violation]:
    """A window of padding only has no maximum."""
    for node in graph.of_type(IntPool):
        if any(p >= k for p, k in zip(node.padding, node.kernel, strict=True)):
            message = f"padding must be smaller than the kernel {node.kernel} (got {node.padding})"
            yield Violation(node.name, message, "lower the padding")


def nodes_read_what_they_can_read(graph: IntGraph) -> Iterator[Violation]:
    """Synapses and products read values, neurons accumulators or currents, sums and concatenations one kind."""
    kinds = carries(graph)
    for node in graph:
        read = {kinds[name] for name in node.inputs}
        legal, must, hint = _readable(node, read)
        if not legal:
            words = " and ".join(sorted(kind.value for kind in read))
            yield Violation(node.name, f"{must} (got {words})", hint)


_SYNAPSE = (
    "a synapse must read spikes, counts or the input",
    "put a neuron between two synapses, or merge their weights",
)
_PRODUCT = (
    "a product must read spikes, counts or the input", "put a neuron before the product, so that it reads spikes"
)  # fmt: skip
_NEURON = (
    "a neuron must read currents", "put an IntRequant before the neuron: it gives the values the membrane's unit"
)  # fmt: skip
_ONE_UNIT = "requantize the branches to one unit before they meet"


def _readable(node: IntNode, read: set[TensorRole]) -> tuple[bool, str, str]:
    """Whether a node can read this; what it must read, and a hint."""
    match node:
        case IntConv() | IntConvTranspose() | IntLinear():
            return read == {TensorRole.VALUES}, *_SYNAPSE
        case IntMultiply() | IntMatMul():
            return read == {TensorRole.VALUES}, *_PRODUCT
        case IntNeuron():
            return TensorRole.VALUES not in read, *_NEURON
        case IntAdd():
            return len(read) == 1, "an addition must read tensors of one kind", _ONE_UNIT
        case IntConcat():
            return len(read) == 1, "a concatenation must read tensors of one kind", _ONE_UNIT
        case IntInput() | IntRequant() | IntPool() | IntSum() | IntReadout():
            return True, "", ""
        case IntTranspose() | IntReshape() | IntSlice() | IntFlatten():
            return True, "", ""
        case _:
            assert_never(node)


STAGES: tuple[tuple[Rule, ...], ...] = (
    (nodes_are_of_this_format, names_are_unique, input_first_and_readout_last),
    (inputs_stand_before_readers, nodes_read_as_many_tensors_as_they_take, every_tensor_is_read),
    (attributes_are_legal, metadata_is_text),
    (arrays_have_their_shape,),
    (
        parameters_fit_their_word,
        weights_fit_their_bit_width,
        steps_agree,
        windows_have_one_number_per_axis,
        neuron_options_fit_together,
        unused_parameters_are_zero,
        leaks_are_decays,
        levels_are_positive,
        initial_membrane_fits_its_word,
        recurrent_weights_keep_the_shape,
    ),
    (shapes_agree, pool_padding_is_smaller_than_its_kernel, transposed_padding_stays_within_the_kernel),
    (nodes_read_what_they_can_read,),
)

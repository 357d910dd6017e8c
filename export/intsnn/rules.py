"""The rules of an integer graph that need no proof: order, attributes, arrays, shapes. Each rule is one function.

A rule yields a Violation for each place where it is broken. STAGES orders them: a rule relies on those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from intsnn.arithmetic import ACCUMULATOR_LIMIT, Bounds, IntArray, IntType
from intsnn.errors import GraphError
from intsnn.graph import (
    NODE_TYPES,
    IntAdd,
    IntConv,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
)
from intsnn.tensors import INT32, Carries, carries, output_shape


@dataclass(frozen=True)
class Violation:
    """One broken rule: which node, what must hold and was seen, what to do."""

    node: str
    message: str
    hint: str


Rule = Callable[[IntGraph], Iterator[Violation]]
Predicate = Callable[[object], bool]


def nodes_are_of_this_format(graph: IntGraph) -> Iterator[Violation]:
    """Every node is one of the nine node types."""
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
        found = [node for node in graph if isinstance(node, kind)]
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
    """An input reads nothing, an addition two or more tensors, every other node one."""
    for node in graph:
        low, high = _arity(node)
        if not low <= len(node.inputs) <= high:
            expected = f"{low}" if low == high else f"{low} or more"
            message = f"a node of kind {node.kind!r} must read {expected} tensors (got {len(node.inputs)})"
            yield Violation(node.name, message, "an addition of one tensor is no node: read the tensor itself")


def _arity(node: IntNode) -> tuple[int, float]:
    match node:
        case IntInput():
            return 0, 0
        case IntAdd():
            return 2, math.inf
        case _:
            return 1, 1


def every_tensor_is_read(graph: IntGraph) -> Iterator[Violation]:
    """Only the readout's output leaves the graph; any other tensor is read by a node."""
    read = {name for node in graph for name in node.inputs}
    for node in graph:
        if node.name not in read and not isinstance(node, IntReadout):
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


def _is_int(value: object, low: float, high: float = math.inf) -> bool:
    return type(value) is int and low <= value <= high


def _int_in(low: int, high: float = math.inf) -> tuple[str, Predicate]:
    return f"an int in [{low}, {high}]", lambda value: _is_int(value, low, high)


def _ints_from(low: int, count: int | None = None) -> tuple[str, Predicate]:
    words = f"a tuple of {'one or more' if count is None else count} ints >= {low}"

    def holds(value: object) -> bool:
        right_length = isinstance(value, tuple) and (len(value) > 0 if count is None else len(value) == count)
        return right_length and isinstance(value, tuple) and all(_is_int(item, low) for item in value)

    return words, holds


def _one_of(*choices: object) -> tuple[str, Predicate]:
    words = f"one of {', '.join(map(str, choices))}"
    return words, lambda value: any(type(value) is type(choice) and value == choice for choice in choices)


def is_weight_bit_width(value: object) -> bool:
    """1 (binary), 1.58 (ternary) or 2 to 8, as a plain int or float."""
    return type(value) in (int, float) and value in (1, 1.58, 2, 3, 4, 5, 6, 7, 8)


ATTRIBUTES: Mapping[tuple[str, str], tuple[str, Predicate]] = {
    # (kind, or "" for any kind, field): what must hold, its test
    ("", "shape"): _ints_from(1),
    ("", "stride"): _ints_from(1, 2),
    ("", "dilation"): _ints_from(1, 2),
    ("", "kernel"): _ints_from(1, 2),
    ("", "padding"): _ints_from(0, 2),
    ("", "groups"): _int_in(1),
    ("", "shift"): _int_in(0, 30),
    ("", "guard_bits"): _int_in(0, 30),
    ("", "signed"): _one_of(False, True),
    ("", "reset"): _one_of("hard", "soft", "none"),
    ("", "scale"): (
        "a finite float > 0",
        lambda value: type(value) is float and math.isfinite(value) and value > 0,
    ),
    ("", "leak"): _int_in(0, 2**30),
    ("", "initial"): _int_in(-(2**15), 2**15 - 1),
    ("input", "bit_width"): _int_in(1, 8),
    ("neuron", "bit_width"): _int_in(2, 16),
    ("conv", "bit_width"): ("1, 1.58 or 2 to 8", is_weight_bit_width),
    ("linear", "bit_width"): ("1, 1.58 or 2 to 8", is_weight_bit_width),
    ("pool", "mode"): _one_of("max", "sum"),
    ("readout", "mode"): _one_of("sum", "steps"),
}


def metadata_is_text(graph: IntGraph) -> Iterator[Violation]:
    """The graph's metadata map text to text."""
    for key, value in graph.metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            yield Violation("graph", f"metadata must be text (got {key!r}: {value!r})", "write numbers with repr()")


def arrays_have_their_shape(graph: IntGraph) -> Iterator[Violation]:
    """A convolution's weight has 4 axes, a linear's 2; every other array is [C] or [1], C the first axis of `shape`."""
    for node in graph:
        for name in node.arrays:
            shape = getattr(node, name).shape
            if name == "weight":
                expected = "[Co, Ci/groups, kh, kw]" if isinstance(node, IntConv) else "[O, I]"
                legal = len(shape) == (4 if isinstance(node, IntConv) else 2) and 0 not in shape
            else:
                expected, legal = f"[{node.shape[0]}] or [1]", shape in ((1,), (node.shape[0],))
            if not legal:
                message = f"{name} must have shape {expected} (got {list(shape)})"
                yield Violation(node.name, message, "give one value for all channels, or one per channel")


def parameters_fit_their_word(graph: IntGraph) -> Iterator[Violation]:
    """Multiplier and bias are int32; a neuron's parameters lie in [-2^30, 2^30]: beyond it no membrane gets."""
    limits = {IntRequant.kind: INT32, IntNeuron.kind: Bounds(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT)}
    for node in graph:
        for name in node.arrays if node.kind in limits else ():
            yield from _outside(node, name, limits[node.kind], "lower the scale's resolution (shift or guard_bits)")


def weights_fit_their_bit_width(graph: IntGraph) -> Iterator[Violation]:
    """1 bit: -1 or 1; 1.58 bit: -1, 0 or 1; b bit: [-2^(b-1), 2^(b-1) - 1]."""
    for node in graph.synapses:
        hint = "quantize the weights again, or raise bit_width"
        if node.bit_width < 2:
            yield from _outside(node, "weight", Bounds(-1, 1), hint)
        else:
            word = IntType(int(node.bit_width), signed=True)
            yield from _outside(node, "weight", Bounds(word.low, word.high), hint)
        if node.bit_width == 1 and bool((node.weight == 0).any()):
            yield Violation(node.name, "1-bit weights must be -1 or 1 (got 0)", "use bit_width 1.58 for ternary")


def _outside(node: IntNode, name: str, limit: Bounds, hint: str) -> Iterator[Violation]:
    values: IntArray = getattr(node, name)
    for value in (int(values.min()), int(values.max())):
        if not limit.low <= value <= limit.high:
            yield Violation(node.name, f"{name} must lie in [{limit.low}, {limit.high}] (got {value})", hint)
            return


def unused_reset_parameters_are_zero(graph: IntGraph) -> Iterator[Violation]:
    """`reset_value` is [0] unless the reset is hard, `soft_amount` unless it is soft: equal graphs are equal data."""
    for node in graph.neurons:
        for name, used_by in (("reset_value", "hard"), ("soft_amount", "soft")):
            values = getattr(node, name)
            if node.reset != used_by and not np.array_equal(values, [0]):
                message = f"{name} must be [0] where reset is {node.reset!r} (got {values.tolist()})"
                yield Violation(node.name, message, f"set {name} to [0]")


def leak_is_a_decay(graph: IntGraph) -> Iterator[Violation]:
    """0 <= D <= 2^R: what is stored decays, or stays."""
    for node in graph.neurons:
        if node.leak > 2**node.guard_bits:
            message = f"leak must lie in [0, 2^guard_bits = {2**node.guard_bits}] (got {node.leak})"
            yield Violation(node.name, message, "leak is round(decay * 2^guard_bits)")


def initial_membrane_fits_its_word(graph: IntGraph) -> Iterator[Violation]:
    """v(0) is a stored value: it lies in the N-bit word."""
    for node in graph.neurons:
        word = IntType(node.bit_width, signed=True)
        if not word.holds(node.initial, node.initial):
            message = f"initial must lie in [{word.low}, {word.high}] (got {node.initial})"
            yield Violation(node.name, message, "saturate it, or raise bit_width")


# --- shapes ----------------------------------------------------------------------------------------------------------


def shapes_agree(graph: IntGraph) -> Iterator[Violation]:
    """Every node writes the shape that its equation gives for the shapes it reads."""
    shapes = {node.name: node.shape for node in graph}
    for node in graph:
        hint = "compute the shape from the inputs (intsnn.tensors.output_shape)"
        try:
            shape = output_shape(node, tuple(shapes[name] for name in node.inputs))
        except GraphError as error:
            yield Violation(node.name, error.message.removeprefix(f"node {node.name!r} "), hint)
        else:
            if shape != node.shape:
                yield Violation(node.name, f"shape must be {shape} (got {node.shape})", hint)


def pool_padding_is_smaller_than_its_kernel(graph: IntGraph) -> Iterator[Violation]:
    """A window of padding only has no maximum."""
    for node in graph:
        if isinstance(node, IntPool) and any(p >= k for p, k in zip(node.padding, node.kernel, strict=True)):
            message = f"padding must be smaller than the kernel {node.kernel} (got {node.padding})"
            yield Violation(node.name, message, "lower the padding")


def nodes_read_what_they_can_read(graph: IntGraph) -> Iterator[Violation]:
    """Synapses read values, neurons read accumulators or currents, an addition reads one kind of tensor."""
    kinds = carries(graph)
    for node in graph:
        read = [kinds[name] for name in node.inputs]
        if isinstance(node, IntConv | IntLinear) and read[0] is not Carries.VALUES:
            hint = "put a neuron between two synapses, or merge their weights"
            yield Violation(node.name, f"a synapse must read spikes, counts or the input (got {read[0].value})", hint)
        if isinstance(node, IntNeuron) and read[0] is Carries.VALUES:
            hint = "put an IntRequant before the neuron: it gives the values the membrane's unit"
            yield Violation(node.name, "a neuron must read currents (got values)", hint)
        if isinstance(node, IntAdd) and len(set(read)) > 1:
            hint = "requantize the branches to one unit before the addition"
            words = " and ".join(sorted({kind.value for kind in read}))
            yield Violation(node.name, f"an addition must read tensors of one kind (got {words})", hint)


STAGES: tuple[tuple[Rule, ...], ...] = (
    (nodes_are_of_this_format, names_are_unique, input_first_and_readout_last),
    (inputs_stand_before_readers, nodes_read_as_many_tensors_as_they_take, every_tensor_is_read),
    (attributes_are_legal, metadata_is_text),
    (arrays_have_their_shape,),
    (
        parameters_fit_their_word,
        weights_fit_their_bit_width,
        unused_reset_parameters_are_zero,
        leak_is_a_decay,
        initial_membrane_fits_its_word,
    ),
    (shapes_agree, pool_padding_is_smaller_than_its_kernel),
    (nodes_read_what_they_can_read,),
)

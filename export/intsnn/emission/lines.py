"""The nodes that work value by value as C: one function that takes a piece of a row through all of them.

requant j = (acc * M + B) >> S; the neuron line by line as FORMAT.md has it; sums and products of tensors of one shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import Bounds, IntType
from intsnn.emission.context import Context, element_type
from intsnn.emission.memory import rounded_up
from intsnn.emission.relayout import Read
from intsnn.emission.stages import Stage
from intsnn.emission.storage import Store, element_for, membrane_element
from intsnn.graph import IntAdd, IntMultiply, IntNeuron, IntNode, IntRecurrentNeuron, IntRequant


@dataclass
class _Line:
    """The function being written: declarations, the body of the loop, what follows it."""

    context: Context
    stage: Stage
    store: Store  # shape and order of the stage
    reads: dict[str, Read]
    longest: int
    before: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The first value of the piece, among the values of a step."""
        return f"row * {self.store.inner} + at"

    @property
    def word(self) -> str:
        """The first word of the piece, among the words of a step."""
        return f"row * {self.store.words} + at / {self.store.word_bits}"


def line_function(
    context: Context, stage: Stage, store: Store, reads: dict[str, Read], *, longest: int, sums: str | None
) -> list[str]:
    """The function `<stage>_line` over the values at .. at + n - 1 of a row.

    Args:
        context: the network.
        stage: whose tail is written; its head's values come as `sums`, those of a recurrent synapse as `back`.
        store: the shape and order that the stage works in.
        reads: the tensors of other stages, in that order.
        longest: the largest n.
        sums: C type of the head's values; None: there is no head.
    """
    line = _Line(context, stage, store, reads, rounded_up(longest, store.word_bits))
    if stage.head is not None:
        line.values[stage.head.name] = "((int32_t)sums[i])"
        _stored(line, stage.head)
    for node in stage.tail:
        line.values[node.name] = _node(line, node)
        if not isinstance(node, IntNeuron):
            _stored(line, node)
    parameters = [context.net, "int t", "int row", "int at", "int n"]
    parameters += [f"const {sums} *restrict sums"] if sums else []
    parameters += ["const int32_t *restrict back"] if stage.recurrent else []
    unread = ["t", "row", "at", *(["sums"] if sums else []), *(["back"] if stage.recurrent else [])]
    return [
        f"NN_INLINE void {context.title(stage)}_line({', '.join(parameters)})",
        "{",
        " ".join(f"(void){name};" for name in unread),
        *line.before,
        "NN_EACH",
        "for (int i = 0; i < n; i++) {",
        *line.body,
        "}",
        *line.after,
        "}",
        "",
    ]


def _node(line: _Line, node: IntRequant | IntNeuron | IntAdd | IntMultiply) -> str:
    """Write what a node computes; the C name of its value."""
    read, name = [_value(line, tensor) for tensor in node.inputs], line.context.id(node)
    match node:
        case IntRequant():
            made = _requant(line, node, node, read[0])
        case IntNeuron():
            return _neuron(line, node, read[0], name)
        case IntAdd():
            made = " + ".join(read)
        case IntMultiply(mode="product"):
            made = f"{read[0]} * {read[1]}"
        case IntMultiply():
            made = f"(1 - {read[0]}) * {read[1]}"
        case _:
            assert_never(node)
    line.body.append(f"const int32_t {name} = {made};")
    return name


def _value(line: _Line, tensor: str) -> str:
    """The C of a tensor's value at i."""
    if tensor not in line.values:
        read, name = line.reads[tensor], line.context.id(line.context.graph.node(tensor))
        line.values[tensor] = _piece(line, f"in_{name}", read.store, read.at)
    return line.values[tensor]


def _piece(line: _Line, name: str, store: Store, pointer: str) -> str:
    """A tensor's piece as an array; bits are laid out as bytes before."""
    if store.is_bits:
        line.before += [
            f"uint8_t {name}[{line.longest}];",
            f"nn_unpack({name}, {pointer} + {line.word}, n);",
        ]
    else:
        line.before.append(f"const {element_type(store)} *restrict {name} = {pointer} + {line.place};")
        line.before.append(f"(void){name};")  # a multiplier of 0 reads nothing
    return f"((int32_t){name}[i])"


def _parameter(line: _Line, node: IntNode, name: str, values: npt.NDArray[np.integer]) -> str:
    """A parameter [C] or [1], or of a requant [T, C] or [T, 1], at i: a number where all are equal."""
    if int(values.min()) == int(values.max()):
        return _number(int(values.flat[0]))
    context, element = line.context, element_for(Bounds(int(values.min()), int(values.max())))
    local = f"{name}_{context.id(node)}"
    table = context.tables.add(f"{context.id(node)}_{name}", values, part=node.name)
    by_step, channels = values.ndim == 2, values.shape[-1]
    step = f" + nn_smaller(net->step + t, {len(values) - 1}) * {channels}" if by_step else ""
    if channels == 1:
        line.before.append(f"const int32_t {local} = ({table}{step})[0];")
        return local
    if line.store.channel_is_inner:
        line.before.append(f"const nn_{element} *restrict {local} = {table}{step} + at;")
        return f"((int32_t){local}[i])"
    rows = line.store.rows // channels
    line.before.append(f"const int32_t {local} = ({table}{step})[row / {rows}];")
    return local


def _number(value: int) -> str:
    """A number as C: a negative one in parentheses, so that `a - -1` cannot be read as `a--1`."""
    return f"({value})" if value < 0 else str(value)


def _product(values: npt.NDArray[np.integer], factor: str, other: str) -> str:
    """factor * other, without what a power of two, 0 or 1 makes needless."""
    if not values.any():
        return "0"
    return other if (values == 1).all() else f"{factor} * {other}"


def _requant(line: _Line, owner: IntNode, node: IntRequant, read: str, prefix: str = "") -> str:
    """(read * M + B) >> S; `owner` has the node, itself or as its part."""
    multiplier = _parameter(line, owner, f"{prefix}multiplier", node.multiplier)
    bias = _parameter(line, owner, f"{prefix}bias", node.bias)
    made = _product(node.multiplier, multiplier, read)
    shifted = f"({made} + {bias})" if node.bias.any() else f"({made})"
    return f"({shifted} >> {node.shift})" if node.shift else shifted


def _stored(line: _Line, node: IntNode) -> None:
    """Store a node's value where a later stage reads it."""
    if node.name not in line.stage.stored:
        return
    store, name = line.context.stores[node.name], line.context.id(node)
    pointer = line.context.pointer(node.name, const=False)
    if store.is_bits:
        line.before.append(f"uint8_t bits_{name}[{line.longest}];")
        line.body.append(f"bits_{name}[i] = (uint8_t){line.values[node.name]};")
        line.after.append(f"nn_pack({pointer} + {line.word}, bits_{name}, n);")
    else:
        line.before.append(f"{element_type(store)} *restrict out_{name} = {pointer} + {line.place};")
        line.body.append(f"out_{name}[i] = ({store.element}_t){line.values[node.name]};")


def last_store(node: IntNeuron, store: Store) -> Store:
    """How the spikes of the step before are kept."""
    return Store(store.shape, store.order, "bit" if node.max_spikes == 1 else "uint8", store.word_bits)


def keeps_last(node: IntNeuron) -> bool:
    """Whether a neuron reads its spikes of the step before."""
    return node.is_recurrent or node.timing != "same_step"


def _neuron(line: _Line, node: IntNeuron, current: str, name: str) -> str:
    """FORMAT.md, "Neuron", in its order; the C name of what the node writes."""
    context, size = line.context, line.store.rows * line.store.inner
    element = membrane_element(node.bit_width)
    v = context.member(f"v_{name}", element, size, node.name)
    line.before.append(f"nn_{element} *restrict v_{name} = {v} + {line.place};")
    line.before.append(f"uint8_t s_{name}[{line.longest}];")
    _synaptic(line, node, current, name)
    last = _last(line, node, name)
    line.body += _integrated(line, node, name, last)
    line.body += _fired(line, node, name)
    line.body += _reset(line, node, name)
    word = IntType(node.bit_width, signed=True)
    kept = f"x_{name} >> {node.guard_bits}" if node.guard_bits else f"x_{name}"
    line.body.append(f"v_{name}[i] = ({element}_t)nn_larger({word.low}, nn_smaller({kept}, {word.high}));")
    line.body.append(f"s_{name}[i] = (uint8_t)fired_{name};")
    line.values[node.name] = f"x_{name}" if node.output == "potential" else f"fired_{name}"
    _keep_spikes(line, node, name)
    line.after += _traced(line, node, name)
    return line.values[node.name]


def _synaptic(line: _Line, node: IntNeuron, current: str, name: str) -> None:
    """y = D_s*i + j + c_s, j with the recurrent current; where there is a synaptic state, store it."""
    parts = [current]
    if isinstance(node, IntRecurrentNeuron):
        parts.append(_requant(line, node, node.recurrent_requant, "(int32_t)back[i]", "recurrent_"))
    if not node.has_synapse:
        line.body.append(f"const int32_t y_{name} = {' + '.join(parts)};")
        return
    element, word = membrane_element(node.bit_width), IntType(node.bit_width, signed=True)
    i = line.context.member(f"i_{name}", element, line.store.rows * line.store.inner, node.name)
    line.before.append(f"nn_{element} *restrict i_{name} = {i} + {line.place};")
    leak = _parameter(line, node, "synapse_leak", node.synapse_leak)
    parts = [f"{leak} * (int32_t)i_{name}[i]", *parts, _parameter(line, node, "synapse_drive", node.synapse_drive)]
    kept = f"y_{name} >> {node.synapse_shift}" if node.synapse_shift else f"y_{name}"
    line.body.append(f"const int32_t y_{name} = {' + '.join(parts)};")
    line.body.append(f"i_{name}[i] = ({element}_t)nn_larger({word.low}, nn_smaller({kept}, {word.high}));")


def _last(line: _Line, node: IntNeuron, name: str) -> str:
    """The C of the spikes of the step before, where the timing reads them."""
    if not keeps_last(node):
        return ""
    store = last_store(node, line.store)
    kept = line.context.member(f"last_{name}", *store.held, node.name)
    if node.timing == "same_step":
        return ""
    return _piece(line, f"before_{name}", store, kept)


def _integrated(line: _Line, node: IntNeuron, name: str, last: str) -> list[str]:
    """x: leak and integrate, the resets that come late, the floor before firing."""
    leak, drive = _parameter(line, node, "leak", node.leak), _parameter(line, node, "drive", node.drive)
    decayed = _product(node.leak, leak, f"(int32_t)v_{name}[i]")
    x = " + ".join(part for part in (decayed, f"y_{name}", drive) if part != "0")
    made = [f"int32_t x_{name} = {x};"]
    match node.timing:
        case "after_leak":
            made.append(f"x_{name} -= {_parameter(line, node, 'soft_amount', node.soft_amount)} * {last};")
        case "masked":
            value = _parameter(line, node, "reset_value", node.reset_value)
            made.append(f"x_{name} = {last} ? {value} : x_{name};")
        case "same_step":
            pass
        case _:
            assert_never(node.timing)
    if node.floor == "before_fire":
        made.append(f"x_{name} = nn_larger(x_{name}, {_parameter(line, node, 'floor_value', node.floor_value)});")
    return made


def _fired(line: _Line, node: IntNeuron, name: str) -> list[str]:
    threshold = _parameter(line, node, "threshold", node.threshold)
    if node.spike == "binary" and node.rearm == "plain":
        return [f"const int32_t fired_{name} = x_{name} >= {threshold};"]
    level = _parameter(line, node, "level", node.level)
    if node.rearm == "double":
        high = f"(int32_t)v_{name}[i] > ({level} >> {node.guard_bits})"
        return [
            f"const int32_t z_{name} = {high} ? x_{name} - {level} : x_{name};",
            f"const int32_t fired_{name} = z_{name} >= {threshold};",
        ]
    above = f"nn_larger(x_{name} - {threshold} + {level}, 0)"
    levels = f"nn_half_even({above}, {level})" if node.spike == "round" else f"{above} / {level}"
    return [f"const int32_t fired_{name} = nn_smaller({levels}, {node.max_spikes});"]


def _reset(line: _Line, node: IntNeuron, name: str) -> list[str]:
    made = []
    if node.timing == "same_step" and node.reset == "hard":
        value = _parameter(line, node, "reset_value", node.reset_value)
        made.append(f"x_{name} = fired_{name} ? {value} : x_{name};")
    elif node.timing == "same_step" and node.reset == "soft":
        amount = _parameter(line, node, "soft_amount", node.soft_amount)
        made.append(f"x_{name} -= {amount} * fired_{name};")
    if node.floor == "after_reset":
        made.append(f"x_{name} = nn_larger(x_{name}, {_parameter(line, node, 'floor_value', node.floor_value)});")
    return made


def _keep_spikes(line: _Line, node: IntNeuron, name: str) -> None:
    """Store what the node writes, and its spikes for the next step: of a recurrent neuron beside the old ones."""
    context = line.context
    if node.output == "potential":
        _stored(line, node)
    elif node.name in line.stage.stored:
        line.after.append(_spikes_to(line, context.stores[node.name], context.pointer(node.name, const=False), name))
    if keeps_last(node):
        store = last_store(node, line.store)
        where = context.scratch_pointer(f"next_{name}", const=False) if node.is_recurrent else f"net->last_{name}"
        line.after.append(_spikes_to(line, store, where, name))


def _spikes_to(line: _Line, store: Store, pointer: str, name: str) -> str:
    if store.is_bits:
        return f"nn_pack({pointer} + {line.word}, s_{name}, n);"
    return f"memcpy({pointer} + {line.place}, s_{name}, (size_t)n);"


def _traced(line: _Line, node: IntNeuron, name: str) -> list[str]:
    """Spikes and membranes in row-major order, for those who ask; spikes as they lie in memory where that is asked."""
    k, store = line.context.graph.neurons.index(node), line.store
    size = store.rows * store.inner
    place, stride = ("at * {0} + row", store.rows) if store.order == "last" else (f"row * {store.inner} + at", 1)
    step = f"(size_t)t * net->samples * {size} + " if line.context.target.steps > 1 else ""
    at, word = f"{step}(size_t)({place.format(store.rows)})", membrane_element(node.bit_width)
    spikes = f"nn_trace_uint8(net->spikes[{k}] + {at}, s_{name}, n, {stride});"
    if stride > 1 and line.context.target.steps > 1:
        assert line.context.stores[node.name].order == store.order, f"{node.name}: a stage has one order"
        whole = f"memcpy(net->spikes[{k}] + {step}{line.place}, s_{name}, (size_t)n);"
        spikes = f"{{ if (net->as_stored) {whole} else {spikes} }}"
    return [
        f"#ifdef {line.context.name.upper()}_TRACE",
        f"if (net->spikes[{k}]) {spikes}",
        f"if (net->membranes[{k}]) nn_trace_{word}(net->membranes[{k}] + {at}, v_{name}, n, {stride});",
        "#endif",
    ]

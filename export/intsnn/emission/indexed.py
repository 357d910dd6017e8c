"""The nodes that are neither synapses nor value by value, as C: input, pools, products, sums, moves, readout.

One function `<stage>_head` a stage, over one step. Written for being right on every graph; loops run over indices.
"""

from __future__ import annotations

from typing import assert_never

from intsnn.emission.context import Context
from intsnn.emission.pools import pool_lines
from intsnn.emission.relayout import Read, names, over, read_as, stored
from intsnn.emission.stages import Stage
from intsnn.emission.text import row_major
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntPool,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Shape,
)


def head_lines(context: Context, stage: Stage) -> list[str]:
    """The C of the head of a stage at step t."""
    node = stage.head
    assert node is not None
    match node:
        case IntInput():
            return _input(context, node)
        case IntPool():
            return pool_lines(context, stage, node)
        case IntConcat():
            return _concat(context, node)
        case IntMultiply():
            return _multiply(context, node)
        case IntMatMul():
            return _matrix_product(context, stage, node)
        case IntSum():
            return _sum(context, node)
        case IntTranspose() | IntSlice():
            return _moved(context, node)
        case IntReshape() | IntFlatten():
            return _reshaped(context, node)
        case IntReadout():
            return _readout(context, node)
        case IntConv() | IntConvTranspose() | IntLinear() | IntRequant() | IntNeuron() | IntAdd():
            raise AssertionError(f"{node.name} is no head of this kind")
        case _:
            assert_never(node)


def _input(context: Context, node: IntInput) -> list[str]:
    out, index = stored(context, node.name), names(node.shape)
    flat = row_major(index, node.shape)
    return [*out.cleared(), *over(node.shape, [out.write(index, f"x[{flat}]")])]


def _source(context: Context, tensor: str) -> Read:
    return Read(context.stores[tensor], context.pointer(tensor))


def _concat(context: Context, node: IntConcat) -> list[str]:
    out = stored(context, node.name)
    made, start = out.cleared(), 0
    for tensor in node.inputs:
        part = _source(context, tensor)
        first, *rest = names(part.store.shape)
        value = part.value((first, *rest))
        made += over(part.store.shape, [out.write((f"({first} + {start})", *rest), value)])
        start += part.store.shape[0]
    return made


def _multiply(context: Context, node: IntMultiply) -> list[str]:
    """Operands whose axes of size 1 are repeated."""
    out, index = stored(context, node.name), names(node.shape)
    left, right = (
        read.value(tuple("0" if size == 1 else name for name, size in zip(index, read.store.shape, strict=True)))
        for read in (_source(context, tensor) for tensor in node.inputs)
    )
    factor = left if node.mode == "product" else f"(1 - {left})"
    return [*out.cleared(), *over(node.shape, [out.write(index, f"{factor} * {right}")])]


def _matrix_product(context: Context, stage: Stage, node: IntMatMul) -> list[str]:
    """Row by row of the left operand: its values that are not 0 add rows of the right one."""
    (left, turn_left), (right, turn_right) = (read_as(context, stage, name, "first") for name in node.inputs)
    out, index = stored(context, node.name), names(node.shape)
    *lead, column = index
    inner, width = left.store.shape[-1], node.shape[-1]
    sums = [
        f"int32_t sums[{width}] = {{0}};",
        f"for (int d = 0; d < {inner}; d++) {{",
        f"const int32_t factor = {left.value((*lead, 'd'))};",
        "if (factor != 0)",
        f"for (int {column} = 0; {column} < {width}; {column}++)",
        f"sums[{column}] += factor * {right.value((*lead[:-1], 'd', column))};",
        "}",
        f"for (int {column} = 0; {column} < {width}; {column}++) {out.write(index, f'sums[{column}]')}",
    ]
    return [*turn_left, *turn_right, *out.cleared(), *over(node.shape[:-1], sums)]


def _sum(context: Context, node: IntSum) -> list[str]:
    read, out, index = _source(context, node.inputs[0]), stored(context, node.name), names(node.shape)
    place = tuple("k" if axis == node.axis else name for axis, name in enumerate(index))
    body = [
        "int32_t sum = 0;",
        f"for (int k = 0; k < {read.store.shape[node.axis]}; k++) sum += {read.value(place)};",
        out.write(index, "sum"),
    ]
    return [*out.cleared(), *over(node.shape, body)]


def _moved(context: Context, node: IntTranspose | IntSlice) -> list[str]:
    read, out, index = _source(context, node.inputs[0]), stored(context, node.name), names(node.shape)
    if isinstance(node, IntSlice):
        place = tuple(f"({name} + {node.start})" if axis == node.axis else name for axis, name in enumerate(index))
    else:
        place = tuple(index[node.permutation.index(axis)] for axis in range(len(index)))
    return [*out.cleared(), *over(node.shape, [out.write(index, read.value(place))])]


def _reshaped(context: Context, node: IntReshape | IntFlatten) -> list[str]:
    """Over the input's indices; the output's follow from the row-major place."""
    read, out = _source(context, node.inputs[0]), stored(context, node.name)
    index = names(read.store.shape)
    flat = row_major(index, read.store.shape)
    body = [f"const int flat = {flat};", out.write(_unflat("flat", node.shape), read.value(index))]
    return [*out.cleared(), *over(read.store.shape, body)]


def _readout(context: Context, node: IntReadout) -> list[str]:
    read, index = _source(context, node.inputs[0]), names(node.shape)
    flat, value = row_major(index, node.shape), read.value(index)
    match node.mode:
        case "sum":
            line = f"net->answer[{flat}] += {value};"
        case "max":
            line = f"net->answer[{flat}] = nn_larger(net->answer[{flat}], {value});"
        case "last":
            line = f"net->answer[{flat}] = {value};"
        case "steps":
            size = 1
            for each in node.shape:
                size *= each
            step = f"t * {size} + " if context.target.steps > 1 else ""
            line = f"net->answer[{step}{flat}] = {value};"
        case _:
            assert_never(node.mode)
    return over(node.shape, [line])


def _unflat(flat: str, shape: Shape) -> tuple[str, ...]:
    """The index of a row-major place, as C."""
    found, stride = [], 1
    for size in reversed(shape):
        found.append(f"({flat} / {stride} % {size})" if stride > 1 else f"({flat} % {size})")
        stride *= size
    return tuple(reversed(found))

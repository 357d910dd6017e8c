"""Pools as C: the sum or the maximum over each window of a map that has its channels last; padding adds nothing."""

from __future__ import annotations

from intsnn.emission.context import Context
from intsnn.emission.memory import rounded_up
from intsnn.emission.relayout import Read, read_as, stored
from intsnn.emission.stages import Stage
from intsnn.emission.text import loop, row_major
from intsnn.emission.windows import Axis, axes_of_pool
from intsnn.graph import IntPool


def pool_lines(context: Context, stage: Stage, node: IntPool) -> list[str]:
    """The C of one pool at step t."""
    read, turned = read_as(context, stage, node.inputs[0], "last")
    out = stored(context, node.name)
    axes = axes_of_pool(node, read.store.shape)
    by_words = read.store.is_bits and out.store.is_bits
    body = _words(read, out) if by_words else _values(node, read, out)
    return [*turned, *_over_windows(axes, *body)]


def _over_windows(axes: tuple[Axis, ...], first: list[str], each: list[str], last: list[str]) -> list[str]:
    """For each place of the output: `first`, then `each` for every place that its window reads, then `last`."""
    made = []
    for axis in axes:
        made.append(loop(axis.out, axis.outputs))
    made += [f"const int to = {row_major([axis.out for axis in axes], [axis.outputs for axis in axes])};", *first]
    made += [line for axis in axes for line in axis.visited()]
    made += [f"const int from = {row_major([axis.read for axis in axes], [axis.size for axis in axes])};", *each]
    return [*made, *("}" for _ in axes), *last, *("}" for _ in axes)]


def _words(read: Read, out: Read) -> tuple[list[str], list[str], list[str]]:
    """The maximum of bits is their OR, a word at a time."""
    words = read.store.words
    every = f"for (int k = 0; k < {words}; k++)"
    return (
        [f"nn_word any[{words}] = {{0}};"],
        [f"{every} any[k] |= ({read.at})[from * {words} + k];"],
        [f"{every} ({out.at})[to * {words} + k] = any[k];"],
    )


def _values(node: IntPool, read: Read, out: Read) -> tuple[list[str], list[str], list[str]]:
    channels, is_sum = node.shape[0], node.mode == "sum"
    every = f"for (int c = 0; c < {channels}; c++)"
    first = [f"int32_t found[{channels}];", f"{every} found[c] = {'0' if is_sum else 'INT32_MIN'};"]
    if read.store.is_bits:
        room = rounded_up(channels, read.store.word_bits)
        each = [f"uint8_t ones[{room}];", f"nn_unpack(ones, {read.at} + from * {read.store.words}, {channels});"]
        value = "(int32_t)ones[c]"
    else:
        each = [f"const {'nn_' + read.store.element} *values = {read.at} + from * {channels};"]
        value = "(int32_t)values[c]"
    each.append(f"{every} found[c] = {f'found[c] + {value}' if is_sum else f'nn_larger(found[c], {value})'};")
    if out.store.is_bits:
        room = rounded_up(channels, out.store.word_bits)
        last = [
            f"uint8_t bits[{room}];",
            f"{every} bits[c] = (uint8_t)found[c];",
            f"nn_pack({out.at} + to * {out.store.words}, bits, {channels});",
        ]
    else:
        last = [f"{every} ({out.at})[to * {channels} + c] = ({out.store.element}_t)found[c];"]
    return first, each, last

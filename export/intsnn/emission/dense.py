"""Sums of a synapse over all of its inputs as C: where so much fires that walking the active ones would take longer.

Four inputs of eight bits and four weights make one step of a dot product (VNNI). Several places share the weights that
are loaded. It exists where the processor has that instruction; elsewhere the active inputs are walked at any rate.
"""

from __future__ import annotations

import math

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.emission.context import Context
from intsnn.emission.memory import rounded_up
from intsnn.emission.merged import is_merged
from intsnn.emission.relayout import Read
from intsnn.emission.stages import Stage
from intsnn.emission.sums import Sums, accumulator, sums_pointer
from intsnn.emission.text import loop, row_major

_LANES = 16  # sums of 32 bits in a register
# Percent of the inputs listed from which this form is faster, by the accumulators and the block of the lists: where the
# two lines of docs/results/native_speed.md cross
_WIDE_BLOCK, _SHARES = 128, {"int8": (42, 72), "int16": (26, 33), "int32": (12, 12)}
_MERGED_SHARE = 58  # the same where windows are merged and sums are of 8 bits


def can_be_dense(context: Context, sums: Sums) -> bool:
    """Whether a synapse has this form: bytes without a sign, one group, several places, a plain window."""
    plain = sums.groups == 1 and not any(axis.transposed for axis in sums.axes)
    return context.target.has_lists and plain and sums.places > 1 and sums.source.element in ("bit", "uint8")


def ask_for_bytes(context: Context, stage: Stage, sums: Sums) -> None:
    """Ask for the memory of this form."""
    context.ask(stage, f"dense_{sums.name}", "int32", 1)
    context.ask(stage, f"bytes_{sums.name}", "uint8", _padded_bytes(sums))


def choice_lines(context: Context, sums: Sums, read: Read, block: int) -> list[str]:
    """The C that chooses at step t from what was listed, and lays out the bytes where it chose this form."""
    name, store = sums.name, sums.source
    element, _ = accumulator(sums)
    share = _SHARES[element][block >= _WIDE_BLOCK]
    if is_merged(sums, block) and element == "int8":
        share = max(share, _MERGED_SHARE)
    count = f"{context.scratch_pointer(f'start_{name}')}[{store.rows}]"
    chosen = f"{context.scratch_pointer(f'dense_{name}', const=False)}[0]"
    padded = zip(sums.axes, _strides(sums), strict=True)
    to = " + ".join(f"({axis.read} + {axis.padding}) * {size}" for axis, size in padded)
    place = row_major([axis.read for axis in sums.axes], [axis.size for axis in sums.axes])
    copy = f"memcpy(bytes + {to}, {read.at} + ({place}) * {store.inner}, {store.inner});"
    if store.is_bits:
        copy = f"nn_unpack(bytes + {to}, {read.at} + ({place}) * {store.words}, {store.inner});"
    most = store.rows * store.inner * share
    return [
        "#if defined(NN_DENSE)",
        f"{chosen} = net->form == 2 || (net->form == 0 && (int64_t){count} * 100 > INT64_C({most}));",
        f"if ({chosen}) {{",
        f"nn_uint8 *bytes = {context.scratch_pointer(f'bytes_{name}', const=False)};",
        f"memset(bytes, 0, {_padded_bytes(sums)});",
        *(loop(axis.read, axis.size) for axis in sums.axes),
        copy,
        *("}" for _ in sums.axes),
        "}",
        "#else",
        f"{chosen} = 0;",
        "#endif",
    ]


def dense_function(context: Context, sums: Sums, block: int) -> list[str]:
    """`<name>_dense`: the sums of one step and one block, all places."""
    name, blocks = sums.name, sums.blocks(block)
    groups = block // _LANES
    at_once = next(size for size in (4, 3, 2, 1) if groups % size == 0)
    parts, size = groups // at_once, _taps(sums) * _channels(sums) * at_once * _LANES
    table = context.tables.add(f"{name}_dense", _by_fours(sums, block, blocks, at_once), part=sums.part, element="int8")
    *outer, last = sums.axes
    tile = _tile(last.outputs)
    start = f"nn_smaller({last.out}, {last.outputs - tile})"
    strides = _strides(sums)
    base = " + ".join(f"{axis.out} * {axis.stride * step}" for axis, step in zip(outer, strides, strict=False))
    base = f"{base} + first * {last.stride * strides[-1]}" if base else f"first * {last.stride * strides[-1]}"
    taps = " + ".join(f"{axis.tap} * {axis.dilation * step}" for axis, step in zip(sums.axes, strides, strict=True))
    to = row_major([*(axis.out for axis in outer), "first"], [axis.outputs for axis in sums.axes])
    narrow = {"int16": "_mm256_storeu_si256((__m256i *)(void *)(out + {0}), _mm512_cvtepi32_epi16({1}));",
              "int32": "_mm512_storeu_si512(out + {0}, {1});"}[sums.element]  # fmt: skip
    each, every = f"for (int p = 0; p < {tile}; p++)", f"for (int g = 0; g < {at_once}; g++)"
    return [
        "#if defined(NN_DENSE)",
        f"NN_ALONE void {name}_dense({context.net}, int block, int t, int begin, int end)",
        "{",
        "(void)block; (void)begin; (void)end;",
        f"const nn_uint8 *bytes = {context.scratch_pointer(f'bytes_{name}')};",
        f"nn_{sums.element} *sums = {sums_pointer(context, sums, block, const=False)};",
        loop("part", parts),
        *(axis.share if axis is sums.shared else loop(axis.out, axis.outputs) for axis in outer),
        loop(last.out, last.outputs, step=tile),
        f"const int first = {start};",
        f"const nn_int8 *weight = {table} + ((long)block * {parts} + part) * {size};",
        f"const nn_uint8 *from = bytes + {base};",
        f"__m512i total[{tile}][{at_once}];",
        f"NN_UNROLL(8) {each} NN_UNROLL(4) {every} total[p][g] = _mm512_setzero_si512();",
        *(loop(axis.tap, axis.kernel) for axis in sums.axes),
        f"const nn_uint8 *at = from + {taps};",
        f"for (int c = 0; c < {_channels(sums)}; c += 4, weight += {at_once * 64}) {{",
        f"__m512i four[{at_once}];",
        f"NN_UNROLL(4) {every} four[g] = _mm512_loadu_si512(weight + g * 64);",
        f"NN_UNROLL(8) {each} {{",
        "int32_t some;",
        f"memcpy(&some, at + p * {last.stride * strides[-1]} + c, 4);",
        "const __m512i values = _mm512_set1_epi32(some);",
        f"NN_UNROLL(4) {every} total[p][g] = _mm512_dpbusd_epi32(total[p][g], values, four[g]);",
        "}",
        "}",
        *("}" for _ in sums.axes),
        f"nn_{sums.element} *out = sums + ({to}) * {block} + part * {at_once * _LANES};",
        f"NN_UNROLL(8) {each} NN_UNROLL(4) {every} {{ {narrow.format(f'p * {block} + g * {_LANES}', 'total[p][g]')} }}",
        "}",
        *("}" for _ in outer),
        "}",
        "}",
        "#endif",
        "",
    ]


def _tile(outputs: int) -> int:
    """Places that share the loaded weights: as many as registers allow, and as fit."""
    if outputs <= 6:
        return outputs
    return next((size for size in (6, 5, 4) if outputs % size == 0), 6)


def _channels(sums: Sums) -> int:
    """Input channels, filled up to fours."""
    return rounded_up(sums.source.inner, 4)


def _taps(sums: Sums) -> int:
    return int(sums.weight.shape[0])


def _strides(sums: Sums) -> list[int]:
    """Bytes from a place to the next along each axis of the padded map."""
    found, step = [], _channels(sums)
    for axis in reversed(sums.axes):
        found.append(step)
        step *= axis.size + 2 * axis.padding
    return list(reversed(found))


def _padded_bytes(sums: Sums) -> int:
    """Bytes of the padded map, and room for a whole word of the last place."""
    return math.prod(axis.size + 2 * axis.padding for axis in sums.axes) * _channels(sums) + 64


def _by_fours(sums: Sums, block: int, blocks: int, at_once: int) -> IntArray:
    """[K, Ci, Co] -> [blocks, parts, K, Ci / 4, groups at once, 16, 4], zeros behind the last channels."""
    taps, channels, outputs = sums.weight.shape
    wide = np.zeros((taps, _channels(sums), blocks * block), np.int64)
    wide[:, :channels, :outputs] = sums.weight
    parts = block // _LANES // at_once
    split = wide.reshape(taps, -1, 4, blocks, parts, at_once, _LANES)
    return split.transpose(3, 4, 0, 1, 5, 6, 2)

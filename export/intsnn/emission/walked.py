"""The sums of a synapse without lists, as C: the input is walked where it is, place by place. Small, for any processor.

Weights of few bits are packed, several to a byte. A layer of several groups has this form on a host too: each input
adds to the few outputs of its group.
"""

from __future__ import annotations

import numpy as np

from intsnn.arithmetic import IntArray, IntType
from intsnn.emission.context import Context
from intsnn.emission.listed import in_blocks
from intsnn.emission.memory import rounded_up
from intsnn.emission.relayout import Read
from intsnn.emission.sums import Sums
from intsnn.emission.text import row_major


def walked_sums(context: Context, sums: Sums, read: Read, block: int) -> list[str]:
    """`<name>_sums(net, t, block, place, sums)`: the sums of one place and one block of output channels."""
    bits = _packed_bits(sums)
    row = -(-block * bits // 8)
    per_block = int(sums.weight.shape[0] * sums.weight.shape[1]) * row
    element = "int8" if bits == 8 else "uint8"
    packed = _packed(in_blocks(sums, block), bits)
    table = context.tables.add(f"{sums.name}_weight", packed, part=sums.part, element=element)
    body = [
        f"const nn_{element} *row = weight + (int32_t)(({_tap(sums)}) * {sums.source.inner} + c) * {row};",
        *_added_row(bits, block, "" if sums.source.is_bits else "value * "),
    ]
    return [
        *_signature(context, sums),
        f"const nn_{element} *weight = {table} + (int32_t)block * {per_block};",
        f"for (int o = 0; o < {block}; o++) sums[o] = 0;",
        *_each_active(sums, read, body),
        "}",
        "",
    ]


def grouped_sums(context: Context, sums: Sums, read: Read) -> list[str]:
    """The same of a layer of several groups: each input channel adds to the output channels of its group alone."""
    per_group, per_out = sums.source.inner // sums.groups, int(sums.weight.shape[2])
    table = context.tables.add(f"{sums.name}_weight", sums.weight, part=sums.part, element="int8")
    value, element = ("" if sums.source.is_bits else "value * "), sums.element_for(context.target)
    body = [
        f"const nn_int8 *row = {table} + (int32_t)(({_tap(sums)}) * {sums.source.inner} + c) * {per_out};",
        f"{element}_t *to = sums + c / {per_group} * {per_out};",
        f"for (int o = 0; o < {per_out}; o++) to[o] = ({element}_t)(to[o] + {value}row[o]);",
    ]
    return [
        *_signature(context, sums),
        f"memset(sums, 0, {sums.outputs} * sizeof *sums);",
        *_each_active(sums, read, body),
        "}",
        "",
    ]


def _packed_bits(sums: Sums) -> int:
    """Bits that a weight takes in memory: 2, 4 or 8."""
    low, high = int(sums.weight.min()), int(sums.weight.max())
    return next(bits for bits in (2, 4, 8) if IntType(bits, signed=True).holds(low, high))


def _packed(rows: IntArray, bits: int) -> IntArray:
    """Weights [..., n] raised to be >= 0 and packed, the first in the lowest bits; of 8 bits as they are."""
    if bits == 8:
        return rows
    fields = 8 // bits
    room = rounded_up(rows.shape[-1], fields)
    raised = np.zeros((*rows.shape[:-1], room), np.int64)
    raised[..., : rows.shape[-1]] = rows + 2 ** (bits - 1)
    packed: IntArray = (raised.reshape(*rows.shape[:-1], -1, fields) << bits * np.arange(fields)).sum(axis=-1)
    return packed


def _added_row(bits: int, block: int, factor: str) -> list[str]:
    """sums += factor * row, unpacked."""
    if bits == 8:
        return [f"for (int o = 0; o < {block}; o++) sums[o] += {factor}row[o];"]
    fields, mask, zero = 8 // bits, 2**bits - 1, 2 ** (bits - 1)
    full = block // fields
    each = [
        f"sums[{fields} * o + {field}] += {factor}((packed >> {bits * field} & {mask}) - {zero});"
        for field in range(fields)
    ]
    rest = [
        f"sums[{full * fields + field}] += {factor}((row[{full}] >> {bits * field} & {mask}) - {zero});"
        for field in range(block - full * fields)
    ]
    return [f"for (int o = 0; o < {full}; o++) {{", "const int32_t packed = row[o];", *each, "}", *rest]


def _each_active(sums: Sums, read: Read, body: list[str]) -> list[str]:
    """For each value that a window reads and that is not 0: its channel c, and where it is no bit its `value`."""
    store = sums.source
    if store.is_bits:
        inside = [
            f"for (int k = 0; k < {store.words}; k++) {{",
            f"nn_word word = ({read.at})[place * {store.words} + k];",
            "while (word) {",
            f"const int c = k * {store.word_bits} + nn_lowest(word);",
            "word &= word - 1u;",
            *body,
            "}",
            "}",
        ]
    else:
        inside = [
            f"for (int c = 0; c < {store.inner}; c++) {{",
            f"const int32_t value = ({read.at})[place * {store.inner} + c];",
            "if (value == 0) continue;",
            *body,
            "}",
        ]
    place = row_major([axis.read for axis in sums.axes], [axis.size for axis in sums.axes])
    visited = [line for axis in sums.axes for line in axis.visited()]
    return [*visited, f"const int place = {place};", *inside, *("}" for _ in sums.axes)]


def _tap(sums: Sums) -> str:
    """The place of the kernel, as C."""
    return row_major([axis.tap for axis in sums.axes], [axis.kernel for axis in sums.axes])


def _signature(context: Context, sums: Sums) -> list[str]:
    outs = [axis.out for axis in sums.axes]
    parameters = [f"const {context.net}", "int t", "int block", *(f"int {out}" for out in outs)]
    parameters.append(f"{sums.element_for(context.target)}_t *restrict sums")
    unread = " ".join(f"(void){name};" for name in ("net", "t", "block", *outs))
    return [f"NN_INLINE void {sums.name}_sums({', '.join(parameters)})", "{", unread]

"""The sums of synapses as C: what fires adds its row of weights; what is silent costs nothing.

On a host the values that are not 0 are listed first, and the rows are added in vector registers, in the narrowest
integers that cannot overflow, a block of output channels at a time. On a microcontroller the bits are walked where they
are. Either way a function `<name>_sums` gives the sums of one place and one block of channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intsnn.arithmetic import Bounds, IntArray, IntType
from intsnn.graph import IntConvTranspose, IntLinear, Synapse
from intsnn.native.context import Context
from intsnn.native.relayout import Read
from intsnn.native.stages import Stage
from intsnn.native.storage import Store
from intsnn.native.windows import Axis, axes_of_convolution

_NARROW = (("int8", IntType(8, signed=True)), ("int16", IntType(16, signed=True)), ("int32", IntType(32, signed=True)))
_FEWEST = 8  # additions between two widenings, below which a wider accumulator is faster


@dataclass(frozen=True)
class Sums:
    """One synapse over one tensor.

    name: of its C functions. axes: of the window. weight: [K, Ci, Co/G], K the places of the kernel. interval: what the
    sums are proved to lie in. part: the node it belongs to.
    """

    name: str
    part: str
    axes: tuple[Axis, ...]
    weight: IntArray
    groups: int
    interval: Bounds
    source: Store

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.groups * int(self.weight.shape[2])

    @property
    def element(self) -> str:
        """The C type of a sum."""
        return "int16" if IntType(16, signed=True).holds(self.interval.low, self.interval.high) else "int32"

    @property
    def places(self) -> int:
        """Output places."""
        return math.prod(axis.outputs for axis in self.axes)

    @property
    def additions(self) -> int:
        """Synaptic additions of a step in which every input is active."""
        reads = math.prod(_reads(axis) for axis in self.axes)
        return reads * int(self.weight.shape[1]) * int(self.weight.shape[2])


def _reads(axis: Axis) -> int:
    """Pairs of an output and a kernel place that read an input."""
    found = 0
    for out in range(axis.outputs):
        for tap in range(axis.kernel):
            if axis.transposed:
                far = out + axis.padding - tap * axis.dilation
                found += far >= 0 and far % axis.stride == 0 and far // axis.stride < axis.size
            else:
                found += 0 <= out * axis.stride + tap * axis.dilation - axis.padding < axis.size
    return found


def sums_of(name: str, part: str, node: Synapse, source: Store, interval: Bounds) -> Sums:
    """A synapse that reads a tensor; a linear layer over a map that was flattened is a convolution as large as the map."""
    interval = Bounds(min(interval.low, 0), max(interval.high, 0))
    if isinstance(node, IntLinear):
        if source.order == "last" and len(source.shape) > 1:
            sizes, names = source.shape[1:], ("d", "h", "w")[-len(source.shape[1:]) :]
            axes = tuple(Axis(n, size, 1, size, 1, 0, 1) for n, size in zip(names, sizes, strict=True))
            weight = node.weight.reshape(len(node.weight), source.shape[0], -1).transpose(2, 1, 0)
            return Sums(name, part, axes, weight, 1, interval, source)
        rows = (Axis("w", source.rows, source.rows, 1, 1, 0, 1),)
        return Sums(name, part, rows, node.weight.T[None], 1, interval, source)
    axes = axes_of_convolution(node, source.shape)
    return Sums(name, part, axes, _by_input(node), node.groups, interval, source)


def sum_element(context: Context, sums: Sums) -> str:
    """The C type that the sums are given in: a register's on a microcontroller."""
    return sums.element if context.target.has_lists else "int32"


def _by_input(node: Synapse) -> IntArray:
    """[K, Ci, Co/G] of a convolution."""
    weight = node.weight
    if isinstance(node, IntConvTranspose):
        return weight.reshape(*weight.shape[:2], -1).transpose(2, 0, 1)
    per_out = weight.shape[0] // node.groups
    grouped = weight.reshape(node.groups, per_out, weight.shape[1], -1)
    return grouped.transpose(3, 0, 2, 1).reshape(grouped.shape[3], -1, per_out)


def block_size(context: Context, sums: Sequence[Sums]) -> int:
    """Output channels that are summed at a time: whole words of bits where there are several blocks."""
    outputs = sums[0].outputs
    if any(each.groups > 1 for each in sums):
        return outputs
    if not context.target.has_lists:
        return outputs if outputs <= 64 else 64
    if any(_accumulator(each)[0] == "int32" for each in sums):
        return 64 if outputs > 64 else -(-outputs // 16) * 16
    if outputs <= 128:
        return -(-outputs // 16) * 16
    return 128 if outputs % 128 == 0 or outputs > 512 else 64


def _accumulator(sums: Sums) -> tuple[str, int]:
    """The element that rows are added in, and after how many it may overflow; 0: never."""
    store, largest = sums.source, int(np.abs(sums.weight).max(initial=1))
    factor = 1 if store.is_bits else _magnitude(store)
    for element, word in _NARROW:
        if factor > 1 and element == "int8":
            continue
        if factor > word.high:
            continue
        if word.holds(sums.interval.low, sums.interval.high):
            return element, 0
        additions = word.high // max(1, largest * factor)
        if additions >= _FEWEST:
            return element, additions
    return "int32", 0


def _magnitude(store: Store) -> int:
    return {"uint8": 255, "int8": 128, "int16": 32768, "int32": 2**31}[store.element]


# --- on a host --------------------------------------------------------------------------------------------------------


def list_lines(context: Context, stage: Stage, sums: Sums, read: Read) -> list[str]:
    """The C that lists what is not 0 of a tensor at step t."""
    store, width = sums.source, sums.axes[-1].size
    entry = _entry(sums)
    context.ask(stage, f"list_{sums.name}", entry, store.rows * store.inner + 64)
    context.ask(stage, f"start_{sums.name}", "uint32", store.rows + 1)
    numbers = f"{store.rows // width}, {width}, {store.inner}"
    into = f"{context.scratch_pointer(f'list_{sums.name}', const=False)}"
    start = f"{context.scratch_pointer(f'start_{sums.name}', const=False)}"
    bits = entry.removeprefix("uint")
    if store.is_bits:
        return [f"nn_list_bits{bits}({read.at}, {numbers}, {into}, {start});"]
    context.ask(stage, f"found_{sums.name}", store.element, store.rows * store.inner + 64)
    found = context.scratch_pointer(f"found_{sums.name}", const=False)
    return [f"nn_list_{store.element}_{bits}({read.at}, {numbers}, {into}, {found}, {start});"]


def _entry(sums: Sums) -> str:
    return "uint16" if sums.axes[-1].size * sums.source.inner <= 65536 else "uint32"


def listed_sums(context: Context, sums: Sums, block: int) -> list[str]:
    """The functions of a synapse whose input is listed."""
    element, flush = _accumulator(sums)
    bytes_of = {"int8": 1, "int16": 2, "int32": 4}[element]
    power = block & -block
    name, valued = sums.name, not sums.source.is_bits
    blocks = -(-sums.outputs // block)
    table = context.tables.add(f"{name}_weight", _blocks(sums, block, blocks), part=sums.part, element="int8")
    each = "row + v * (int)LANES".replace("LANES", f"{name.upper()}_LANES")
    factor = f" * ({element}_t)found[e]" if valued else ""
    vectors = [
        f"#define {name.upper()}_LANES (NN_BYTES / {bytes_of} < {power} ? NN_BYTES / {bytes_of} : {power})",
        f"#define {name.upper()}_VECTORS ({block} / {name.upper()}_LANES)",
        f"typedef int8_t {name}_row __attribute__((vector_size({name.upper()}_LANES)));",
        f"typedef {element}_t {name}_vector __attribute__((vector_size({bytes_of} * {name.upper()}_LANES)));",
        "",
    ]
    load = f"{name}_row some; memcpy(&some, {each}, sizeof some);"
    widened = "some" if element == "int8" else f"__builtin_convertvector(some, {name}_vector)"
    found_type = f", const nn_{sums.source.element} *found" if valued else ""
    entry = _entry(sums)
    add = [
        f"NN_INLINE void {name}_add({name}_vector *restrict total, const nn_int8 *weight, const nn_{entry} *list,"
        f" int from, int to, int base{found_type})",
        "{",
        "NN_UNROLL(4)",
        "for (int e = from; e < to; e++) {",
        f"const nn_int8 *row = weight + (long)((int)list[e] + base) * {block};",
        "NN_UNROLL(16)",
        f"for (int v = 0; v < (int){name.upper()}_VECTORS; v++) {{ {load} total[v] += {widened}{factor}; }}",
        "}",
        "}",
        "",
    ]
    flushed = [
        f"NN_INLINE void {name}_flush({name}_vector *restrict total, {sums.element}_t *restrict sums)",
        "{",
        f"{element}_t all[{block}];",
        "memcpy(all, total, sizeof all);",
        f"NN_EACH for (int i = 0; i < {block}; i++) sums[i] = ({sums.element}_t)(sums[i] + all[i]);",
        f"memset(total, 0, {block} * sizeof({element}_t));",
        "}",
        "",
    ]
    return [*vectors, *add, *flushed, *_listed_function(context, sums, table, flush, block, blocks)]


def _listed_function(
    context: Context, sums: Sums, table: str, flush: int, block: int, blocks: int
) -> list[str]:
    name, size = sums.name, int(sums.weight.shape[0] * sums.weight.shape[1]) * block
    values = ""
    if not sums.source.is_bits:
        values = f", {context.scratch_pointer(f'found_{name}')}"
    run = [f"{name}_add(total, weight, list, from, to, base{values});"]
    if flush:
        run = [
            "for (int at = from; at < to;) {",
            "const int some = nn_smaller(to - at, left);",
            f"{name}_add(total, weight, list, at, at + some, base{values});",
            "at += some;",
            "left -= some;",
            f"if (left == 0) {{ {name}_flush(total, sums); left = {flush}; }}",
            "}",
        ]
    where = f" + (long)block * {size}" if blocks > 1 else ""
    return [
        *_signature(context, sums),
        f"const nn_int8 *weight = {table}{where};",
        f"const nn_{_entry(sums)} *list = {context.scratch_pointer(f'list_{name}')};",
        f"const nn_uint32 *start = {context.scratch_pointer(f'start_{name}')};",
        f"{name}_vector total[{name.upper()}_VECTORS];",
        "memset(total, 0, sizeof total);",
        f"memset(sums, 0, {block} * sizeof *sums);",
        *([f"int left = {flush};"] if flush else []),
        *_runs(sums, run),
        f"{name}_flush(total, sums);",
        "}",
        "",
    ]


def _runs(sums: Sums, body: list[str]) -> list[str]:
    """For each piece of the list that a window reads: `from`, `to`, and what makes an entry a row of the weight."""
    *outer, last = sums.axes
    channels = sums.source.inner
    lines = [line for axis in outer for line in axis.visited()]
    row, tap = "", ""
    for axis in outer:
        row = f"({row}) * {axis.size} + {axis.read}" if row else axis.read
        tap = f"({tap}) * {axis.kernel} + {axis.tap}" if tap else axis.tap
    row, tap = (f"({row}) * {last.size}" if row else "0"), (f"({tap}) * {last.kernel}" if tap else "0")
    if last.transposed or last.dilation > 1:
        lines += [
            *last.visited(),
            f"const int from = (int)start[{row} + {last.read}], to = (int)start[{row} + {last.read} + 1];",
            f"const int base = ({tap} + {last.tap} - {last.read}) * {channels};",
            *body,
            "}",
        ]
    else:
        lines += [
            "{",
            f"const int first = {last.out} * {last.stride} - {last.padding};",
            f"const int low = nn_larger(first, 0), high = nn_smaller(first + {last.kernel}, {last.size});",
            "if (low < high) {",
            f"const int from = (int)start[{row} + low], to = (int)start[{row} + high];",
            f"const int base = ({tap} - first) * {channels};",
            *body,
            "}",
            "}",
        ]
    return [*lines, *("}" for _ in outer)]


def _blocks(sums: Sums, block: int, blocks: int) -> IntArray:
    """[K, Ci, Co] -> [blocks, K, Ci, block], zeros behind the last channel."""
    places, channels, outputs = sums.weight.shape
    wide = np.zeros((places, channels, blocks * block), np.int64)
    wide[:, :, :outputs] = sums.weight
    return wide.reshape(places, channels, blocks, block).transpose(2, 0, 1, 3)


# --- without lists ----------------------------------------------------------------------------------------------------


def plain_sums(context: Context, sums: Sums, read: Read, block: int) -> list[str]:
    """The function of a synapse that walks its input where it is."""
    name, blocks = sums.name, -(-sums.outputs // block)
    bits = _packed_bits(sums)
    table = context.tables.add(
        f"{name}_weight", _packed(_blocks(sums, block, blocks), bits), part=sums.part,
        element="int8" if bits == 8 else "uint8",
    )  # fmt: skip
    row = -(-block * bits // 8)
    size = int(sums.weight.shape[0] * sums.weight.shape[1]) * row
    where = f" + (int32_t)block * {size}" if blocks > 1 else ""
    add = _added_row(bits, block, "value" if not sums.source.is_bits else "")
    body = [f"const nn_{'int8' if bits == 8 else 'uint8'} *row = weight + (int32_t)(({_tap(sums)}) * {sums.source.inner} + c) * {row};", *add]
    return [
        *_signature(context, sums),
        f"const nn_{'int8' if bits == 8 else 'uint8'} *weight = {table}{where};",
        f"for (int o = 0; o < {block}; o++) sums[o] = 0;",
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
    room = -(-rows.shape[-1] // fields) * fields
    raised = np.zeros((*rows.shape[:-1], room), np.int64)
    raised[..., : rows.shape[-1]] = rows + 2 ** (bits - 1)
    shifts = bits * np.arange(fields)
    packed: IntArray = (raised.reshape(*rows.shape[:-1], -1, fields) << shifts).sum(axis=-1)
    return packed


def _added_row(bits: int, block: int, factor: str) -> list[str]:
    """sums += row (* factor), unpacked."""
    times = f"{factor} * " if factor else ""
    if bits == 8:
        return [f"for (int o = 0; o < {block}; o++) sums[o] += {times}row[o];"]
    fields, mask, zero = 8 // bits, 2**bits - 1, 2 ** (bits - 1)
    full = block // fields
    lines = [f"for (int o = 0; o < {full}; o++) {{", "const int32_t packed = row[o];"]
    lines += [
        f"sums[{fields} * o + {field}] += {times}((packed >> {bits * field} & {mask}) - {zero});"
        for field in range(fields)
    ]
    lines.append("}")
    lines += [
        f"sums[{full * fields + field}] += {times}((row[{full}] >> {bits * field} & {mask}) - {zero});"
        for field in range(block - full * fields)
    ]
    return lines


def _each_active(sums: Sums, read: Read, body: list[str]) -> list[str]:
    """For each value that a window reads and that is not 0: its channel c, and where it is no bit its `value`."""
    store = sums.source
    lines = [line for axis in sums.axes for line in axis.visited()]
    place = ""
    for axis in sums.axes:
        place = f"({place}) * {axis.size} + {axis.read}" if place else axis.read
    lines.append(f"const int place = {place};")
    if store.is_bits:
        lines += [
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
        lines += [
            f"for (int c = 0; c < {store.inner}; c++) {{",
            f"const int32_t value = ({read.at})[place * {store.inner} + c];",
            "if (value == 0) continue;",
            *body,
            "}",
        ]
    return [*lines, *("}" for _ in sums.axes)]


def grouped_sums(context: Context, sums: Sums, read: Read) -> list[str]:
    """Each input channel adds to the output channels of its group alone."""
    per_group, per_out = sums.source.inner // sums.groups, int(sums.weight.shape[2])
    table = context.tables.add(f"{sums.name}_weight", sums.weight, part=sums.part, element="int8")
    value, element = ("" if sums.source.is_bits else "value * "), sum_element(context, sums)
    add = [
        f"const nn_int8 *row = {table} + (int32_t)(({_tap(sums)}) * {sums.source.inner} + c) * {per_out};",
        f"{element}_t *to = sums + c / {per_group} * {per_out};",
        f"for (int o = 0; o < {per_out}; o++) to[o] = ({element}_t)(to[o] + {value}row[o]);",
    ]
    return [
        *_signature(context, sums),
        f"memset(sums, 0, {sums.outputs} * sizeof *sums);",
        *_each_active(sums, read, add),
        "}",
        "",
    ]


def _tap(sums: Sums) -> str:
    found = ""
    for axis in sums.axes:
        found = f"({found}) * {axis.kernel} + {axis.tap}" if found else axis.tap
    return found


def _signature(context: Context, sums: Sums) -> list[str]:
    element = sum_element(context, sums)
    places = "".join(f", int {axis.out}" for axis in sums.axes)
    return [
        f"NN_INLINE void {sums.name}_sums(const {context.net}, int t, int block{places}, {element}_t *restrict sums)",
        "{",
        "(void)t; (void)block;" + "".join(f" (void){axis.out};" for axis in sums.axes),
    ]

"""The sums of synapses as C: what fires adds its row of weights; what is silent costs nothing.

On a host the values that are not 0 are listed first, and the rows are added in vector registers, in the narrowest
integers that cannot overflow, a block of output channels at a time. On a microcontroller the bits are walked where they
are. Either way a function `<name>_sums` gives the sums of one place and one block of channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intsnn.arithmetic import IntArray, IntType
from intsnn.native.context import Context
from intsnn.native.dense import ask_for_bytes, can_be_dense, choice_lines, dense_function
from intsnn.native.relayout import Read
from intsnn.native.stages import Stage
from intsnn.native.sums import Sums, accumulator
from intsnn.native.text import loop


def sum_element(context: Context, sums: Sums) -> str:
    """The C type that the sums are given in: a register's on a microcontroller."""
    return sums.element if context.target.has_lists else "int32"


def block_size(context: Context, sums: Sequence[Sums]) -> int:
    """Output channels that are summed at a time: whole words of bits where there are several blocks."""
    outputs = sums[0].outputs
    whole = any(each.groups > 1 for each in sums)
    if not context.target.has_lists:
        return outputs if whole or outputs <= 64 else 64
    if whole:
        return -(-outputs // 16) * 16
    largest = min(128 if accumulator(each)[0] != "int32" and each.source.inner <= 256 else 64 for each in sums)
    if outputs <= largest:
        return -(-outputs // 16) * 16
    return largest if outputs % largest == 0 or outputs > 512 else 64


# --- on a host --------------------------------------------------------------------------------------------------------


def list_lines(context: Context, stage: Stage, sums: Sums, read: Read, block: int) -> list[str]:
    """The C that lists what is not 0 of a tensor at step t; a small count stands as often as it says."""
    store, width = sums.source, sums.axes[-1].size
    entry = _entry(sums)
    _ask_for_lists(context, stage, sums)
    numbers = f"{store.rows // width}, {width}, {store.inner}"
    chosen = choice_lines(context, stage, sums, read, block) if can_be_dense(context, sums) else []
    into = f"{context.scratch_pointer(f'list_{sums.name}', const=False)}"
    start = f"{context.scratch_pointer(f'start_{sums.name}', const=False)}"
    bits = entry.removeprefix("uint")
    if store.is_bits:
        return [f"nn_list_bits{bits}({read.at}, {numbers}, {into}, {start});", *chosen]
    if sums.repeats:
        return [f"nn_list_counts{bits}({read.at}, {numbers}, {sums.repeats}, {into}, {start});", *chosen]
    found = context.scratch_pointer(f"found_{sums.name}", const=False)
    return [f"nn_list_{store.element}_{bits}({read.at}, {numbers}, {into}, {found}, {start});", *chosen]


def _ask_for_lists(context: Context, stage: Stage, sums: Sums) -> None:
    store = sums.source
    context.ask(stage, f"list_{sums.name}", _entry(sums), store.rows * store.inner * (sums.repeats or 1) + 64)
    context.ask(stage, f"start_{sums.name}", "uint32", store.rows + 1)
    if can_be_dense(context, sums):
        ask_for_bytes(context, stage, sums)
    if sums.has_values:
        context.ask(stage, f"found_{sums.name}", store.element, store.rows * store.inner + 64)


def _entry(sums: Sums) -> str:
    return "uint16" if sums.axes[-1].size * sums.source.inner <= 65536 else "uint32"


def listed_sums(context: Context, stage: Stage, sums: Sums, block: int) -> list[str]:
    """The functions of a synapse whose input is listed: `<name>_sums` fills the sums of a block of channels.

    The weights are walked in slices that stay in the first cache: all places and steps of a slice, then the next.
    """
    name, blocks = sums.name, -(-sums.outputs // block)
    table = context.tables.add(f"{name}_weight", _blocks(sums, block, blocks), part=sums.part, element="int8")
    _ask_for_lists(context, stage, sums)
    context.ask(stage, f"sums_{name}", sums.element, sums.places * block)
    dense = dense_function(context, sums, block) if can_be_dense(context, sums) else []
    return [*_vectors(sums, block), *_add(sums, block), *_flush(sums, block), *dense,
            *_slices(context, sums, table, block, blocks)]  # fmt: skip


def _vectors(sums: Sums, block: int) -> list[str]:
    """The registers that rows are added in: as wide as the processor has them, and a block is a whole number of."""
    element, _ = accumulator(sums)
    bytes_of, power, upper = _BYTES[element], block & -block, sums.name.upper()
    return [
        f"#define {upper}_LANES (NN_BYTES / {bytes_of} < {power} ? NN_BYTES / {bytes_of} : {power})",
        f"#define {upper}_VECTORS ({block} / {upper}_LANES)",
        f"typedef int8_t {sums.name}_row __attribute__((vector_size({upper}_LANES)));",
        f"typedef {element}_t {sums.name}_vector __attribute__((vector_size({bytes_of} * {upper}_LANES)));",
        "",
    ]


_BYTES = {"int8": 1, "int16": 2, "int32": 4}


def _add(sums: Sums, block: int) -> list[str]:
    """Rows `from` to `to` - 1 of the list, added (times their value) to `total`."""
    name, (element, _) = sums.name, accumulator(sums)
    power, upper = block & -block, sums.name.upper()
    factor = f" * ({element}_t)found[e]" if sums.has_values else ""
    found = f", const nn_{sums.source.element} *restrict found" if sums.has_values else ""
    plain = f"{name}_row some; memcpy(&some, row, sizeof some); return __builtin_convertvector(some, {name}_vector);"
    wide = {"int16": (32, "_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)row))"),
            "int32": (16, "_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)row))")}  # fmt: skip
    load = [plain]
    if element in wide and power >= wide[element][0]:
        load = ["#if defined(__AVX512BW__)", f"return ({name}_vector){wide[element][1]};", "#else", plain, "#endif"]
    return [
        f"NN_INLINE {name}_vector {name}_load(const nn_int8 *row)",
        "{",
        *load,
        "}",
        "",
        f"NN_INLINE void {name}_add({name}_vector *restrict total, uintptr_t rows, const nn_{_entry(sums)} *restrict list,"
        f" int from, int to{found})",
        "{",
        "NN_UNROLL(4)",
        "for (int e = from; e < to; e++) {",
        f"const nn_int8 *row = (const nn_int8 *)(rows + (uintptr_t)list[e] * {block});",
        "NN_UNROLL(16)",
        f"for (int v = 0; v < (int){upper}_VECTORS; v++) total[v] += {name}_load(row + v * (int){upper}_LANES){factor};",
        "}",
        "}",
        "",
    ]


def _flush(sums: Sums, block: int) -> list[str]:
    """What was added in narrow registers goes to the sums, vector by vector: an array of them would leave registers."""
    name, (element, _), upper = sums.name, accumulator(sums), sums.name.upper()
    return [
        f"NN_INLINE void {name}_clear({name}_vector *restrict total)",
        "{",
        "NN_UNROLL(16)",
        f"for (int v = 0; v < (int){upper}_VECTORS; v++) total[v] = ({name}_vector){{0}};",
        "}",
        "",
        f"NN_INLINE void {name}_flush({name}_vector *restrict total, nn_{sums.element} *restrict sums)",
        "{",
        "NN_UNROLL(16)",
        f"for (int v = 0; v < (int){upper}_VECTORS; v++) {{",
        f"{element}_t all[{upper}_LANES];",
        f"const {name}_vector some = total[v];",
        "memcpy(all, &some, sizeof all);",
        f"NN_EACH for (int i = 0; i < (int){upper}_LANES; i++) {{",
        f"sums[v * (int){upper}_LANES + i] = ({sums.element}_t)(sums[v * (int){upper}_LANES + i] + all[i]);",
        "}",
        "}",
        f"{name}_clear(total);",
        "}",
        "",
    ]


def _slices(context: Context, sums: Sums, table: str, block: int, blocks: int) -> list[str]:
    """`<name>_sums`: the sums of steps `first` to `last` - 1 and of one block, all places."""
    name, (_, flush) = sums.name, accumulator(sums)
    size = int(sums.weight.shape[0] * sums.weight.shape[1]) * block
    values = ", found" if sums.has_values else ""
    run = [f"{name}_add(total, rows, list, from, to{values});"]
    if flush:
        run = [
            f"for (; to - from > {flush}; from += {flush}) {{",
            f"{name}_add(total, rows, list, from, from + {flush}{values});",
            f"{name}_flush(total, out);",
            "}",
            *run,
        ]
    where = f" + (long)block * {size}" if blocks > 1 else ""
    found = []
    if sums.has_values:
        found = [f"const nn_{sums.source.element} *restrict found = {context.scratch_pointer(f'found_{name}')};"]
    step = [
        f"const nn_{_entry(sums)} *restrict list = {context.scratch_pointer(f'list_{name}')};",
        f"const nn_uint32 *restrict start = {context.scratch_pointer(f'start_{name}')};",
        *found,
        f"nn_{sums.element} *restrict sums = {context.scratch_pointer(f'sums_{name}', const=False)};",
    ]
    run = [f"{name}_vector total[{name.upper()}_VECTORS];", f"{name}_clear(total);", *run,
           f"{name}_flush(total, out);"]  # fmt: skip
    dense = []
    if can_be_dense(context, sums):
        skipped = f"if ({context.scratch_pointer(f'dense_{name}')}[0]) continue;"
        step, dense = [skipped, *step], ["#if defined(NN_DENSE)", "for (int t = first; t < last; t++) {",
            f"if ({context.scratch_pointer(f'dense_{name}')}[0]) {name}_dense(net, block, t);", "}", "#endif"]  # fmt: skip
    return [
        f"NN_ALONE void {name}_sums({context.net}, int block, int first, int last)",
        "{",
        "(void)block;",
        f"const uintptr_t weight = (uintptr_t)({table}{where});",
        "for (int t = first; t < last; t++) {",
        f"memset({context.scratch_pointer(f'sums_{name}', const=False)}, 0, {sums.places * block * _BYTES[sums.element]});",
        "}",
        *_over_slices(sums, block, step, run),
        *dense,
        "}",
        "",
    ]


_SLICE_BYTES = 32 * 1024  # of the weights that are walked at a time: they stay in a first cache of 48 KiB


def _over_slices(sums: Sums, block: int, step: list[str], body: list[str]) -> list[str]:
    """For each slice of the kernel, each step and each place: `from`, `to` of the list, `rows` and `out`."""
    *outer, last = sums.axes
    channels = sums.source.inner
    by_tap = last.transposed or last.dilation > 1 or channels * last.kernel * block > _SLICE_BYTES
    lines = [loop(axis.tap, axis.kernel) for axis in (*outer, *([last] if by_tap else []))]
    lines += ["for (int t = first; t < last; t++) {", *step]
    for axis in outer:
        lines += [loop(axis.out, axis.outputs), *axis.placed()]
    row, tap, to = "", "", ""
    for axis in outer:
        row = f"({row}) * {axis.size} + {axis.read}" if row else axis.read
        tap = f"({tap}) * {axis.kernel} + {axis.tap}" if tap else axis.tap
        to = f"({to}) * {axis.outputs} + {axis.out}" if to else axis.out
    row, tap = (f"({row}) * {last.size}" if row else "0"), (f"({tap}) * {last.kernel}" if tap else "0")
    to = f"({to}) * {last.outputs} + {last.out}" if to else last.out
    lines.append(loop(last.out, last.outputs))
    if by_tap:
        lines += [*last.placed(), f"const nn_uint32 *ends = start + {row} + {last.read};",
                  "int from = (int)ends[0]; const int to = (int)ends[1];",
                  f"const int base = ({tap} + {last.tap} - {last.read}) * {channels};"]  # fmt: skip
    else:
        lines += [
            f"const int before = {last.out} * {last.stride} - {last.padding};",
            f"const int low = nn_larger(before, 0), high = nn_smaller(before + {last.kernel}, {last.size});",
            f"int from = (int)start[{row} + low]; const int to = (int)start[{row} + high];",
            f"const int base = ({tap} - before) * {channels};",
        ]
    lines += [
        "if (from >= to) continue;",
        f"const uintptr_t rows = weight + (uintptr_t)((long)base * {block});",
        f"nn_{sums.element} *restrict out = sums + ({to}) * {block};",
        *body,
    ]
    heads = len(outer) + by_tap + 1 + len(outer) + 1
    return [*lines, *("}" for _ in range(heads))]


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
    body = [
        f"const nn_{'int8' if bits == 8 else 'uint8'} *row = weight + (int32_t)(({_tap(sums)}) * {sums.source.inner} + c) * {row};",
        *add,
    ]
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

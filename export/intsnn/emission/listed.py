"""The sums of a synapse on a host, as C: what is not 0 is listed, and each entry adds its row of weights.

Rows are added in vector registers, in the narrowest integers that cannot overflow, a block of output channels at a
time; before they could, the registers are added to the sums. The weights are walked in slices that stay in a near
cache: all places and steps of a slice, then the next slice. Weights that are one small slice have a form of their own
(`merged`).
"""

from __future__ import annotations

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.emission.context import ELEMENT_BYTES_OF, Context
from intsnn.emission.dense import ask_for_bytes, can_be_dense, choice_lines, dense_function
from intsnn.emission.merged import AT_ONCE, ENTRY_BYTES, is_merged, merged_lines
from intsnn.emission.relayout import Read
from intsnn.emission.stages import Stage
from intsnn.emission.sums import Sums, accumulator, ask_for_sums, sums_pointer
from intsnn.emission.text import loop, row_major

_SLICE_BYTES = 200 * 1024  # of weights: a small part of a second cache, beside sums and lists
_PAD = 4  # entries that are added at a time: the list of a place is filled up to a multiple of it
_SLACK = 64  # entries that a list needs behind its last one (kernels/lists.h)


def list_lines(context: Context, stage: Stage, sums: Sums, read: Read, block: int) -> list[str]:
    """The C that lists what is not 0 of a tensor at step t; a small count stands as often as it says."""
    _ask(context, stage, sums, block)
    store, width, name = sums.source, sums.axes[-1].size, sums.name
    kind = {"bits": store.is_bits, "counts": sums.repeats > 0}
    what = next((word for word, holds in kind.items() if holds), f"{store.element}_")
    pad = 1 if is_merged(sums, block) else _PAD
    size = f"{store.rows // width}, {width}, {store.inner}, {pad}"
    into = [context.scratch_pointer(f"list_{name}", const=False)]
    into += [context.scratch_pointer(f"found_{name}", const=False)] if sums.has_values else []
    into += [context.scratch_pointer(f"start_{name}", const=False)]
    most = f"{sums.repeats}, " if what == "counts" else ""
    bits = _entry(sums).removeprefix("uint")
    call = f"nn_list_{what}{bits}({read.at}, {size}, {most}{', '.join(into)});"
    return [call, *(choice_lines(context, sums, read, block) if can_be_dense(context, sums) else [])]


def listed_sums(context: Context, stage: Stage, sums: Sums, block: int) -> list[str]:
    """The functions of the synapse; `<name>_sums(net, block, first, last, begin, end)` fills the sums of some steps.

    `begin` and `end` are those of the axis that threads share.
    """
    _ask(context, stage, sums, block)
    dense = dense_function(context, sums, block) if can_be_dense(context, sums) else []
    return [*_vectors(sums, block), *_add(sums, block), *_flush(sums, block), *dense, *_filled(context, sums, block)]


def in_blocks(sums: Sums, block: int) -> IntArray:
    """[K, Ci, Co] -> [blocks, K, Ci, block], zeros behind the last channel."""
    places, channels, outputs = sums.weight.shape
    blocks = sums.blocks(block)
    wide = np.zeros((places, channels, blocks * block), np.int64)
    wide[:, :, :outputs] = sums.weight
    return wide.reshape(places, channels, blocks, block).transpose(2, 0, 1, 3)


def _ask(context: Context, stage: Stage, sums: Sums, block: int) -> None:
    """The memory that the stage needs for it: list, values, the start of each place, the sums of a block."""
    store, name = sums.source, sums.name
    values = store.rows * (store.inner + _PAD)
    context.ask(stage, f"list_{name}", _entry(sums), values * (sums.repeats or 1) + _SLACK)
    context.ask(stage, f"start_{name}", "uint32", store.rows + 1)
    ask_for_sums(context, stage, sums, block)
    if sums.has_values:
        context.ask(stage, f"found_{name}", store.element, values + _SLACK)
    if can_be_dense(context, sums):
        ask_for_bytes(context, stage, sums)


def _entry(sums: Sums) -> str:
    """The element of a list: a place of a line and its channel as one number."""
    return "uint16" if sums.axes[-1].size * (sums.source.inner + 1) <= 2**16 else "uint32"


def _vectors(sums: Sums, block: int) -> list[str]:
    """The registers that rows are added in: as wide as the processor has them, and a block is a whole number of."""
    element, _ = accumulator(sums)
    size, power, upper = ELEMENT_BYTES_OF[element], block & -block, sums.name.upper()
    return [
        f"#define {upper}_LANES (NN_BYTES / {size} < {power} ? NN_BYTES / {size} : {power})",
        f"#define {upper}_VECTORS ({block} / {upper}_LANES)",
        f"typedef int8_t {sums.name}_row __attribute__((vector_size({upper}_LANES)));",
        f"typedef {element}_t {sums.name}_vector __attribute__((vector_size({size} * {upper}_LANES)));",
        "",
    ]


def _add(sums: Sums, block: int) -> list[str]:
    """`_load`: a piece of a row, widened; `_add`: the rows of entries `from` to `to` - 1, times their values."""
    name, (element, _), upper = sums.name, accumulator(sums), sums.name.upper()
    factor = f" * ({element}_t)found[e]" if sums.has_values else ""
    found = f", const nn_{sums.source.element} *restrict found" if sums.has_values else ""
    merged = is_merged(sums, block)
    some, entry, size = (AT_ONCE, "uint16", ENTRY_BYTES) if merged else (_PAD, _entry(sums), block)
    return [
        f"NN_INLINE {name}_vector {name}_load(const nn_int8 *row)",
        "{",
        *_widened(name, element, block & -block),
        "}",
        "",
        f"NN_INLINE void {name}_add({name}_vector *restrict total, uintptr_t rows,",
        f"const nn_{entry} *restrict list, int from, int to{found})",
        "{",
        f"for (; from < to; from += {some})",
        f"NN_UNROLL({some})",
        f"for (int e = from; e < from + {some}; e++) {{",
        f"const nn_int8 *row = (const nn_int8 *)(rows + (uintptr_t)list[e] * {size});",
        "NN_UNROLL(16)",
        f"for (int v = 0; v < (int){upper}_VECTORS; v++)",
        f"total[v] += {name}_load(row + v * (int){upper}_LANES){factor};",
        "}",
        "}",
        "",
    ]


def _widened(name: str, element: str, power: int) -> list[str]:
    """A vector from bytes. GCC widens to a whole AVX-512 register in halves, where one instruction does it."""
    plain = f"{name}_row some; memcpy(&some, row, sizeof some); return __builtin_convertvector(some, {name}_vector);"
    whole = {
        "int16": (32, "_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)row))"),
        "int32": (16, "_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)row))"),
    }
    if element not in whole or power < whole[element][0]:
        return [plain]
    return ["#if defined(__AVX512BW__)", f"return ({name}_vector){whole[element][1]};", "#else", plain, "#endif"]


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
        f"nn_{sums.element} *restrict to = sums + v * (int){upper}_LANES;",
        "memcpy(all, &some, sizeof all);",
        f"NN_EACH for (int i = 0; i < (int){upper}_LANES; i++) to[i] = ({sums.element}_t)(to[i] + all[i]);",
        "}",
        f"{name}_clear(total);",
        "}",
        "",
    ]


def _filled(context: Context, sums: Sums, block: int) -> list[str]:
    """`<name>_sums`: the sums of steps `first` to `last` - 1, of one block, and of one thread's places."""
    name, per_block = sums.name, int(sums.weight.shape[0] * (sums.weight.shape[1] + 1)) * block
    rows = np.pad(in_blocks(sums, block), ((0, 0), (0, 0), (0, 1), (0, 0)))  # the row of what fills up a list
    table = context.tables.add(f"{name}_weight", rows, part=sums.part, element="int8")
    out = sums_pointer(context, sums, block, const=False)
    values = f"const nn_{sums.source.element} *restrict found = "
    step = [
        f"const nn_{_entry(sums)} *restrict list = {context.scratch_pointer(f'list_{name}')};",
        f"const nn_uint32 *restrict start = {context.scratch_pointer(f'start_{name}')};",
        *([f"{values}{context.scratch_pointer(f'found_{name}')};"] if sums.has_values else []),
        f"nn_{sums.element} *restrict sums = {out};",
    ]
    dense = []
    if can_be_dense(context, sums):
        chosen = f"{context.scratch_pointer(f'dense_{name}')}[0]"
        step = [f"if ({chosen}) continue;", *step]
        every = f"for (int t = first; t < last; t++) if ({chosen}) {name}_dense(net, block, t, begin, end);"
        dense = ["#if defined(NN_DENSE)", every, "#endif"]
    if is_merged(sums, block):
        body, entry_bits = _added(sums, "merged", AT_ONCE), int(_entry(sums).removeprefix("uint"))
        filled = merged_lines(sums, block, step, body, entry_bits=entry_bits)
        return [*_sums_head(context, sums, f"{table} + (uintptr_t)block * {per_block}"), *filled, *dense, "}", ""]
    size, cleared = sums.places * block, f"nn_clear({out}, {sums.places * block} * sizeof(*{out}));"
    if sums.shared:
        size //= sums.shared.outputs
        cleared = f"nn_clear({out} + begin * {size}, (size_t)((end - begin) * {size}) * sizeof(*{out}));"
    return [
        *_sums_head(context, sums, f"{table} + (uintptr_t)block * {per_block}"),
        f"for (int t = first; t < last; t++) {cleared}",
        *_over_slices(sums, block, step, _added(sums, "list", _PAD)),
        *dense,
        "}",
        "",
    ]


def _sums_head(context: Context, sums: Sums, weight: str) -> list[str]:
    return [
        f"NN_ALONE void {sums.name}_sums({context.net}, int block, int first, int last, int begin, int end)",
        "{",
        "(void)begin; (void)end;",
        f"const uintptr_t weight = (uintptr_t){weight};",
    ]


def _added(sums: Sums, entries: str, some: int) -> list[str]:
    """The entries of one window and slice, added to `out`; flushed before the registers could overflow."""
    name, most = sums.name, accumulator(sums)[1] // some * some
    values = ", found" if sums.has_values else ""
    pieces = [
        f"for (; to - from > {most}; from += {most}) {{",
        f"{name}_add(total, rows, {entries}, from, from + {most}{values});",
        f"{name}_flush(total, out);",
        "}",
    ]
    return [
        f"{name}_vector total[{name.upper()}_VECTORS];",
        f"{name}_clear(total);",
        *(pieces if most else []),
        f"{name}_add(total, rows, {entries}, from, to{values});",
        f"{name}_flush(total, out);",
    ]


def _over_slices(sums: Sums, block: int, step: list[str], body: list[str]) -> list[str]:
    """For each slice of the kernel, each step and each place: `from`, `to` of the list, `rows` and `out`.

    Places of the kernel along the last axis are one slice where they are neighbours, fit the cache, and the window is
    plain: what they read is one piece of the list.
    """
    *outer, last = sums.axes
    channels = sums.source.inner + 1
    by_tap = last.transposed or last.dilation > 1 or channels * last.kernel * block > _SLICE_BYTES
    line = row_major([axis.read for axis in outer], [axis.size for axis in outer])
    tap = row_major([axis.tap for axis in outer], [axis.kernel for axis in outer])
    to = row_major([axis.out for axis in sums.axes], [axis.outputs for axis in sums.axes])
    if by_tap:
        window = [
            *last.placed(),
            f"const nn_uint32 *ends = start + ({line}) * {last.size} + {last.read};",
            "int from = (int)ends[0]; const int to = (int)ends[1];",
            f"const int base = (({tap}) * {last.kernel} + {last.tap} - {last.read}) * {channels};",
        ]
    else:
        window = [
            *last.span(),
            f"const nn_uint32 *ends = start + ({line}) * {last.size};",
            "int from = (int)ends[low]; const int to = (int)ends[high];",
            f"const int base = (({tap}) * {last.kernel} - before) * {channels};",
        ]
    heads = [loop(axis.tap, axis.kernel) for axis in (*outer, *([last] if by_tap else []))]
    heads_of = {axis.out: axis.share if axis is sums.shared else loop(axis.out, axis.outputs) for axis in outer}
    places = [each for axis in outer for each in (heads_of[axis.out], *axis.placed())]
    return [
        *heads,
        "for (int t = first; t < last; t++) {",
        *step,
        *places,
        loop(last.out, last.outputs),
        *window,
        "if (from >= to) continue;",
        f"const uintptr_t rows = weight + (uintptr_t)((long)base * {block});",
        f"nn_{sums.element} *restrict out = sums + ({to}) * {block};",
        *body,
        *("}" for _ in range(len(heads) + 1 + len(outer) + 1)),
    ]

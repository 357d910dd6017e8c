"""The sums of a small convolution on a host, as C: the lists of the lines of a window are merged, then rows are added.

A loop over each line of a window ends where the processor often guesses wrong. Merged, a window is one loop, and is
filled up once. That pays where all weights of a block stay in a first cache; larger ones are walked in slices
(`listed`). The entries of a merged list are in eighths of a row's bytes: a row begins at 8 * entry, one address.
"""

from __future__ import annotations

import math

from intsnn.emission.sums import Sums, accumulator
from intsnn.emission.text import loop, row_major

_LARGEST_BYTES = 40 * 1024  # of weights of a block: first caches have 32 or 48 KiB
_SLACK = 64  # entries that are copied at a time (kernels/lists.h)
ENTRY_BYTES = 8  # the largest factor of an address
AT_ONCE = 8  # rows that are added in a turn of a loop


def is_merged(sums: Sums, block: int) -> bool:
    """Whether a synapse has this form: a map of plain windows, whose weights are few."""
    last = sums.axes[-1]
    plain = sums.places > 1 and not last.transposed and last.dilation == 1 and not sums.has_values
    return plain and int(sums.weight.shape[0]) * (sums.source.inner + 1) * block <= _LARGEST_BYTES


def merged_lines(sums: Sums, block: int, step: list[str], body: list[str], *, entry_bits: int) -> list[str]:
    """For each step and place: a list `merged` from `from` to `to`, `rows` and `out`, which is cleared.

    Args:
        sums: of the synapse.
        block: output channels that are summed at a time.
        step: the C that defines `list`, `start` and `sums` of a step.
        body: the C that adds the rows.
        entry_bits: of the lists that are merged.
    """
    *outer, last = sums.axes
    channels, scale = sums.source.inner + 1, block // ENTRY_BYTES
    line = row_major([axis.read for axis in outer], [axis.size for axis in outer])
    tap = row_major([axis.tap for axis in outer], [axis.kernel for axis in outer])
    to = row_major([axis.out for axis in sums.axes], [axis.outputs for axis in sums.axes])
    filled = _filled_up_to(sums)
    return [
        "const uintptr_t rows = weight;",
        "for (int t = first; t < last; t++) {",
        *step,
        *(axis.share if axis is sums.shared else loop(axis.out, axis.outputs) for axis in outer),
        loop(last.out, last.outputs),
        *last.span(),
        f"nn_{sums.element} *restrict out = sums + ({to}) * {block};",
        f"nn_clear(out, {block} * sizeof *out);",
        f"nn_uint16 merged[{_most(sums) + _SLACK}];",
        "int from = 0, to = 0;",
        *(each for axis in outer for each in axis.visited()),
        f"const nn_uint32 *ends = start + ({line}) * {last.size};",
        "const int count = (int)(ends[high] - ends[low]);",
        f"const int base = (({tap}) * {last.kernel} - before) * {channels};",
        f"nn_merge{entry_bits}(merged + to, list + ends[low], count, {scale}, base);",
        "to += count;",
        *("}" for _ in outer),
        f"for (int i = 0; i < {filled}; i++) merged[to + i] = {sums.source.inner * scale}; /* a row of zeros */",
        f"to = (to + {filled - 1}) & -{filled};",
        *body,
        *("}" for _ in range(1 + len(outer) + 1)),
    ]


def _filled_up_to(sums: Sums) -> int:
    """What a merged list is filled up to a multiple of: as many rows as fit the registers before they are flushed."""
    most = accumulator(sums)[1]
    return 16 if most == 0 or most >= 16 else AT_ONCE


def _most(sums: Sums) -> int:
    """The most entries of a window."""
    return math.prod(axis.kernel for axis in sums.axes) * sums.source.inner * (sums.repeats or 1)

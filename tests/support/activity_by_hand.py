"""The activity of a graph counted value by value from what each window reads: slow, and without bit planes.

It takes the interpreter's tensors and the windows that make its sums (`patches`), and nothing of `intsnn.activity`'s
counting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from intsnn.activity.occupancy import Cut
from intsnn.arithmetic import IntArray, word_bits
from intsnn.execution.interpreter import evaluate
from intsnn.graph import IntGraph, IntMatMul, Synapse
from intsnn.graph.bounds import read_bounds
from intsnn.graph.windows import patches

Counts = dict[str, list[tuple[float, ...]]]


def counts_by_hand(graph: IntGraph, x: IntArray, cuts: Callable[[str], Sequence[Cut]]) -> Counts:
    """By name of a neuron, synapse or product the lists of its counts, mean per sample, as `Activity` has them."""
    widths = {name: word_bits(interval) for name, interval in read_bounds(graph).items()}
    found: Counts = {}
    for step in evaluate(graph, x):
        if step.spikes is not None:
            found[step.node.name] = _means([[int(each.sum()) for each in step.spikes]], x)
        if step.weight_layer is not None:
            node, read = step.weight_layer
            lists = [_synapse(node, each, widths[node.name], cuts(node.name)) for each in read]
            found[node.name] = _means(list(map(list, zip(*lists, strict=True))), x)
        if isinstance(step.node, IntMatMul):
            lists = [_product(left, right) for left, right in zip(*step.inputs, strict=True)]
            found[step.node.name] = _means(list(map(list, zip(*lists, strict=True))), x)
    return found


def _means(counts: list[list[int]], x: IntArray) -> list[tuple[float, ...]]:
    return [tuple(count / x.shape[1] for count in steps) for steps in counts]


def _synapse(node: Synapse, x: IntArray, width: int, cuts: Sequence[Cut]) -> list[int]:
    """Of one step, x [N, *input shape]: active inputs, row activations, pulses, input sum, and for each cut three."""
    planes = [patches(node, (x >> bit) & 1).astype(bool) for bit in range(width)]  # [N, P, G, Ci/G, K]
    counts = [int((x != 0).sum()), int((patches(node, x) != 0).sum()), sum(int(plane.sum()) for plane in planes)]
    occupied = [sum(figures) for cut in cuts for figures in zip(*(_occupied(p, cut) for p in planes), strict=True)]
    return [*counts, int(x.sum()), *occupied]


def _occupied(plane: npt.NDArray[np.bool_], cut: Cut) -> tuple[int, int, int]:
    """Reads of arrays, PEs and outputs with an active row, of one bit."""
    groups, channels, kernel = plane.shape[2:]
    arrays = pes = outputs = 0
    for first in range(0, groups, cut.groups):
        pack = plane[:, :, first : first + cut.groups]
        rows = pack if cut.mapping == "kernel_split" else pack.reshape(*pack.shape[:3], channels * kernel, 1)
        blocks = [rows[:, :, :, start : start + cut.rows] for start in range(0, rows.shape[3], cut.rows)]
        arrays += pack.shape[2] * sum(int(block.any(axis=(2, 3)).sum()) for block in blocks)
        pes += pack.shape[2] * sum(int(block.any(axis=(2, 3, 4)).sum()) for block in blocks)
        outputs += pack.shape[2] * int(pack.any(axis=(2, 3, 4)).sum())
    return arrays, pes, outputs


def _product(left: IntArray, right: IntArray) -> list[int]:
    """Of one step: active values of both operands, and pairs of which neither is 0."""
    a, b = (left != 0).astype(np.int64), (right != 0).astype(np.int64)
    return [int(a.sum()), int(b.sum()), int((a @ b).sum())]

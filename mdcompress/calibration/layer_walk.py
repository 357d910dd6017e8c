"""A student over calibration batches, layer by layer: every batch at one node before any is at the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from mdcompress.graph import SnnNode
from mdcompress.student import Student

Sources = list[list[Tensor]]  # what a node reads, batch by batch


def walk(student: Student, batches: Sequence[Tensor]) -> Iterator[tuple[SnnNode, Sources]]:
    """Each node and what it reads, before it runs: a layer that is changed now runs as it then is.

    So what is found layer by layer, on what the layers before it now send, takes one pass in all. A tensor is let go
    after the last node that reads it.
    """
    streams = student.stream_units()
    values: dict[str, list[Tensor]] = {}
    reads = Counter(name for node in student.graph for name in node.inputs)
    for node in student.graph:
        sources = [[values[name][place] for name in node.inputs if name in values] for place in range(len(batches))]
        yield node, sources
        written = [student.node_value(node, read, x, streams).value for read, x in zip(sources, batches, strict=True)]
        reads.subtract(node.inputs)
        for name in node.inputs:
            if reads[name] == 0:
                values.pop(name, None)
        if written and written[0] is not None:
            values[node.name] = [value for value in written if value is not None]


def first_of(batches: Iterable[Tensor], samples: int) -> list[Tensor]:
    """The batches [T, N, ...] up to so many samples; the last one is cut."""
    chosen, left = [], samples
    for x in batches:
        if left > 0:
            chosen.append(x[:, :left])
        left -= x.shape[1]
    return chosen

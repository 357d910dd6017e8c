"""What one layer of a student reads or writes on given samples; the layers behind it are not run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from mdcompress.student import Student


def layer_inputs(student: Student, name: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The integers [T, N, ...] that a synapse reads, batch by batch."""
    seen: list[Tensor] = []

    def take(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach())
        raise _ReachedError

    handle = student.synapse(name).register_forward_pre_hook(take)
    try:
        yield from _taken(student, batches, seen)
    finally:
        handle.remove()


def layer_currents(student: Student, name: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The integer currents [T, N, ...] that a synapse writes, batch by batch."""
    seen: list[Tensor] = []

    def take(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output.detach())
        raise _ReachedError

    handle = student.synapse(name).register_forward_hook(take)
    try:
        yield from _taken(student, batches, seen)
    finally:
        handle.remove()


def first_of(batches: Iterable[Tensor], samples: int) -> list[Tensor]:
    """The batches [T, N, ...] up to so many samples; the last one is cut."""
    chosen, left = [], samples
    for x in batches:
        if left > 0:
            chosen.append(x[:, :left])
        left -= x.shape[1]
    return chosen


class _ReachedError(Exception):
    """The layer was reached: the rest of the pass is not needed."""


def _taken(student: Student, batches: Iterable[Tensor], seen: list[Tensor]) -> Iterator[Tensor]:
    for x in batches:
        seen.clear()
        with contextlib.suppress(_ReachedError):
            student.run(x)
        yield seen[0]

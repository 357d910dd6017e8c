"""What one layer of a student reads or writes on given samples; the layers behind it are not run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mdcompress.layers.synapse import QuantSynapse
from mdcompress.student import Student


def layer_inputs(student: Student, layer: QuantSynapse, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The integers [T, N, ...] that a synapse of the student reads, batch by batch."""
    return _tapped(student, batches, lambda take: layer.register_forward_pre_hook(lambda _, given: take(given[0])))


def layer_currents(student: Student, layer: QuantSynapse, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The integer currents [T, N, ...] that a synapse of the student writes, batch by batch."""
    return _tapped(student, batches, lambda take: layer.register_forward_hook(lambda _, _given, out: take(out)))


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


def _tapped(
    student: Student, batches: Iterable[Tensor], attach: Callable[[Callable[[Tensor], NoReturn]], RemovableHandle]
) -> Iterator[Tensor]:
    """What the hook that `attach` registers takes, batch by batch; it is registered while that goes on."""
    seen: list[Tensor] = []

    def take(values: Tensor) -> NoReturn:
        seen.append(values.detach())
        raise _ReachedError

    handle = attach(take)
    try:
        for x in batches:
            seen.clear()
            with contextlib.suppress(_ReachedError):
                student.run(x)
            yield seen[0]
    finally:
        handle.remove()

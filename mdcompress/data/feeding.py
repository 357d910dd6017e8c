"""A function and its arguments, batch by batch -> batches in that order, made in turn or by other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mdcompress.data.inputs import is_still

Batch = tuple[Tensor, Tensor]
ChosenT = TypeVar("ChosenT")


@dataclass(frozen=True)
class Feed:
    """Who makes the batches.

    workers: processes that make them ahead; 0: the training's own, each when it is asked for. pins: whether they are
    put into page-locked memory, out of which a GPU copies; no effect where there is none.
    """

    workers: int
    pins: bool


IN_TURN = Feed(workers=0, pins=False)


def fed(make: Callable[[ChosenT], Batch], chosen: Sequence[ChosenT], *, feed: Feed) -> Iterator[Batch]:
    """`make` of each item of `chosen`, in their order: equal batches, whoever makes them.

    No generator of the caller's is drawn from, so that a training goes on alike with any number of workers.
    """
    pins = feed.pins and torch.cuda.is_available()
    if feed.workers == 0 and not pins:
        yield from map(make, chosen)
        return
    loader = DataLoader(
        _Made(make, chosen),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=min(feed.workers, len(chosen)),
        pin_memory=pins,
        generator=torch.Generator(),  # else it draws a seed from torch's own
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        x, y, steps = batch
        yield x.expand(steps, *x.shape[1:]), y


class _Made(Dataset[tuple[Tensor, Tensor, int] | Exception], Generic[ChosenT]):
    """What is made of each item, and its T; an error is handed on as it is, for torch would take its hints away.

    Of an image that is seen at every step there is one: page-locked memory takes no piece that is seen several times.
    """

    def __init__(self, make: Callable[[ChosenT], Batch], chosen: Sequence[ChosenT]) -> None:
        self.make = make
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int] | Exception:
        try:
            x, y = self.make(self.chosen[index])
            return x[:1] if is_still(x) else x, y, len(x)
        except Exception as error:  # of whatever kind: the caller raises it
            return error


def _as_it_is(batch: object) -> object:
    return batch

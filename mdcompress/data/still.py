"""Batches of images [N, ...], as torchvision's loaders give them -> batches over time, [T, N, ...]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from intsnn.errors import UsageError
from mdcompress.errors import DataError

Batch = tuple[Tensor, Tensor]


class Walkable(Protocol):
    """Batches (x, y) that can be walked again and again: a list, a DataLoader."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class OverSteps:
    """Batches of images, each given at every one of T steps; x is no copy, but the image seen T times."""

    def __init__(self, batches: Walkable, time_steps: int) -> None:
        self.batches, self.time_steps = batches, time_steps

    def __len__(self) -> int:
        """Number of batches, as the source says."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches: x [T, N, ...], y [N]."""
        for x, y in self.batches:
            if x.dim() < 2 or len(x) != len(y):
                raise DataError(
                    f"with time_steps a batch must be (x [N, ...], y [N]), images without time (got x {list(x.shape)}, "
                    f"y {list(y.shape)})",
                    hints=["leave time_steps out where x is [T, N, ...] already"],
                )
            yield repeated(x, self.time_steps), y

    def set_epoch(self, epoch: int) -> None:
        """Tell the source, where it wants to know."""
        for part in (self.batches, getattr(self.batches, "sampler", None)):
            tell = getattr(part, "set_epoch", None)
            if callable(tell):
                tell(epoch)


def repeated(images: Tensor, time_steps: int) -> Tensor:
    """Images [N, ...] at every one of T steps, [T, N, ...]; no copy.

    Raises:
        UsageError: time_steps is below 1.
    """
    if time_steps < 1:
        raise UsageError(f"time_steps must be at least 1 (got {time_steps})", hints=["give the T of the training"])
    return images.unsqueeze(0).expand(time_steps, *images.shape)


def over_steps(batches: Walkable, time_steps: int | None) -> Walkable:
    """Batches over time: as they are where `time_steps` is None, else images [N, ...] at every step."""
    return batches if time_steps is None else OverSteps(batches, time_steps)

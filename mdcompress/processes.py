"""How many processes work on one training, and which of them this is. No torch here.

`torchrun --nproc-per-node 2 -m -- mdcompress distill` starts two. The first has rank 0: it alone writes and prints.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

ValueT = TypeVar("ValueT")


class Processes(Protocol):
    """The processes of one training. Whatever is called here, all of them must call, in the same order."""

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def device(self) -> str:
        """Where this one computes."""
        ...

    def wait(self) -> None:
        """Until all are here."""
        ...

    def broadcast(self, value: ValueT) -> ValueT:
        """The value that rank 0 has."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; equal bits in each."""
        ...


@dataclass(frozen=True)
class Alone:
    """The only process."""

    device: str = "cpu"
    rank: int = 0
    size: int = 1

    def wait(self) -> None:
        """There is nobody to wait for."""

    def broadcast(self, value: ValueT) -> ValueT:
        """The value itself."""
        return value

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor


ALONE = Alone()


def started_processes() -> int:
    """How many processes torchrun (or another launcher that sets WORLD_SIZE) has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))

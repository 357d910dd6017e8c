"""What a tape is made of: operators with the cells that they made, what each read, and where it was called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Operand:
    """A tensor that an operator read: the cells of its elements, and their values where some are constants.

    origin: a constant tensor itself, by which a parameter is recognised. random: drawn by a generator.
    """

    labels: Tensor | None  # None: all of it is constant
    value: Tensor | None
    origin: Tensor | None = None
    random: bool = False

    @property
    def shape(self) -> torch.Size:
        """Of the tensor."""
        held = self.labels if self.labels is not None else self.value
        assert held is not None
        return held.shape


@dataclass(frozen=True)
class Place:
    """Where in the user's code a function was called: module, and the lines of the calls that led there."""

    module: str
    lines: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        file, line = self.lines[-1] if self.lines else ("", 0)
        where = f"{file.rpartition('/')[2]}:{line}" if file else ""
        return " ".join(part for part in (where, f"in module {self.module!r}" if self.module else "") if part)


@dataclass(frozen=True)
class Op:
    """An operator of the pass: what it read, and the cells base, base + 1, ... that it made.

    evaluate: the function itself, for operators on elements; arguments: as they were given, operands in the tensors'
    place.
    """

    number: int
    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    base: int
    shape: torch.Size
    place: Place
    evaluate: Callable[..., Tensor] | None = None

    @property
    def size(self) -> int:
        """How many cells it made."""
        return self.shape.numel()

    @property
    def span(self) -> slice:
        """Where its cells stand in a table of all cells."""
        return slice(self.base, self.base + self.size)

    @property
    def cells(self) -> Tensor:
        """Its cells, in the shape of what it made."""
        return torch.arange(self.base, self.base + self.size).reshape(self.shape)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """The tensors that it read, in order."""
        return tuple(_operands(self.arguments)) + tuple(_operands(tuple(self.options.values())))

    @property
    def tracked(self) -> tuple[Operand, ...]:
        """Those that hold cells."""
        return tuple(operand for operand in self.operands if operand.labels is not None)


def _operands(values: object) -> Iterator[Operand]:
    match values:
        case Operand():
            yield values
        case tuple() | list():
            for value in values:
                yield from _operands(value)


@dataclass
class Tape:
    """The operators of a pass in order, and the values of all cells."""

    ops: list[Op] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    size: int = 0

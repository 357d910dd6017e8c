"""The operators on elements between nodes, as functions: run again on other values, and asked what they read.

`Program` holds what is needed to compute some cells from others, the leaves. It runs in float64 on chosen cells only,
so that a neuron of a large map is asked at a few places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Cells
from mdcompress.lifting.tape import Op, Operand


@dataclass(frozen=True)
class _Step:
    op: Op
    places: Tensor  # flat places of the operator's output that are computed


class Program:
    """How `targets` are computed from leaves. leaves: their cells, sorted."""

    def __init__(self, cells: Cells, targets: Tensor, is_leaf: Callable[[int], bool]) -> None:
        """is_leaf: whether the cells of the operator of this number are leaves."""
        self._cells, self._targets = cells, targets
        needed: dict[int, list[Tensor]] = {}
        leaves: list[Tensor] = []

        def ask(wanted: Tensor) -> None:
            held = torch.unique(wanted[wanted >= 0])
            owners = cells.owners(held)
            for number in torch.unique(owners).tolist():
                own = held[owners == number]
                (leaves if is_leaf(number) else needed.setdefault(number, [])).append(own)

        ask(targets.reshape(-1))
        steps: list[_Step] = []
        while needed:
            number = max(needed)
            op = cells.ops[number]
            places = torch.unique(torch.cat(needed.pop(number))) - op.base
            steps.append(_Step(op, places))
            for operand in op.tracked:
                ask(_at(operand.labels, op, places))
        self._steps = tuple(reversed(steps))
        self.leaves = torch.unique(torch.cat(leaves)) if leaves else torch.zeros(0, dtype=torch.int64)

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operators that run, in order."""
        return tuple(step.op for step in self._steps)

    @property
    def reads(self) -> dict[int, tuple[int, ...]]:
        """For each cell that is computed the cells that it is computed from, in order."""
        found: dict[int, tuple[int, ...]] = {}
        for step in self._steps:
            operands = [_at(operand.labels, step.op, step.places).tolist() for operand in step.op.tracked]
            for cell, *read in zip((step.op.base + step.places).tolist(), *operands, strict=True):
                found[cell] = tuple(each for each in read if each >= 0)
        return found

    def memory(self) -> Tensor:
        """A memory to run on, in which the leaves are 0. It is shared: one program runs at a time."""
        memory = self._cells.scratch
        memory[self.leaves] = 0.0
        return memory

    def run(self, memory: Tensor) -> Tensor:
        """The targets' values from the leaves' in `memory` [cells], of which the cells between are overwritten."""
        for step in self._steps:
            memory[step.op.base + step.places] = _evaluated(step.op, step.places, memory)
        flat = self._targets.reshape(-1)
        return memory[flat].reshape(self._targets.shape)


def _at(labels: Tensor | None, op: Op, places: Tensor) -> Tensor:
    """What an operator on elements reads at places of its output."""
    assert labels is not None
    if labels.numel() == 1:
        return labels.reshape(1).expand(len(places))
    return labels.expand(op.shape).reshape(-1)[places]


def _evaluated(op: Op, places: Tensor, memory: Tensor) -> Tensor:
    """What an operator gives at some places of its output, in float64."""
    assert op.evaluate is not None

    def given(value: Any) -> Any:
        match value:
            case Operand(labels=None, value=Tensor() as constant):
                if constant.numel() == 1:
                    return constant.double().reshape(1)
                return constant.double().expand(op.shape).reshape(-1)[places]
            case Operand():
                cells = _at(value.labels, op, places)
                found = memory[cells.clamp(min=0)]
                if value.value is None:
                    return found
                constants = value.value.double()
                fixed = (
                    constants.reshape(1) if constants.numel() == 1 else constants.expand(op.shape).reshape(-1)[places]
                )
                return torch.where(cells >= 0, found, fixed)
            case tuple() | list():
                return [given(each) for each in value]
            case _:
                return value

    arguments = [given(value) for value in op.arguments]
    options = {key: given(value) for key, value in op.options.items() if key not in ("dtype", "out")}
    result = op.evaluate(*arguments, **options)
    return result.double().expand(len(places)) if result.numel() == 1 else result.double()


def slots(cells: Cells, labels: Tensor, is_leaf: Callable[[int], bool]) -> list[Tensor]:
    """For every element the leaves it is computed from, as tensors of cells of the shape of `labels`; -1: none.

    Raises:
        TraceError: an operator between is none on elements.
    """
    memo: dict[int, list[Tensor]] = {}

    def of(wanted: Tensor) -> list[Tensor]:
        flat = wanted.reshape(-1)
        held = flat >= 0
        numbers = torch.full_like(flat, -1)
        numbers[held] = cells.owners(flat[held])
        found: list[Tensor] = []
        for number in torch.unique(numbers).tolist():
            if number < 0:
                continue
            where = (numbers == number).nonzero().squeeze(1)
            op = cells.ops[number]
            own = flat[where]
            parts = [own] if is_leaf(number) else [part[own - op.base] for part in of_op(number)]
            parts.sort(key=lambda part: _first_node(cells, part))
            for place, part in enumerate(parts):
                if place == len(found):
                    found.append(torch.full_like(flat, -1))
                found[place][where] = part
        return found

    def of_op(number: int) -> list[Tensor]:
        if number not in memo:
            op = cells.ops[number]
            if op.evaluate is None:
                raise TraceError(f"{op.name} stands between layers ({op.place})", hints=["use layers of torch.nn"])
            gathered: list[Tensor] = []
            for operand in op.tracked:
                assert operand.labels is not None
                gathered += of(operand.labels.expand(op.shape))
            memo[number] = _distinct(gathered)
        return memo[number]

    return [each.reshape(labels.shape) for each in _distinct(of(labels))]


def _first_node(cells: Cells, leaves: Tensor) -> tuple[int, int]:
    held = leaves[leaves >= 0][:1]
    return (int(cells.node[held]), int(cells.step[held])) if len(held) else (-1, -1)


def _distinct(found: list[Tensor]) -> list[Tensor]:
    kept: list[Tensor] = []
    for each in found:
        if bool((each >= 0).any()) and not any(torch.equal(each, other) for other in kept):
            kept.append(each)
    return kept

"""What each cell of a tape is: which node's output, at which step, of which sample, at which place within it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.tape import Op, Tape

STILL, REDUCED, CONSTANT, UNKNOWN = -1, -2, -9, -8  # in place of a step: the same at all, reduced over them, a constant
_FAR = 1 << 20


@dataclass(frozen=True)
class Pattern:
    """How a sample of a node's input is put together: for each place the node and the place within its sample.

    nodes, places: [P], -1 where a constant stands. constants: their values, 0 elsewhere. shape: of the sample, of P.
    """

    nodes: Tensor
    places: Tensor
    constants: Tensor
    shape: tuple[int, ...]

    @property
    def key(self) -> bytes:
        """A digest: equal for equal patterns."""
        return digest(self.nodes, self.places, self.constants, self.shape)

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes that are read, each once."""
        return tuple(int(node) for node in torch.unique(self.nodes).tolist() if node >= 0)


@dataclass(frozen=True)
class Arrangement:
    """A tensor as samples: which steps and samples its rows are, and the pattern of each.

    order: [B, P] indices into the flat tensor. steps, samples: [B].
    """

    steps: Tensor
    samples: Tensor
    order: Tensor
    shape: tuple[int, ...]


class Cells:
    """The tables of a tape's cells. A cell of an operator on elements has no node until that is needed."""

    def __init__(self, tape: Tape, steps: int) -> None:
        self.tape, self.steps = tape, steps
        self.ops: list[Op] = list(tape.ops)
        self._bases = torch.tensor([op.base for op in self.ops])
        self.size = tape.size
        self.node = torch.full((self.size,), -1, dtype=torch.int64)
        self.step = torch.full((self.size,), UNKNOWN, dtype=torch.int64)
        self.sample = torch.full((self.size,), -1, dtype=torch.int64)
        self.place = torch.full((self.size,), -1, dtype=torch.int64)
        self.sign = torch.zeros(self.size, dtype=torch.int64)  # equal for cells that are computed alike from the same
        self._scratch = torch.zeros(0, dtype=torch.float64)
        self.values = torch.cat(tape.values) if tape.values else torch.zeros(0)

    def append(self, name: str, arguments: tuple[Any, ...], evaluate: Callable[..., Tensor], like: Op) -> Op:
        """A further operator on elements, of the analysis's own, with the shape and place of another."""
        op = Op(len(self.ops), name, arguments, {}, self.size, like.shape, like.place, evaluate)
        self.ops.append(op)
        self._bases = torch.cat([self._bases, torch.tensor([op.base])])
        self.size += op.size
        if self.size > len(self.node):
            self._grow()
        return op

    def _grow(self) -> None:
        more = max(self.size, len(self.node) // 2)
        for name, fill in (("node", -1), ("step", UNKNOWN), ("sample", -1), ("place", -1), ("sign", 0), ("values", 0)):
            table = getattr(self, name)
            setattr(self, name, torch.cat([table, torch.full((more,), fill, dtype=table.dtype)]))

    def owners(self, cells: Tensor) -> Tensor:
        """The numbers of the operators that made these cells."""
        return torch.searchsorted(self._bases, cells, right=True) - 1

    def owning(self, cells: Tensor) -> list[int]:
        """The operators that made these cells, each once, in order; constants left out."""
        held = cells[cells >= 0]
        if not len(held):
            return []
        first, last = self.owners(torch.stack([held.min(), held.max()])).tolist()
        if first == last:
            return [int(first)]
        counts = torch.bincount(self.owners(held) - first, minlength=1)
        return [int(first) + number for number in counts.nonzero().squeeze(1).tolist()]

    @property
    def scratch(self) -> Tensor:
        """A number for each cell, for a program to run on; what it holds is of the last that ran."""
        if len(self._scratch) < self.size:
            self._scratch = torch.zeros(len(self.node), dtype=torch.float64)
        return self._scratch

    def assign(self, cells: Tensor, node: int, steps: Tensor, samples: Tensor, places: Tensor) -> None:
        """Say what cells are; all of one shape, or broadcast."""
        self.node[cells] = node
        self.step[cells], self.sample[cells] = steps, samples
        self.place[cells] = places
        self.sign[cells] = sign_of(node, places)

    def rows(self, labels: Tensor, *, first: int | None = None, keep: Collection[int] = ()) -> Arrangement | None:
        """A tensor as rows, one for each step and sample; None where they are mixed.

        first: an axis of the tensor that shall come first within a sample. keep: axes that stay in a sample's shape
        where they have size 1 and stand before the batch.
        """
        index, given = torch.arange(labels.numel()).reshape(labels.shape), labels.reshape(-1)
        if first is not None and labels.dim() > 1:
            labels, index = labels.movedim(first, -1), index.movedim(first, -1)
        held = labels >= 0
        code = torch.where(held, self.step[labels.clamp(min=0)] * _FAR + self.sample[labels.clamp(min=0)], 0)
        low, high = code.masked_fill(~held, 1 << 60), code.masked_fill(~held, -(1 << 60))
        own = [axis for axis in range(labels.dim()) if _constant_along(low, high, axis)]
        own = [axis for axis in own if not self.stands_still(labels, axis)]
        last = max((axis for axis in range(labels.dim()) if axis not in own), default=-1)
        own = [axis for axis in own if labels.shape[axis] != 1 or axis > last or axis in keep]
        batch = [axis for axis in range(labels.dim()) if axis not in own]
        rows = high.amax(own) if own else high
        rows = rows.reshape(-1)
        if bool((rows <= -(1 << 59)).any()):
            return None  # a row of constants alone
        turned = index.permute(*batch, *own).reshape(len(rows), -1)
        shape = tuple(labels.shape[axis] for axis in own)
        kinds, counts = torch.unique(rows, return_counts=True)
        if len(torch.unique(counts)) != 1:
            return None
        times = int(counts[0])
        by_kind = rows.argsort(stable=True)
        order = turned[by_kind].reshape(len(kinds), -1)
        samples = kinds.remainder(_FAR)
        steps = (kinds - samples) // _FAR
        if times > 1 and bool((steps < 0).all()) and self._repeats(given, order, times):
            order = order.reshape(len(kinds) * times, -1)
            samples, steps = samples.repeat_interleave(times), steps.repeat_interleave(times)
        elif times > 1:
            shape = (times, *shape)
        if first is not None:
            count = shape[-1] if shape else 1
            order = order.reshape(len(order), -1, count).transpose(1, 2).reshape(len(order), -1)
            shape = (count, *shape[:-1])
        return Arrangement(steps, samples, order, shape)

    def _repeats(self, flat: Tensor, order: Tensor, times: int) -> bool:
        """Whether rows of one sample are the same thing several times: what is still, once for each step."""
        cells = flat[order].reshape(len(order), times, -1)
        held = cells.clamp(min=0)
        return all(bool((each == each[:, :1]).all()) for each in (cells < 0, self.sign[held]))

    def stands_still(self, labels: Tensor, axis: int) -> bool:
        """Whether an axis holds the same thing once for each step."""
        if labels.shape[axis] != self.steps or self.steps == 1:
            return False
        held = labels.clamp(min=0)
        step, sign = self.step[held].masked_fill(labels < 0, STILL), self.sign[held].masked_fill(labels < 0, 0)
        return bool((step == STILL).all()) and bool((sign == sign.narrow(axis, 0, 1)).all())

    def differs(self, labels: Tensor, axis: int) -> bool:
        """Whether steps or samples differ along an axis of a tensor."""
        held, own = labels >= 0, labels.clamp(min=0)
        code = self.step[own] * _FAR + self.sample[own]
        return not _constant_along(code.masked_fill(~held, 1 << 60), code.masked_fill(~held, -(1 << 60)), axis)

    def pattern(self, operand_labels: Tensor, values: Tensor | None, rows: Arrangement) -> Pattern | None:
        """What every row of a tensor reads; None where rows differ."""
        flat = operand_labels.reshape(-1)[rows.order]
        held = flat >= 0
        nodes = torch.where(held, self.node[flat.clamp(min=0)], -1)
        places = torch.where(held, self.place[flat.clamp(min=0)], -1)
        constants = torch.zeros(flat.shape, dtype=torch.float64)
        if values is not None:
            constants = torch.where(held, 0.0, values.double().reshape(-1)[rows.order])
        if len(flat) > 1 and not all(bool((each == each[:1]).all()) for each in (nodes, places, constants)):
            return None
        return Pattern(nodes[0].clone(), places[0].clone(), constants[0].clone(), rows.shape)


def digest(*parts: object) -> bytes:
    """Equal for equal parts: tensors by their values, all else by its words."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            found.update(part.contiguous().numpy().tobytes())
            part = tuple(part.shape)
        found.update(repr(part).encode())
    return found.digest()


def sign_of(node: int | Tensor, places: Tensor) -> Tensor:
    """The signs of cells of a node, which no two places of a network share but by chance."""
    return (node + 1) * 1000003 + places * 7919 + 17


def _constant_along(low: Tensor, high: Tensor, axis: int) -> bool:
    """Whether all cells along an axis are of one step and sample."""
    least, most = low.amin(axis), high.amax(axis)
    return bool(((least == most) | (least > most)).all())


def mixed(place: object, what: str) -> TraceError:
    """Samples or steps meet where a graph keeps them apart."""
    return TraceError(
        f"{what} ({place})",
        hints=["a graph computes each sample and step alone; only a neuron's own state goes from step to step"],
    )

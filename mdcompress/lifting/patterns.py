"""The cells of an expression as a node's, and what it reads of other nodes as a pattern."""

from __future__ import annotations

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Arrangement, Pattern, sign_of
from mdcompress.lifting.context import Context
from mdcompress.lifting.tape import Op, Place


def whole(node: int, shape: tuple[int, ...]) -> Pattern:
    """A node's own sample, place by place."""
    count = torch.Size(shape).numel()
    return Pattern(torch.full((count,), node), torch.arange(count), torch.zeros(count, dtype=torch.float64), shape)


def pattern_of(context: Context, cells: Tensor, rows: Arrangement, place: Place) -> Pattern:
    """What the rows of an expression read by one of its leaves, cells [B, P].

    Raises:
        TraceError: rows read different things, or another sample than their own.
    """
    whole = Arrangement(rows.steps, rows.samples, torch.arange(cells.numel()).reshape(cells.shape), rows.shape)
    samples = context.cells.sample[cells.clamp(min=0)]
    found = context.cells.pattern(cells, None, whole)
    if found is None or bool(((samples != rows.samples[:, None]) & (cells >= 0)).any()):
        raise TraceError(f"samples or steps are read in different ways ({place})", hints=["treat all alike"])
    return found


def assign_rows(context: Context, op: Op, rows: Arrangement, node: int, step: int | None = None) -> None:
    """Say that the cells of an operator are a node's, at the steps of its rows or all at one step."""
    cells = op.base + rows.order
    steps = rows.steps[:, None] if step is None else torch.full_like(rows.steps[:, None], step)
    context.cells.assign(
        cells,
        node,
        steps.expand_as(cells),
        rows.samples[:, None].expand_as(cells),
        torch.arange(cells.shape[1]).expand_as(cells),
    )


def alias_rows(context: Context, op: Op, rows: Arrangement, pattern: Pattern) -> None:
    """The cells of an expression that is one leaf itself."""
    cells = op.base + rows.order
    context.cells.node[cells] = pattern.nodes.expand(len(rows.order), -1)
    context.cells.place[cells] = pattern.places.expand(len(rows.order), -1)
    context.cells.sign[cells] = sign_of(pattern.nodes, pattern.places)
    context.cells.step[cells], context.cells.sample[cells] = (
        rows.steps[:, None].expand_as(cells),
        rows.samples[:, None].expand_as(cells),
    )

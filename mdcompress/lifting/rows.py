"""An operator's input as rows of one step and sample each, and the cells of its output as those of a node."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import REDUCED, Arrangement, Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import resolve
from mdcompress.lifting.network import LiftedNode
from mdcompress.lifting.tape import Op, Operand


def read(
    context: Context, operand: Operand, op: Op, what: str, *, first: int | None = None, keep: Collection[int] = ()
) -> tuple[Arrangement, Pattern]:
    """What a layer reads, as rows and their pattern.

    Args:
        context: the analysis.
        operand: the tensor that is read.
        op: the operator that reads it, and `what` it is called in an error.
        what: a noun with its article.
        first: the axis that shall come first within a sample.
        keep: axes that stay in a sample's shape where they have size 1 and stand before the batch.

    Raises:
        TraceError: steps or samples are mixed, or rows read different things.
    """
    assert operand.labels is not None
    resolve(context, operand.labels)
    rows = context.rows(operand.labels, op.place, what, first=first, keep=keep)
    pattern = context.cells.pattern(operand.labels, operand.value, rows)
    if pattern is None:
        raise TraceError(
            f"{what} reads other things at one step or sample than at another ({op.place})",
            hints=[
                "let every step make the same calls; spikes of the step before belong into a recurrent neuron, which "
                "reads its own"
            ],
        )
    return rows, pattern


def write(
    context: Context,
    op: Op,
    rows: Arrangement,
    order: Tensor,
    key: object,
    make: Callable[[], LiftedNode],
    shape: tuple[int, ...],
    name: str = "",
) -> int:
    """Write a node down, unless it is known, and say that the cells of the output are its.

    Args:
        context: the analysis.
        op: the operator.
        rows: what it reads; the rows of the output are of the same steps and samples.
        order: [B, P] flat places of the output's rows.
        key: equal for the same node.
        make: the node.
        shape: of a sample of the output.
        name: of the node's module.

    Returns:
        The number of the node.
    """
    number = context.keys.get(key)
    if number is None:
        number = context.new_node(key, make(), shape, name)
        if bool((rows.steps == REDUCED).all()):
            context.reduced.add(number)
    cells = op.base + order
    context.cells.assign(
        cells,
        number,
        rows.steps[:, None].expand_as(cells),
        rows.samples[:, None].expand_as(cells),
        torch.arange(cells.shape[1]).expand_as(cells),
    )
    return number


def constant(operand: Operand, op: Op, what: str) -> Operand:
    """A layer's weights or biases, which no input changes.

    Raises:
        TraceError: they depend on the input, or are random.
    """
    if operand.labels is not None:
        raise TraceError(
            f"the {what} of a layer depend on the input ({op.place})",
            hints=["a graph's weights are constants; attention of spikes is a matrix product q @ k"],
        )
    if operand.random:
        raise TraceError(f"the {what} of a layer are random ({op.place})", hints=["switch noise off in evaluation"])
    return operand


def constant_or_none(operand: Operand | None, op: Op, what: str) -> Operand | None:
    """The same of what a layer may leave out."""
    return None if operand is None else constant(operand, op, what)


def output_rows(op: Op, rows: Arrangement, read: torch.Size, batch: list[int]) -> tuple[Tensor, tuple[int, ...]]:
    """The rows of an output whose batch axes are those of the input: [B, P], and the shape of a sample."""
    index = torch.arange(op.size).reshape(op.shape)
    own = [axis for axis in range(len(op.shape)) if axis not in batch]
    turned = index.permute(*batch, *own).reshape(math.prod(op.shape[axis] for axis in batch), -1)
    return turned[batch_of(rows, read, batch)], tuple(op.shape[axis] for axis in own)


def batch_of(rows: Arrangement, read: torch.Size, batch: list[int]) -> Tensor:
    """For each row of a tensor the index over its batch axes, the first of which varies slowest: [B]."""
    others = [axis for axis in range(len(read)) if axis not in batch]
    places = torch.arange(math.prod(read)).reshape(read).permute(*batch, *others)
    firsts = places.reshape(math.prod(read[axis] for axis in batch), -1)[:, 0]
    rank = torch.full((math.prod(read),), -1)
    rank[firsts] = torch.arange(len(firsts))
    return rank[rows.order].amax(1)


def without_padding(pattern: Pattern, spatial: int, op: Op) -> tuple[Pattern, tuple[tuple[int, int], ...]]:
    """A pattern without the zeros around its map, and how many there were on each side of each axis.

    Raises:
        TraceError: other constants are joined with it.
    """
    held = (pattern.nodes >= 0).reshape(pattern.shape)
    none = ((0, 0),) * spatial
    if bool(held.all()) or len(pattern.shape) != 1 + spatial:
        return pattern, none
    pads, box = [], [slice(None)]
    for axis in range(1, len(pattern.shape)):
        others = [other for other in range(len(pattern.shape)) if other != axis]
        inside = held.amax(others).nonzero().squeeze(1)
        low, high = int(inside[0]), pattern.shape[axis] - 1 - int(inside[-1])
        pads.append((low, high))
        box.append(slice(low, pattern.shape[axis] - high))
    kept = held[tuple(box)]
    if not bool(kept.all()) or bool(pattern.constants.any()):
        raise TraceError(
            f"constants are joined with what a layer reads ({op.place})",
            hints=["zeros around a map are a padding; other constants can be the bias of the layer before"],
        )
    nodes, places = (each.reshape(pattern.shape)[tuple(box)] for each in (pattern.nodes, pattern.places))
    inner = Pattern(
        nodes.reshape(-1), places.reshape(-1), torch.zeros(nodes.numel(), dtype=torch.float64), tuple(nodes.shape)
    )
    return inner, tuple(pads)


def is_time(context: Context, x: Operand, axis: int) -> bool:
    """Whether steps or samples differ along an axis of a tensor."""
    assert x.labels is not None
    return context.cells.differs(x.labels, axis)


def repeated(value: Any, rank: int) -> tuple[Any, ...]:
    """One option for every axis, where it was given once for all of them."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    return given if len(given) == rank or rank == 1 else given * rank


def as_parameter(values: Tensor) -> nn.Parameter:
    """The user's own parameter as it is; other values as one that is not trained."""
    return values if isinstance(values, nn.Parameter) else nn.Parameter(values.detach(), requires_grad=False)


def one_height(heights: Tensor, op: Op) -> Tensor:
    """The height of each channel's spikes, [C], from those of its places, [C, P].

    Raises:
        TraceError: they differ within a channel.
    """
    if bool((heights != heights[:, :1]).any()):
        raise TraceError(f"spikes differ in height within a channel ({op.place})", hints=["one height a channel"])
    return heights[:, 0]

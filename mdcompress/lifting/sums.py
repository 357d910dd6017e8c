"""Sums, means and maxima over axes as nodes: over a sample's own axes, and over time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import REDUCED
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import resolve
from mdcompress.lifting.network import LiftedNode, TimeNode, TotalNode
from mdcompress.lifting.operators import sum_of
from mdcompress.lifting.rows import batch_of, is_time, read, repeated, write
from mdcompress.lifting.tape import Op, Operand


def record_reduction(context: Context, op: Op) -> None:
    """Write the node of a sum or mean over axes.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: it is taken over samples, or a sample has no such axes.
    """
    x, *rest = op.arguments
    mode: Literal["sum", "mean"] = "mean" if op.name == "mean" else "sum"
    axes = sorted(_axes(x, rest[0] if rest else op.options.get("dim")))
    timed = [axis for axis in axes if is_time(context, x, axis)]
    own = [axis for axis in axes if axis not in timed]
    if timed:
        _fold_time(context, op, x, timed, own, mode)
        return
    what = f"a {mode} over axes {axes}"
    rows, pattern = read(context, x, op, what)
    kept = [axis for axis in range(len(x.shape)) if not is_time(context, x, axis)]
    if len(kept) != len(pattern.shape):
        raise TraceError(f"{what} reads steps and samples folded with its axes ({op.place})", hints=["unflatten first"])
    inside = tuple(kept.index(axis) for axis in own)
    batch = [axis for axis in range(len(x.shape)) if axis not in kept]
    index = torch.arange(op.size).reshape([1 if axis in own else size for axis, size in enumerate(x.shape)])
    turned = index.permute(*batch, *kept).reshape(math.prod(x.shape[axis] for axis in batch), -1)
    order = turned[batch_of(rows, x.shape, batch)]
    shape = tuple(1 if place in inside else size for place, size in enumerate(pattern.shape))

    def make() -> LiftedNode:
        return TotalNode(context.gathered(pattern, op.place), inside, mode)

    number = write(context, op, rows, order, (mode, inside, pattern.key), make, shape)
    if all(source in context.spiking for source in pattern.sources):
        context.spiking.add(number)


def _axes(x: Operand, given: object) -> list[int]:
    """The axes that a reduction was given, from 0 on; none given means all."""
    axes = range(len(x.shape)) if given in (None, [], ()) else repeated(given, 1)
    return [axis % len(x.shape) for axis in axes]


def _fold_time(context: Context, op: Op, x: Operand, timed: list[int], own: list[int], mode: str) -> None:
    """A sum over steps as an expression of their elements; sums over a sample's axes come first, as a node."""
    if len(timed) > 1:
        raise TraceError(f"a {op.name} is taken over samples ({op.place})", hints=["keep the batch as an axis"])
    if own:
        x = Operand(_sum_within(context, op, x, own).cells, None)
    steps = _unbound(x, timed[0])
    if steps[0].shape.numel() != op.size:
        raise TraceError(f"a {op.name} over axes {timed} cannot be read ({op.place})", hints=["mean over time alone"])
    share = 1.0 / len(steps) if mode == "mean" else 1.0

    def evaluate(*each: Tensor) -> Tensor:
        return sum_of(*torch.broadcast_tensors(*each)) * share  # type: ignore[no-untyped-call]  # torch's

    operands = tuple(_reshaped(each, op.shape) for each in steps)
    context.cells.ops[op.number] = Op(op.number, "sum", operands, {}, op.base, op.shape, op.place, evaluate)
    context.follow_elements(context.cells.ops[op.number])


def _sum_within(context: Context, op: Op, x: Operand, own: list[int]) -> Op:
    """The sum over a sample's own axes, as an operator before the one over steps."""
    assert x.labels is not None
    cells, labels = context.cells, x.labels.clamp(min=0)
    shape = torch.Size(1 if axis in own else size for axis, size in enumerate(x.shape))
    like = replace(op, shape=shape, evaluate=None)
    inner = replace(cells.append(op.name, (x, tuple(own), True), torch.sum, like), evaluate=None)
    cells.step[inner.span] = cells.step[labels].amax(own).reshape(-1)
    cells.sample[inner.span] = cells.sample[labels].amax(own).reshape(-1)
    cells.ops[inner.number] = inner
    record_reduction(context, inner)
    return inner


def _unbound(x: Operand, axis: int) -> list[Operand]:
    """A tensor as its parts along an axis."""
    assert x.labels is not None
    parts = x.labels.unbind(axis)
    values = [None] * len(parts) if x.value is None else list(x.value.unbind(axis))
    return [
        Operand(part if bool((part >= 0).any()) else None, value) for part, value in zip(parts, values, strict=True)
    ]


def _reshaped(x: Operand, shape: torch.Size) -> Operand:
    labels, value = (None if each is None else each.reshape(shape) for each in (x.labels, x.value))
    return Operand(labels, value)


def record_maximum(context: Context, op: Op) -> None:
    """Write the node of the largest value over time: an answer.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: it is taken over anything but all steps.
    """
    x, *rest = op.arguments
    axes = _axes(x, rest[0] if rest else None)
    if len(axes) != 1 or not is_time(context, x, axes[0]):
        raise TraceError(
            f"a maximum over axes {axes} of {list(x.shape)} is taken ({op.place})",
            hints=["use max pooling within a sample, and a maximum over time for the answer"],
        )
    resolve(context, x.labels, running=True)
    rows = context.rows(x.labels, op.place, "a maximum")
    pattern = context.cells.pattern(x.labels, x.value, rows)
    if pattern is None or sorted(torch.unique(rows.steps).tolist()) != list(range(context.steps)):
        raise TraceError(f"a maximum is taken over some steps ({op.place})", hints=["take it over all steps"])
    key = ("time max", pattern.key)
    number = context.keys.get(key)
    if number is None:
        number = context.new_node(key, TimeNode(context.gathered(pattern, op.place), "max"), pattern.shape)
        context.reduced.add(number)
    by_sample = context.cells.sample[x.labels.select(axes[0], 0).reshape(-1)]
    for sample in rows.samples[rows.steps == 0].tolist():
        cells = op.cells.reshape(-1)[by_sample == sample]
        steps, samples = torch.full_like(cells, REDUCED), torch.full_like(cells, sample)
        context.cells.assign(cells, number, steps, samples, torch.arange(len(cells)))

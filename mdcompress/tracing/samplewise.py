"""Functions within one sample and step: reshapes, transposes, slices, sums over an axis, matrix products, factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mdcompress.graph import (
    AffineSpec,
    Carries,
    FlattenSpec,
    MatMulSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SumSpec,
    TransposeSpec,
)
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.positions import Position
from mdcompress.tracing.specs import argument


def record_reshape(ledger: Ledger, x: Tensor, output: Tensor) -> None:
    """Follow a tensor whose axes T and N are folded or split; write a node where the sample's own shape changes.

    A reshape keeps the order of the values: where the leading axes come out in their sizes, every sample is whole.
    """
    if not output.is_floating_point():
        raise ledger.error(
            f"a tensor is converted to {output.dtype}", "stay in floating point: rounding is no layer of a graph"
        )
    tracked = ledger.tracked(x)
    same_shape = output.shape == x.shape
    if tracked is not None and (same_shape or tracked.state is not None or tracked.before_norm or tracked.complement):
        position = _refolded(ledger, tracked, output) or (tracked.position if same_shape else None)
        if position is not None:
            ledger.alias(output, tracked, position)
            return
    source = ledger.source(x)
    shape = ledger.node(source.node).shape
    position = _refolded(ledger, source, output)
    if position is not None:
        ledger.alias(output, source, position)
        return
    for axes in source.position.foldings:
        changed = ledger.extent.per_sample(output, axes)
        if changed is not None and math.prod(changed) == math.prod(shape) and changed:
            _write_reshape(ledger, source, output, source.position.with_axes(axes), is_flat=len(changed) == 1)
            return
    raise ledger.error(
        f"a reshape turns {list(x.shape)} into {list(output.shape)}",
        "keep time and batch, [T, N, ...] or [T*N, ...], as whole axes in front; a sample may change its own shape",
    )


def record_leading_axis(ledger: Ledger, x: Tensor) -> bool:
    """Follow a step that was given the axis of time in place, [N, ...] to [1, N, ...]; False for any other new axis."""
    source = ledger.source(x)
    position = _refolded(ledger, source, x)
    if position is not None:
        ledger.alias(x, source, position)
    return position is not None


def _write_reshape(ledger: Ledger, source: Tracked, output: Tensor, position: Position, *, is_flat: bool) -> None:
    ledger.write_moving(source, FlattenSpec() if is_flat else ReshapeSpec(), output, position=position)


def _refolded(ledger: Ledger, source: Tracked, output: Tensor) -> Position | None:
    """The leading axes under which a reshaped tensor holds the same samples; None where a sample changed its shape."""
    shape = ledger.node(source.node).shape
    for axes in source.position.foldings:
        if ledger.extent.per_sample(output, axes) == shape:
            return source.position.with_axes(axes)
    return None


def record_transpose(ledger: Ledger, source: Tracked, order: Sequence[int], output: Tensor) -> bool:
    """An exchange of a sample's own axes; False where T or N move."""
    leading = len(source.position.axes)
    if list(order[:leading]) != list(range(leading)):
        return False
    spec = TransposeSpec(tuple(axis - leading for axis in order[leading:]))
    node = ledger.node(source.node)
    turned = node.spec.permutation if isinstance(node.spec, TransposeSpec) else ()
    if turned and all(turned[axis] == place for place, axis in enumerate(spec.permutation)):  # and back again
        ledger.alias(output, replace(source, node=node.inputs[0]))
        return True
    ledger.write_moving(ledger.source(source.tensor), spec, output)
    return True


def record_slice(ledger: Ledger, source: Tracked, axis: int, index: object, output: Tensor) -> bool:
    """A part of one of a sample's own axes, x[..., start:stop, ...] or x[..., k, ...]; False for another part."""
    own = axis - len(source.position.axes)
    shape = ledger.node(source.node).shape
    if own < 0 or own >= len(shape):
        return False
    part = _part(index, shape[own])
    keeps_axis, taken = part is index, range(shape[own])[part]
    if not taken or taken.step != 1:
        return False
    kept = output if keeps_axis else output.unsqueeze(axis)
    sliced = ledger.write_moving(source, SliceSpec(own, taken[0], taken[-1] + 1), kept)
    if not keeps_axis:
        _write_reshape(ledger, sliced, output, source.position, is_flat=len(shape) == 2)
    return True


def _part(index: object, size: int) -> slice:
    """The slice itself, or the one that holds one index; an empty one where it is no index."""
    match index:
        case slice():
            return index
        case int() if -size <= index < size:
            return slice(index % size, index % size + 1)
        case _:
            return slice(0, 0)


def record_parts(ledger: Ledger, source: Tracked, axis: int, parts: Sequence[Tensor]) -> bool:
    """split, chunk or unbind of one of a sample's own axes; False where it is T or N."""
    own = axis - len(source.position.axes)
    if own < 0:
        return False
    start = 0
    for part in parts:
        unbound = part.dim() < source.tensor.dim()
        kept = part.unsqueeze(axis) if unbound else part
        stop = start + kept.shape[axis]
        sliced = ledger.write_moving(source, SliceSpec(own, start, stop), kept)
        if unbound:
            _write_reshape(ledger, sliced, part, source.position, is_flat=part.dim() - len(source.position.axes) == 1)
        start = stop
    return True


def record_sum(ledger: Ledger, name: str, source: Tracked, axes: Sequence[int], output: Tensor) -> bool:
    """The sum or mean over a sample's own axes; False where T or N are among them, or nothing of the sample is left."""
    leading = len(source.position.axes)
    own = [axis - leading for axis in axes]
    node = ledger.node(source.node)
    if name not in ("sum", "mean") or not own or min(own) < 0 or (name == "mean" and 0.0 in node.shape):
        return False
    if output.dim() <= leading:
        return False
    last, kept = source, source.tensor
    for axis in own:
        kept = kept.sum(leading + axis, keepdim=True)
        last = ledger.write_moving(last, SumSpec(axis), kept)
    if name == "mean":
        factor = 1.0 / math.prod(node.shape[axis] for axis in own)
        last = ledger.write_moving(last, ScaleSpec(factor), kept.clone())
    if output.dim() == kept.dim():
        ledger.alias(output, last)
    else:
        _write_reshape(ledger, last, output, source.position, is_flat=output.dim() - leading == 1)
    return True


def constant(ledger: Ledger, value: object) -> float | None:
    """The number that a value is, or a tensor of one value that no node wrote; None for anything else."""
    match value:
        case Tensor() if value.numel() == 1 and not ledger.follows(value):
            return float(value)
        case int() | float():
            return float(value)
        case _:
            return None


def record_scale(ledger: Ledger, x: object, factor: object, output: Tensor) -> bool:
    """x * factor for a positive constant; False for any other factor."""
    number = constant(ledger, factor)
    if number is None or not 0.0 < number < math.inf or not ledger.follows(x):
        return False
    source = ledger.source(x)
    if number == 1:
        ledger.alias(output, source)
        return True
    if source.position.span == "max":
        ledger.require_running(source, "mul")
    ledger.write_moving(source, ScaleSpec(number), output)
    return True


def record_matrix_product(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """q @ k: the product of two tensors of spikes or counts, of the last two axes of each."""
    left, right = args[0], argument(args, kwargs, 1, "other")
    if not ledger.follows(left) or not ledger.follows(right):
        return False
    sources = [ledger.source(left), ledger.source(right)]
    nodes = [ledger.node(source.node) for source in sources]
    if any(len(node.shape) < 2 for node in nodes) or len(nodes[0].shape) != len(nodes[1].shape):
        return False
    for source, node in zip(sources, nodes, strict=True):
        ledger.require_running(source, "matmul")
        if node.carries is Carries.CURRENT:
            raise ledger.error(
                f"a matrix product reads currents (from {node.name!r})",
                "put a neuron before it: a product of currents has no integer form",
            )
    ledger.write_function(ledger.function_base("matmul"), MatMulSpec(), sources, output, carries=nodes[0].carries)
    return True


def require_not_max(ledger: Ledger, sources: Sequence[Tracked], name: str) -> None:
    """TraceError where one is a maximum over time, behind which nothing is linear."""
    for source in sources:
        if source.position.span == "max":
            ledger.require_running(source, name)


def as_current(ledger: Ledger, source: Tracked) -> Tracked:
    """Spikes, counts or input as currents, where a neuron or a sum of currents reads them as such."""
    if ledger.node(source.node).carries is Carries.CURRENT:
        return source
    fresh = source.tensor.view_as(source.tensor)
    base, spec = f"{source.node}.current", AffineSpec(None)
    return ledger.write_function(base, spec, [replace(source)], fresh, carries=Carries.CURRENT)

"""Functions that take time apart or put it together: x[t], unbind, stack, cat, transposes, running sums, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from mdcompress.adapters.axes import Axes
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.positions import AS_MANY_STEPS, Position
from mdcompress.tracing.samplewise import record_parts, record_slice, record_transpose
from mdcompress.tracing.specs import argument, several

_ONE_STEP: dict[Axes, Axes] = {("T", "N"): ("1", "N"), ("N", "T"): ("N", "1")}  # with time as an axis of size 1
_FILLED: dict[int | None, Axes] = {0: ("T", "N"), 1: ("N", "T")}  # of a tensor that is filled along this axis
_WAIT = "take or stack whole steps: x[t], x.unbind(0), torch.stack(steps)"


def record_selection(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    """x[t] or x.select(axis, t): one step. x[:] and x[...]: the tensor itself. Else a part of a sample."""
    x, source = args[0], _running(ledger, args[0], name)
    if name == "select":
        axis, index = argument(args, kwargs, 1, "dim") % x.dim(), argument(args, kwargs, 2, "index")
    else:
        axis, index = _selected(args[1], x.dim())
    position = _position_selected(source.position, axis, index, ledger.time_steps)
    if output.shape == x.shape and is_everything(index):
        position = source.position
    if position is not None:
        ledger.alias(output, source, position)
    elif axis is None or not record_slice(ledger, ledger.source(x), axis, index, output):
        raise ledger.error(
            f"the network takes a part of {source.node!r} ({list(x.shape)} becomes {list(output.shape)})", _WAIT
        )


def _position_selected(position: Position, axis: int | None, index: object, time_steps: int) -> Position | None:
    """What part of time x[..., index, ...] on an axis holds; None where the axis is not a leading one."""
    axes = position.axes
    if axis is None or axis >= len(axes):
        return None
    if axes[axis] == "1" and index in (0, -1):
        return position.with_axes(("N",))
    if axes[axis] != "T":
        return None
    match index:
        case int():
            return Position("step", ("N",), index % time_steps)
        case slice() if len(taken := range(time_steps)[index]) == 1:
            return Position("step", _ONE_STEP[axes], taken[0])
        case _:
            return None


def record_taking_apart(
    ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], parts: Sequence[Tensor]
) -> None:
    """unbind, iteration, split and chunk along time: one tensor for each step."""
    source = _running(ledger, args[0], name)
    axis = 0 if name == "__iter__" else argument(args, kwargs, 1 if name == "unbind" else 2, "dim", 0) % args[0].dim()
    axes = source.position.axes
    if axis >= len(axes) and record_parts(ledger, ledger.source(args[0]), axis, parts):
        return
    if source.position.span != "all" or axis != _time_axis(axes) or len(parts) != ledger.time_steps:
        raise ledger.error(
            f"the network takes {source.node!r} ({list(args[0].shape)}) apart into {len(parts)} by {name} over axis "
            f"{axis}, which is not time",
            _WAIT,
        )
    for step, part in enumerate(parts):
        own: Axes = ("N",) if name in ("unbind", "__iter__") else _ONE_STEP[axes]
        ledger.alias(part, source, Position("step", own, step))


def record_joining(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """Stack or cat of all steps of one tensor: the tensor over all steps. False where other things are joined."""
    parts = list(argument(args, kwargs, 0, "tensors"))
    axis = argument(args, kwargs, 1, "dim", 0) % output.dim()
    sources = [ledger.tracked(part) for part in parts]
    first = sources[0]
    if first is None or not all(source is not None and _same_thing(source, first) for source in sources):
        return False
    first, axis = _without_new_axis(ledger, first, axis)
    axes = _joined_axes(name, first.position.axes, axis)
    if axes is None or first.position.span not in ("step", "still"):
        return False
    steps = [source.position.step for source in sources if source is not None]
    if first.position.span == "step" and steps != list(range(ledger.time_steps)):
        raise ledger.error(
            f"{first.node!r} is joined over the steps {_listed(steps)}, of {ledger.time_steps}",
            f"join all steps of the sample, in order; {AS_MANY_STEPS}",
        )
    if len(parts) != ledger.time_steps:
        raise ledger.error(
            f"{first.node!r} is repeated {len(parts)} times, and the sample has {ledger.time_steps} steps",
            AS_MANY_STEPS,
        )
    ledger.alias(output, first, Position("all", axes))
    return True


def record_filling(ledger: Ledger, args: tuple[Any, ...]) -> bool:
    """whole[t] = step, of a tensor that the network made: with its last step it holds all. False for other writes."""
    whole, index, step = args
    part, (axis, taken) = ledger.tracked(step), _selected(index, whole.dim())
    axes = _FILLED.get(axis)
    if part is None or axis is None or axes is None or ledger.follows(whole) or whole.shape[axis] != ledger.time_steps:
        return False
    if _position_selected(Position("all", axes), axis, taken, ledger.time_steps) != part.position:
        return False
    parts = ledger.fill(whole, part)
    if len(parts) < ledger.time_steps:
        return True
    joined = torch.stack([one.tensor.reshape(whole.select(axis, 0).shape) for one in parts], dim=axis)
    if not all(_same_thing(one, part) for one in parts) or not bool((whole == joined).all()):
        raise ledger.error(
            f"the steps of {part.node!r} are written into a tensor that then holds something else",
            "write every step once, in order and at its place, outputs[t] = y; or join them, torch.stack(steps)",
        )
    ledger.alias(whole, part, Position("all", axes))
    return True


def _without_new_axis(ledger: Ledger, source: Tracked, axis: int) -> tuple[Tracked, int]:
    """Steps [N, 1, ...], made by unsqueeze(1) to be joined along the new axis, as the steps [N, ...] they are."""
    node = ledger.node(source.node)
    if node.kind != "reshape" or source.position.axes != ("N",) or axis != 1:
        return source, axis
    before = ledger.node(node.inputs[0])
    if node.shape != (1, *before.shape):
        return source, axis
    return replace(source, node=before.name, position=source.position.with_axes(("N", "1"))), axis


def _joined_axes(name: str, axes: Axes, axis: int) -> Axes | None:
    match (name, axes, axis):
        case ("stack", ("N",), 0) | ("cat" | "concat" | "concatenate", ("1", "N"), 0):
            return ("T", "N")
        case ("stack", ("N",), 1) | ("cat" | "concat" | "concatenate", ("N", "1"), 1):
            return ("N", "T")
        case ("cat" | "concat" | "concatenate", ("N",), 0):
            return ("TN",)
        case _:
            return None


def record_exchange(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """transpose, swapaxes, movedim or permute: of T and N, or of a sample's axes; False where both are mixed."""
    x, source = args[0], ledger.tracked(args[0])
    order = _axis_order(name, x.dim(), args, kwargs)
    if source is None or order is None:
        return False
    if order == list(range(x.dim())):
        ledger.alias(output, source)
        return True
    turned = source.position.turned
    if turned is None or order != [1, 0, *range(2, x.dim())]:
        return record_transpose(ledger, source, order, output)
    ledger.alias(output, source, turned)
    return True


def _axis_order(name: str, rank: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int] | None:
    """Axis k of the output is axis order[k] of the input."""
    order = list(range(rank))
    match name:
        case "transpose" | "swapaxes" | "swapdims":
            words = ("dim0", "dim1") if name != "swapaxes" else ("axis0", "axis1")
            first, second = (argument(args, kwargs, place, word) % rank for place, word in enumerate(words, start=1))
            order[first], order[second] = order[second], order[first]
        case "permute":
            given = args[1:] if len(args) > 2 else several(argument(args, kwargs, 1, "dims"))
            order = [axis % rank for axis in given]
        case "movedim" | "moveaxis":
            match argument(args, kwargs, 1, "source"), argument(args, kwargs, 2, "destination"):
                case (int(source), int(target)):
                    order.insert(target % rank, order.pop(source % rank))
                case _:
                    return None
        case _:
            return None
    return order


def record_running_sum(ledger: Ledger, left: object, right: object, output: Tensor) -> bool:
    """total + step t, where total holds the steps before: the sum up to t. False where it is another sum."""
    total, step = ledger.tracked(left), ledger.tracked(right)
    if total is None or step is None or not _same_thing(total, step):
        return False
    before, now = total.position, step.position
    if before.axes != now.axes or now.span != "step" or before.span not in ("sum", "step"):
        return False
    if before.span == "step" and before.step == now.step:
        return False  # x + x
    if (before.span == "step" and before.step != 0) or before.step + 1 != now.step:
        raise ledger.error(
            f"{step.node!r} is summed over time out of order: {before.describe()}, then {now.describe()}",
            "add every step once, from the first to the last",
        )
    ledger.alias(output, total, Position("sum", now.axes, now.step))
    return True


def is_time_reduction(source: Tracked, axes: tuple[int, ...]) -> bool:
    """Whether a reduction over these axes is one over time."""
    return source.position.span == "all" and axes == (_time_axis(source.position.axes),)


def record_time_reduction(ledger: Ledger, name: str, source: Tracked, output: Tensor) -> None:
    """The mean, sum or maximum over time: what remains is the readout, perhaps after a last linear layer."""
    last = ledger.time_steps - 1
    kept = output.dim() == source.tensor.dim()  # keepdim
    axes: Axes = _ONE_STEP[source.position.axes] if kept else ("N",)
    match name:
        case "mean":
            position = Position("mean", axes)
        case "sum":
            position = Position("sum", axes, last)
        case _:
            position = Position("max", axes)
    ledger.alias(output, source, position)


def record_division(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """The sum over all steps divided by T is the mean; False where something else is divided."""
    source, divisor = ledger.tracked(args[0]), argument(args, kwargs, 1, "other")
    whole = source is not None and source.position.span == "sum" and source.position.step == ledger.time_steps - 1
    if source is None or not whole or isinstance(divisor, Tensor) or divisor != ledger.time_steps:
        return False
    ledger.alias(output, source, Position("mean", source.position.axes))
    return True


def record_repetition(ledger: Ledger, x: Tensor, output: Tensor) -> bool:
    """repeat, expand: what is the same at every step, once for each step."""
    source = ledger.tracked(x)
    if source is None or source.position.span != "still":
        return False
    for axes in _ONE_STEP:
        if ledger.extent.per_sample(output, axes) != ledger.node(source.node).shape:
            continue
        first = output.select(axes.index("T"), 0)
        if bool((first == x.reshape(first.shape)).all()):
            ledger.alias(output, source, Position("all", axes))
            return True
    return False


def _running(ledger: Ledger, x: object, name: str) -> Tracked:
    """X as something that runs over time; a neuron's states, and what a norm has still to read, are followed too."""
    source = ledger.tracked(x)
    if source is None or not source.before_norm:
        source = ledger.output_or_state(x)
    ledger.require_running(source, name)
    return source


def _time_axis(axes: Axes) -> int | None:
    return axes.index("T") if "T" in axes else None


def _selected(index: object, rank: int) -> tuple[int | None, object]:
    """(axis, index) of x[index] where it takes from one axis only."""
    items = index_items(index)
    places = [place for place, item in enumerate(items) if not is_everything(item)]
    if not places:
        return None, slice(None)
    if len(places) > 1 or not isinstance(items[places[0]], int | slice):
        return None, None
    behind = any(item is Ellipsis for item in items[: places[0]])
    return (rank - (len(items) - places[0]) if behind else places[0]), items[places[0]]


def index_items(index: object) -> tuple[object, ...]:
    """What stands in the brackets of x[index]."""
    return index if isinstance(index, tuple) else (index,)


def is_everything(item: object) -> bool:
    """Whether an item of an index takes all: `:` or `...`."""
    match item:
        case EllipsisType() | slice(start=None, stop=None, step=None):
            return True
        case _:
            return False


def _same_thing(one: Tracked, other: Tracked) -> bool:
    """Whether two tensors are the same node's same output, perhaps at different steps."""
    if (one.node, one.state, one.complement) != (other.node, other.state, other.complement):
        return False
    spans = {one.position.span, other.position.span}
    return one.position.axes == other.position.axes and (len(spans) == 1 or spans == {"sum", "step"})


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:8]))
    return f"{shown}, …" if len(steps) > 8 else shown

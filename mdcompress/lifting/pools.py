"""Poolings as nodes: of a sample's axes alone, with the zeros around their map as padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import per_channel
from mdcompress.lifting.network import LayerNode, LiftedNode
from mdcompress.lifting.rows import is_time, one_height, output_rows, read, repeated, without_padding, write
from mdcompress.lifting.tape import Op, Operand

_POOLS: dict[str, tuple[type[nn.Module], ...]] = {  # in 1, 2 and 3 dimensions
    "max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    "adaptive_max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    "adaptive_avg": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
}


def record_pool(context: Context, op: Op) -> None:
    """Write the node of a pooling.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: it reaches over steps, samples or channels, or no pooling layer does what it does.
    """
    x = op.arguments[0]
    given = next(int(letter) for letter in op.name if letter.isdigit())
    first = len(op.shape) - given
    rows, pattern = read(context, x, op, "a pooling", keep=range(first - 1, len(op.shape)))
    batch = _batch_axes(context, x)
    kept = [axis for axis in range(len(op.shape)) if axis not in batch][1:]
    function, options = _pool_options(op, given)
    options = _for_axes(op, options, [axis - first for axis in kept], {axis - first for axis in batch}, x.shape[first:])
    options = _without_effect(options, [x.shape[axis] for axis in kept])
    pattern, pads = without_padding(pattern, len(kept), op)
    if any(low or high for low, high in pads):
        options = _padded_pool(context, op, options, pads, pattern)
    pattern, heights = context.unscaled(pattern)
    if len(pattern.shape) != 1 + len(kept) or len(kept) not in (1, 2, 3):
        raise TraceError(f"a pooling reads samples {list(pattern.shape)} ({op.place})", hints=["pool [T*N, C, H, W]"])
    order, shape = output_rows(op, rows, x.shape, batch)
    key = (function, len(kept), tuple(sorted(options.items())))

    def make() -> LiftedNode:
        return LayerNode(_made(context, op, key, options), context.gathered(pattern, op.place))

    number = write(context, op, rows, order, (key, pattern.key), make, shape)
    if all(source in context.spiking for source in pattern.sources):
        context.spiking.add(number)
    if heights is not None:
        by_channel = one_height(heights.reshape(pattern.shape[0], -1), op)
        context.cells.node[op.base + order] = per_channel(context, op, number, by_channel)


def _made(context: Context, op: Op, key: tuple[str, int, object], options: dict[str, Any]) -> str:
    """The name of the module: the one of this place, if it was built before."""
    function, rank, _ = key
    module = op.place.module
    made = context.made.get((key, module))
    if made is None:
        wanted = module if "pool" in module.lower() else f"{module}_pool".lstrip("_")
        made = context.made[key, module] = context.building.add(wanted, _POOLS[function][rank - 1](**options))
    return made


def _batch_axes(context: Context, x: Operand) -> list[int]:
    """The axes along which steps or samples differ, or what is still is repeated."""
    assert x.labels is not None
    return [
        axis for axis in range(len(x.shape)) if is_time(context, x, axis) or context.cells.stands_still(x.labels, axis)
    ]


def _for_axes(
    op: Op, options: dict[str, Any], kept: list[int], batch: set[int], sizes: Sequence[int]
) -> dict[str, Any]:
    """A pooling's options for the axes of a sample behind its first; it must do nothing along all others."""
    idle = {"kernel_size": 1, "stride": 1, "padding": 0}
    for axis in range(len(sizes)):
        moves = any(options[name][axis] != value for name, value in idle.items() if name in options)
        if "output_size" in options:
            moves = options["output_size"][axis] not in (None, sizes[axis])
        if moves and axis not in kept:
            what = "reaches over steps or samples" if axis in batch else "reaches over channels"
            raise TraceError(f"a pooling {what} ({op.place})", hints=["kernel (1, k, k)"])
    found: dict[str, Any] = {}
    for name, value in options.items():
        if not isinstance(value, tuple):
            found[name] = value
        elif name == "output_size":
            found[name] = tuple(value[axis] if axis >= 0 else None for axis in kept)
        else:
            found[name] = tuple(value[axis] if axis >= 0 else idle[name] for axis in kept)
    return found


def _pool_options(op: Op, rank: int) -> tuple[str, dict[str, Any]]:
    """The function, and the options of its module with a number for every axis."""
    given = op.arguments[1:]

    def argument(place: int, default: Any) -> Any:
        return given[place] if len(given) > place and given[place] is not None else default

    if "adaptive" in op.name:
        kind = "max" if "max" in op.name else "avg"
        return f"adaptive_{kind}", {"output_size": tuple(repeated(given[0], rank))}
    kernel = tuple(repeated(given[0], rank))
    stride = tuple(repeated(argument(1, None) or kernel, rank))
    window = {"kernel_size": kernel, "stride": stride, "padding": tuple(repeated(argument(2, 0), rank))}
    if "max" in op.name:
        if any(size != 1 for size in repeated(argument(3, 1), rank)):
            raise TraceError(f"a max pooling is dilated ({op.place})", hints=["use a plain window"])
        return "max", {**window, "ceil_mode": bool(argument(4, False))}
    if argument(5, None) is not None:
        raise TraceError(f"an average pooling has a divisor of its own ({op.place})", hints=["divide by the window"])
    return "avg", {**window, "ceil_mode": bool(argument(3, False)), "count_include_pad": bool(argument(4, True))}


def _padded_pool(
    context: Context,
    op: Op,
    options: dict[str, Any],
    pads: tuple[tuple[int, int], ...],
    pattern: Pattern,
) -> dict[str, Any]:
    """Zeros around a map as the padding of the pooling."""
    is_max = "count_include_pad" not in options
    even = all(low == high for low, high in pads)
    spikes = all(source in context.spiking for source in pattern.sources)
    if not even or "kernel_size" not in options or (is_max and not spikes):
        raise TraceError(f"a pooling reads a map with zeros around it ({op.place})", hints=["give it padding=..."])
    padding = tuple(own + low for own, (low, _) in zip(options["padding"], pads, strict=True))
    if any(2 * p > k for p, k in zip(padding, options["kernel_size"], strict=True)):
        raise TraceError(f"a pooling reads a map with many zeros around it ({op.place})", hints=["pad less"])
    return {**options, "padding": padding}


def _without_effect(options: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """Options without what does nothing: a ceil mode where windows fit, padding not counted where there is none."""
    if "kernel_size" not in options:
        return options
    kernel, stride, padding = options["kernel_size"], options["stride"], options["padding"]
    fits = all((size + 2 * p - k) % s == 0 for size, k, s, p in zip(sizes, kernel, stride, padding, strict=True))
    ceil = options["ceil_mode"] and not fits
    found = {**options, "ceil_mode": ceil}
    if "count_include_pad" in options and not ceil and not any(padding):
        found["count_include_pad"] = True
    return found

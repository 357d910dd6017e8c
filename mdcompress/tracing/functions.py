"""A tensor function that was called in the pass between layers, as a node: sums, products, reshapes, poolings, means.

What only takes time apart or puts it together is in `timewise`, and is no node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torch.overrides import resolve_name

from mdcompress.graph import AddSpec, Carries, FlattenSpec, MultiplySpec, PoolSpec
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.rearranging import record_copies, record_join, record_shuffle, record_upsampling
from mdcompress.tracing.samplewise import (
    as_current,
    constant,
    record_leading_axis,
    record_matrix_product,
    record_reshape,
    record_scale,
    record_sum,
    require_not_max,
)
from mdcompress.tracing.specs import FUNCTIONAL_POOLS, argument, axes_of, functional_pool_spec, is_active_dropout
from mdcompress.tracing.timewise import (
    index_items,
    is_everything,
    is_time_reduction,
    record_division,
    record_exchange,
    record_filling,
    record_joining,
    record_repetition,
    record_running_sum,
    record_selection,
    record_taking_apart,
    record_time_reduction,
)

MAP_AXES: tuple[tuple[str, ...], ...] = (("C",), ("C", "L"), ("C", "H", "W"), ("C", "D", "H", "W"))
_RESHAPES = {
    "flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "to", "detach",
}  # fmt: skip
_REPEATS = {"repeat", "expand", "expand_as", "repeat_interleave"}
_EXCHANGES = {"transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis"}
_ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_PRODUCTS = {"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"}
_DIFFERENCES = {"sub", "rsub", "__sub__", "__rsub__", "subtract"}
_QUOTIENTS = {"div", "div_", "divide", "true_divide", "__truediv__", "__itruediv__"}
_REDUCTIONS = {"mean": "mean", "sum": "sum", "max": "max", "amax": "max"}
_RECTIFIERS = {"relu", "relu_"}
_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d"}
_SELECTIONS = {"__getitem__", "select"}
_APART = {"unbind", "split", "chunk", "__iter__"}
_JOINS = {"stack", "cat", "concat", "concatenate"}
_SHUFFLES = {"pixel_shuffle", "pixel_unshuffle", "channel_shuffle"}
_MATRIX_PRODUCTS = {"matmul", "__matmul__", "bmm"}
_WEIGHTED = {
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm",
}  # fmt: skip
_ADVICE = {
    "interpolate": "upsample by whole factors with mode='nearest', or by a transposed convolution",
    "pad": "give the padding to the convolution that follows",
    "einsum": "write a product of matrices as q @ k.transpose(-2, -1), and weights as layers",
    "softmax": "return the logits: their softmax does not change which class is largest",
    "log_softmax": "return the logits: their softmax does not change which class is largest",
    "layer_norm": "use batch norm: its statistics are constants when the network is run",
    "group_norm": "use batch norm: its statistics are constants when the network is run",
    "instance_norm": "use batch norm: its statistics are constants when the network is run",
    "maximum": "combine spikes by a + b, a * b or a * (1 - b)",
}


def record_function(
    ledger: Ledger, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, output: object
) -> None:
    """Write the node of a call func(*args, **kwargs) -> output; TraceError where a graph cannot hold it."""
    name = getattr(func, "__name__", "")
    if "input" in kwargs:
        args = (kwargs["input"], *args)
    match output:
        case tuple() | list() if name in _APART:
            record_taking_apart(ledger, name, args, kwargs, output)
            recorded = True
        case Tensor() as values:
            recorded = _is_recorded(ledger, name, args, kwargs, values)
        case (Tensor() as values, *_) if name in _REDUCTIONS:  # torch.max(x, axis): values and indices
            recorded = _is_recorded(ledger, name, args, kwargs, values)
        case _:
            recorded = name == "__setitem__" and record_filling(ledger, args)
    if not recorded:
        called = resolve_name(func) or name
        raise ledger.error(f"the network calls {called}, which a graph of spiking layers cannot hold", _advice(name))


def _is_recorded(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """Follow the output; False where no graph holds such a call."""
    if name in _RESHAPES or (name == "__getitem__" and _adds_axes(args[1])):
        record_reshape(ledger, args[0], output)
    elif name == "unsqueeze_":
        return record_leading_axis(ledger, output)
    elif name in _SELECTIONS:
        record_selection(ledger, name, args, kwargs, output)
    elif name in _JOINS:
        return record_joining(ledger, name, args, kwargs, output) or record_join(ledger, name, args, kwargs, output)
    elif name in _EXCHANGES:
        return record_exchange(ledger, name, args, kwargs, output)
    elif name in _REPEATS:
        return record_repetition(ledger, args[0], output)
    elif name in _ADDS:
        _record_add(ledger, args, kwargs, output)
    elif name in _PRODUCTS:
        _record_product(ledger, args, kwargs, output)
    elif name in _DIFFERENCES:
        _record_complement(ledger, name, args, kwargs, output)
    elif name in _MATRIX_PRODUCTS:
        return record_matrix_product(ledger, args, kwargs, output)
    elif name in _QUOTIENTS:
        return record_division(ledger, args, kwargs, output) or _record_quotient(ledger, args, kwargs, output)
    elif name in _REDUCTIONS:
        _record_reduction(ledger, _REDUCTIONS[name], args, kwargs, output)
    elif name in FUNCTIONAL_POOLS:
        if name.startswith("adaptive") and output.numel() > args[0].numel() and record_copies(ledger, args[0], output):
            return True
        spec = functional_pool_spec(name, args, kwargs, ledger.error)
        record_pool(ledger, ledger.function_base(name), spec=spec, x=args[0], output=output)
    elif name == "interpolate":
        return record_upsampling(ledger, args, kwargs, output)
    elif name in _SHUFFLES:
        return record_shuffle(ledger, name, args, kwargs, output)
    elif name in _RECTIFIERS:
        return _is_rectified_already(ledger, args[0], output)
    elif name in _DROPOUTS and not is_active_dropout(args, kwargs):
        record_reshape(ledger, args[0], output)
    else:
        return False
    return True


def _is_rectified_already(ledger: Ledger, x: object, output: Tensor) -> bool:
    """Follow relu(x) where x are spikes or counts, which are never negative; False where they are something else."""
    source = ledger.source(x)
    if ledger.node(source.node).carries is not Carries.SPIKES:
        return False
    ledger.alias(output, source)
    return True


def _adds_axes(index: object) -> bool:
    """Whether x[index] only adds axes of size 1: x[None], x[:, None]."""
    items = index_items(index)
    others = [item for item in items if item is not None]
    return len(others) < len(items) and all(is_everything(item) for item in others)


def _advice(name: str) -> str:
    if name in _ADVICE:
        return _ADVICE[name]
    if name in _RECTIFIERS:
        return "put a neuron in its place: only of spikes, which are never negative, is a ReLU no layer"
    if name in _SELECTIONS | _APART | _JOINS | _REPEATS | {"__setitem__"}:
        return "take whole steps, x[t], and join all of them in order, torch.stack(steps); join channels with torch.cat"
    if name in _DROPOUTS:
        return "pass training=self.training to dropout: as it is called, it drops values in evaluation too"
    if name in _WEIGHTED:
        return (
            "call weights as layers: a module such as nn.Conv2d or nn.Linear made in __init__, not a function of them"
        )
    if name in _QUOTIENTS | _PRODUCTS:
        return "multiply and divide by positive numbers only; put other factors into the weights of the next layer"
    return "use convolution, linear, batch norm, pooling, add, flatten, and a mean over time at the end"


def record_pool(
    ledger: Ledger, name: str, *, spec: PoolSpec, x: Tensor, output: Tensor, module: nn.Module | None = None
) -> None:
    """Write a pooling, whether it was called as a module or as a function."""
    source = ledger.source(x)
    axes = MAP_AXES[len(spec.kernel)]
    require_axes(ledger, name, source, axes=axes, hint=f"pool maps with a channel axis: [T*N, {', '.join(axes)}]")
    if spec.mode == "max":
        ledger.require_running(source, name)
    carries = ledger.node(source.node).carries
    if module is None:
        ledger.write_function(name, spec, [source], output, carries=carries)
    else:
        ledger.write_reusable(name, spec, source, output, carries=carries)


def require_axes(ledger: Ledger, name: str, source: Tracked, *, axes: tuple[str, ...], hint: str) -> None:
    """TraceError unless x has as many axes per sample and step as `axes` names."""
    shape = ledger.node(source.node).shape
    if len(shape) != len(axes):
        raise ledger.error(
            f"{name!r} must read ({', '.join(axes)}) per sample and step (got {shape} in {list(source.tensor.shape)})",
            hint,
        )


def _record_add(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    left, right = args[0], argument(args, kwargs, 1, "other")
    if kwargs.get("alpha", 1) == 1 and _is_zero(right):
        ledger.alias(output, ledger.source(left))  # total = 0; total = total + step
        return
    if not isinstance(right, Tensor) or kwargs.get("alpha", 1) != 1:
        raise ledger.error("a tensor is added to a constant or scaled", "only sums of two layers can be held")
    if _is_zero(left):
        ledger.alias(output, ledger.source(right))
    elif not record_running_sum(ledger, left, right, output):
        _write_sum(ledger, [ledger.source(left), ledger.source(right)], output)


def _write_sum(ledger: Ledger, sources: list[Tracked], output: Tensor) -> None:
    """A residual sum. Spikes that meet currents become currents."""
    require_not_max(ledger, sources, "add")
    nodes = [ledger.node(source.node) for source in sources]
    if nodes[0].shape != nodes[1].shape:
        raise ledger.error(
            f"{nodes[0].name!r} {nodes[0].shape} is added to {nodes[1].name!r} {nodes[1].shape}",
            "both branches of a sum must have one shape",
        )
    if Carries.CURRENT in (node.carries for node in nodes):
        sources = [as_current(ledger, source) for source in sources]
    carries = ledger.node(sources[0].node).carries
    ledger.write_function(ledger.function_base("add"), AddSpec(), sources, output, carries=carries)


def _is_zero(value: object) -> bool:
    """Whether a running sum starts here: 0, 0.0 or zeros that the network made itself."""
    match value:
        case Tensor():
            return value.dim() == 0 and float(value) == 0.0
        case int() | float():
            return value == 0
        case _:
            return False


def _is_one(ledger: Ledger, value: object) -> bool:
    """Whether it is 1, or ones that the network made itself."""
    match value:
        case Tensor():
            return not ledger.follows(value) and bool((value == 1).all())
        case _:
            return bool(value == 1)


def _record_product(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    left, right = args[0], argument(args, kwargs, 1, "other")
    if record_scale(ledger, left, right, output) or record_scale(ledger, right, left, output):
        return
    tracked = [source for source in (ledger.tracked(left), ledger.tracked(right)) if source is not None]
    inhibitors = [source for source in tracked if source.complement]
    if len(tracked) < 2 or len(inhibitors) == 2:
        raise ledger.error(
            "a tensor is multiplied by a parameter, a constant that is not positive, or (1 - a) by (1 - b)",
            "multiply spikes by spikes, spikes by 1 - spikes, or by a positive number",
        )
    if inhibitors:
        others = [source.tensor for source in tracked if not source.complement]
        sources = [_without_complement(inhibitors[0]), ledger.source(others[0])]
    else:
        sources = [ledger.source(left), ledger.source(right)]
    nodes = [ledger.node(source.node) for source in sources]
    for source, node in zip(sources, nodes, strict=True):
        ledger.require_running(source, "mul")
        if node.carries is Carries.CURRENT:
            raise ledger.error(
                f"currents of {node.name!r} are multiplied",
                "multiply spikes: a product of currents has no integer form",
            )
    if len(nodes[0].shape) != len(nodes[1].shape):
        raise ledger.error(
            f"{nodes[0].name!r} {nodes[0].shape} is multiplied by {nodes[1].name!r} {nodes[1].shape}",
            "give both as many axes",
        )
    spec = MultiplySpec("inhibit" if inhibitors else "product")
    ledger.write_function(ledger.function_base("mul"), spec, sources, output, carries=nodes[1].carries)


def _record_quotient(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """X / number: a factor."""
    divisor = constant(ledger, argument(args, kwargs, 1, "other"))
    rounds = kwargs.get("rounding_mode") is not None
    return divisor is not None and divisor > 0 and not rounds and record_scale(ledger, args[0], 1.0 / divisor, output)


def _without_complement(source: Tracked) -> Tracked:
    return Tracked(source.tensor, source.node, source.position, source.version)


def _record_complement(
    ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
) -> None:
    """1 - spikes, to be multiplied by other spikes (SEW's IAND)."""
    left, right = args[0], argument(args, kwargs, 1, "other")
    one, spikes = (right, left) if name in ("rsub", "__rsub__") else (left, right)
    if not isinstance(spikes, Tensor) or not _is_one(ledger, one):
        raise ledger.error(
            "the network subtracts tensors",
            "only 1 - spikes can be held, to multiply other spikes by; a neuron's own equation belongs into a module "
            "with a method `neuron_model` (docs/frameworks/own.md)",
        )
    source = ledger.source(spikes)
    if ledger.node(source.node).carries is not Carries.SPIKES:
        raise ledger.error(f"1 - {source.node!r} is taken, which are no spikes", "take 1 - spikes")
    ledger.follow(output, source.node, source.position, complement=True)


def _record_reduction(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    x, source = args[0], ledger.output_or_state(args[0])
    axes = axes_of(x, args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis")))
    if is_time_reduction(source, axes):
        record_time_reduction(ledger, name, source, output)
    elif source.state is not None:
        ledger.source(x)  # raises: a state is reduced over time only
    elif name in ("mean", "max") and axes == (x.dim() - 2, x.dim() - 1) and len(ledger.node(source.node).shape) == 3:
        _record_global_pool(ledger, name, source, output)
    elif not record_sum(ledger, name, source, axes, output):
        raise ledger.error(
            f"a {name} over axes {axes} turns {list(x.shape)} into {list(output.shape)}",
            "a graph holds a mean, sum or maximum over time, [T, N, K] to [N, K], and means and sums within a sample",
        )


def _record_global_pool(ledger: Ledger, name: str, source: Tracked, output: Tensor) -> None:
    node, axes = ledger.node(source.node), source.position.axes
    channels, height, width = node.shape
    if name == "max":
        ledger.require_running(source, name)
    mode: Literal["average", "max"] = "average" if name == "mean" else "max"
    spec = PoolSpec(mode, (height, width), (height, width), (0, 0))
    pooled = output.reshape(*output.shape[: len(axes)], channels, 1, 1)
    written = ledger.write_function(f"{source.node}.{mode}", spec, [source], pooled, carries=node.carries)
    if output.dim() == pooled.dim():
        ledger.alias(output, written)
    else:  # keepdim=False
        ledger.write_moving(written, FlattenSpec(), output)

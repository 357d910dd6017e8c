"""A tensor function that was called in the pass between layers, as a node: sums, reshapes, poolings, means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor
from torch.overrides import resolve_name

from mdcompress.graph import NodeKind, PoolSpec, ReadoutSpec
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.specs import FUNCTIONAL_POOLS, axes_of, functional_pool_spec, is_active_dropout

_RESHAPES = {"flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "to"}
_ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d"}
_TIME_LOOPS = {"__getitem__", "__iter__", "unbind", "select", "split", "chunk", "stack"}


def record_function(
    ledger: Ledger, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, output: object
) -> None:
    """Write the node of a call func(*args, **kwargs) -> output; TraceError where a graph cannot hold it."""
    name = getattr(func, "__name__", "")
    if "input" in kwargs:
        args = (kwargs["input"], *args)
    if isinstance(output, Tensor) and name in _RESHAPES:
        record_reshape(ledger, args[0], output)
    elif isinstance(output, Tensor) and name in _ADDS:
        _record_add(ledger, args, kwargs, output)
    elif isinstance(output, Tensor) and name in ("mean", "sum"):
        _record_reduction(ledger, name, args, kwargs, output)
    elif isinstance(output, Tensor) and name in FUNCTIONAL_POOLS:
        spec = functional_pool_spec(name, args, kwargs, ledger.error)
        record_pool(ledger, ledger.function_name(name), spec=spec, x=args[0], output=output)
    elif isinstance(output, Tensor) and name in _DROPOUTS and not is_active_dropout(args, kwargs):
        record_reshape(ledger, args[0], output)
    else:
        raise ledger.error(
            f"the network calls {resolve_name(func) or name}, which a graph of spiking layers cannot hold",
            _advice(name),
        )


def _advice(name: str) -> str:
    if name in _TIME_LOOPS:
        return "give layers and neurons all steps at once, [T, N, ...], instead of looping over time in forward"
    if name in _DROPOUTS:
        return "pass training=self.training to dropout: as it is called, it drops values in evaluation too"
    return "use convolution, linear, batch norm, pooling, add, flatten, and a mean over time at the end"


def record_reshape(ledger: Ledger, x: Tensor, output: Tensor) -> None:
    """Follow a tensor whose axes T and N are folded or split; write a node where a sample becomes a vector."""
    if not output.is_floating_point():
        raise ledger.error(
            f"a tensor is converted to {output.dtype}", "stay in floating point: rounding is no layer of a graph"
        )
    source = ledger.source(x)
    if output.shape == x.shape:
        ledger.follow(output, source.name)
        return
    shape = ledger.per_sample(output)
    if shape == source.shape:
        ledger.follow(output, source.name)
    elif shape == (math.prod(source.shape),):
        name = ledger.free(f"{source.name}.flatten")
        ledger.write_output(name, NodeKind.FLATTEN, (source,), output, carries=source.carries)
    else:
        raise ledger.error(
            f"a reshape turns {list(x.shape)} into {list(output.shape)}",
            "a graph holds only folding of time and batch, and the flattening of one sample to a vector",
        )


def record_pool(ledger: Ledger, name: str, *, spec: PoolSpec, x: Tensor, output: Tensor) -> None:
    """Write a pooling, whether it was called as a module or as a function."""
    require_axes(ledger, name, x, axes=("C", "H", "W"), hint="pool images: [T*N, C, H, W]")
    source = ledger.source(x)
    ledger.write_output(name, NodeKind.POOL, (source,), output, carries=source.carries, spec=spec)


def require_axes(ledger: Ledger, name: str, x: Tensor, *, axes: tuple[str, ...], hint: str) -> None:
    """TraceError unless x has as many axes per sample and step as `axes` names."""
    shape = ledger.per_sample(x)
    if len(shape) != len(axes):
        raise ledger.error(
            f"{name!r} must read ({', '.join(axes)}) per sample and step (got {shape} in {list(x.shape)})", hint
        )


def _record_add(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    terms = (*args, kwargs["other"]) if "other" in kwargs else args
    if not all(isinstance(term, Tensor) for term in terms) or kwargs.get("alpha", 1) != 1:
        raise ledger.error("a tensor is added to a constant or scaled", "only sums of two layers can be held")
    left, right = (ledger.source(term) for term in terms)
    if left.shape != right.shape or left.carries is not right.carries:
        raise ledger.error(
            f"{left.name!r} ({left.carries.value}, {left.shape}) is added to {right.name!r} "
            f"({right.carries.value}, {right.shape})",
            "both branches of a sum must have one shape and both carry spikes, or both currents",
        )
    ledger.write_output(ledger.function_name("add"), NodeKind.ADD, (left, right), output, carries=left.carries)


def _record_reduction(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    x = args[0]
    axes = axes_of(x, args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis")))
    if axes == (0,) and ledger.has_time_axis(x) and output.dim() == x.dim() - 1:
        ledger.follow(output, write_readout(ledger, x, "mean" if name == "mean" else "sum"))
    elif name == "mean" and axes == (x.dim() - 2, x.dim() - 1) and len(ledger.per_sample(x)) == 3:
        _record_global_average(ledger, x, output)
    else:
        raise ledger.error(
            f"a {name} over axes {axes} turns {list(x.shape)} into {list(output.shape)}",
            "a graph holds a mean or sum over time, [T, N, K] to [N, K], and a mean over both H and W",
        )


def _record_global_average(ledger: Ledger, x: Tensor, output: Tensor) -> None:
    source, shape = ledger.source(x), ledger.per_sample(output)
    channels, height, width = source.shape
    pooled, carries = (channels, 1, 1), source.carries
    spec = PoolSpec("average", (height, width), (height, width), (0, 0))
    name = ledger.free(f"{source.name}.average")
    last = ledger.write(name, NodeKind.POOL, (source.name,), shape=pooled, carries=carries, spec=spec)
    if shape != pooled:  # keepdim=False
        last = ledger.write(f"{name}.flatten", NodeKind.FLATTEN, (name,), shape=shape, carries=carries)
    ledger.follow(output, last)


def write_readout(ledger: Ledger, x: Tensor, mode: Literal["mean", "sum", "steps"]) -> str:
    """Write the readout of x [T, N, ...] and return its name."""
    source = ledger.source(x)
    if not ledger.has_time_axis(x):
        raise ledger.error(
            f"the network's output {list(x.shape)} folds time into the batch",
            "return [T, N, K] or its mean over time, [N, K]",
        )
    name, spec = ledger.free("readout"), ReadoutSpec(mode)
    inputs, shape, carries = (source.name,), source.shape, source.carries
    return ledger.write(name, NodeKind.READOUT, inputs, shape=shape, carries=carries, spec=spec)

"""Calls that a graph holds as several nodes: joins along any axis, nearest upsampling, shuffles, linear maps of tokens.

Each is a sequence of reshapes, transposes and joins, of which every one is a node.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.graph import Carries, ConcatSpec, FlattenSpec, ReshapeSpec, SynapseSpec, TensorShape, TransposeSpec
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.samplewise import require_not_max
from mdcompress.tracing.specs import argument


def reshaped(ledger: Ledger, source: Tracked, shape: TensorShape) -> Tracked:
    """A sample in another shape."""
    if ledger.node(source.node).shape == shape:
        return source
    tensor = source.tensor.reshape(*source.tensor.shape[: len(source.position.axes)], *shape)
    return ledger.write_moving(source, FlattenSpec() if len(shape) == 1 else ReshapeSpec(), tensor)


def transposed(ledger: Ledger, source: Tracked, permutation: tuple[int, ...]) -> Tracked:
    """A sample with its axes in another order."""
    if permutation == tuple(range(len(permutation))):
        return source
    leading = len(source.position.axes)
    tensor = source.tensor.permute(*range(leading), *(leading + axis for axis in permutation))
    return ledger.write_moving(source, TransposeSpec(permutation), tensor)


def record_join(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """Cat or stack along one of a sample's own axes; False where it is along another axis."""
    parts, axis = list(argument(args, kwargs, 0, "tensors")), argument(args, kwargs, 1, "dim", 0) % output.dim()
    if len(parts) < 2 or not all(ledger.follows(part) for part in parts):
        return False
    sources = [ledger.source(part) for part in parts]
    own = axis - len(sources[0].position.axes)
    if own < 0 or len({ledger.node(source.node).carries for source in sources}) > 1:
        return False
    require_not_max(ledger, sources, "cat")
    if name == "stack":
        sources = [reshaped(ledger, source, (1, *ledger.node(source.node).shape)) for source in sources]
        place = 0
    else:
        place = own
    rank = output.dim() - len(sources[0].position.axes)
    to_front = (place, *(other for other in range(rank) if other != place))
    joined = _joined(ledger, [transposed(ledger, source, to_front) for source in sources])
    rest = range(1, rank)
    back = (*rest[:own], 0, *rest[own:])
    ledger.alias(output, transposed(ledger, joined, back))
    return True


def _joined(ledger: Ledger, sources: Sequence[Tracked]) -> Tracked:
    """Joined along the first axis of the sample."""
    tensor = torch.cat([source.tensor for source in sources], len(sources[0].position.axes))
    carries = ledger.node(sources[0].node).carries
    return ledger.write_function(ledger.function_base("cat"), ConcatSpec(), sources, tensor, carries=carries)


def record_upsampling(ledger: Ledger, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """Nearest upsampling by whole factors: copies that are joined and put between; False for any other resizing."""
    mode, x = argument(args, kwargs, 3, "mode", "nearest"), args[0]
    return mode in ("nearest", "nearest-exact") and record_copies(ledger, x, output)


def record_copies(ledger: Ledger, x: Tensor, output: Tensor) -> bool:
    """Every value of a map copied a whole number of times along each axis; False where output is anything else.

    An adaptive pooling to a multiple of the size is this too: each of its windows holds one value.
    """
    if not ledger.follows(x):
        return False
    source = ledger.source(x)
    channels, *sizes = ledger.node(source.node).shape
    rank, wanted = len(sizes), output.shape[-len(sizes) :]
    if any(want % size for want, size in zip(wanted, sizes, strict=True)):
        return False
    factors = [want // size for want, size in zip(wanted, sizes, strict=True)]
    one = reshaped(ledger, source, (1, channels, *sizes))
    copies = reshaped(ledger, _joined(ledger, [one] * math.prod(factors)), (*factors, channels, *sizes))
    between = (rank, *(axis for place in range(rank) for axis in (rank + 1 + place, place)))
    spread = reshaped(ledger, transposed(ledger, copies, between), (channels, *wanted))
    if not bool((spread.tensor == output).all()):
        return False
    ledger.alias(output, spread)
    return True


def record_shuffle(ledger: Ledger, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """pixel_shuffle, pixel_unshuffle and channel_shuffle of maps."""
    word = {"pixel_shuffle": "upscale_factor", "pixel_unshuffle": "downscale_factor"}.get(name, "groups")
    factor, source = argument(args, kwargs, 1, word), ledger.source(args[0])
    channels, *sizes = ledger.node(source.node).shape
    if name == "channel_shuffle":
        split = (factor, channels // factor, *sizes)
        order: tuple[int, ...] = (1, 0, *range(2, len(split)))
        whole: TensorShape = (channels, *sizes)
    elif len(sizes) != 2:
        return False
    else:
        height, width = sizes
        if name == "pixel_shuffle":
            split, order = (channels // factor**2, factor, factor, height, width), (0, 3, 1, 4, 2)
            whole = (channels // factor**2, height * factor, width * factor)
        else:
            split, order = (channels, height // factor, factor, width // factor, factor), (0, 2, 4, 1, 3)
            whole = (channels * factor**2, height // factor, width // factor)
    moved = reshaped(ledger, transposed(ledger, reshaped(ledger, source, split), order), whole)
    ledger.alias(output, moved)
    return True


def record_token_linear(ledger: Ledger, name: str, module: nn.Linear, source: Tracked, output: Tensor) -> None:
    """A linear map of the last of several axes, tokens (..., L, C): a convolution of kernel 1 on (C, L).

    The channels stand first there, as every synapse of the graph has them. What turns its output back is left
    out where the network turns it itself, for a batch norm.
    """
    *places, _ = ledger.node(source.node).shape
    tokens = math.prod(places)
    turned = transposed(ledger, reshaped(ledger, source, (tokens, module.in_features)), (1, 0))
    spec = SynapseSpec(
        "conv1d", (module.out_features, module.in_features, 1), (1,), (0,), (1,), 1, module.bias is not None, None
    )
    leading = output.shape[: len(source.position.axes)]
    maps = output.reshape(*leading, tokens, module.out_features).transpose(-1, -2)
    written = ledger.write_module(name, spec, [turned], maps, carries=Carries.CURRENT)
    back = transposed(ledger, written, (1, 0))
    if len(places) > 1:
        back = reshaped(ledger, back, (*places, module.out_features))
    ledger.follow(output, back.node, back.position, before_norm=written.before_norm)

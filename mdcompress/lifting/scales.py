"""A factor and a bias for each channel as a node: a batch norm of constants."""

from __future__ import annotations

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import digest
from mdcompress.lifting.context import Context
from mdcompress.lifting.moving import Gathering
from mdcompress.lifting.network import NORMS, LayerNode
from mdcompress.lifting.patterns import whole
from mdcompress.lifting.tape import Op


def per_channel(context: Context, op: Op, node: int, factors: Tensor) -> int:
    """The node of another times a factor for each channel, [C]."""
    shape = context.shapes[node]
    spread = factors.reshape(-1, *(1 for _ in shape[1:])).expand(shape).reshape(-1)
    return scaled_and_shifted(
        context, op, context.gathered(whole(node, shape), op.place), spread, None, shape, reduced=False
    )


def scaled_and_shifted(
    context: Context,
    op: Op,
    read: Gathering,
    weight: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    *,
    reduced: bool,
) -> int:
    """A factor and a bias for each channel: a batch norm of constants."""
    channels = shape[0] if shape else 1
    scale = weight.reshape(channels, -1)[:, 0]
    shift = torch.zeros(channels) if bias is None else bias.reshape(channels, -1)[:, 0]
    key = ("scale", read, digest(scale, shift))
    if key in context.keys:
        return context.keys[key]
    if len(shape) not in NORMS:
        raise TraceError(f"a tensor {shape} is scaled channel by channel ({op.place})", hints=["scale maps"])
    norm = NORMS[len(shape)](channels, eps=0.0, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(scale)
        norm.bias.copy_(shift)
    name = context.building.add(f"{op.place.module}_scale" if op.place.module else "scale", norm.eval())
    number = context.new_node(key, LayerNode(name, read), shape, name)
    if reduced:
        context.reduced.add(number)
    source = read.moves[0].node
    plain = (
        len(read.moves) == 1
        and context.shapes[source] == shape
        and read == context.gathered(whole(source, shape), op.place)
    )
    if bias is None and plain and source in context.spiking and bool((scale > 0).all()):
        context.scales[number] = (source, weight.reshape(-1))
    return number

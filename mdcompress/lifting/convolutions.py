"""A convolution as the node of a layer: the user's kernel, without axes of time, and with the zeros around its map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import digest
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import LayerNode, LiftedNode
from mdcompress.lifting.rows import (
    as_parameter,
    constant,
    constant_or_none,
    is_time,
    one_height,
    output_rows,
    read,
    repeated,
    without_padding,
    write,
)
from mdcompress.lifting.tape import Op, Operand

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


_TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def record_convolution(context: Context, op: Op) -> None:
    """Write the node of a convolution, of any rank, plain or transposed.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: its kernel reaches over time, or its weights are no constants.
    """
    x, weight, bias, *numbers, transposed, output_padding, groups = op.arguments
    what = "a convolution"
    weight, bias = constant(weight, op, "weights"), constant_or_none(bias, op, "biases")
    rows, pattern = read(context, x, op, what, keep=range(1, len(op.shape)))
    spatial = len(op.shape) - 2
    folded = [axis for axis in range(spatial) if is_time(context, x, 2 + axis)]
    stride, padding, dilation = (repeated(value, spatial) for value in numbers)
    if any((weight.shape[2 + axis], stride[axis], padding[axis]) != (1, 1, 0) for axis in folded):
        raise TraceError(f"{what} mixes steps: its kernel reaches over time ({op.place})", hints=["kernel (1, k, k)"])
    kept = [axis for axis in range(spatial) if axis not in folded]
    pattern, pads = without_padding(pattern, len(kept), op)
    pattern, heights = context.unscaled(pattern)
    if len(pattern.shape) != 1 + len(kept):
        raise TraceError(
            f"{what} reads {list(x.shape)}, of which a sample is {list(pattern.shape)} ({op.place})",
            hints=["give it [T*N, C, H, W]: one row for each step and sample"],
        )
    sizes = tuple(tuple(value[axis] for axis in kept) for value in (stride, padding, dilation))
    parameters = (context.parameters.key(weight), context.parameters.key(bias))
    key = ("conv", *parameters, sizes, tuple(output_padding), transposed, groups, pads, digest(heights))

    def make() -> LiftedNode:
        reads = context.gathered(pattern, op.place)
        made = context.made.get(key)
        if made is None:
            module = _convolution_module(context, op, weight, bias, kept, sizes, pads)
            if heights is not None:
                _scale_inputs(module, heights.reshape(pattern.shape[0], -1), op)
            wanted = (context.parameters.name(weight) or op.place.module).removesuffix(".weight")
            made = context.made[key] = context.building.add(wanted or "conv", module)
        return LayerNode(made, reads)

    order, shape = output_rows(op, rows, x.shape, [0, *(2 + axis for axis in folded)])
    number = write(context, op, rows, order, (key, pattern.key), make, shape)
    node = context.nodes[number]
    assert isinstance(node, LayerNode)
    context.names[number] = node.module


def _convolution_module(
    context: Context,
    op: Op,
    weight: Operand,
    bias: Operand | None,
    kept: list[int],
    sizes: tuple[tuple[int, ...], ...],
    pads: tuple[tuple[int, int], ...],
) -> nn.Module:
    """The module, with the user's own kernel where it has the axes that are kept and needs no zeros."""
    transposed, output_padding, groups = op.arguments[6:9]
    stride, padding, dilation = sizes
    values = context.parameters.tensor(weight, tuple(weight.shape))
    if len(kept) < values.dim() - 2:
        kernel = (values.shape[2 + axis] for axis in kept)
        values = as_parameter(values.detach().reshape(*values.shape[:2], *kernel))
    if any(low or high for low, high in pads):
        if transposed:
            hint = "leave the padding out"
            raise TraceError(f"a transposed convolution reads a padded map ({op.place})", hints=[hint])
        values, padding = _padded_kernel(values, padding, dilation, pads)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        options["output_padding"] = repeated(output_padding, len(kept))
        channels = (values.shape[0], values.shape[1] * groups)
    else:
        channels = (values.shape[1] * groups, values.shape[0])
    classes = _TRANSPOSED if transposed else _CONVOLUTIONS
    biased = bias is not None
    module: nn.Module = classes[len(kept)](*channels, tuple(values.shape[2:]), bias=biased, device="meta", **options)
    module.weight = as_parameter(values)
    if bias is not None:
        module.bias = as_parameter(context.parameters.tensor(bias, tuple(bias.shape)))
    return module


def _padded_kernel(
    values: Tensor, padding: tuple[int, ...], dilation: tuple[int, ...], pads: tuple[tuple[int, int], ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """The kernel and the even padding that do what zeros around the map and the layer's own padding did."""
    more: list[int] = []
    extra: list[int] = []
    for axis in reversed(range(len(pads))):
        low, high = pads[axis]
        wide = max(low, high)
        before, after = wide - low, wide - high
        if before % dilation[axis] or after % dilation[axis]:
            raise TraceError("zeros around a map are uneven for a dilated kernel", hints=["pad both sides alike"])
        more += [before // dilation[axis], after // dilation[axis]]
        extra.insert(0, wide)
    padded = tuple(own + wide for own, wide in zip(padding, extra, strict=True))
    if not any(more):
        return values, padded
    return nn.Parameter(nn.functional.pad(values.detach(), more), requires_grad=False), padded


def _scale_inputs(module: nn.Module, heights: Tensor, op: Op) -> None:
    """Multiply a convolution's weights by the heights of the spikes that it reads, [C, places]."""
    weight, groups = module.get_parameter("weight").detach().double(), int(module.groups)  # type: ignore[arg-type]
    own = one_height(heights, op)
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        scaled = weight * own.reshape(-1, *(1 for _ in weight.shape[1:]))
    else:
        by_group = own.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, dim=0)
        scaled = weight * by_group.reshape(*weight.shape[:2], *(1 for _ in weight.shape[2:]))
    module.weight = as_parameter(scaled)

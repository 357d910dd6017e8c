"""Operators that are layers, as nodes: convolution, matrix products, norms, poolings, sums over a sample's axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import REDUCED, STILL, Arrangement, Pattern, digest
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import per_channel, resolve
from mdcompress.lifting.network import LayerNode, LiftedNode, ProductNode, StepNormNode, TimeNode, TotalNode
from mdcompress.lifting.operators import sum_of
from mdcompress.lifting.tape import Op, Operand

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
_ADVICE = {
    "softmax": "attention without softmax, q @ k.transpose(-2, -1) @ v of spikes, has an integer form",
    "layer_norm": "use batch norm: its statistics are constants when the network is run",
    "group_norm": "use batch norm: its statistics are constants when the network is run",
    "cumsum": "let a neuron integrate: a state that goes from step to step",
    "sort": "a graph does not order values",
    "topk": "a graph does not order values",
    "bernoulli": "draw random numbers before the network: an encoder of its input belongs to the data",
}


def record_layer(context: Context, op: Op) -> None:
    """Write the node of an operator that is none on elements.

    Raises:
        TraceError: a graph cannot hold it; it is named, with the place.
    """
    recorder = _RECORDERS.get(op.name)
    if recorder is None:
        word = next((word for word in _ADVICE if word in op.name), "")
        raise TraceError(
            f"the network calls {op.name.strip('_')}, which a graph of spiking layers cannot hold ({op.place})",
            hints=[_ADVICE.get(word, "use convolution, linear, batch norm, pooling, sums, and spiking neurons")],
        )
    recorder(context, op)


def _read(
    context: Context, operand: Operand, op: Op, what: str, *, first: int | None = None, keep: Collection[int] = ()
) -> tuple[Arrangement, Pattern]:
    """What a layer reads, as rows and their pattern."""
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


def _write(
    context: Context,
    op: Op,
    rows: Arrangement,
    order: Tensor,
    key: object,
    make: Callable[[], LiftedNode],
    shape: tuple[int, ...],
    name: str = "",
) -> int:
    """The node, and what the cells of the output are. order: [B, P] flat places of the output's rows."""
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


def _constant(operand: Any, op: Op, what: str) -> Operand | None:
    if operand is None:
        return None
    if operand.labels is not None:
        raise TraceError(
            f"the {what} of a layer depend on the input ({op.place})",
            hints=["a graph's weights are constants; attention of spikes is a matrix product q @ k"],
        )
    if operand.random:
        raise TraceError(f"the {what} of a layer are random ({op.place})", hints=["switch noise off in evaluation"])
    found: Operand = operand
    return found


# ---------------------------------------------------------------------- convolutions


def _convolution(context: Context, op: Op) -> None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = op.arguments
    what = "a convolution"
    weight, bias = _constant(weight, op, "weights"), _constant(bias, op, "biases")
    rows, pattern = _read(context, x, op, what, keep=range(1, len(op.shape)))
    spatial = len(op.shape) - 2
    stride, padding, dilation = (_each(value, spatial) for value in (stride, padding, dilation))
    name = context.parameters.name(weight)
    values = weight.value
    kernel = tuple(values.shape[2:])
    axes = list(range(spatial))
    folded = [axis for axis in axes if _is_time(context, x, 2 + axis)]
    if any((kernel[axis], stride[axis], padding[axis]) != (1, 1, 0) for axis in folded):
        raise TraceError(f"{what} mixes steps: its kernel reaches over time ({op.place})", hints=["kernel (1, k, k)"])
    kept = [axis for axis in axes if axis not in folded]
    pattern, pads = _without_padding(pattern, len(kept), op)
    pattern, heights = context.unscaled(pattern)
    if len(pattern.shape) != 1 + len(kept):
        raise TraceError(
            f"{what} reads {list(x.shape)}, of which a sample is {list(pattern.shape)} ({op.place})",
            hints=["give it [T*N, C, H, W]: one row for each step and sample"],
        )
    sizes = tuple(tuple(value[axis] for axis in kept) for value in (stride, padding, dilation))
    module_name = name.removesuffix(".weight") if name else op.place.module
    key = ("conv", name or digest(values), None if bias is None else context.parameters.name(bias) or digest(bias.value),
           sizes, tuple(output_padding), transposed, groups, pads, digest(heights))  # fmt: skip

    def make() -> LiftedNode:
        reads = context.gathered(pattern, op.place)
        made = context.made.get(key)
        if made is None:
            module = _convolution_module(context, op, weight, bias, kept, folded, sizes, pads)
            if heights is not None:
                _scale_inputs(module, heights.reshape(pattern.shape[0], -1), op)
            made = context.made[key] = context.building.add(module_name or "conv", module)
        return LayerNode(made, reads)

    order, shape = _output_rows(op, rows, x.shape, [0, *(2 + axis for axis in folded)])
    number = _write(context, op, rows, order, (key, pattern.key), make, shape)
    node = context.nodes[number]
    assert isinstance(node, LayerNode)
    context.names[number] = node.module


def _scale_inputs(module: nn.Module, heights: Tensor, op: Op) -> None:
    """Multiply a convolution's weights by the heights of the spikes that it reads, [C, places]."""
    if bool((heights != heights[:, :1]).any()):
        raise TraceError(f"spikes differ in height within a channel ({op.place})", hints=["one height a channel"])
    weight, groups = module.get_parameter("weight"), int(module.groups)  # type: ignore[arg-type]
    own = heights[:, 0].to(weight.dtype)
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        scaled = weight.detach() * own.reshape(-1, *(1 for _ in weight.shape[1:]))
    else:
        by_group = own.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, dim=0)
        scaled = weight.detach() * by_group.reshape(*weight.shape[:2], *(1 for _ in weight.shape[2:]))
    module.weight = _as_parameter(scaled)


def _convolution_module(
    context: Context,
    op: Op,
    weight: Operand,
    bias: Operand | None,
    kept: list[int],
    folded: list[int],
    sizes: tuple[tuple[int, ...], ...],
    pads: tuple[tuple[int, int], ...],
) -> nn.Module:
    transposed, output_padding, groups = op.arguments[6:9]
    stride, padding, dilation = sizes
    values = context.parameters.tensor(weight, tuple(weight.shape))
    if folded:
        values = nn.Parameter(
            values.detach().flatten(2).reshape(*values.shape[:2], *(values.shape[2 + axis] for axis in kept)),
            requires_grad=False,
        )
    if any(low or high for low, high in pads):
        if transposed:
            raise TraceError(
                f"a transposed convolution reads a padded map ({op.place})", hints=["leave the padding out"]
            )
        values, padding = _padded_kernel(values, padding, dilation, pads)
    rank = len(kept)
    classes: Any = _TRANSPOSED if transposed else _CONVOLUTIONS
    out_channels, in_channels = values.shape[0], values.shape[1] * groups
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        out_channels, in_channels = values.shape[1] * groups, values.shape[0]
        options["output_padding"] = tuple(_each(output_padding, rank))
    module = classes[rank](
        in_channels, out_channels, tuple(values.shape[2:]), bias=bias is not None, device="meta", **options
    )
    module.weight = _as_parameter(values)
    if bias is not None:
        module.bias = _as_parameter(context.parameters.tensor(bias, tuple(bias.shape)))
    found: nn.Module = module
    return found


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


def _without_padding(pattern: Pattern, spatial: int, op: Op) -> tuple[Pattern, tuple[tuple[int, int], ...]]:
    """A pattern without the zeros around its map, and how many there were on each side of each axis."""
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


def _is_time(context: Context, x: Operand, axis: int) -> bool:
    """Whether steps or samples differ along an axis of a tensor."""
    assert x.labels is not None
    return context.cells.differs(x.labels, axis)


def _output_rows(op: Op, rows: Arrangement, read: torch.Size, batch: list[int]) -> tuple[Tensor, tuple[int, ...]]:
    """The rows of an output whose batch axes are those of the input: [B, P], and the shape of a sample."""
    index = torch.arange(op.size).reshape(op.shape)
    own = [axis for axis in range(len(op.shape)) if axis not in batch]
    turned = index.permute(*batch, *own).reshape(math.prod(op.shape[axis] for axis in batch), -1)
    firsts = torch.arange(math.prod(read)).reshape(read)
    firsts = (
        firsts.permute(*batch, *(axis for axis in range(len(read)) if axis not in batch))
        .flatten(len(batch))[..., 0]
        .reshape(-1)
    )
    rank = torch.full((math.prod(read),), -1)
    rank[firsts] = torch.arange(len(firsts))
    by_row = rank[rows.order]
    which = by_row.amax(1)
    return turned[which], tuple(op.shape[axis] for axis in own)


# ---------------------------------------------------------------------- linear layers and products


def _addmm(context: Context, op: Op) -> None:
    bias, x, weight = op.arguments[:3]
    if weight.labels is not None or (bias is not None and bias.labels is not None):
        raise TraceError(f"a matrix product reads currents ({op.place})", hints=["multiply spikes: q @ k"])
    _linear(context, op, x, weight, bias)


def _mm(context: Context, op: Op) -> None:
    x, weight = op.arguments[:2]
    if x.labels is None:
        _linear_from_left(context, op, x, weight)
    elif weight.labels is None:
        added = _added_bias(context, op, weight)
        _linear(context, op, x, weight, None if added is None else added[1])
        if added is not None:
            _pass_on(context, op, added[0])
    else:
        raise TraceError(f"samples are multiplied with each other ({op.place})", hints=["q @ k within a sample"])


def _added_bias(context: Context, op: Op, weight: Operand) -> tuple[Op, Operand] | None:
    """The operator that alone reads a product of matrices, and adds the bias of the weight's own module to it."""
    readers = context.readers(op.number)
    if len(readers) != 1 or readers[0].name != "add" or readers[0].options or readers[0].size != op.size:
        return None
    constants = [operand for operand in readers[0].operands if operand.labels is None]
    if len(constants) != 1 or len(readers[0].arguments) != 2 or tuple(constants[0].shape) != (op.shape[-1],):
        return None
    names = [context.parameters.name(each) or "" for each in (weight, constants[0])]
    if not names[0] or names[0].rpartition(".")[0] != names[1].rpartition(".")[0] or not names[1]:
        return None
    (tracked,) = readers[0].tracked
    whole = tracked.labels is not None and torch.equal(tracked.labels.reshape(-1), op.cells.reshape(-1))
    return (readers[0], constants[0]) if whole and readers[0].shape[-1] == op.shape[-1] else None


def _pass_on(context: Context, op: Op, added: Op) -> None:
    """Let the cells of the sum with the bias be those of the layer."""
    for table in (
        context.cells.node,
        context.cells.step,
        context.cells.sample,
        context.cells.place,
        context.cells.sign,
    ):
        table[added.span] = table[op.span]
    context.passed.add(added.number)


def _linear(context: Context, op: Op, x: Operand, weight: Operand, bias: Operand | None) -> None:
    weight_given = _constant(weight, op, "weights")
    assert weight_given is not None and weight_given.value is not None
    bias = _constant(bias, op, "biases")
    rows, pattern = _read(context, x, op, "a linear layer")
    pattern, heights = context.unscaled(pattern)
    name = context.parameters.name(weight_given)
    matrix = weight_given.value.t()
    biased = None if bias is None else context.parameters.name(bias) or digest(bias.value)
    key = ("linear", name or digest(matrix), biased, digest(heights))
    shape = (*pattern.shape[:-1], op.shape[1])
    width = x.shape[1]
    order = (rows.order[:, ::width] // width)[:, :, None] * op.shape[1] + torch.arange(op.shape[1])

    def make() -> LiftedNode:
        reads = context.gathered(pattern, op.place)
        made = context.made.get(key)
        if made is None:
            layer = nn.Linear(width, op.shape[1], bias=bias is not None, device="meta")
            layer.weight = _as_parameter(
                context.parameters.tensor(weight_given, tuple(matrix.shape))
                if name
                else matrix.to(context.parameters.dtype, copy=True)
            )
            if heights is not None:
                by_row = heights.reshape(-1, width)
                if bool((by_row != by_row[:1]).any()):
                    raise TraceError(f"spikes differ in height from row to row ({op.place})", hints=["one height each"])
                layer.weight = _as_parameter(layer.weight.detach() * by_row[0].to(layer.weight.dtype))
            if bias is not None:
                layer.bias = _as_parameter(context.parameters.tensor(bias, tuple(bias.shape)).reshape(-1))
            wanted = name.removesuffix(".weight") if name else op.place.module
            made = context.made[key] = context.building.add(wanted or "linear", layer)
        return LayerNode(made, reads, folds=False)

    number = _write(context, op, rows, order.reshape(len(order), -1), (key, pattern.key), make, shape)
    node = context.nodes[number]
    assert isinstance(node, LayerNode)
    context.names[number] = node.module


def _linear_from_left(context: Context, op: Op, weight: Operand, x: Operand) -> None:
    """weight @ x with x [F, B]: a linear layer of the columns."""
    raise TraceError(
        f"a constant matrix is multiplied from the left ({op.place})", hints=["write x @ weight.t(), nn.Linear"]
    )


def _bmm(context: Context, op: Op) -> None:
    left, right = op.arguments[:2]
    if left.labels is None or right.labels is None:
        _batched_linear(context, op, left, right)
        return
    (rows, first), (other, second) = (_read(context, each, op, "a matrix product") for each in (left, right))
    if not torch.equal(rows.steps, other.steps) or not torch.equal(rows.samples, other.samples):
        raise TraceError(f"a matrix product mixes steps or samples ({op.place})", hints=["q @ k within a sample"])
    for pattern in (first, second):
        if not all(source in context.spiking for source in pattern.sources):
            ahead = _ahead(context, op, "softmax")
            if ahead is not None:
                raise TraceError(
                    f"the network computes attention by a softmax of currents ({ahead.place})",
                    hints=[_ADVICE["softmax"]],
                )
            raise TraceError(
                f"a matrix product reads currents ({op.place})",
                hints=["put a neuron before it: a product of currents has no integer form"],
            )
    heads = first.shape[0] if len(first.shape) == 3 else 1
    shape = (heads, *op.shape[1:]) if len(first.shape) == 3 else tuple(op.shape[1:])
    per = op.shape[1] * op.shape[2]
    width = left.shape[1] * left.shape[2]
    blocks = rows.order[:, ::width] // width
    order = (blocks[:, :, None] * per + torch.arange(per)).reshape(len(blocks), -1)

    def make() -> LiftedNode:
        return ProductNode(context.gathered(first, op.place), context.gathered(second, op.place), "matmul")

    number = _write(context, op, rows, order, ("bmm", first.key, second.key), make, shape)
    context.spiking.add(number)


def _ahead(context: Context, op: Op, word: str) -> Op | None:
    """The operator of that name that reads what `op` makes, through operators on elements."""
    waiting = context.readers(op.number)
    while waiting:
        later = waiting.pop(0)
        if word in later.name:
            return later
        if later.evaluate is not None:
            waiting = [*waiting, *context.readers(later.number)]
    return None


def _batched_linear(context: Context, op: Op, left: Operand, right: Operand) -> None:
    """x @ W, with the one matrix W repeated for every row of the batch."""
    weight = right if right.labels is None else left
    assert weight.value is not None
    if right.labels is not None or not bool((weight.value == weight.value[:1]).all()):
        raise TraceError(f"a matrix of constants is multiplied ({op.place})", hints=["use nn.Linear: x @ weight.t()"])
    x = left
    assert x.labels is not None
    flat = Operand(x.labels.reshape(-1, x.shape[2]), None if x.value is None else x.value.reshape(-1, x.shape[2]))
    single = Operand(None, weight.value[0], weight.origin, weight.random)
    folded = Op(
        op.number,
        op.name,
        op.arguments,
        op.options,
        op.base,
        torch.Size((op.shape[0] * op.shape[1], op.shape[2])),
        op.place,
    )
    _linear(context, folded, flat, single, None)


# ---------------------------------------------------------------------- norms


def _batch_norm(context: Context, op: Op) -> None:
    x, weight, bias, mean, variance, *rest = op.arguments
    training = rest[0] if op.name != "_native_batch_norm_legit_no_training" else False
    eps = float(rest[-1] if op.name != "_batch_norm_impl_index" else rest[2])
    if training or mean is None:
        raise TraceError(
            f"a batch norm uses the statistics of the batch at hand ({op.place})",
            hints=["use track_running_stats=True, and evaluation mode"],
        )
    rows, pattern = _read(context, x, op, "a batch norm", first=1)
    order, shape = rows.order, pattern.shape
    if len(shape) not in _NORMS:
        raise TraceError(f"a batch norm reads samples {shape} ({op.place})", hints=["norm maps: [T*N, C, H, W]"])
    names = [None if each is None else context.parameters.name(each) for each in (mean, weight)]
    key = ("norm", *(name or (None if each is None else digest(each.value)) for name, each in zip(names, (mean, weight), strict=True)),
           None if bias is None else context.parameters.name(bias) or digest(bias.value), eps)  # fmt: skip
    made = context.made.get(key)
    if made is None:
        norm = _NORMS[len(shape)](shape[0], eps=eps, affine=weight is not None, device="meta")
        norm.running_mean, norm.running_var = (context.parameters.tensor(each).detach() for each in (mean, variance))
        norm.num_batches_tracked = torch.tensor(0)
        if weight is not None:
            norm.weight = _as_parameter(context.parameters.tensor(weight))
            norm.bias = _as_parameter(context.parameters.tensor(bias))
        wanted = names[0].removesuffix(".running_mean") if names[0] else op.place.module
        made = context.made[key] = context.building.add(wanted or "norm", norm.eval())
    begun = _next_step(context, made, pattern, rows)
    if begun is None:
        key = ("norm", made, pattern.key)
        fresh = key not in context.keys
        reads = context.gathered(pattern, op.place)
        number = _write(context, op, rows, order, key, lambda: LayerNode(made, reads), shape, made)
        if fresh and set(rows.steps.tolist()) in ({0}, {STILL}):
            context.norm_runs.setdefault(pattern.key, []).append(number)
        return
    number, step = begun
    context.keys["norm", made, pattern.key] = number
    later = Arrangement(torch.full_like(rows.steps, step), rows.samples, rows.order, rows.shape)
    _write(context, op, later, order, ("norm", made, pattern.key), lambda: context.nodes[number], shape)


def _next_step(context: Context, made: str, pattern: Pattern, rows: Arrangement) -> tuple[int, int] | None:
    """The node of the norms of earlier steps that a norm goes on with, and its step; None: it is one of its own.

    A network may have a norm for each step, in a list: norms.0, norms.1, ...
    """
    steps = set(rows.steps.tolist())
    parent, _, last = made.rpartition(".")
    if len(steps) != 1 or not last.isdigit() or ("norm", made, pattern.key) in context.keys:
        return None
    for number in context.norm_runs.get(pattern.key, []):
        node = context.nodes[number]
        modules = (
            node.modules if isinstance(node, StepNormNode) else (node.module,) if isinstance(node, LayerNode) else ()
        )
        step = len(modules)
        if modules[0].rpartition(".")[0] != parent or steps not in ({step}, {STILL}) or step >= context.steps:
            continue
        assert isinstance(node, LayerNode | StepNormNode)
        context.nodes[number] = StepNormNode((*modules, made), node.reads)
        if steps == {STILL}:
            _begin_steps(context, number)
        return number, step
    return None


def _begin_steps(context: Context, number: int) -> None:
    """What the first norm of a list made of something still is of step 0."""
    cells = (context.cells.node == number) & (context.cells.step == STILL)
    context.cells.step[cells] = 0


# ---------------------------------------------------------------------- poolings and sums


def _pool(context: Context, op: Op) -> None:
    x = op.arguments[0]
    given = next(int(letter) for letter in op.name if letter.isdigit())
    options = _pool_options(op, given)
    function = options.pop("function")
    rows, pattern = _read(context, x, op, "a pooling", keep=range(len(op.shape) - given - 1, len(op.shape)))
    batch = _batch_axes(context, x)
    own = [axis for axis in range(len(op.shape)) if axis not in batch]
    first = len(op.shape) - given
    options = _for_axes(
        op, options, [axis - first for axis in own[1:]], {axis - first for axis in batch}, x.shape[first:]
    )
    rank = len(own) - 1
    _require_even(options, [x.shape[axis] for axis in own[1:]])
    pattern, pads = _without_padding(pattern, rank, op)
    if any(low or high for low, high in pads):
        options = _padded_pool(context, op, options, pads, pattern)
    pattern, heights = context.unscaled(pattern)
    if len(pattern.shape) != 1 + rank or rank not in (1, 2, 3):
        raise TraceError(f"a pooling reads samples {list(pattern.shape)} ({op.place})", hints=["pool [T*N, C, H, W]"])
    order, shape = _output_rows(op, rows, x.shape, batch)
    function = f"{function}_pool{rank}d"
    key = (function, tuple(sorted(options.items())))

    def make() -> LiftedNode:
        made = context.made.get((key, op.place.module))
        if made is None:
            wanted = op.place.module if _is_pool(op) else f"{op.place.module}_pool".lstrip("_")
            made = context.building.add(wanted, _pool_module(function, options))
            context.made[key, op.place.module] = made
        return LayerNode(made, context.gathered(pattern, op.place))

    number = _write(context, op, rows, order, (key, pattern.key), make, shape)
    if all(source in context.spiking for source in pattern.sources):
        context.spiking.add(number)
    if heights is not None:
        own = heights.reshape(pattern.shape[0], -1)
        if bool((own != own[:, :1]).any()):
            raise TraceError(f"spikes differ in height within a channel ({op.place})", hints=["one height a channel"])
        context.cells.node[op.base + order] = per_channel(context, op, number, own[:, 0])


def _batch_axes(context: Context, x: Operand) -> list[int]:
    """The axes along which steps or samples differ, or what is still is repeated."""
    assert x.labels is not None
    return [
        axis for axis in range(len(x.shape)) if _is_time(context, x, axis) or context.cells.stands_still(x.labels, axis)
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


def _is_pool(op: Op) -> bool:
    return "pool" in op.place.module.lower()


_POOL_CLASSES = {
    **{f"{kind}_pool{rank}d": getattr(nn, f"{name}Pool{rank}d") for kind, name in (("max", "Max"), ("avg", "Avg")) for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{rank}d": getattr(nn, f"Adaptive{name}Pool{rank}d") for kind, name in (("max", "Max"), ("avg", "Avg")) for rank in (1, 2, 3)},
}  # fmt: skip


def _pool_module(function: str, options: dict[str, Any]) -> nn.Module:
    found: nn.Module = _POOL_CLASSES[function](**options)
    return found


def _pool_options(op: Op, rank: int) -> dict[str, Any]:
    given = op.arguments[1:]

    def argument(place: int, default: Any) -> Any:
        return given[place] if len(given) > place and given[place] is not None else default

    if "adaptive" in op.name:
        kind = "max" if "max" in op.name else "avg"
        return {"function": f"adaptive_{kind}", "output_size": tuple(_each(given[0], rank))}
    kernel = tuple(_each(given[0], rank))
    stride = tuple(_each(argument(1, None) or kernel, rank))
    padding = tuple(_each(argument(2, 0), rank))
    if "max" in op.name:
        if any(size != 1 for size in _each(argument(3, 1), rank)):
            raise TraceError(f"a max pooling is dilated ({op.place})", hints=["use a plain window"])
        ceil = bool(argument(4, False))
        return {"function": "max", "kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
    ceil, counts, divisor = bool(argument(3, False)), bool(argument(4, True)), argument(5, None)
    if divisor is not None:
        raise TraceError(f"an average pooling has a divisor of its own ({op.place})", hints=["divide by the window"])
    return {
        "function": "avg", "kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil,
        "count_include_pad": counts,
    }  # fmt: skip


def _require_even(options: dict[str, Any], sizes: list[int]) -> None:
    """Drop what has no effect: a ceil mode where windows fit, padding that is not counted where there is none."""
    if "kernel_size" not in options:
        return
    kernel, stride, padding = options["kernel_size"], options["stride"], options["padding"]
    fits = all((size + 2 * p - k) % s == 0 for size, k, s, p in zip(sizes, kernel, stride, padding, strict=True))
    if fits or options["ceil_mode"] is False:
        options["ceil_mode"] = False
    if not any(padding) and options["ceil_mode"] is False and "count_include_pad" in options:
        options["count_include_pad"] = True


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


def _reduction(context: Context, op: Op) -> None:
    x, *rest = op.arguments
    mode = "mean" if op.name == "mean" else "sum"
    given = rest[0] if rest else op.options.get("dim")
    axes = sorted(
        axis % len(x.shape) for axis in (_each(given, 1) if given not in (None, [], ()) else range(len(x.shape)))
    )
    timed = [axis for axis in axes if _is_time(context, x, axis)]
    own = [axis for axis in axes if axis not in timed]
    if timed:
        _fold_time(context, op, x, timed, own, mode)
        return
    what = f"a {mode} over axes {axes}"
    rows, pattern = _read(context, x, op, what)
    kept = [axis for axis in range(len(x.shape)) if not _is_time(context, x, axis)]
    if len(kept) != len(pattern.shape):
        raise TraceError(f"{what} reads steps and samples folded with its axes ({op.place})", hints=["unflatten first"])
    inside = tuple(kept.index(axis) for axis in own)
    batch = [axis for axis in range(len(x.shape)) if axis not in kept]
    index = torch.arange(op.size).reshape([1 if axis in own else size for axis, size in enumerate(x.shape)])
    turned = index.permute(*batch, *kept).reshape(math.prod(x.shape[axis] for axis in batch) if batch else 1, -1)
    firsts = (
        torch.arange(math.prod(x.shape)).reshape(tuple(x.shape)).permute(*batch, *kept).reshape(len(turned), -1)[:, 0]
    )
    rank = torch.full((math.prod(x.shape),), -1)
    rank[firsts] = torch.arange(len(firsts))
    order = turned[rank[rows.order].amax(1)]
    shape = tuple(1 if place in inside else size for place, size in enumerate(pattern.shape))

    def make() -> LiftedNode:
        return TotalNode(context.gathered(pattern, op.place), inside, mode)  # type: ignore[arg-type]

    number = _write(context, op, rows, order, (mode, inside, pattern.key), make, shape)
    if all(source in context.spiking for source in pattern.sources):
        context.spiking.add(number)


def _fold_time(context: Context, op: Op, x: Operand, timed: list[int], own: list[int], mode: str) -> None:
    """A sum over steps as an expression of their elements; sums over a sample's axes come first, as a node."""
    assert x.labels is not None
    if len(timed) > 1:
        raise TraceError(f"a {op.name} is taken over samples ({op.place})", hints=["keep the batch as an axis"])
    labels, values = x.labels, x.value
    if own:
        inner_shape = torch.Size(1 if axis in own else size for axis, size in enumerate(labels.shape))
        inner = context.cells.append(op.name, (x, tuple(own), True), torch.sum, _like(op, inner_shape))
        step = context.cells.step[labels.clamp(min=0)].amax(own, keepdim=True)
        sample = context.cells.sample[labels.clamp(min=0)].amax(own, keepdim=True)
        context.cells.step[inner.span], context.cells.sample[inner.span] = step.reshape(-1), sample.reshape(-1)
        folded = Op(inner.number, op.name, (x, tuple(own), True), {}, inner.base, inner_shape, op.place)
        context.cells.ops[inner.number] = folded
        _reduction(context, folded)
        labels, values = inner.cells, None
    (axis,) = timed
    parts = labels.unbind(axis)
    kept = parts[0].shape
    fixed = [None] * len(parts) if values is None else list(values.unbind(axis))
    operands = [
        Operand(part if bool((part >= 0).any()) else None, value if value is not None else None)
        for part, value in zip(parts, fixed, strict=True)
    ]
    share = 1.0 / len(parts) if mode == "mean" else 1.0
    evaluate: Callable[..., Tensor] = lambda *each: sum_of(*torch.broadcast_tensors(*each)) * share  # noqa: E731
    total = Op(op.number, "sum", tuple(operands), {}, op.base, op.shape, op.place, evaluate)
    if kept.numel() != op.size:
        raise TraceError(f"a {op.name} over axes {timed} cannot be read ({op.place})", hints=["mean over time alone"])
    reshaped = tuple(
        Operand(
            None if each.labels is None else each.labels.reshape(op.shape),
            None if each.value is None else each.value.reshape(op.shape),
        )
        for each in operands
    )
    context.cells.ops[op.number] = Op(op.number, total.name, reshaped, {}, op.base, op.shape, op.place, evaluate)
    context.follow_elements(context.cells.ops[op.number])


def _maximum(context: Context, op: Op) -> None:
    """The largest value over time: an answer."""
    x, *rest = op.arguments
    given = rest[0] if rest and rest[0] not in ([], ()) else list(range(len(x.shape)))
    axes = [axis % len(x.shape) for axis in _each(given, 1)]
    timed = [axis for axis in axes if _is_time(context, x, axis)]
    if len(axes) != 1 or timed != axes:
        raise TraceError(
            f"a maximum over axes {axes} of {list(x.shape)} is taken ({op.place})",
            hints=["use max pooling within a sample, and a maximum over time for the answer"],
        )
    resolve(context, x.labels, running=True)
    rows = context.rows(x.labels, op.place, "a maximum")
    pattern = context.cells.pattern(x.labels, x.value, rows)
    if pattern is None or sorted(torch.unique(rows.steps).tolist()) != list(range(context.steps)):
        raise TraceError(f"a maximum is taken over some steps ({op.place})", hints=["take it over all steps"])
    first = rows.samples[rows.steps == 0]
    order = torch.arange(op.size).reshape(op.shape)
    labels = x.labels.select(axes[0], 0).reshape(-1)
    by_sample = context.cells.sample[labels]
    number = context.keys.get(("time max", pattern.key))
    if number is None:
        node = TimeNode(context.gathered(pattern, op.place), "max")
        number = context.new_node(("time max", pattern.key), node, pattern.shape)
        context.reduced.add(number)
    for sample in first.tolist():
        cells = op.base + order.reshape(-1)[by_sample == sample]
        context.cells.assign(
            cells, number, torch.full_like(cells, REDUCED), torch.full_like(cells, sample), torch.arange(len(cells))
        )


# ---------------------------------------------------------------------- helpers


def _each(value: Any, rank: int) -> tuple[Any, ...]:
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    return given if len(given) == rank or rank == 1 else given * rank


def _as_parameter(values: Tensor) -> nn.Parameter:
    return values if isinstance(values, nn.Parameter) else nn.Parameter(values.detach(), requires_grad=False)


def _like(op: Op, shape: torch.Size) -> Op:
    return Op(op.number, op.name, op.arguments, op.options, op.base, shape, op.place)


_RECORDERS: dict[str, Callable[[Context, Op], None]] = {
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _mm,
    "bmm": _bmm,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _batch_norm),
    **dict.fromkeys(
        (
            "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
            "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d",
        ),
        _pool,
    ),
    "mean": _reduction,
    "sum": _reduction,
    "amax": _maximum,
    "max": _maximum,
}  # fmt: skip

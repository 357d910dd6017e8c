"""Matrix products as nodes: with a matrix of constants a linear layer, of spikes with spikes a product of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Pattern, digest
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import LayerNode, LiftedNode, ProductNode
from mdcompress.lifting.operators import INSTEAD
from mdcompress.lifting.rows import as_parameter, constant, constant_or_none, read, write
from mdcompress.lifting.tape import Op, Operand


def record_addmm(context: Context, op: Op) -> None:
    """Write the node of a linear layer with its bias.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: its weights are no constants.
    """
    bias, x, weight = op.arguments[:3]
    if weight.labels is not None or (bias is not None and bias.labels is not None):
        raise TraceError(f"a matrix product reads currents ({op.place})", hints=["multiply spikes: q @ k"])
    _linear(context, op, x, weight, bias)


def record_mm(context: Context, op: Op) -> None:
    """Write the node of a linear layer without bias, or with one that is added to its product.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: the matrix is no constant, or stands on the left.
    """
    x, weight = op.arguments[:2]
    if x.labels is None:
        what, hint = "a constant matrix is multiplied from the left", "write x @ weight.t(), nn.Linear"
        raise TraceError(f"{what} ({op.place})", hints=[hint])
    if weight.labels is not None:
        raise TraceError(f"samples are multiplied with each other ({op.place})", hints=["q @ k within a sample"])
    added = _added_bias(context, op, weight)
    _linear(context, op, x, weight, None if added is None else added[1])
    if added is not None:
        _pass_on(context, op, added[0])


def record_bmm(context: Context, op: Op) -> None:
    """Write the node of a product of spikes with spikes, sample by sample, or of a linear layer.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: it reads currents, or mixes steps or samples.
    """
    left, right = op.arguments[:2]
    if left.labels is None or right.labels is None:
        _batched_linear(context, op, left, right)
        return
    (rows, first), (other, second) = (read(context, each, op, "a matrix product") for each in (left, right))
    if not torch.equal(rows.steps, other.steps) or not torch.equal(rows.samples, other.samples):
        raise TraceError(f"a matrix product mixes steps or samples ({op.place})", hints=["q @ k within a sample"])
    for pattern in (first, second):
        _require_spikes(context, op, pattern)
    has_heads = len(first.shape) == 3
    shape = (first.shape[0], *op.shape[1:]) if has_heads else tuple(op.shape[1:])
    size, width = op.shape[1] * op.shape[2], left.shape[1] * left.shape[2]
    blocks = rows.order[:, ::width] // width
    order = (blocks[:, :, None] * size + torch.arange(size)).reshape(len(blocks), -1)

    def make() -> LiftedNode:
        return ProductNode(context.gathered(first, op.place), context.gathered(second, op.place), "matmul")

    number = write(context, op, rows, order, ("bmm", first.key, second.key), make, shape)
    context.spiking.add(number)


def _require_spikes(context: Context, op: Op, pattern: Pattern) -> None:
    if all(source in context.spiking for source in pattern.sources):
        return
    ahead = _ahead(context, op, "softmax")
    if ahead is not None:
        what = "the network computes attention by a softmax of currents"
        raise TraceError(f"{what} ({ahead.place})", hints=[INSTEAD["softmax"]])
    raise TraceError(
        f"a matrix product reads currents ({op.place})",
        hints=["put a neuron before it: a product of currents has no integer form"],
    )


def _linear(context: Context, op: Op, x: Operand, weight: Operand, bias: Operand | None) -> None:
    """The node of x @ weight + bias with constants, for every row of a sample."""
    weight, bias = constant(weight, op, "weights"), constant_or_none(bias, op, "biases")
    rows, pattern = read(context, x, op, "a linear layer")
    pattern, heights = context.unscaled(pattern)
    width, features = x.shape[1], op.shape[1]
    key = ("linear", context.parameters.key(weight), context.parameters.key(bias), digest(heights))
    order = (rows.order[:, ::width] // width)[:, :, None] * features + torch.arange(features)

    def make() -> LiftedNode:
        reads = context.gathered(pattern, op.place)
        made = context.made.get(key)
        if made is None:
            layer = _linear_module(context, op, weight, bias, heights)
            wanted = (context.parameters.name(weight) or op.place.module).removesuffix(".weight")
            made = context.made[key] = context.building.add(wanted or "linear", layer)
        return LayerNode(made, reads, folds=False)

    shape = (*pattern.shape[:-1], features)
    number = write(context, op, rows, order.reshape(len(order), -1), (key, pattern.key), make, shape)
    node = context.nodes[number]
    assert isinstance(node, LayerNode)
    context.names[number] = node.module


def _linear_module(
    context: Context, op: Op, weight: Operand, bias: Operand | None, heights: Tensor | None
) -> nn.Linear:
    """The module, with the user's own matrix where it was transposed for the product; heights: of what it reads."""
    assert weight.value is not None
    matrix, parameters = weight.value.t(), context.parameters
    features, width = matrix.shape
    layer = nn.Linear(width, features, bias=bias is not None, device="meta")
    is_named = parameters.name(weight) is not None
    own = parameters.tensor(weight, tuple(matrix.shape)) if is_named else matrix.to(torch.float64, copy=True)
    layer.weight = as_parameter(own)
    if heights is not None:
        by_row = heights.reshape(-1, width)
        if bool((by_row != by_row[:1]).any()):
            raise TraceError(f"spikes differ in height from row to row ({op.place})", hints=["one height each"])
        layer.weight = as_parameter(layer.weight.detach().double() * by_row[0])
    if bias is not None:
        layer.bias = as_parameter(parameters.tensor(bias, tuple(bias.shape)).reshape(-1))
    return layer


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
    folded = replace(op, shape=torch.Size((op.shape[0] * op.shape[1], op.shape[2])))
    _linear(context, folded, flat, single, None)


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
    cells = context.cells
    for table in (cells.node, cells.step, cells.sample, cells.place, cells.sign):
        table[added.span] = table[op.span]
    context.passed.add(added.number)


def _ahead(context: Context, op: Op, word: str) -> Op | None:
    """The operator of that name that reads what `op` makes, through operators on elements."""
    waiting = list(context.readers(op.number))
    while waiting:
        later = waiting.pop(0)
        if word in later.name:
            return later
        if later.evaluate is not None:
            waiting = [*waiting, *context.readers(later.number)]
    return None

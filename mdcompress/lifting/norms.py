"""Batch norms as nodes, of one for all steps or of a list with one for each step."""

from __future__ import annotations

import torch

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import STILL, Arrangement, Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import NORMS, LayerNode, StepNormNode
from mdcompress.lifting.rows import as_parameter, read, write
from mdcompress.lifting.tape import Op


def record_batch_norm(context: Context, op: Op) -> None:
    """Write the node of a batch norm that uses its running statistics.

    Args:
        context: the analysis.
        op: the operator.

    Raises:
        TraceError: it uses the statistics of the batch, or its samples are no maps.
    """
    x, _, _, mean, _, *rest = op.arguments
    training = rest[0] if op.name != "_native_batch_norm_legit_no_training" else False
    if training or mean is None:
        raise TraceError(
            f"a batch norm uses the statistics of the batch at hand ({op.place})",
            hints=["use track_running_stats=True, and evaluation mode"],
        )
    rows, pattern = read(context, x, op, "a batch norm", first=1)
    shape = pattern.shape
    if len(shape) not in NORMS:
        raise TraceError(f"a batch norm reads samples {shape} ({op.place})", hints=["norm maps: [T*N, C, H, W]"])
    made = _made(context, op, shape)
    key = ("norm", made, pattern.key)
    begun = _next_step(context, made, pattern, rows)
    if begun is not None:
        number, step = begun
        context.keys[key] = number
        later = Arrangement(torch.full_like(rows.steps, step), rows.samples, rows.order, rows.shape)
        write(context, op, later, rows.order, key, lambda: context.nodes[number], shape)
        return
    fresh = key not in context.keys
    reads = context.gathered(pattern, op.place)
    number = write(context, op, rows, rows.order, key, lambda: LayerNode(made, reads), shape, made)
    if fresh and set(rows.steps.tolist()) in ({0}, {STILL}):
        context.norm_runs.setdefault(pattern.key, []).append(number)


def _made(context: Context, op: Op, shape: tuple[int, ...]) -> str:
    """The name of the norm's module, with the user's own parameters."""
    _, weight, bias, mean, variance, *rest = op.arguments
    eps = float(rest[-1] if op.name != "_batch_norm_impl_index" else rest[2])
    parameters = context.parameters
    key = ("norm", *(parameters.key(each) for each in (mean, weight, bias)), eps)
    made = context.made.get(key)
    if made is not None:
        return made
    norm = NORMS[len(shape)](shape[0], eps=eps, affine=weight is not None, device="meta")
    norm.running_mean, norm.running_var = (parameters.tensor(each).detach() for each in (mean, variance))
    norm.num_batches_tracked = torch.tensor(0)
    if weight is not None:
        norm.weight, norm.bias = (as_parameter(parameters.tensor(each)) for each in (weight, bias))
    wanted = (parameters.name(mean) or op.place.module).removesuffix(".running_mean")
    made = context.made[key] = context.building.add(wanted or "norm", norm.eval())
    return made


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
        assert isinstance(node, LayerNode | StepNormNode)
        modules = node.modules if isinstance(node, StepNormNode) else (node.module,)
        step = len(modules)
        if modules[0].rpartition(".")[0] != parent or steps not in ({step}, {STILL}) or step >= context.steps:
            continue
        context.nodes[number] = StepNormNode((*modules, made), node.reads)
        if steps == {STILL}:
            _begin_steps(context, number)
        return number, step
    return None


def _begin_steps(context: Context, number: int) -> None:
    """What the first norm of a list made of something still is of step 0."""
    cells = (context.cells.node == number) & (context.cells.step == STILL)
    context.cells.step[cells] = 0

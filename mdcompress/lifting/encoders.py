"""A random encoder at the entrance, taken out: what it would encode becomes the input of each step."""

from __future__ import annotations

import torch

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import STILL
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import Finding, InputNode
from mdcompress.lifting.program import slots
from mdcompress.lifting.tape import Op


def take_out(context: Context, op: Op) -> None:
    """Let the cells of an expression with random numbers be those of the input, if it reads nothing else.

    Raises:
        TraceError: it reads something else: the network itself is random.
    """
    labels = op.cells
    leaves = slots(context.cells, labels, context.is_leaf)
    first = leaves[0] if leaves else labels
    plain = [leaf for leaf in leaves if torch.equal(leaf, first)]
    reads_input = len(plain) == len(leaves) > 0 and bool((first >= 0).all())
    if not reads_input or not isinstance(context.nodes.get(int(context.cells.node[first].max())), InputNode):
        raise TraceError(
            f"the network draws random numbers, and a graph is not random ({op.place})",
            hints=[
                "draw random numbers before the network: an encoder of its input belongs to the data",
                "switch dropout and noise off in evaluation: they must ask self.training",
            ],
        )
    tables = context.cells
    steps = tables.step[first]
    if bool((steps == STILL).all()):
        steps = _steps(context, op, first)
    tables.assign(labels, int(tables.node[first].max()), steps, tables.sample[first], tables.place[first])
    name = context.names[int(tables.node[first].max())]
    words = "a random encoder, taken out: every step reads what it would encode"
    if not any(finding.words == words for finding in context.findings):
        context.findings.append(Finding(name, str(op.place), words))


def _steps(context: Context, op: Op, first: torch.Tensor) -> torch.Tensor:
    """The steps of what an encoder makes of something still: those of an axis of T, or one at each call."""
    for axis, size in enumerate(op.shape):
        same = torch.equal(context.cells.place[first], context.cells.place[first.narrow(axis, 0, 1)].expand_as(first))
        if size == context.steps and same:
            shape = [1] * first.dim()
            shape[axis] = size
            return torch.arange(size).reshape(shape).expand_as(first)
    step = context.encoded.get(op.place, 0)
    context.encoded[op.place] = step + 1
    if step >= context.steps:
        raise TraceError(
            f"the network encodes its input for more than the {context.steps} steps of the sample ({op.place})",
            hints=["give a sample with as many steps as the network makes: in a recipe `data.time_steps`"],
        )
    return torch.full_like(first, step)

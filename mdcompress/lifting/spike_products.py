"""A function of two spikes as a node: a*b, (1 - a)*b, or a + b - a*b."""

from __future__ import annotations

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Arrangement
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import LiftedNode, ProductNode, SumNode
from mdcompress.lifting.patterns import assign_rows, pattern_of, whole
from mdcompress.lifting.program import Program
from mdcompress.lifting.tape import Op


def resolve_product(context: Context, op: Op, labels: Tensor, rows: Arrangement, leaves: list[Tensor]) -> None:
    """Write the node of a*b, (1 - a)*b or a + b - a*b of spikes.

    Args:
        context: the analysis.
        op: the operator that made the expression.
        labels: its cells.
        rows: they as rows.
        leaves: what they are computed from, [B, P] each.

    Raises:
        TraceError: it is another function, or one of currents.
    """
    nodes = [torch.unique(context.cells.node[cells[cells >= 0]]).tolist() for cells in leaves]
    spikes = [all(node in context.spiking for node in each) for each in nodes]
    if len(leaves) != 2 or not all(spikes):
        raise _not_linear(context, op, leaves, spikes)
    targets = labels.reshape(-1)[rows.order]
    program = Program(context.cells, targets, context.is_leaf)
    memory = program.memory()
    table = {}
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            memory[leaves[0].clamp(min=0)], memory[leaves[1].clamp(min=0)] = a, b
            table[a, b] = torch.unique(program.run(memory)).tolist()
    if any(len(found) != 1 for found in table.values()):
        raise _not_linear(context, op, leaves, spikes)
    truth = {key: found[0] for key, found in table.items()}
    patterns = [pattern_of(context, cells, rows, op.place) for cells in leaves]
    reads = [context.gathered(pattern, op.place) for pattern in patterns]
    height = max(truth.values())
    normal = tuple(truth[key] / height for key in ((0, 0), (0, 1), (1, 0), (1, 1))) if height > 0 else ()
    first, second = reads
    match normal:
        case (0.0, 0.0, 0.0, 1.0):
            node: LiftedNode = ProductNode(first, second, "product", height)
        case (0.0, 1.0, 0.0, 0.0):
            node = ProductNode(first, second, "inhibit", height)
        case (0.0, 0.0, 1.0, 0.0):
            node = ProductNode(second, first, "inhibit", height)
        case (0.0, 1.0, 1.0, 1.0):
            inner_key = ("inhibit", patterns[0].key, patterns[1].key)
            inner = context.keys.get(inner_key)
            if inner is None:
                inner = context.new_node(inner_key, ProductNode(first, second, "inhibit"), rows.shape)
                context.spiking.add(inner)
            node = SumNode((first, context.gathered(whole(inner, rows.shape), op.place)), (height, height))
        case _:
            raise _not_linear(context, op, leaves, spikes)
    key = ("product", normal, height, patterns[0].key, patterns[1].key)
    number = context.keys.get(key)
    if number is None:
        number = context.new_node(key, node, rows.shape)
        if height == int(height):
            context.spiking.add(number)
    assign_rows(context, op, rows, number)


def _not_linear(context: Context, op: Op, leaves: list[Tensor], spikes: list[bool]) -> TraceError:
    """The error that says what is no sum: a function of a potential, of currents, or of spikes."""
    names = {
        context.names.get(int(node), "")
        for cells in leaves
        for node in torch.unique(context.cells.node[cells]).tolist()
    }
    read = ", ".join(sorted(repr(name) for name in names if name)) or "the input"
    state = [
        context.names[context.states[k]] for cells in leaves for k in context.cells.owning(cells) if k in context.states
    ]
    if state:
        return TraceError(
            f"a layer reads a function of the membrane potential of {state[0]!r}, not its spikes ({op.place})",
            hints=["let layers read spikes; 1 and 0, or counts"],
        )
    what = "a product or another function of currents" if not all(spikes) else "a function of spikes"
    return TraceError(
        f"{what} (of {read}; the last function is {op.name}) has no integer form ({op.place})",
        hints=[
            "combine spikes by a + b, a * b or a * (1 - b), currents by sums and by factors that are constants; a gate "
            "that is computed from the input has no integer form"
        ],
    )

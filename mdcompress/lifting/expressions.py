"""What stands between two layers as nodes: sums, factors, per-channel scales, products of spikes, sums over time.

An expression of elements is asked for its values: which leaves it reads, what each is worth, whether it is linear in
them. So it does not matter how it was written: a norm by hand, a straight-through estimator whose soft part cancels,
1 - (1 - a) * (1 - b).
"""

from __future__ import annotations

from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.affine import Affine, affine_of, channel_axis, turned
from mdcompress.lifting.cells import REDUCED, Pattern, digest
from mdcompress.lifting.context import Context
from mdcompress.lifting.encoders import take_out
from mdcompress.lifting.identify import snap
from mdcompress.lifting.network import LayerNode, SumNode
from mdcompress.lifting.over_time import resolve_over_time
from mdcompress.lifting.patterns import alias_rows, assign_rows, pattern_of, whole
from mdcompress.lifting.program import slots
from mdcompress.lifting.scales import per_channel, scaled_and_shifted
from mdcompress.lifting.spike_products import resolve_product
from mdcompress.lifting.tape import Op

__all__ = ["per_channel", "resolve", "whole"]


def resolve(context: Context, labels: Tensor, *, running: bool = False) -> None:
    """Give every cell of `labels` a node. running: sums over time that go on from step to step are a neuron.

    Raises:
        TraceError: an expression that no graph holds; it is named.
    """
    numbers = context.cells.owning(labels)
    for number in reversed(numbers) if running else numbers:
        if not context.is_resolved(number) and number in context.noisy:
            take_out(context, context.cells.ops[number])
        elif not context.is_resolved(number):
            _resolve_op(context, context.cells.ops[number], running=running)


def _resolve_op(context: Context, op: Op, *, running: bool) -> None:
    """Write the node of one expression: linear in its leaves at one step, over steps, or a product of spikes."""
    labels = op.cells
    rows = context.rows(labels, op.place, "an expression")
    found = slots(context.cells, labels, context.is_leaf)
    leaves = [each.reshape(-1)[rows.order] for each in found]
    affine = affine_of(context, labels, rows, leaves)
    if affine is None:
        resolve_product(context, op, labels, rows, leaves)
        return
    for term in affine.terms:
        _require_no_state(context, op, term.cells)
    steps = [context.cells.step[term.cells] for term in affine.terms]
    own = rows.steps[:, None]
    if any(bool(((step >= 0) & (step != own)).any()) for step in steps):
        resolve_over_time(context, op, affine, running=running)
    else:
        _resolve_sum(context, op, affine, running=running)


def _require_no_state(context: Context, op: Op, cells: Tensor) -> None:
    """TraceError where a leaf is a neuron's potential."""
    for number in context.cells.owning(cells):
        if number in context.states:
            name = context.names[context.states[number]]
            raise TraceError(
                f"a layer reads the membrane potential of {name!r}, not its spikes ({op.place})",
                hints=["let layers read spikes; the membrane of a last neuron that never fires can be the answer"],
            )


def _resolve_sum(context: Context, op: Op, affine: Affine, *, running: bool) -> None:
    """A sum of leaves of the same step, each with a factor, perhaps one for each channel."""
    rows = affine.rows
    for values in (*(term.weight for term in affine.terms), affine.bias):
        if bool((values != values[:1]).any()):
            raise TraceError(
                f"a factor differs from step to step ({op.place})",
                hints=["use the same factors at all steps; a batch norm of its own for each step can be held"],
            )
    reduced = bool((rows.steps == REDUCED).all())
    if not affine.terms:
        raise TraceError(f"an expression does not depend on the input ({op.place})", hints=["leave it out"])
    axis = channel_axis(rows.shape, [*(term.weight[0] for term in affine.terms), affine.bias[0]], op.place)
    if axis:
        rows, affine = turned(affine, axis)
    patterns = [pattern_of(context, term.cells, rows, op.place) for term in affine.terms]
    shape = rows.shape
    if running and len(patterns) == 1 and not bool(affine.bias.any()):
        begun = context.keys.get(("integrator", patterns[0].key, snap(float(affine.terms[0].weight[0, 0]))))
        if begun is not None:
            assign_rows(context, op, rows, begun)
            return
    plain = len(patterns) == 1 and bool((affine.terms[0].weight == 1).all()) and not bool(affine.bias.any())
    if plain:
        alias_rows(context, op, rows, patterns[0])
        return
    key = (
        "sum",
        reduced,
        *(pattern.key for pattern in patterns),
        digest(*(t.weight[0] for t in affine.terms), affine.bias[0]),
    )
    node = context.keys.get(key)
    if node is None:
        node = _write_sum(context, op, key, affine, patterns, shape, reduced=reduced)
    assign_rows(context, op, rows, node)


def _write_sum(
    context: Context,
    op: Op,
    key: object,
    affine: Affine,
    patterns: list[Pattern],
    shape: tuple[int, ...],
    *,
    reduced: bool,
) -> int:
    """The node of a sum: leaves with one positive factor as they are, others by a node that scales them."""
    reads, factors = [], []
    bias: Tensor | None = affine.bias[0] if bool(affine.bias.any()) else None
    for pattern, term in zip(patterns, affine.terms, strict=True):
        read, weight = context.gathered(pattern, op.place), term.weight[0]
        uniform = bool((weight == weight[0]).all())
        last = pattern is patterns[-1]
        if uniform and float(weight[0]) > 0 and (bias is None or not last):
            reads.append(read)
            factors.append(float(weight[0]))
        else:
            node = scaled_and_shifted(context, op, read, weight, bias if last else None, shape, reduced=reduced)
            reads.append(context.gathered(whole(node, shape), op.place))
            factors.append(1.0)
            bias = None if last else bias
    if len(reads) == 1 and factors == [1.0] and isinstance(context.nodes[reads[0].moves[0].node], LayerNode):
        number = reads[0].moves[0].node
        if context.shapes[number] == shape:
            context.keys[key] = number
            return number
    number = context.new_node(key, SumNode(tuple(reads), tuple(factors)), shape)
    _inherit(context, number, patterns, reduced=reduced, counts=all(f == int(f) for f in factors))
    return number


def _inherit(context: Context, number: int, patterns: list[Pattern], *, reduced: bool, counts: bool) -> None:
    """What a sum is, if what it reads is: reduced over time, or counts of spikes."""
    if reduced:
        context.reduced.add(number)
    if counts and all(source in context.spiking for pattern in patterns for source in pattern.sources):
        context.spiking.add(number)

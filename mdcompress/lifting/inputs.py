"""What a neuron reads: the nodes that its potential is computed from, and their cells at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import STILL
from mdcompress.lifting.chains import Neuron
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import resolve
from mdcompress.lifting.program import Program, slots

_GAINS = frozenset({"mul", "multiply", "div", "divide", "true_divide"})


@dataclass(frozen=True)
class Input:
    """A node that a neuron reads: its cells [N, P] at each step, and how many steps later they are read."""

    node: int
    cells: dict[int, list[Tensor]]
    offset: int
    still: bool

    @property
    def is_late(self) -> bool:
        """Whether it is read one step later, as a recurrent layer of the neuron's own spikes is."""
        return self.offset == 1


def resolve_inputs(context: Context, neuron: Neuron) -> None:
    """Make nodes of what is computed from this step's inputs alone: a residual sum, a norm by hand."""
    if context.steps < 2:
        return
    before: set[int] = set()
    by_step: list[dict[int, set[int]]] = []  # of fresh operators those that read them newly at a step
    for step in range(context.steps):
        reads = Program(context.cells, neuron.differences[step][0, :1], leaf_of(context, neuron)).reads
        by_step.append(_fresh_and_readers(context, neuron, reads, step, before))
        before |= reads.keys()
    later = by_step[1:]
    owners = {number for found in later for number in found}
    if all(int(context.cells.step[context.cells.ops[number].base]) == STILL for number in owners):
        if context.steps < 3:
            return
        common = set.intersection(*(set(found) for found in by_step))
        later = [{number: found[number] for number in common} for found in later]
    for found in later:
        outermost = (number for number in sorted(found) if found[number] - set(found))
        for number in {_without_gain(context, number) for number in outermost} - {None}:
            assert number is not None
            _resolve_frontier(context, number)
    _resolve_first(context, neuron)


def _fresh_and_readers(
    context: Context, neuron: Neuron, reads: dict[int, tuple[int, ...]], step: int, before: set[int]
) -> dict[int, set[int]]:
    fresh = _fresh(context, neuron, reads, step)
    found: dict[int, set[int]] = {}
    for cell, read in reads.items():
        if cell in before:
            continue
        (reader,) = context.cells.owning(torch.tensor([cell]))
        for number in context.cells.owning(torch.tensor([each for each in read if each in fresh], dtype=torch.int64)):
            found.setdefault(number, set()).add(reader)
    return found


def _resolve_frontier(context: Context, number: int) -> None:
    """Make a node of an expression of a step's inputs."""
    if context.is_resolved(number):
        return
    try:
        resolve(context, context.cells.ops[number].cells)
    except TraceError:
        return  # the neuron's own reading will say what it is


def _without_gain(context: Context, number: int) -> int | None:
    """The expression below factors that are one number; None where it is a node itself."""
    while not context.is_resolved(number):
        op = context.cells.ops[number]
        constants = [each for each in op.operands if each.labels is None and each.value is not None]
        scalar = all(each.value is not None and each.value.numel() == 1 for each in constants)
        if op.name not in _GAINS or len(op.tracked) != 1 or not scalar:
            return number
        owners = context.makers(op.tracked[0])
        if len(owners) != 1:
            return number
        number = owners[0]
    return None


def _resolve_first(context: Context, neuron: Neuron) -> None:
    """At step 0 all is computed from inputs alone: of its expressions, those that are nodes at other steps."""
    program = Program(context.cells, neuron.differences[0][0, :1], leaf_of(context, neuron))
    known = set(context.keys.values())
    for op in program.ops:
        if context.is_resolved(op.number) or op.number == neuron.difference_ops[0]:
            continue
        count, take_back = len(context.shapes), context.try_out()
        try:
            resolve(context, op.cells.reshape(-1))
        except TraceError:
            take_back()
            continue
        made = int(context.cells.node[op.base])
        if made not in known or made >= count:
            context.cells.node[op.span] = -1
            context.cells.place[op.span] = -1
            take_back()


def leaf_of(context: Context, neuron: Neuron) -> Callable[[int], bool]:
    """Which operators a neuron's potential is computed from: nodes, but for expressions of its own spikes."""
    memo: dict[int, bool] = {}

    def returns(number: int) -> bool:
        """Whether an expression is computed from the neuron's own spikes."""
        if number not in memo:
            op = context.cells.ops[number]
            if op.evaluate is None or number in context.spikes:
                memo[number] = context.spikes.get(number) == neuron.node
            else:
                memo[number] = any(returns(k) for operand in op.tracked for k in context.makers(operand))
        return memo[number]

    def is_leaf(number: int) -> bool:
        if not context.is_resolved(number):
            return False
        op = context.cells.ops[number]
        return op.evaluate is None or number in context.spikes or not returns(number)

    return is_leaf


def _fresh(context: Context, neuron: Neuron, reads: dict[int, tuple[int, ...]], step: int) -> set[int]:
    """The cells of a program that are computed from this step's inputs alone."""
    read_cells = sorted({each for read in reads.values() for each in read} - reads.keys())
    inputs = {cell for cell in read_cells if _is_input(context, neuron, cell, step)}
    states = {neuron.difference_ops[step], neuron.roots.get(step, -1)}
    if step == 0:
        states |= {*neuron.roots.values(), *neuron.difference_ops.values()}
    fresh: set[int] = set()
    for cell, read in reads.items():
        (owner,) = context.cells.owning(torch.tensor([cell]))
        if owner not in states and all(each in inputs or each in fresh for each in read):
            fresh.add(cell)
    return fresh


def _is_input(context: Context, neuron: Neuron, cell: int, step: int) -> bool:
    """Whether a cell is another node's output of a step, or of none."""
    (owner,) = context.cells.owning(torch.tensor([cell]))
    is_other = context.is_resolved(owner) and int(context.cells.node[cell]) != neuron.node
    return is_other and int(context.cells.step[cell]) in (step, STILL)


def inputs_of(context: Context, neuron: Neuron) -> list[Input]:
    """The nodes that a neuron reads, with their cells at each step.

    Args:
        context: the analysis.
        neuron: with all its steps.

    Returns:
        In the order of the nodes.

    Raises:
        TraceError: it reads steps mixed, or other places of a node than its own.
    """
    found: dict[int, dict[int, list[Tensor]]] = {}
    offsets: dict[int, int] = {}
    for step in range(context.steps):
        for cells in _read_at(context, neuron, step):
            held = cells[cells >= 0]
            node = int(context.cells.node[held[0]])
            steps = torch.unique(context.cells.step[held]).tolist()
            if len(steps) != 1:
                raise TraceError(f"a neuron mixes steps ({neuron.place})", hints=["one step after the other"])
            when = int(steps[0])
            entry = found.setdefault(node, {})
            if when in entry and not _same(context, entry[when][0], cells):
                raise TraceError(
                    f"neuron {context.names[neuron.node]!r} reads {context.names.get(node, '')!r} at other places than "
                    f"its own ({neuron.place})",
                    hints=["a neuron computes each element alone"],
                )
            entry.setdefault(when, []).append(cells)
            offset = step - when if when != STILL else 0
            offsets[node] = min(offsets.get(node, offset), offset)
    result = [Input(node, cells, offsets[node], STILL in cells) for node, cells in found.items()]
    return sorted(result, key=lambda each: each.node)


def _read_at(context: Context, neuron: Neuron, step: int) -> list[Tensor]:
    """The cells of other nodes that a potential is computed from, those of the same node one after the other."""
    roots = {neuron.roots[before] for before in range(step) if before in neuron.roots}
    is_leaf = leaf_of(context, neuron)
    by_node: dict[int, list[Tensor]] = {}
    for cells in slots(context.cells, neuron.differences[step], lambda number: number in roots or is_leaf(number)):
        held = cells[cells >= 0]
        node = int(context.cells.node[held[0]]) if len(held) else -1
        if node not in (-1, neuron.node):
            by_node.setdefault(node, []).append(cells)
    return [cells for arrays in by_node.values() for cells in arrays]


def _same(context: Context, one: Tensor, other: Tensor) -> bool:
    """Whether cells are the same thing: computed again, as what is still is at every step."""
    if torch.equal(one, other):
        return True
    tables = (context.cells.node, context.cells.place, context.cells.sample)
    held = torch.equal(one < 0, other < 0)
    return held and all(torch.equal(table[one.clamp(min=0)], table[other.clamp(min=0)]) for table in tables)

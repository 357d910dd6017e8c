"""What a network returns, as the readout of a network in normal form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import REDUCED, STILL, Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import resolve, whole
from mdcompress.lifting.moving import Gathering
from mdcompress.lifting.network import NeuronNode, TimeNode
from mdcompress.lifting.tape import Operand

_ADVICE = "return the logits: [N, K] averaged over time, or [T, N, K]"


def answer_tensors(output: object) -> Tensor | list[Tensor]:
    """The answer in what a network returned: a tensor, or a list of one for each step.

    Raises:
        TraceError: there is no tensor.
    """
    match output:
        case Tensor():
            return output
        case dict() if output:
            return answer_tensors(next(iter(output.values())))
        case [Tensor() as only]:
            return only
        case list() if output and all(isinstance(each, Tensor) for each in output):
            return list(output)
        case tuple() if len(output) > 2 and _alike(output):
            return list(output)
        case list() | tuple() if output:
            return answer_tensors(output[0])
        case _:
            raise TraceError(f"the network must return a tensor (got {type(output).__name__})", hints=[_ADVICE])


def _alike(output: tuple[object, ...]) -> bool:
    tensors = [each for each in output if isinstance(each, Tensor)]
    return len(tensors) == len(output) and len({each.shape for each in tensors}) == 1


@dataclass(frozen=True)
class Answer:
    """The readout, and what the network answered: values [B, P] of the steps and samples [B]."""

    reads: Gathering
    steps: Tensor
    samples: Tensor
    values: Tensor


def read_answer(context: Context, answer: Operand) -> Answer:
    """The readout.

    Raises:
        TraceError: what is returned is no answer of a graph.
    """
    if answer.labels is None:
        raise TraceError("what the network returns does not depend on its input", hints=[_ADVICE])
    labels = answer.labels
    place = context.cells.ops[context.cells.owning(labels)[-1]].place
    steps = torch.unique(context.cells.step[labels[labels >= 0]]).tolist()
    running = [step for step in steps if step >= 0] == list(range(context.steps)) and context.steps > 1
    resolve(context, labels, running=running)
    rows = context.rows(labels, place, "the answer")
    found = sorted(set(rows.steps.tolist()))
    _begin_integrator(context, labels, answer, rows.order, rows.steps)
    pattern = context.cells.pattern(labels, answer.value, rows)
    if pattern is None:
        raise TraceError(f"the answer is something else at one step than at another ({place})", hints=[_ADVICE])
    pattern = _whole_where_equal(context, pattern)
    values = context.cells.values[labels.reshape(-1)[rows.order]]

    def as_answer(reads: Gathering) -> Answer:
        return Answer(reads, rows.steps, rows.samples, values)

    if found == [REDUCED] or found == list(range(context.steps)):
        return as_answer(context.gathered(pattern, place))
    if found == [context.steps - 1]:
        reads = context.gathered(pattern, place)
        number = context.new_node(("answer", pattern.key), TimeNode(reads, "last"), pattern.shape)
        context.reduced.add(number)
        return as_answer(context.gathered(whole(number, pattern.shape), place))
    what = "the same at all steps" if found == [STILL] else f"of the steps {found}"
    raise TraceError(f"the answer is {what}, of {context.steps} steps ({place})", hints=[_ADVICE])


def _begin_integrator(context: Context, labels: Tensor, answer: Operand, order: Tensor, steps: Tensor) -> None:
    """The membrane at step 0 may be the current itself: then its cells are the current's, and are read as membranes."""
    del answer
    cells = labels.reshape(-1)[order]
    nodes = {int(step): int(context.cells.node[cells[steps == step][0, 0]]) for step in torch.unique(steps).tolist()}
    later = {node for step, node in nodes.items() if step > 0}
    if 0 not in nodes or len(later) != 1 or nodes[0] in later:
        return
    (node,) = later
    neuron = context.nodes.get(node)
    if isinstance(neuron, NeuronNode) and neuron.reads.sources == (nodes[0],):
        first = cells[steps == 0]
        context.cells.node[first] = node


def _whole_where_equal(context: Context, pattern: Pattern) -> Pattern:
    """A pattern in the source's own shape, where it is all of it in order."""
    if len(pattern.sources) == 1 and torch.equal(pattern.places, torch.arange(len(pattern.places))):
        shape = context.shapes[pattern.sources[0]]
        if torch.Size(shape).numel() == len(pattern.places) and len(pattern.shape) == len(shape):
            return Pattern(pattern.nodes, pattern.places, pattern.constants, shape)
    return pattern


def needed(context: Context, answer: Gathering) -> list[int]:
    """The nodes that an answer depends on, each after what it reads."""
    order: list[int] = []
    seen: set[int] = set()

    def visit(number: int) -> None:
        if number in seen:
            return
        seen.add(number)
        if number not in context.nodes:
            raise TraceError(f"{context.names.get(number, 'a node')!r} is not read to its end", hints=[_ADVICE])
        for source in _sources(context, number):
            visit(source)
        order.append(number)

    for source in answer.sources:
        visit(source)
    return order


def _sources(context: Context, number: int) -> Iterator[int]:
    node = context.nodes[number]
    for value in vars(node).values():
        match value:
            case Gathering():
                yield from value.sources
            case tuple():
                for each in value:
                    if isinstance(each, Gathering):
                        yield from each.sources

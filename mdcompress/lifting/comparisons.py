"""What is compared with a threshold, and which operators make counts: the difference that is 0 at the threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.context import Context
from mdcompress.lifting.operators import COMPARISONS
from mdcompress.lifting.program import Program
from mdcompress.lifting.tape import Op, Operand

CLAMPS = frozenset({"clamp", "clamp_min", "clip", "relu", "hardtanh", "relu6"})
_AFFINE = frozenset({"add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "neg"})
_ROUNDINGS = {"round": "round", "floor": "floor", "trunc": "floor", "sign": "sign", "sgn": "sign"}
_NO_LIMIT = -1


@dataclass(frozen=True)
class Comparison:
    """A comparison: the operator of the difference that is compared with 0, or rounded."""

    difference: Op
    comparator: str
    spike: str = "binary"
    max_spikes: int | None = 1


@dataclass(frozen=True)
class Counting:
    """What makes counts: the kind of rounding, what is rounded, and the largest count."""

    kind: str
    rounded: Operand
    top: int | None


@dataclass(frozen=True)
class Counts:
    """The operators that make counts, by number, and those inside of them, which are none themselves."""

    found: dict[int, Counting]
    inner: frozenset[int]


def comparison_of(context: Context, op: Op, counts: Counts) -> Comparison | None:
    """What an operator on elements compares; None where it is no comparison and makes no counts.

    Args:
        context: the analysis.
        op: the operator.
        counts: those of the tape.

    Returns:
        The comparison, whose difference is an operator that was appended to the cells.

    Raises:
        TraceError: a spike at the threshold is neither 0 nor 1.
    """
    if op.number in counts.inner:
        return None
    if op.name in COMPARISONS:
        left, right = op.arguments[0], op.arguments[1]
        is_upward = op.name in ("gt", "ge", "greater", "greater_equal")
        comparator = "ge" if op.name in ("ge", "le", "greater_equal", "less_equal") else "gt"
        if not is_upward:
            left, right = right, left
        # x > constant; constant > x fires below, which its identification refuses
        return Comparison(difference_of(context, op, left, right), comparator)
    if op.name == "heaviside":
        value = op.arguments[1]
        at_zero = float(value.value.reshape(-1)[0]) if value.value is not None else 0.5
        if at_zero not in (0.0, 1.0):
            raise TraceError(f"a spike at the threshold is {at_zero:g} ({op.place})", hints=["let it be 0 or 1"])
        return Comparison(difference_of(context, op, op.arguments[0], 0.0), "ge" if at_zero else "gt")
    counting = counts.found.get(op.number)
    if counting is None:
        return None
    difference = difference_of(context, op, counting.rounded, 0.0)
    if counting.kind == "sign":
        return Comparison(difference, "gt")
    return Comparison(difference, "ge", counting.kind, counting.top)


@dataclass(frozen=True)
class Level:
    """Where a comparison stands: the difference is slope * membrane + offset, for each element.

    root: the cells of the membrane; path: the operators between it and the difference.
    """

    root: Tensor
    path: tuple[int, ...]
    slope: Tensor
    offset: Tensor

    @property
    def key(self) -> bytes:
        """Equal for the same level of the same membrane."""
        level = torch.round(-self.offset / self.slope * 1e12) / 1e12
        parts = (self.root, self.slope / self.slope.abs().max(), level)
        return b"".join(part.numpy().tobytes() for part in parts)


def level_of(context: Context, difference: Op) -> Level:
    """The membrane below a difference, and where on it the difference is 0."""
    root, path = root_of(context, difference)
    return Level(root, tuple(path), *line_of(context, difference, root))


def upward(context: Context, comparison: Comparison, op: Op, level: Level) -> tuple[Comparison, Op, Level]:
    """A comparison that is true below a level as 1 - one that is true above it."""
    difference = comparison.difference
    if comparison.spike != "binary" or not bool((level.slope < 0).all()):
        return comparison, op, level
    turned = difference_of(context, op, 0.0, Operand(difference.cells, None))
    fires = torch.gt if comparison.comparator == "ge" else torch.ge
    above = Operand(turned.cells, None)
    spikes = context.cells.append("gt", (above,), lambda d: fires(d, 0.0).double(), op)
    context.cells.values[spikes.span] = 1.0 - context.cells.values[op.span]
    context.cells.ops[op.number] = replace(
        op, name="rsub", arguments=(Operand(spikes.cells, None),), options={}, evaluate=lambda s: 1.0 - s
    )
    above_level = Level(level.root, (difference.number, *level.path), -level.slope, -level.offset)
    return Comparison(turned, "gt" if comparison.comparator == "ge" else "ge"), spikes, above_level


def difference_of(context: Context, op: Op, left: Operand | float, right: Operand | float) -> Op:
    """left - right as an operator of its own."""
    difference = context.cells.append("sub", (left, right), _difference, op)
    context.follow_elements(difference)
    return difference


def root_of(context: Context, op: Op) -> tuple[Tensor, list[int]]:
    """The cells below all factors and constants, the membrane as the user's code holds it; the operators between."""
    labels = op.cells.reshape(-1)
    path: list[int] = []
    while True:
        owners = context.cells.owning(labels)
        if len(owners) != 1 or context.is_resolved(owners[0]):
            return labels, path
        owner = context.cells.ops[owners[0]]
        if owner.name not in _AFFINE or len(owner.tracked) != 1:
            return labels, path
        (operand,) = owner.tracked
        assert operand.labels is not None
        below = operand.labels.expand(owner.shape).reshape(-1)[labels - owner.base]
        if bool((below < 0).any()):
            return labels, path
        labels = below
        if owner.number != op.number:
            path.append(owner.number)


def line_of(context: Context, difference: Op, root: Tensor) -> tuple[Tensor, Tensor]:
    """The difference as slope * root + offset, for each element."""
    targets = difference.cells.reshape(-1)
    owners = set(context.cells.owning(root))
    program = Program(context.cells, targets, lambda number: number in owners)
    memory = program.memory()
    offset = program.run(memory).clone()
    memory[root] = 1.0
    return program.run(memory) - offset, offset


def is_mask(context: Context, comparison: Comparison) -> bool:
    """Whether spikes themselves are compared, so that nothing new comes of it: s > 0."""
    difference = comparison.difference
    program = Program(context.cells, torch.tensor([difference.base]), context.is_leaf)
    nodes = context.cells.node[program.leaves]
    spikes = torch.tensor([int(node) in context.spiking for node in nodes.tolist()], dtype=torch.bool)
    if int(spikes.sum()) != 1:
        return False
    generator = torch.Generator().manual_seed(4)
    memory = program.memory()
    found: dict[float, set[float]] = {0.0: set(), 1.0: set()}
    for _ in range(3):
        memory[program.leaves] = torch.randn(len(nodes), generator=generator, dtype=torch.float64)
        for value, seen in found.items():
            memory[program.leaves[spikes]] = value
            seen.add(round(float(program.run(memory)), 9))
    if any(len(seen) != 1 for seen in found.values()):
        return False
    silent, fired = (seen.pop() for seen in found.values())
    return silent < 0 <= fired if comparison.comparator == "ge" else silent <= 0 < fired


def counts_of(context: Context) -> Counts:
    """The operators of a tape that make counts.

    They are round(clamp(u, 0, 4)), clamp(round(u), 0, 4) and relu(sign(u)); floor and trunc too.
    """
    found: dict[int, Counting] = {}
    inner: set[int] = set()
    for op in context.cells.ops:
        if len(op.tracked) != 1 or (op.name not in _ROUNDINGS and op.name not in CLAMPS):
            continue
        below = _owner(context, op.tracked[0])
        if below is None:
            continue
        if op.name in _ROUNDINGS and below.name in CLAMPS:
            rounding, clamp = op, below
        elif op.name in CLAMPS and below.name in _ROUNDINGS and len(below.tracked) == 1 and below.number not in found:
            rounding, clamp = below, op
        else:
            continue
        top = _range(clamp)
        if top is None:
            continue
        limit = None if top == _NO_LIMIT else top
        found[op.number] = Counting(_ROUNDINGS[rounding.name], below.tracked[0], limit)
        if rounding is below:
            inner.add(below.number)
    return Counts(found, frozenset(inner))


def _owner(context: Context, operand: Operand) -> Op | None:
    """The one operator that made all of a tensor."""
    owners = context.makers(operand)
    return context.cells.ops[owners[0]] if len(owners) == 1 else None


def _range(op: Op) -> int | None:
    """The largest count that a clamp from 0 leaves, _NO_LIMIT where there is none; None where it is another clamp."""
    if op.name == "relu":
        return _NO_LIMIT
    given = [*op.arguments[1:]]
    low = given[0] if given else op.options.get("min")
    high = given[1] if len(given) > 1 else op.options.get("max")
    numbers = [_number(each) for each in (low, high)]
    if numbers[0] != 0.0 or (high is not None and (numbers[1] is None or numbers[1] != int(numbers[1]))):
        return None
    return _NO_LIMIT if numbers[1] is None else int(numbers[1])


def _number(value: object) -> float | None:
    match value:
        case int() | float():
            return float(value)
        case Operand(labels=None, value=Tensor() as held) if held.numel() == 1:
            return float(held)
        case _:
            return None


def _difference(left: Tensor | float, right: Tensor | float) -> Tensor:
    first, second = (torch.as_tensor(each, dtype=torch.float64) for each in (left, right))
    return first - second

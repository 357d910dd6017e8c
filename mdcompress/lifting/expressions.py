"""What stands between two layers as nodes: sums, factors, per-channel scales, products of spikes, sums over time.

An expression of elements is asked for its values: which leaves it reads, what each is worth, whether it is linear in
them. So it does not matter how it was written: a norm by hand, a straight-through estimator whose soft part cancels,
1 - (1 - a) * (1 - b).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcompress.adapters.simulation import simulate
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.lifting.cells import REDUCED, Arrangement, Pattern, digest, sign_of
from mdcompress.lifting.context import Context
from mdcompress.lifting.encoders import take_out
from mdcompress.lifting.identify import impulse_poles, snap
from mdcompress.lifting.moving import Gathering
from mdcompress.lifting.network import (
    CanonicalNeuron,
    Finding,
    LayerNode,
    LiftedNode,
    NeuronNode,
    ProductNode,
    SumNode,
    TimeNode,
)
from mdcompress.lifting.program import Program, slots
from mdcompress.lifting.tape import Op, Place
from mdcompress.lifting.words import in_words

_NEAR = 1e-9


@dataclass(frozen=True)
class _Term:
    """A leaf of an expression: its cells [B, P], and what it is worth, [P]."""

    cells: Tensor
    weight: Tensor


@dataclass(frozen=True)
class _Affine:
    rows: Arrangement
    terms: tuple[_Term, ...]
    bias: Tensor


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
    labels = op.cells
    rows = context.rows(labels, op.place, "an expression")
    found = slots(context.cells, labels, context.is_leaf)
    leaves = [each.reshape(-1)[rows.order] for each in found]
    affine = _affine(context, labels, rows, leaves)
    if affine is None:
        _resolve_product(context, op, labels, rows, leaves)
        return
    for term in affine.terms:
        _require_no_state(context, op, term.cells)
    steps = [context.cells.step[term.cells] for term in affine.terms]
    own = rows.steps[:, None]
    if any(bool(((step >= 0) & (step != own)).any()) for step in steps):
        _resolve_over_time(context, op, affine, running=running)
    else:
        _resolve_sum(context, op, affine, running=running)


def _affine(context: Context, labels: Tensor, rows: Arrangement, leaves: list[Tensor]) -> _Affine | None:
    """The expression as bias + sum of weights times leaves; None where it is not linear in them."""
    targets = labels.reshape(-1)[rows.order]
    program = Program(context.cells, targets, context.is_leaf)
    memory = program.memory()

    def at(values: list[Tensor | float]) -> Tensor:
        for cells, value in zip(leaves, values, strict=True):
            held = cells >= 0
            memory[cells[held]] = value if isinstance(value, float) else value[held]
        return program.run(memory).clone()

    bias = at([0.0] * len(leaves))
    weights = []
    for each in range(len(leaves)):
        weights.append(at([1.0 if each == other else 0.0 for other in range(len(leaves))]) - bias)
    generator = torch.Generator().manual_seed(2)
    for draw in range(3):
        values: list[Tensor | float] = [_draw(context, cells, generator, draw) for cells in leaves]
        expected = bias + sum(
            (w * torch.where(cells >= 0, v, 0.0) for w, v, cells in zip(weights, values, leaves, strict=True)),
            torch.zeros_like(bias),
        )
        got = at(values)
        if not bool(torch.isfinite(got).all()):
            return None
        size = max(float(expected.abs().max()), 1e-12)
        if bool(((got - expected).abs() > _NEAR * size).any()):
            return None
    size = max([float(w.abs().max()) for w in weights] + [1e-30])
    kept = [(cells, w) for cells, w in zip(leaves, weights, strict=True) if float(w.abs().max()) > 1e-12 * size]
    for values_of_row in [w for _, w in kept] + [bias]:
        for step in torch.unique(rows.steps).tolist():
            own = values_of_row[rows.steps == step]
            if bool((own - own[:1]).abs().max() > _NEAR * size):
                return None
    return _Affine(rows, tuple(_Term(cells, _snapped(w)) for cells, w in kept), _snapped(bias))


def _draw(context: Context, cells: Tensor, generator: torch.Generator, draw: int) -> Tensor:
    """Values for leaves: 0 and 1 for spikes, any number for currents."""
    held = torch.unique(cells[cells >= 0])
    nodes = torch.unique(context.cells.node[held]).tolist()
    if all(node in context.spiking for node in nodes):
        values = torch.randint(0, 2, held.shape, generator=generator).double()
    else:
        values = (1.0 + draw) * torch.randn(held.shape, generator=generator, dtype=torch.float64)
    at = torch.searchsorted(held, cells.clamp(min=0)).clamp(max=len(held) - 1)
    return torch.where(cells >= 0, values[at], 0.0)


def _snapped(values: Tensor) -> Tensor:
    kinds, back = torch.unique(values.reshape(-1), return_inverse=True)
    if len(kinds) > 4096:
        return values
    return torch.tensor([snap(value) for value in kinds.tolist()], dtype=torch.float64)[back].reshape(values.shape)


def _require_no_state(context: Context, op: Op, cells: Tensor) -> None:
    for number in context.cells.owning(cells):
        if number in context.states:
            name = context.names[context.states[number]]
            raise TraceError(
                f"a layer reads the membrane potential of {name!r}, not its spikes ({op.place})",
                hints=["let layers read spikes; the membrane of a last neuron that never fires can be the answer"],
            )


# ---------------------------------------------------------------------- at one step


def _resolve_sum(context: Context, op: Op, affine: _Affine, *, running: bool) -> None:
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
    axis = _channel_axis(rows.shape, [*(term.weight[0] for term in affine.terms), affine.bias[0]], op.place)
    if axis:
        rows, affine = _turned(affine, axis)
    patterns = [_pattern(context, term.cells, rows, op.place) for term in affine.terms]
    shape = rows.shape
    if running and len(patterns) == 1 and not bool(affine.bias.any()):
        begun = context.keys.get(("integrator", patterns[0].key, snap(float(affine.terms[0].weight[0, 0]))))
        if begun is not None:
            _assign(context, op, rows, begun)
            return
    plain = len(patterns) == 1 and bool((affine.terms[0].weight == 1).all()) and not bool(affine.bias.any())
    if plain:
        _alias(context, op, rows, patterns[0])
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
    _assign(context, op, rows, node)


def _write_sum(
    context: Context,
    op: Op,
    key: object,
    affine: _Affine,
    patterns: list[Pattern],
    shape: tuple[int, ...],
    *,
    reduced: bool,
) -> int:
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
            node = _per_channel(context, op, read, weight, bias if last else None, shape, reduced=reduced)
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


def _per_channel(
    context: Context,
    op: Op,
    read: Gathering,
    weight: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    *,
    reduced: bool,
) -> int:
    """A factor and a bias for each channel: a batch norm of constants."""
    channels = shape[0] if shape else 1
    scale = weight.reshape(channels, -1)[:, 0]
    shift = torch.zeros(channels) if bias is None else bias.reshape(channels, -1)[:, 0]
    key = ("scale", read, digest(scale, shift))
    if key in context.keys:
        return context.keys[key]
    kinds: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
    if len(shape) not in kinds:
        raise TraceError(f"a tensor {shape} is scaled channel by channel ({op.place})", hints=["scale maps"])
    norm = kinds[len(shape)](channels, eps=0.0, dtype=context.parameters.dtype)
    with torch.no_grad():
        norm.weight.copy_(scale)  # type: ignore[operator]
        norm.bias.copy_(shift)  # type: ignore[operator]
    name = context.building.add(f"{op.place.module}_scale" if op.place.module else "scale", norm.eval())
    number = context.new_node(key, LayerNode(name, read), shape, name)
    if reduced:
        context.reduced.add(number)
    source = read.moves[0].node
    plain = (
        len(read.moves) == 1
        and context.shapes[source] == shape
        and read == context.gathered(whole(source, shape), op.place)
    )
    if bias is None and plain and source in context.spiking and bool((scale > 0).all()):
        context.scales[number] = (source, weight.reshape(-1))
    return number


def per_channel(context: Context, op: Op, node: int, factors: Tensor) -> int:
    """The node of another times a factor for each channel, [C]."""
    shape = context.shapes[node]
    spread = factors.reshape(-1, *(1 for _ in shape[1:])).expand(shape).reshape(-1)
    return _per_channel(context, op, context.gathered(whole(node, shape), op.place), spread, None, shape, reduced=False)


def _channel_axis(shape: tuple[int, ...], weights: list[Tensor], place: Place) -> int:
    """The one axis of a sample along which factors differ; 0 where they do not."""
    varying = set()
    for weight in weights:
        full = weight.reshape(shape)
        for axis in range(len(shape)):
            if bool((full - full.narrow(axis, 0, 1)).abs().max() > 1e-12 * max(float(full.abs().max()), 1e-30)):
                varying.add(axis)
    if len(varying) > 1:
        raise TraceError(
            f"factors differ from element to element of a sample {shape} ({place})",
            hints=["give a layer one factor, or one for each channel"],
        )
    return varying.pop() if varying else 0


def _turned(affine: _Affine, axis: int) -> tuple[Arrangement, _Affine]:
    """The same with an axis of the sample first."""
    rows = affine.rows
    shape = (rows.shape[axis], *rows.shape[:axis], *rows.shape[axis + 1 :])

    def turn(x: Tensor) -> Tensor:
        return x.reshape(len(x), *rows.shape).movedim(1 + axis, 1).reshape(len(x), -1)

    turned = Arrangement(rows.steps, rows.samples, turn(rows.order), shape)
    terms = tuple(_Term(turn(term.cells), turn(term.weight)) for term in affine.terms)
    return turned, _Affine(turned, terms, turn(affine.bias))


# ---------------------------------------------------------------------- products


def _resolve_product(context: Context, op: Op, labels: Tensor, rows: Arrangement, leaves: list[Tensor]) -> None:
    """a*b, (1 - a)*b or a + b - a*b of spikes."""
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
    patterns = [_pattern(context, cells, rows, op.place) for cells in leaves]
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
    _assign(context, op, rows, number)


def _not_linear(context: Context, op: Op, leaves: list[Tensor], spikes: list[bool]) -> TraceError:
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


# ---------------------------------------------------------------------- over time


def _resolve_over_time(context: Context, op: Op, affine: _Affine, *, running: bool) -> None:
    """A sum of one node's steps: their sum or mean, or the membrane of a neuron that only integrates."""
    last = int(affine.rows.steps.max())
    if last < 0:
        raise _over_time(context, op, affine)
    by_step: dict[int, _Term] = {}
    rows = affine.rows
    where = rows.steps == last
    for term in affine.terms:
        steps = torch.unique(context.cells.step[term.cells[where]]).tolist()
        if len(steps) != 1 or steps[0] in by_step or steps[0] < 0:
            raise _over_time(context, op, affine)
        by_step[int(steps[0])] = _Term(term.cells[where], term.weight[where])
    few = Arrangement(rows.steps[where], rows.samples[where], rows.order[where], rows.shape)
    if not bool(where.all()) or bool(affine.bias[where].any()):
        raise _over_time(context, op, affine)
    patterns = {step: _pattern(context, term.cells, few, op.place) for step, term in by_step.items()}
    if len({pattern.key for pattern in patterns.values()}) != 1:
        raise _over_time(context, op, affine)
    pattern = next(iter(patterns.values()))
    final = by_step[last].weight[0] if last in by_step else torch.zeros(1)
    if not bool((final != 0).all()):
        raise _over_time(context, op, affine)
    zero = torch.zeros_like(final)
    shares = [(by_step[step].weight[0] if step in by_step else zero) / final for step in range(last + 1)]
    if any(float(share.max() - share.min()) > _NEAR for share in shares):
        raise _over_time(context, op, affine)
    reads = context.gathered(pattern, op.place)
    if float(final.max() - final.min()) > 1e-12 * float(final.abs().max()) or float(final[0]) < 0:
        mean = all(float(share[0]) == 1.0 for share in shares) and last == context.steps - 1
        scale = final * context.steps if mean else final
        number = _per_channel(context, op, reads, scale, None, few.shape, reduced=False)
        pattern = whole(number, few.shape)
        reads, final = context.gathered(pattern, op.place), torch.full_like(final, 1.0 / context.steps if mean else 1.0)
    weights = [snap(float(share[0]) * float(final[0])) for share in shares]
    if not running and last == context.steps - 1 and len(set(weights)) == 1 and weights[0] > 0:
        _write_reduction(context, op, few, reads, pattern, weights[0])
        return
    if len(weights) != last + 1 or weights[-1] <= 0:
        raise _over_time(context, op, affine)
    number = _integrator(context, op, reads, pattern, weights)
    if number is None:
        raise _over_time(context, op, affine)
    if running:
        _assign(context, op, few, number)
        return
    if last != context.steps - 1:
        raise _over_time(context, op, affine)
    key = ("last", number)
    final = context.keys.get(key)
    if final is None:
        shape = context.shapes[number]
        final = context.new_node(key, TimeNode(context.gathered(whole(number, shape), op.place), "last"), shape)
        context.reduced.add(final)
    _assign(context, op, few, final, step=REDUCED)


def _write_reduction(
    context: Context, op: Op, rows: Arrangement, reads: Gathering, pattern: Pattern, weight: float
) -> None:
    steps = context.steps
    mean = abs(weight * steps - 1.0) < 1e-12
    key = ("time", mean, weight, pattern.key)
    number = context.keys.get(key)
    if number is None:
        node = TimeNode(reads, "mean") if mean else TimeNode(reads, "sum", snap(weight))
        number = context.new_node(key, node, rows.shape)
        context.reduced.add(number)
    _assign(context, op, rows, number, step=REDUCED)


def _integrator(context: Context, op: Op, reads: Gathering, pattern: Pattern, weights: list[float]) -> int | None:
    """The neuron without spikes whose membrane a sum over time is; None where the weights are no decay.

    weights: of step 0, 1, ...; the last is the gain.
    """
    response = torch.tensor(weights[::-1], dtype=torch.float64)
    key = ("integrator", pattern.key, snap(weights[-1]))
    number = context.keys.get(key)
    if number is not None:
        module = context.building.modules[context.names[number]]
        assert isinstance(module, CanonicalNeuron)
        return number if _responds(module.model, response) else None
    poles = next((each for each in impulse_poles(response[:, None]) if not isinstance(each, str)), None)
    if poles is None:
        return None
    decay, synapse = (None if each is None else snap(float(each[0])) for each in poles)
    assert decay is not None
    model = NeuronModel(
        decay=decay, input_gain=snap(weights[-1]), drive=0.0, threshold=1.0, comparator="greater_equal", reset="none",
        reset_value=0.0, soft_amount=0.0, initial=0.0, output="membrane", synapse_decay=synapse,
    )  # fmt: skip
    if not _responds(model, response):
        return None
    name = context.building.add(f"{op.place.module}_membrane".lstrip("_"), CanonicalNeuron(model))
    context.findings.append(Finding(name, str(op.place), in_words(model)))
    return context.new_node(key, NeuronNode(name, reads), pattern.shape, name)


def _responds(model: NeuronModel, response: Tensor) -> bool:
    """Whether a membrane has this impulse response."""
    once = torch.zeros(len(response), 1, 1, dtype=torch.float64)
    once[0] = 1.0
    found = simulate(model, once).membranes.flatten()
    return bool((found - response).abs().max() <= _NEAR * response.abs().max())


def _over_time(context: Context, op: Op, affine: _Affine) -> TraceError:
    return TraceError(
        f"steps are combined in a way that is no sum, mean or last step, nor a membrane that decays ({op.place})",
        hints=[
            "take the mean, sum or last step over time at the end; what goes from step to step before it is the state "
            "of a neuron"
        ],
    )


# ---------------------------------------------------------------------- helpers


def _pattern(context: Context, cells: Tensor, rows: Arrangement, place: Place) -> Pattern:
    whole = Arrangement(rows.steps, rows.samples, torch.arange(cells.numel()).reshape(cells.shape), rows.shape)
    samples = context.cells.sample[cells.clamp(min=0)]
    found = context.cells.pattern(cells, None, whole)
    if found is None or bool(((samples != rows.samples[:, None]) & (cells >= 0)).any()):
        raise TraceError(f"samples or steps are read in different ways ({place})", hints=["treat all alike"])
    return found


def whole(node: int, shape: tuple[int, ...]) -> Pattern:
    """A node's own sample, place by place."""
    count = torch.Size(shape).numel()
    return Pattern(torch.full((count,), node), torch.arange(count), torch.zeros(count, dtype=torch.float64), shape)


def _alias(context: Context, op: Op, rows: Arrangement, pattern: Pattern) -> None:
    """The cells of an expression that is one leaf itself."""
    cells = op.base + rows.order
    context.cells.node[cells] = pattern.nodes.expand(len(rows.order), -1)
    context.cells.place[cells] = pattern.places.expand(len(rows.order), -1)
    context.cells.sign[cells] = sign_of(pattern.nodes, pattern.places)
    context.cells.step[cells], context.cells.sample[cells] = (
        rows.steps[:, None].expand_as(cells),
        rows.samples[:, None].expand_as(cells),
    )


def _assign(context: Context, op: Op, rows: Arrangement, node: int, step: int | None = None) -> None:
    cells = op.base + rows.order
    steps = rows.steps[:, None] if step is None else torch.full_like(rows.steps[:, None], step)
    context.cells.assign(
        cells,
        node,
        steps.expand_as(cells),
        rows.samples[:, None].expand_as(cells),
        torch.arange(cells.shape[1]).expand_as(cells),
    )


def _inherit(context: Context, number: int, patterns: list[Pattern], *, reduced: bool, counts: bool) -> None:
    if reduced:
        context.reduced.add(number)
    if counts and all(source in context.spiking for pattern in patterns for source in pattern.sources):
        context.spiking.add(number)

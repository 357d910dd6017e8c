"""A chain of comparisons as the node of a canonical neuron, or an error that says what is none about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, Numbers, channel_values
from mdcompress.lifting.cells import STILL, Arrangement, Pattern
from mdcompress.lifting.chains import Neuron
from mdcompress.lifting.comparisons import CLAMPS, level_of
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import whole
from mdcompress.lifting.identify import Reading, Recurrence, Unread, follows, identify
from mdcompress.lifting.inputs import Input, inputs_of, leaf_of, resolve_inputs
from mdcompress.lifting.network import CanonicalNeuron, Finding, LayerNode, NeuronNode, SumNode
from mdcompress.lifting.program import Program
from mdcompress.lifting.tape import Op
from mdcompress.lifting.words import in_words

_PLACES = 4  # of a channel that are read; all are proved
_FLOORS = CLAMPS | {"maximum", "threshold"}


def read_neurons(context: Context, neurons: Sequence[Neuron]) -> None:
    """Read every neuron, and write its node.

    Args:
        context: the analysis, which ends with a node for each neuron.
        neurons: as they were met.

    Raises:
        TraceError: one is no canonical neuron.
    """
    for neuron in neurons:
        _read(context, neuron)


def _read(context: Context, neuron: Neuron) -> None:
    """Read one neuron from its comparisons at all steps, and write its node."""
    name = context.names[neuron.node]
    steps = sorted(neuron.differences)
    if steps != list(range(context.steps)):
        raise TraceError(
            f"neuron {name!r} is found at {len(steps)} steps, and the sample has {context.steps} ({neuron.place})",
            hints=["give a sample with as many steps as the network makes: in a recipe `data.time_steps`"],
        )
    resolve_inputs(context, neuron)
    inputs = inputs_of(context, neuron)
    _require_own_step(context, neuron, inputs)
    count = torch.Size(neuron.shape).numel()
    recurrence = _recurrence(context, neuron, inputs, _few_places(neuron.shape))
    reading = identify(recurrence)
    if isinstance(reading, Unread):
        raise _unread(context, neuron, reading, inputs)
    if not follows(_recurrence(context, neuron, inputs, _apart(inputs, count)), reading):
        raise _unread(context, neuron, Unread("a number differs from place to place"), inputs)
    _write(context, neuron, reading, inputs)


def _require_own_step(context: Context, neuron: Neuron, inputs: list[Input]) -> None:
    for each in inputs:
        if each.offset > 1 or (each.is_late and not _is_recurrent(context, each.node, neuron)):
            steps = f"{each.offset} step{'s' if each.offset > 1 else ''}"
            raise TraceError(
                f"neuron {context.names[neuron.node]!r} reads {context.names.get(each.node) or 'a node'!r} of {steps} "
                f"before ({neuron.place})",
                hints=[
                    "let layers run one after the other within a step; only a recurrent layer reads its own neuron's "
                    "last spikes"
                ],
            )


def _recurrence(context: Context, neuron: Neuron, inputs: list[Input], places: Tensor) -> Recurrence:
    """The neuron at some places as a function of the currents and spikes that it is given."""
    steps = range(context.steps)
    targets = torch.stack([neuron.differences[step][0, places] for step in steps])
    program = Program(context.cells, targets, leaf_of(context, neuron))
    slope, offset = _unit(context, neuron, places)
    if bool((slope <= 0).any()):
        raise _unread(context, neuron, Unread("it fires where its potential is below a level"), inputs)
    spikes = [[cells[0, places] for cells in neuron.spikes[step]] for step in steps]
    memory = program.memory()

    def potentials(x: Tensor, s: Tensor) -> Tensor:
        for each, current in zip(inputs, x, strict=True):
            for when, arrays in each.cells.items():
                at = 0 if when == STILL else min(when + each.offset, steps[-1])
                for cells in arrays:
                    read = cells[0, places]
                    memory[read[read >= 0]] = current[at][read >= 0]
        for step in steps:
            for cells in spikes[step]:
                memory[cells] = s[step]
        return (program.run(memory) - offset) / slope

    comparison = neuron.comparison
    floors = {value for op in program.ops if op.name in _FLOORS for value in _constants(op)}
    return Recurrence(
        potentials=potentials,
        steps=context.steps,
        still=tuple(each.still for each in inputs),
        threshold=-offset / slope if comparison.spike == "binary" else 1.0 / slope,
        channels=places // max(1, torch.Size(neuron.shape[1:]).numel()),
        comparator=comparison.comparator,
        spike=comparison.spike,
        max_spikes=comparison.max_spikes,
        floors=tuple(sorted(floors)),
        late=tuple(each.is_late for each in inputs),
    )


def _unit(context: Context, neuron: Neuron, places: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of the difference over the membrane, at the last step; of counts the offset is 0."""
    last = context.steps - 1
    op = context.cells.ops[neuron.difference_ops[last]]
    level = level_of(context, op)
    where = neuron.differences[last][0, places] - op.base
    if neuron.comparison.spike != "binary":
        return level.slope[where], torch.zeros_like(level.slope[where])
    return level.slope[where], level.offset[where]


def _is_recurrent(context: Context, node: int, neuron: Neuron) -> bool:
    layer = context.nodes.get(node)
    return isinstance(layer, LayerNode) and layer.reads.sources == (neuron.node,)


def _write(context: Context, neuron: Neuron, reading: Reading, inputs: list[Input]) -> None:
    """The node of a neuron, and of the sum that it reads where it has several inputs."""
    model, recurrent = reading.model, None
    reads, factors = [], []
    for each, weight in zip(inputs, reading.weights, strict=True):
        pattern = _pattern(context, neuron, each)
        if each.is_late:
            model, recurrent = _with_recurrent(context, neuron, each, weight, model, pattern)
            continue
        if not bool((weight == weight[0]).all()) or float(weight[0]) <= 0:
            raise _unread(context, neuron, Unread("its inputs have other shares from channel to channel"), inputs)
        reads.append(context.gathered(pattern, neuron.place))
        factors.append(float(weight[0]))
    if not reads:
        raise _unread(context, neuron, Unread("it reads nothing but its own spikes"), inputs)
    shape = neuron.shape
    if len(reads) == 1 and factors == [1.0]:
        gathering = reads[0]
    else:
        number = context.new_node(("sum of", neuron.node), SumNode(tuple(reads), tuple(factors)), shape)
        gathering = context.gathered(whole(number, shape), neuron.place)
    name = context.building.add(context.names[neuron.node], CanonicalNeuron(model, recurrent))
    context.nodes[neuron.node] = NeuronNode(name, gathering)
    context.names[neuron.node] = name
    context.findings.append(Finding(name, str(neuron.place), in_words(model)))


def _pattern(context: Context, neuron: Neuron, each: Input) -> Pattern:
    """What a neuron reads of a node: the same of every sample, at every step."""
    keys = {}
    for when, (cells, *_) in each.cells.items():
        rows = Arrangement(
            torch.full((len(cells),), when), context.cells.sample[neuron.differences[0][:, 0]],
            torch.arange(cells.numel()).reshape(cells.shape), neuron.shape,
        )  # fmt: skip
        pattern = context.cells.pattern(cells, None, rows)
        if pattern is None:
            raise TraceError(f"a neuron reads samples in different ways ({neuron.place})", hints=["treat all alike"])
        keys[pattern.key] = pattern
    if len(keys) != 1:
        raise TraceError(f"a neuron reads steps in different ways ({neuron.place})", hints=["treat all alike"])
    return next(iter(keys.values()))


def _with_recurrent(
    context: Context, neuron: Neuron, each: Input, weight: Tensor, model: NeuronModel, pattern: Pattern
) -> tuple[NeuronModel, nn.Module]:
    """The neuron with the layer by which its last spikes come back.

    The canonical neuron reads the layer's bias at step 0 too, where there are no spikes yet. What was measured there
    holds it or not, as the code has it; the initial value makes both the same potential.
    """
    node = context.nodes[each.node]
    assert isinstance(node, LayerNode)
    plain = torch.equal(pattern.places, torch.arange(len(pattern.places))) and context.shapes[each.node] == neuron.shape
    identity = node.reads.moves[0].shape == neuron.shape and len(node.reads.moves) == 1
    if not plain or not identity or not bool((weight == 1).all()) or model.recurrent is not None:
        raise _unread(context, neuron, Unread("its last spikes come back in a way that no recurrent layer has"), [])
    layer = context.building.modules.pop(node.module)
    bias = getattr(layer, "bias", None)
    if bias is not None and bool((bias != 0).any()):
        initial = _without_bias(model, bias)
        if initial is None:
            raise _unread(
                context, neuron, Unread("its recurrent layer has a bias, which step 0 cannot be told from"), []
            )
        model = replace(model, initial=initial)
    return replace(model, recurrent="recurrent"), layer


def _without_bias(model: NeuronModel, bias: Tensor) -> Numbers | None:
    """initial - gain * bias / decay: what makes h(0) the measured one; None where step 0 keeps nothing of it."""
    decay, gain, initial = (
        torch.tensor(channel_values(value), dtype=torch.float64)
        for value in (model.decay, model.current_gain, model.initial)
    )
    if model.has_synapse or bool((decay == 0).any()):
        return None
    shifted = initial - gain * bias.detach().double() / decay
    return tuple(shifted.tolist()) if len(shifted) > 1 else float(shifted)


def _unread(context: Context, neuron: Neuron, unread: Unread, inputs: list[Input]) -> TraceError:
    read = ""
    if unread.input is not None and unread.input < len(inputs):
        name = context.names.get(inputs[unread.input].node)
        read = f" ({name!r})" if name else " (a value computed from the input)"
    found = f"; found so far: {unread.found}" if unread.found else ""
    return TraceError(
        f"this looks like a neuron, but {unread.why}{read} ({context.names[neuron.node]!r}, {neuron.place}{found})",
        hints=[
            "an integer neuron has a constant threshold, a constant decay, and a hard or soft reset: what is read, and "
            "what is not, stands in docs/frameworks/styles.md"
        ],
    )


def _apart(inputs: list[Input], count: int) -> Tensor:
    """The places of a neuron that share no cell of an input with a place before, as those of an upsampled map do."""
    keep = torch.ones(count, dtype=torch.bool)
    for each in inputs:
        for arrays in each.cells.values():
            cells = arrays[0][0]
            kinds, back = torch.unique(cells, return_inverse=True)
            first: Tensor = torch.full((len(kinds),), count).scatter_reduce(0, back, torch.arange(count), "amin")
            keep &= (first[back] == torch.arange(count)) | (cells < 0)
    found: Tensor = keep.nonzero().squeeze(1)
    return found


def _few_places(shape: tuple[int, ...]) -> Tensor:
    """Some places of every channel."""
    count = torch.Size(shape).numel()
    rest = max(1, torch.Size(shape[1:]).numel())
    own: Tensor = torch.unique(torch.linspace(0, rest - 1, min(_PLACES, rest)).round().long())
    return (torch.arange(0, count, rest)[:, None] + own).reshape(-1)


def _constants(op: Op) -> list[float]:
    """The numbers that an operator was given."""
    if op.name in ("relu", "relu6"):
        return [0.0]
    found = [float(value) for value in (*op.arguments[1:], *op.options.values()) if isinstance(value, int | float)]
    for operand in op.operands:
        if operand.labels is None and operand.value is not None and operand.value.numel() == 1:
            found.append(float(operand.value))
    return found

"""Which comparison is which neuron's, at which step: those of one neuron are linked by its state.

A potential is computed, element by element, from the spike or the potential of the step before; what else it is
computed from are the neuron's inputs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import STILL, Arrangement
from mdcompress.lifting.comparisons import Comparison, Level, comparison_of, counts_of, is_mask, level_of, upward
from mdcompress.lifting.context import Context
from mdcompress.lifting.program import Program
from mdcompress.lifting.tape import Op, Place


@dataclass
class Neuron:
    """A neuron as it is found. At each step: the operator of its difference, and of its spikes.

    paths: the operators between the membrane and the difference. at_once: all steps were compared in one call, so that
    it has no memory.
    """

    node: int
    place: Place
    comparison: Comparison
    shape: tuple[int, ...]
    inputs: frozenset[int]
    at_once: bool = False
    differences: dict[int, Tensor] = field(default_factory=dict)  # [N, P] cells
    spikes: dict[int, list[Tensor]] = field(default_factory=dict)
    roots: dict[int, int] = field(default_factory=dict)
    difference_ops: dict[int, int] = field(default_factory=dict)
    paths: dict[int, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Met:
    """A comparison as it is met: the operators that its potential is computed from (leaves), and those between.

    inputs: the nodes among the leaves that are no spikes.
    """

    op: Op
    comparison: Comparison
    rows: Arrangement
    leaves: frozenset[int]
    between: frozenset[int]
    inputs: frozenset[int]


@dataclass(frozen=True)
class _Known:
    """A comparison that was met: of which neuron and step, through which operators, in which module."""

    neuron: Neuron
    step: int
    path: frozenset[int]
    module: str


class Chains:
    """The neurons of a tape."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.neurons: list[Neuron] = []
        self._by_root: dict[bytes, list[_Known]] = {}
        self._counts = counts_of(context)

    def meet(self, op: Op) -> None:
        """Take an operator on elements as a neuron's spikes, if it is a comparison or makes counts.

        Raises:
            TraceError: it reads steps or samples mixed, or begins after the first step.
        """
        context = self._context
        comparison = None if op.number in context.noisy else comparison_of(context, op, self._counts)
        if comparison is None:
            return
        comparison, spikes, level = upward(context, comparison, op, level_of(context, comparison.difference))
        if is_mask(context, comparison):
            return
        key = level.key + comparison.comparator.encode()
        known = self._known(key, level, spikes.place.module)
        rows = context.rows(comparison.difference.cells, spikes.place, "a neuron")
        if known is None and len(torch.unique(rows.steps)) > 1:
            self._all_at_once(spikes, comparison, rows)
            return
        if known is None:
            known = self._begin(spikes, comparison, rows, level)
            self._by_root.setdefault(key, []).append(known)
        self._note(spikes, rows, known.neuron, known.step)
        if spikes is not op:
            context.follow_elements(context.cells.ops[op.number])

    def _begin(self, op: Op, comparison: Comparison, rows: Arrangement, level: Level) -> _Known:
        """A comparison that was not made before, as the step of a neuron."""
        context, difference = self._context, comparison.difference
        cells = difference.base + rows.order
        program = Program(context.cells, cells[0, :1], self._is_source)
        leaves = frozenset(context.cells.owning(program.leaves))
        between = frozenset(each.number for each in program.ops)
        met = _Met(op, comparison, rows, leaves, between, self._inputs(leaves))
        last = int(rows.steps[0])
        still = last == STILL or self._begins_still(program)
        neuron, step = self._still(met) if still else self._moving(met, last)
        neuron.differences[step] = cells
        neuron.difference_ops[step] = difference.number
        neuron.paths[step] = frozenset(level.path)
        owners = context.cells.owning(level.root)
        if len(owners) == 1 and not context.is_resolved(owners[0]):
            neuron.roots[step] = owners[0]
            if step > 0 or any(number in leaves for number in context.states):
                context.states[owners[0]] = neuron.node
            context.states[difference.number] = neuron.node
        return _Known(neuron, step, frozenset(level.path), op.place.module)

    def _inputs(self, leaves: frozenset[int]) -> frozenset[int]:
        cells = self._context.cells
        nodes = {int(cells.node[cells.ops[number].base]) for number in leaves}
        return frozenset(node for node in nodes if not self._is_spike(node))

    def _is_source(self, number: int) -> bool:
        """Whether an operator is a layer, an input or spikes, and no expression of them."""
        op = self._context.cells.ops[number]
        return self._context.is_resolved(number) and (op.evaluate is None or number in self._context.spikes)

    def _known(self, key: bytes, level: Level, module: str) -> _Known | None:
        """The neuron and step of a comparison that was made before, as it is made again for the reset."""
        context = self._context
        owners = context.cells.owning(level.root)
        own = len(owners) == 1 and not context.is_resolved(owners[0])
        for known in reversed(self._by_root.get(key, [])):
            if own or known.path & set(level.path) or (not level.path and known.module == module):
                return known
        return None

    def _note(self, op: Op, rows: Arrangement, neuron: Neuron, step: int) -> None:
        context = self._context
        cells = op.base + rows.order
        context.spikes[op.number] = neuron.node
        neuron.spikes.setdefault(step, []).append(cells)
        context.cells.assign(
            cells,
            neuron.node,
            torch.full_like(cells, step),
            rows.samples[:, None].expand_as(cells),
            torch.arange(cells.shape[1]).expand_as(cells),
        )

    def _begins_still(self, program: Program) -> bool:
        steps = self._context.cells.step[program.leaves]
        nodes = self._context.cells.node[program.leaves]
        inputs = [step for step, node in zip(steps.tolist(), nodes.tolist(), strict=True) if not self._is_spike(node)]
        return bool(inputs) and all(step == STILL for step in inputs)

    def _is_spike(self, node: int) -> bool:
        return any(neuron.node == node for neuron in self.neurons)

    def _linked(self, met: _Met) -> list[Neuron]:
        """The neurons from whose last spikes or potential a potential is computed."""
        found = []
        for neuron in self.neurons:
            last = _last(neuron)
            spikes = {number for cells in neuron.spikes[last] for number in self._context.cells.owning(cells[0, :1])}
            held = {neuron.difference_ops[last], neuron.roots.get(last, -1), *neuron.paths.get(last, ())}
            if spikes & met.leaves or held & met.between:
                found.append(neuron)
        return found

    def _still(self, met: _Met) -> tuple[Neuron, int]:
        """The neuron of a comparison whose inputs are the same at all steps, and the step: the next one."""
        linked = self._linked(met)
        same = _alike(met, linked)
        if not linked:  # without memory: the next step of one at this place with these inputs
            same = [each for each in self.neurons if each.place == met.op.place and each.inputs == met.inputs]
        return self._continued(met, same, _last(same[-1]) + 1 if same else 0)

    def _moving(self, met: _Met, step: int) -> tuple[Neuron, int]:
        """The neuron of a comparison of this step: the one that was at the step before."""
        linked = self._linked(met)
        before = [
            each for each in _alike(met, linked) or linked if _last(each) == step - 1 and each.shape == met.rows.shape
        ]
        if not before and step > 0:
            before = [
                each
                for each in self.neurons
                if each.place == met.op.place and each.shape == met.rows.shape
                if each.inputs == met.inputs and _last(each) == step - 1
            ]
        return self._continued(met, before, step)

    def _continued(self, met: _Met, chosen: list[Neuron], step: int) -> tuple[Neuron, int]:
        """The last of the neurons that may go on with a step; a new one at the first step."""
        if chosen and set(chosen[-1].differences) == set(range(step)):
            return chosen[-1], step
        if step > 0:
            raise TraceError(
                f"a comparison begins at step {step} ({met.op.place})",
                hints=["let every neuron run at each step, from the first one on"],
            )
        return self._new(met.op, met.comparison, met.rows, met.inputs), step

    def _new(self, op: Op, comparison: Comparison, rows: Arrangement, inputs: frozenset[int]) -> Neuron:
        context = self._context
        number = len(context.shapes)
        context.shapes[number] = rows.shape
        context.names[number] = self._name(op, inputs)
        context.spiking.add(number)
        neuron = Neuron(number, op.place, comparison, rows.shape, inputs)
        self.neurons.append(neuron)
        return neuron

    def _name(self, op: Op, inputs: frozenset[int]) -> str:
        """That of its module; of one inline, that of the layer before it."""
        context = self._context
        module = op.place.module
        while "." in module and not context.holding.get(module.rpartition(".")[0], True):
            module = module.rpartition(".")[0]
        holds = context.holding.get(module, True)
        fed = [context.names[node] for node in sorted(inputs) if context.names.get(node)]
        name = module if module and not holds else f"{fed[-1]}_neuron" if fed else f"{module}.neuron".lstrip(".")
        taken = {context.names[neuron.node] for neuron in self.neurons}
        names = itertools.chain((name,), (f"{name}_{k}" for k in itertools.count(2)))
        return next(each for each in names if each not in taken and context.building.free(each) == each)

    def _all_at_once(self, op: Op, comparison: Comparison, rows: Arrangement) -> None:
        """A comparison of all steps in one call: a neuron without memory."""
        neuron = self._new(op, comparison, rows, frozenset())
        neuron.at_once = True
        for step in torch.unique(rows.steps).tolist():
            own = rows.steps == step
            neuron.differences[int(step)] = comparison.difference.base + rows.order[own]
            neuron.difference_ops[int(step)] = comparison.difference.number
            few = Arrangement(rows.steps[own], rows.samples[own], rows.order[own], rows.shape)
            self._note(op, few, neuron, int(step))


def _last(neuron: Neuron) -> int:
    return max(neuron.differences)


def _alike(met: _Met, linked: list[Neuron]) -> list[Neuron]:
    """Of the neurons that a comparison is linked with those at its place, or of its module with its inputs."""
    fitting = [each for each in linked if each.shape == met.rows.shape]
    here = [each for each in fitting if each.place == met.op.place]
    module = met.op.place.module
    return here or [each for each in fitting if each.place.module == module and each.inputs == met.inputs]

"""Comparisons as neurons: which of them are one neuron's at successive steps, and which canonical neuron that is.

A spike is a comparison of a potential with a threshold, or a rounding of it to a count. Those of one neuron are linked
by its state: the potential at a step is computed, element by element, from the spike or the potential of the step
before. What else the potential is computed from are the neuron's inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, channel_values
from mdcompress.lifting.cells import STILL, Arrangement, Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.expressions import resolve, whole
from mdcompress.lifting.identify import Reading, Recurrence, Unread, follows, identify
from mdcompress.lifting.network import CanonicalNeuron, Finding, LayerNode, NeuronNode, SumNode
from mdcompress.lifting.operators import COMPARISONS
from mdcompress.lifting.program import Program, slots
from mdcompress.lifting.tape import Op, Operand, Place
from mdcompress.lifting.words import in_words

_CLAMPS = frozenset({"clamp", "clamp_min", "clip", "relu", "hardtanh", "relu6"})
_AFFINE = frozenset({"add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "neg"})
_GAINS = frozenset({"mul", "multiply", "div", "divide", "true_divide"})
_PLACES = 4  # of a channel that are read; all are proved


@dataclass(frozen=True)
class _Comparison:
    """A comparison: the operator of the difference that is compared with 0, or rounded."""

    difference: Op
    comparator: str
    spike: str = "binary"
    max_spikes: int | None = 1


@dataclass
class Neuron:
    """A neuron as it is found. At each step: the operator of its difference, and of its spikes.

    paths: the operators between the membrane and the difference. at_once: all steps were compared in one call, so that it has no memory.
    """

    node: int
    place: Place
    comparison: _Comparison
    shape: tuple[int, ...]
    inputs: frozenset[int]
    at_once: bool = False
    differences: dict[int, Tensor] = field(default_factory=dict)  # [N, P] cells
    spikes: dict[int, list[Tensor]] = field(default_factory=dict)
    roots: dict[int, int] = field(default_factory=dict)
    difference_ops: dict[int, int] = field(default_factory=dict)
    paths: dict[int, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Known:
    """A comparison that was met: of which neuron and step, through which operators, in which module."""

    neuron: Neuron
    step: int
    path: frozenset[int]
    module: str


class Spikes:
    """The neurons of a tape."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.neurons: list[Neuron] = []
        self._spike_ops: dict[int, Neuron] = {}
        self._by_root: dict[bytes, list[_Known]] = {}
        self._counting, self._inner = _counts(context)

    # ------------------------------------------------------------------ meeting

    def meet(self, op: Op) -> bool:
        """Take an operator on elements as a neuron's spikes; False where it is none."""
        comparison = None if op.number in self._context.noisy else self._comparison(op)
        if comparison is None:
            return False
        given = op
        comparison, op = self._upward(comparison, op)
        context, difference = self._context, comparison.difference
        labels = difference.cells
        root, path = self._root(difference)
        if self._is_mask(comparison):
            return False
        key = self._root_key(comparison, root)
        known = self._known(key, root, path, op.place.module)
        rows = context.rows(labels, op.place, "a neuron")
        if known is not None:
            self._note(op, rows, known.neuron, known.step)
            if op is not given:
                context.follow_elements(context.cells.ops[given.number])
            return True
        cells = difference.base + rows.order
        program = Program(context.cells, cells[0, :1], self._is_source)
        leaves = set(context.cells.owning(program.leaves))
        between = {each.number for each in program.ops}
        steps = torch.unique(rows.steps).tolist()
        if len(steps) > 1:
            self._all_at_once(op, comparison, rows)
            return True
        still = steps[0] == STILL or self._begins_still(program)
        neuron, step = self._of(op, comparison, rows, leaves, between, steps[0], still=still)
        where = torch.unique(root)
        neuron.differences[step] = cells
        neuron.difference_ops[step] = difference.number
        neuron.paths[step] = frozenset(path)
        self._by_root.setdefault(key, []).append(_Known(neuron, step, frozenset(path), op.place.module))
        owners = context.cells.owning(where)
        if len(owners) == 1 and not context.is_resolved(owners[0]):
            neuron.roots[step] = owners[0]
            if step > 0 or any(number in leaves for number in context.states):
                context.states[owners[0]] = neuron.node
            context.states[difference.number] = neuron.node
        self._note(op, rows, neuron, step)
        if op is not given:
            context.follow_elements(context.cells.ops[given.number])
        return True

    def _is_source(self, number: int) -> bool:
        """Whether an operator is a layer, an input or spikes, and no expression of them."""
        op = self._context.cells.ops[number]
        return self._context.is_resolved(number) and (op.evaluate is None or number in self._spike_ops)

    def _known(self, key: bytes, root: Tensor, path: list[int], module: str) -> _Known | None:
        """The neuron and step of a comparison that was made before, as it is made again for the reset."""
        context = self._context
        owners = context.cells.owning(root)
        own = len(owners) == 1 and not context.is_resolved(owners[0])
        for known in reversed(self._by_root.get(key, [])):
            if own or known.path & set(path) or (not path and known.module == module):
                return known
        return None

    def _note(self, op: Op, rows: Arrangement, neuron: Neuron, step: int) -> None:
        context = self._context
        cells = op.base + rows.order
        self._spike_ops[op.number] = neuron
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

    def _of(
        self,
        op: Op,
        comparison: _Comparison,
        rows: Arrangement,
        leaves: set[int],
        between: set[int],
        last: int,
        *,
        still: bool,
    ) -> tuple[Neuron, int]:
        """The neuron that a comparison belongs to, and the step."""
        context = self._context
        linked: list[tuple[Neuron, int]] = []
        for neuron in self.neurons:
            at = max(neuron.differences)
            before = {number for cells in neuron.spikes[at] for number in context.cells.owning(cells[0, :1])}
            held = {neuron.difference_ops[at], neuron.roots.get(at, -1), *neuron.paths.get(at, ())}
            if before & leaves or held & between:
                linked.append((neuron, at))
        inputs = frozenset(
            int(node)
            for number in leaves
            for node in [int(context.cells.node[context.cells.ops[number].base])]
            if not self._is_spike(node)
        )
        fitting = [(neuron, at) for neuron, at in linked if neuron.shape == rows.shape]
        same = [(neuron, at) for neuron, at in fitting if neuron.place == op.place] or [
            (neuron, at) for neuron, at in fitting if neuron.place.module == op.place.module and neuron.inputs == inputs
        ]
        if still:
            chosen = same[-1:]
            if not chosen:  # without memory: the next step of one at this place with these inputs
                chosen = [
                    (neuron, max(neuron.differences))
                    for neuron in self.neurons
                    if neuron.place == op.place and neuron.inputs == inputs and not linked
                ][-1:]
            step = chosen[0][1] + 1 if chosen else 0
        else:
            step = last
            chosen = [(neuron, at) for neuron, at in (same or linked) if at == step - 1 and neuron.shape == rows.shape][
                -1:
            ]
            if not chosen and step > 0:
                chosen = [
                    (neuron, max(neuron.differences))
                    for neuron in self.neurons
                    if neuron.place == op.place
                    and neuron.shape == rows.shape
                    and max(neuron.differences) == step - 1
                    and neuron.inputs == inputs
                ][-1:]
        if chosen and set(chosen[0][0].differences) == set(range(step)):
            neuron = chosen[0][0]
        else:
            if step > 0:
                raise TraceError(
                    f"a comparison begins at step {step} ({op.place})",
                    hints=["let every neuron run at each step, from the first one on"],
                )
            neuron = self._new(op, comparison, rows, inputs)
        return neuron, step

    def _new(self, op: Op, comparison: _Comparison, rows: Arrangement, inputs: frozenset[int]) -> Neuron:
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
        return next(
            each
            for each in (name, *(f"{name}_{k}" for k in range(2, 9999)))
            if each not in taken and context.building.free(each) == each
        )

    def _all_at_once(self, op: Op, comparison: _Comparison, rows: Arrangement) -> None:
        """A comparison of all steps in one call: a neuron without memory."""
        neuron = self._new(op, comparison, rows, frozenset())
        neuron.at_once = True
        for step in torch.unique(rows.steps).tolist():
            own = rows.steps == step
            neuron.differences[int(step)] = comparison.difference.base + rows.order[own]
            neuron.difference_ops[int(step)] = comparison.difference.number
            few = Arrangement(rows.steps[own], rows.samples[own], rows.order[own], rows.shape)
            self._note(op, few, neuron, int(step))

    # ------------------------------------------------------------------ what is compared

    def _upward(self, comparison: _Comparison, op: Op) -> tuple[_Comparison, Op]:
        """A comparison that is true below a level as 1 - one that is true above it."""
        context, difference = self._context, comparison.difference
        root, _ = self._root(difference)
        slope, _ = self._line(difference, root)
        if comparison.spike != "binary" or not bool((slope < 0).all()):
            return comparison, op
        turned = self._minus(op, 0.0, Operand(difference.cells, None))
        fires = torch.gt if comparison.comparator == "ge" else torch.ge
        above = Operand(turned.cells, None)
        spikes = context.cells.append("gt", (above,), lambda d: fires(d, 0.0).double(), op)
        context.cells.values[spikes.span] = 1.0 - context.cells.values[op.span]
        context.cells.ops[op.number] = replace(
            op, name="rsub", arguments=(Operand(spikes.cells, None),), options={}, evaluate=lambda s: 1.0 - s
        )
        return _Comparison(turned, "gt" if comparison.comparator == "ge" else "ge"), spikes

    def _comparison(self, op: Op) -> _Comparison | None:
        if op.number in self._inner:
            return None
        if op.name in COMPARISONS:
            left, right = op.arguments[0], op.arguments[1]
            upward = op.name in ("gt", "ge", "greater", "greater_equal")
            comparator = "ge" if op.name in ("ge", "le", "greater_equal", "less_equal") else "gt"
            if not upward:
                left, right = right, left
            # x > constant; constant > x fires below, which its identification refuses
            return _Comparison(self._minus(op, left, right), comparator)
        if op.name == "heaviside":
            value = op.arguments[1]
            at_zero = float(value.value.reshape(-1)[0]) if value.value is not None else 0.5
            if at_zero not in (0.0, 1.0):
                raise TraceError(f"a spike at the threshold is {at_zero:g} ({op.place})", hints=["let it be 0 or 1"])
            return _Comparison(self._minus(op, op.arguments[0], 0.0), "ge" if at_zero else "gt")
        if op.number in self._counting:
            kind, inner, top = self._counting[op.number]
            if kind == "sign":
                return _Comparison(self._minus(op, inner, 0.0), "gt")
            return _Comparison(self._minus(op, inner, 0.0), "ge", kind, top)
        return None

    def _minus(self, op: Op, left: Operand | float, right: Operand | float) -> Op:
        """left - right as an operator of its own."""
        context = self._context
        difference = context.cells.append(
            "sub", (left, right), lambda a, b: torch.as_tensor(a).double() - torch.as_tensor(b).double(), op
        )
        context.follow_elements(difference)
        return difference

    def _root(self, op: Op) -> tuple[Tensor, list[int]]:
        """The cells below all factors and constants, the membrane as the user's code holds it; the operators between."""
        context = self._context
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

    def _root_key(self, comparison: _Comparison, root: Tensor) -> bytes:
        """Equal for the same comparison of the same potential."""
        slope, offset = self._line(comparison.difference, root)
        bare = root.numpy().tobytes() + (slope / slope.abs().max()).numpy().tobytes()
        level = torch.round(-offset / slope * 1e12) / 1e12
        return bare + level.numpy().tobytes() + comparison.comparator.encode()

    def _line(self, difference: Op, root: Tensor) -> tuple[Tensor, Tensor]:
        """The difference as slope * root + offset, for each element."""
        context = self._context
        targets = difference.cells.reshape(-1)
        owners = {number for number in context.cells.owning(root)}
        program = Program(context.cells, targets, lambda number: number in owners)
        memory = program.memory()
        offset = program.run(memory).clone()
        memory[root] = 1.0
        return program.run(memory) - offset, offset

    def _is_mask(self, comparison: _Comparison) -> bool:
        """Whether spikes themselves are compared, so that nothing new comes of it: s > 0."""
        context, difference = self._context, comparison.difference
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

    # ------------------------------------------------------------------ reading

    def read_all(self) -> None:
        """Read every neuron, and write its node.

        Raises:
            TraceError: one is no canonical neuron.
        """
        for neuron in self.neurons:
            self._read(neuron)

    def _read(self, neuron: Neuron) -> None:
        context = self._context
        name = context.names[neuron.node]
        steps = sorted(neuron.differences)
        if steps != list(range(context.steps)):
            raise TraceError(
                f"neuron {name!r} is found at {len(steps)} steps, and the sample has {context.steps} ({neuron.place})",
                hints=["give a sample with as many steps as the network makes: in a recipe `data.time_steps`"],
            )
        self._resolve_inputs(neuron)
        inputs = self._inputs(neuron)
        recurrence, late = self._recurrence(neuron, inputs, few=True)
        reading = identify(recurrence)
        if isinstance(reading, Unread):
            raise self._unread(neuron, reading, inputs)
        full, _ = self._recurrence(neuron, inputs, few=False)
        if not follows(full, reading):
            raise self._unread(neuron, Unread("a number differs from place to place"), inputs)
        self._write(neuron, reading, inputs, late)

    def _resolve_inputs(self, neuron: Neuron) -> None:
        """Make nodes of what is computed from this step's inputs alone: a residual sum, a norm by hand."""
        context = self._context
        if context.steps < 2:
            return
        before: set[int] = set()
        by_step: list[dict[int, set[int]]] = []  # of fresh operators those that read them newly at a step
        for step in range(context.steps):
            reads = Program(context.cells, neuron.differences[step][0, :1], self._leaf_of(neuron)).reads
            by_step.append(self._fresh_and_readers(neuron, reads, step, before))
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
            for number in {self._without_gain(number) for number in outermost} - {None}:
                assert number is not None
                self._resolve_frontier(number)
        self._resolve_first(neuron)

    def _fresh_and_readers(
        self, neuron: Neuron, reads: dict[int, tuple[int, ...]], step: int, before: set[int]
    ) -> dict[int, set[int]]:
        context = self._context
        fresh = self._fresh(neuron, reads, step)
        found: dict[int, set[int]] = {}
        for cell, read in reads.items():
            if cell in before:
                continue
            (reader,) = context.cells.owning(torch.tensor([cell]))
            for number in context.cells.owning(
                torch.tensor([each for each in read if each in fresh], dtype=torch.int64)
            ):
                found.setdefault(number, set()).add(reader)
        return found

    def _resolve_frontier(self, number: int) -> None:
        """Make a node of an expression of a step's inputs."""
        context = self._context
        if context.is_resolved(number):
            return
        try:
            resolve(context, context.cells.ops[number].cells)
        except TraceError:
            return  # the neuron's own reading will say what it is

    def _without_gain(self, number: int) -> int | None:
        """The expression below factors that are one number; None where it is a node itself."""
        context = self._context
        while not context.is_resolved(number):
            op = context.cells.ops[number]
            constants = [each for each in op.operands if each.labels is None and each.value is not None]
            scalar = all(each.value is not None and each.value.numel() == 1 for each in constants)
            if op.name not in _GAINS or len(op.tracked) != 1 or not scalar:
                return number
            owners = self._owners_at(op.tracked[0])
            if len(owners) != 1:
                return number
            number = owners[0]
        return None

    def _resolve_first(self, neuron: Neuron) -> None:
        """At step 0 all is computed from inputs alone: of its expressions, those that are nodes at other steps."""
        context = self._context
        program = Program(context.cells, neuron.differences[0][0, :1], self._leaf_of(neuron))
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

    def _owners_at(self, operand: Operand) -> list[int]:
        assert operand.labels is not None
        return self._context.cells.owning(operand.labels.reshape(-1))

    def _leaf_of(self, neuron: Neuron) -> Callable[[int], bool]:
        """Which operators a neuron's potential is computed from: nodes, but for expressions of its own spikes."""
        memo: dict[int, bool] = {}
        context = self._context

        def returns(number: int) -> bool:
            """Whether an expression is computed from the neuron's own spikes."""
            if number not in memo:
                op = context.cells.ops[number]
                if op.evaluate is None or number in self._spike_ops:
                    memo[number] = self._spike_ops.get(number) is neuron
                else:
                    memo[number] = any(returns(k) for operand in op.tracked for k in self._owners_at(operand))
            return memo[number]

        def is_leaf(number: int) -> bool:
            if not context.is_resolved(number):
                return False
            op = context.cells.ops[number]
            return op.evaluate is None or number in self._spike_ops or not returns(number)

        return is_leaf

    def _fresh(self, neuron: Neuron, reads: dict[int, tuple[int, ...]], step: int) -> set[int]:
        """The cells of a program that are computed from this step's inputs alone."""
        context = self._context
        cells = torch.tensor(sorted({each for read in reads.values() for each in read}), dtype=torch.int64)
        owners = context.cells.owners(cells).tolist()
        inputs = {
            cell
            for cell, owner, node, at in zip(
                cells.tolist(),
                owners,
                context.cells.node[cells].tolist(),
                context.cells.step[cells].tolist(),
                strict=True,
            )
            if cell not in reads and context.is_resolved(owner) and node != neuron.node and at in (step, STILL)
        }
        states = {neuron.difference_ops[step], neuron.roots.get(step, -1)}
        if step == 0:
            states |= {*neuron.roots.values(), *neuron.difference_ops.values()}
        fresh: set[int] = set()
        for cell, read in reads.items():
            (owner,) = context.cells.owning(torch.tensor([cell]))
            if owner not in states and all(each in inputs or each in fresh for each in read):
                fresh.add(cell)
        return fresh

    # ------------------------------------------------------------------ inputs

    def _inputs(self, neuron: Neuron) -> list[_Input]:
        """The nodes that a neuron reads, with their cells at each step."""
        context = self._context
        found: dict[tuple[int, int], dict[int, list[Tensor]]] = {}
        first: dict[tuple[int, int], int] = {}
        by_step: list[dict[int, list[Tensor]]] = []
        states, is_leaf = dict(context.states), self._leaf_of(neuron)
        context.states = {
            number: node
            for number, node in states.items()
            if node == neuron.node and number not in neuron.roots.values()
        }
        try:
            for step in range(context.steps):
                context.states = (
                    {
                        neuron.roots[k]: neuron.node
                        for k in range(step)
                        if k in neuron.roots and (k > 0 or context.steps > 0)
                    }
                    if step
                    else {}
                )
                own: dict[int, list[Tensor]] = {}
                for each in slots(context.cells, neuron.differences[step], lambda k: k in context.states or is_leaf(k)):
                    cells = each[each >= 0]
                    if not len(cells):
                        continue
                    node = int(context.cells.node[cells[0]])
                    if node == neuron.node or node < 0:
                        continue
                    own.setdefault(node, []).append(each)
                by_step.append(own)
        finally:
            context.states = states
        for step, own in enumerate(by_step):
            for node, arrays in own.items():
                for each in arrays:
                    at = {int(s) for s in torch.unique(context.cells.step[each[each >= 0]]).tolist()}
                    if len(at) != 1:
                        raise TraceError(f"a neuron mixes steps ({neuron.place})", hints=["one step after the other"])
                    when = at.pop()
                    entry = found.setdefault((node, 0), {})
                    if when in entry and not self._same(entry[when][0], each):
                        raise TraceError(
                            f"neuron {context.names[neuron.node]!r} reads {context.names.get(node, '')!r} at other places "
                            f"than its own ({neuron.place})",
                            hints=["a neuron computes each element alone"],
                        )
                    entry.setdefault(when, []).append(each)
                    offset = step - when if when != STILL else 0
                    first[node, 0] = min(first.get((node, 0), offset), offset)
        result = [_Input(node, cells, first[node, order], STILL in cells) for (node, order), cells in found.items()]
        return sorted(result, key=lambda each: each.node)

    def _same(self, one: Tensor, other: Tensor) -> bool:
        """Whether cells are the same thing: computed again, as what is still is at every step."""
        if torch.equal(one, other):
            return True
        tables = (self._context.cells.node, self._context.cells.place, self._context.cells.sample)
        held = torch.equal(one < 0, other < 0)
        return held and all(torch.equal(table[one.clamp(min=0)], table[other.clamp(min=0)]) for table in tables)

    def _recurrence(self, neuron: Neuron, inputs: list[_Input], *, few: bool) -> tuple[Recurrence, tuple[bool, ...]]:
        context = self._context
        places = _few_places(neuron.shape) if few else _apart(inputs, torch.Size(neuron.shape).numel())
        steps = context.steps
        targets = torch.stack([neuron.differences[step][0, places] for step in range(steps)])
        program = Program(context.cells, targets, self._leaf_of(neuron))
        slope, offset = self._unit(neuron, places)
        own = [[cells[0, places] for cells in neuron.spikes[step]] for step in range(steps)]
        memory = program.memory()
        late = tuple(each.offset == 1 for each in inputs)
        for each in inputs:
            if each.offset > 1 or (each.offset == 1 and not self._is_recurrent(each.node, neuron)):
                raise TraceError(
                    f"neuron {context.names[neuron.node]!r} reads {context.names.get(each.node) or 'a node'!r} of "
                    f"{each.offset} step{'s' if each.offset > 1 else ''} before ({neuron.place})",
                    hints=[
                        "let layers run one after the other within a step; only a recurrent layer reads its own neuron's last spikes"
                    ],
                )

        def potentials(x: Tensor, s: Tensor) -> Tensor:
            for each, current in zip(inputs, x, strict=True):
                for when, arrays in each.cells.items():
                    at = 0 if when == STILL else min(when + each.offset, steps - 1)
                    for cells in arrays:
                        held = cells[0, places]
                        memory[held[held >= 0]] = current[at][held >= 0]
            for step in range(steps):
                for cells in own[step]:
                    memory[cells] = s[step]
            return (program.run(memory) - offset) / slope

        comparison = neuron.comparison
        threshold = -offset / slope if comparison.spike == "binary" else 1.0 / slope
        channels = places // max(1, torch.Size(neuron.shape[1:]).numel())
        floors = sorted(
            {value for op in program.ops if op.name in _CLAMPS | {"maximum", "threshold"} for value in _constants(op)}
        )
        found = Recurrence(
            potentials, steps, tuple(each.still for each in inputs), threshold, channels, comparison.comparator,
            comparison.spike, comparison.max_spikes, tuple(floors), late,
        )  # fmt: skip
        if bool((slope <= 0).any()):
            raise self._unread(neuron, Unread("it fires where its potential is below a level"), inputs)
        return found, late

    def _unit(self, neuron: Neuron, places: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and offset of the difference over the membrane, at the last step; of counts the offset is 0."""
        context = self._context
        last = context.steps - 1
        op = context.cells.ops[neuron.difference_ops[last]]
        root, _ = self._root(op)
        slope, offset = self._line(op, root)
        where = neuron.differences[last][0, places] - op.base
        if neuron.comparison.spike != "binary":
            return slope[where], torch.zeros_like(slope[where])
        return slope[where], offset[where]

    def _is_recurrent(self, node: int, neuron: Neuron) -> bool:
        layer = self._context.nodes.get(node)
        return isinstance(layer, LayerNode) and layer.reads.sources == (neuron.node,)

    # ------------------------------------------------------------------ writing

    def _write(self, neuron: Neuron, reading: Reading, inputs: list[_Input], late: tuple[bool, ...]) -> None:
        context = self._context
        model, recurrent = reading.model, None
        reads, factors = [], []
        for each, weight, is_late in zip(inputs, reading.weights, late, strict=True):
            pattern = self._pattern(neuron, each)
            if is_late:
                model, recurrent = self._with_recurrent(neuron, each, weight, model, pattern)
                continue
            if not bool((weight == weight[0]).all()) or float(weight[0]) <= 0:
                raise self._unread(neuron, Unread("its inputs have other shares from channel to channel"), inputs)
            reads.append(context.gathered(pattern, neuron.place))
            factors.append(float(weight[0]))
        if not reads:
            raise self._unread(neuron, Unread("it reads nothing but its own spikes"), inputs)
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

    def _pattern(self, neuron: Neuron, each: _Input) -> Pattern:
        """What a neuron reads of a node: the same of every sample, at every step."""
        context = self._context
        keys = {}
        for when, (cells, *_) in each.cells.items():
            rows = Arrangement(
                torch.full((len(cells),), when), context.cells.sample[neuron.differences[0][:, 0]],
                torch.arange(cells.numel()).reshape(cells.shape), neuron.shape,
            )  # fmt: skip
            pattern = context.cells.pattern(cells, None, rows)
            if pattern is None:
                raise TraceError(
                    f"a neuron reads samples in different ways ({neuron.place})", hints=["treat all alike"]
                )
            keys[pattern.key] = pattern
        if len(keys) != 1:
            raise TraceError(f"a neuron reads steps in different ways ({neuron.place})", hints=["treat all alike"])
        return next(iter(keys.values()))

    def _with_recurrent(
        self, neuron: Neuron, each: _Input, weight: Tensor, model: NeuronModel, pattern: Pattern
    ) -> tuple[NeuronModel, nn.Module]:
        context = self._context
        node = context.nodes[each.node]
        assert isinstance(node, LayerNode)
        plain = (
            torch.equal(pattern.places, torch.arange(len(pattern.places))) and context.shapes[each.node] == neuron.shape
        )
        identity = node.reads.moves[0].shape == neuron.shape and len(node.reads.moves) == 1
        if not plain or not identity or not bool((weight == 1).all()) or model.recurrent is not None:
            raise self._unread(neuron, Unread("its last spikes come back in a way that no recurrent layer has"), [])
        layer = context.building.modules.pop(node.module)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            shift = bias.detach().double() * torch.tensor(channel_values(model.input_gain), dtype=torch.float64)
            drive = torch.tensor(channel_values(model.drive), dtype=torch.float64) - shift
            model = replace(model, drive=tuple(drive.tolist()) if len(torch.unique(drive)) > 1 else float(drive[0]))
        return replace(model, recurrent="recurrent"), layer

    def _unread(self, neuron: Neuron, unread: Unread, inputs: list[_Input]) -> TraceError:
        context = self._context
        read = ""
        if unread.input is not None and unread.input < len(inputs):
            name = context.names.get(inputs[unread.input].node) or "a value computed from the input"
            read = f" ({name!r})" if context.names.get(inputs[unread.input].node) else f" ({name})"
        found = f"; found so far: {unread.found}" if unread.found else ""
        return TraceError(
            f"this looks like a neuron, but {unread.why}{read} ({context.names[neuron.node]!r}, {neuron.place}{found})",
            hints=[
                "an integer neuron has a constant decay, a constant threshold, and a hard or soft reset "
                "(docs/frameworks/own.md)"
            ],
        )


@dataclass(frozen=True)
class _Input:
    """A node that a neuron reads: its cells [N, P] at each step, and how many steps later they are read."""

    node: int
    cells: dict[int, list[Tensor]]
    offset: int
    still: bool


def _apart(inputs: list[_Input], count: int) -> Tensor:
    """The places of a neuron that share no cell of an input with a place before, as those of an upsampled map do."""
    keep = torch.ones(count, dtype=torch.bool)
    for each in inputs:
        for arrays in each.cells.values():
            cells = arrays[0][0]
            kinds, back = torch.unique(cells, return_inverse=True)
            first = torch.full((len(kinds),), count).scatter_reduce(0, back, torch.arange(count), "amin")
            keep &= (first[back] == torch.arange(count)) | (cells < 0)
    return keep.nonzero().squeeze(1)


def _few_places(shape: tuple[int, ...]) -> Tensor:
    count = torch.Size(shape).numel()
    rest = max(1, torch.Size(shape[1:]).numel())
    own = torch.unique(torch.linspace(0, rest - 1, min(_PLACES, rest)).round().long())
    return (torch.arange(0, count, rest)[:, None] + own).reshape(-1)


def _constants(op: Op) -> list[float]:
    if op.name in ("relu", "relu6"):
        return [0.0]
    found = [float(value) for value in (*op.arguments[1:], *op.options.values()) if isinstance(value, int | float)]
    for operand in op.operands:
        if operand.labels is None and operand.value is not None and operand.value.numel() == 1:
            found.append(float(operand.value))
    return found


_Counting = tuple[str, Operand, int | None]  # kind, what is rounded, the largest count


def _counts(context: Context) -> tuple[dict[int, _Counting], set[int]]:
    """Operators that make counts, and those inside of them: round(clamp(u, 0, 4)), clamp(round(u), 0, 4), relu(sign(u))."""
    kinds = {"round": "round", "floor": "floor", "trunc": "floor", "sign": "sign", "sgn": "sign"}
    found: dict[int, _Counting] = {}
    inner: set[int] = set()
    ops = context.cells.ops
    for op in ops:
        if op.name in kinds and len(op.tracked) == 1:
            below = _owner(context, op.tracked[0])
            if below is not None and below.name in _CLAMPS and _range(below) is not None:
                low_high = _range(below)
                assert low_high is not None
                found[op.number] = (kinds[op.name], below.tracked[0], low_high)
        if op.name in _CLAMPS and len(op.tracked) == 1:
            below = _owner(context, op.tracked[0])
            top = _range(op)
            if (
                below is not None
                and below.name in kinds
                and len(below.tracked) == 1
                and below.number not in found
                and top is not None
            ):
                found[op.number] = (kinds[below.name], below.tracked[0], top)
                inner.add(below.number)
    return {number: (kind, x, None if top == -1 else top) for number, (kind, x, top) in found.items()}, inner


def _owner(context: Context, operand: Operand) -> Op | None:
    """The one operator that made all of a tensor."""
    assert operand.labels is not None
    owners = context.cells.owning(operand.labels.reshape(-1))
    return context.cells.ops[owners[0]] if len(owners) == 1 else None


def _range(op: Op) -> int | None:
    """The largest count that a clamp from 0 leaves, -1 where there is no limit; None where it is another clamp."""
    if op.name == "relu":
        return -1
    given = [*op.arguments[1:]]
    low = given[0] if given else op.options.get("min")
    high = given[1] if len(given) > 1 else op.options.get("max")
    numbers = [_number(each) for each in (low, high)]
    if numbers[0] != 0.0 or (high is not None and (numbers[1] is None or numbers[1] != int(numbers[1]))):
        return None
    return -1 if numbers[1] is None else int(numbers[1])


def _number(value: object) -> float | None:
    match value:
        case int() | float():
            return float(value)
        case Operand(labels=None, value=Tensor() as held) if held.numel() == 1:
            return float(held)
        case _:
            return None

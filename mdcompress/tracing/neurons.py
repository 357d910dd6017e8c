"""A neuron that was called in the pass: with all steps at once, or with one step after the other.

A neuron called once per step, in order, is one node over all steps. Its state is kept in the module (`hidden`), or is
returned and passed in again (`explicit`): then what is passed in at step t must be what it returned at step t - 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters import Adapter, probe
from mdcompress.graph import Carries, NeuronModel, NodeKind, per_channel
from mdcompress.tracing.calling import Reduces, advice_on, calling_of
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.positions import Position
from mdcompress.tracing.samplewise import as_current


@dataclass
class Call:
    """What a neuron read and wrote so far: the currents and spikes of each call, under their leading axes.

    One that does not fire wrote its membranes, of all steps or reduced over them (`reduces`).
    """

    position: Position
    reduces: Reduces = "none"
    currents: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class NeuronCalls:
    """The neurons of a network, and what the pass has seen of them.

    models: by the module's qualified name; adapters: the user's own, for the probe.
    """

    models: dict[str, NeuronModel]
    adapters: Sequence[Adapter] = ()
    seen: dict[str, Call] = field(default_factory=dict)

    def record(self, ledger: Ledger, module: nn.Module, name: str, *, inputs: Sequence[object], output: object) -> None:
        """Write the node of a neuron called on `inputs`, and follow its spikes and states."""
        model, calling = self.models[name], calling_of(module)
        x, states = _split(inputs)
        listed = isinstance(output, list)  # SpikingJelly's that do not fire list their membranes, step by step
        spikes, new_states = (torch.stack(list(flat_tensors(output))), []) if listed else _split([output])
        if x is None or spikes is None:
            raise ledger.error(
                f"neuron {name!r} must map currents to spikes (it was called with {len(inputs)} arguments and returned "
                f"{type(output).__name__})",
                "call it with its input first, spikes = neuron(x) or spikes, state = neuron(x, state)",
            )
        source = ledger.source(x)
        ledger.require_running(source, name)
        position = self._position(ledger, module, name, source)
        self._check_states(ledger, module, name, states, position)
        call = self.seen.setdefault(name, Call(position, calling.reduces))
        if not call.currents:
            _require_one_gain(ledger, name, model)
            probe(name, module, model, adapters=self.adapters, shape=ledger.per_sample(x, position.axes))
        call.currents.append(x.detach().clone())  # the network may change its own in place
        call.spikes.append(spikes.detach().clone())
        here = replace(as_current(ledger, source), position=position)
        self._write(ledger, name, here, output if listed else spikes, calling.reduces)
        for behind, state in enumerate(reversed(new_states), start=1):
            if state is not spikes:
                ledger.follow(state, name, position, state=behind)

    def _write(self, ledger: Ledger, name: str, source: Tracked, output: Any, reduces: Reduces) -> None:
        """The node, and its output: one tensor, or one for each step."""
        model = self.models[name]
        carries = Carries.SPIKES if model.output == "spikes" else Carries.CURRENT
        steps, last = output if isinstance(output, list) else [output], ledger.time_steps - 1
        whole = torch.stack(output) if isinstance(output, list) else output
        if reduces != "none":  # a stand-in with the leading axes of all steps
            whole = output.expand(ledger.time_steps, *output.shape)
        written = ledger.write_module(name, NodeKind.NEURON, [source], whole, carries=carries, spec=model)
        if reduces == "last":
            ledger.alias(output, written, Position("step", ("N",), last))
        elif reduces == "mean" or reduces == "max":
            ledger.alias(output, written, Position(reduces, ("N",)))
        elif isinstance(output, list):
            for step, tensor in enumerate(steps):
                ledger.alias(tensor, written, Position("step", ("N",), step))

    def _position(self, ledger: Ledger, module: nn.Module, name: str, source: Tracked) -> Position:
        """The part of time of this call; TraceError where it is not the next one, or in the wrong layout."""
        calling, position = calling_of(module), source.position
        expected = calling.axes or (("T", "N") if position.span == "all" else ("N",))
        if position.axes != expected:
            raise ledger.error(
                f"neuron {name!r} reads {list(source.tensor.shape)}, {position.describe()} with leading axes "
                f"({', '.join(position.axes)}): it needs ({', '.join(expected)})",
                advice_on(expected),
            )
        count = len(self.seen[name].currents) if name in self.seen else 0
        if position.span == "still":
            position = Position("step", position.axes, count)
        if position.span == "all":
            if count:
                raise ledger.error(
                    f"neuron {name!r} is called more than once in a forward pass",
                    "give the network all steps at once, [T, N, ...], and a neuron of its own to every place",
                )
        elif position.step != count or position.step >= ledger.time_steps:
            raise ledger.error(
                f"neuron {name!r} is called for step {position.step} as call {count + 1} of {ledger.time_steps}",
                "call every neuron once for each step of the sample, in the order of the steps",
            )
        return position

    def _check_states(
        self, ledger: Ledger, module: nn.Module, name: str, states: Sequence[Tensor], position: Position
    ) -> None:
        """The states passed in are those that the neuron returned at the step before, at step 0 its initial ones."""
        if position.step == 0:
            if not all(_is_initial(state, self.models[name]) for state in states):
                raise ledger.error(
                    f"neuron {name!r} starts from a state that is not its resting state",
                    "let states start at their initial value: None, zeros, or what the neuron's own init gives",
                )
            return
        if not states and calling_of(module).state == "explicit":
            raise ledger.error(
                f"neuron {name!r} is called without its state at step {position.step}",
                "pass the state on: spikes, state = neuron(x, state)",
            )
        for behind, state in enumerate(reversed(states), start=1):
            self._check_carried(ledger, name, state, behind, position)

    def _check_carried(self, ledger: Ledger, name: str, state: Tensor, behind: int, position: Position) -> None:
        tracked = ledger.tracked(state)
        before = None if tracked is None else (tracked.node, tracked.position.step)
        right = tracked is not None and tracked.state in (behind, None)  # None: its spikes, which RLeaky takes too
        if before != (name, position.step - 1) or not right:
            found = "another tensor" if tracked is None else f"step {tracked.position.step} of {tracked.node!r}"
            raise ledger.error(
                f"neuron {name!r} is given {found} for its state at step {position.step}",
                f"pass what {name!r} itself returned at the step before",
            )

    def check_complete(self, ledger: Ledger, name: str) -> None:
        """TraceError unless the neuron ran for every step of the sample."""
        call = self.seen[name]
        if call.position.span == "step" and len(call.currents) != ledger.time_steps:
            raise ledger.error(
                f"neuron {name!r} is called for {len(call.currents)} of the sample's {ledger.time_steps} steps",
                "give a sample with as many steps as the network loops over, and call every neuron at each",
            )


def _require_one_gain(ledger: Ledger, name: str, model: NeuronModel) -> None:
    """A membrane that is put out has one unit, and so one gain in all channels."""
    if model.output == "membrane" and isinstance(model.current_gain, tuple):
        raise ledger.error(
            f"neuron {name!r} puts out its membrane, and its gain differs from channel to channel",
            "give it one time constant, or put the gains into the weights of the layer before",
        )


def all_steps(values: Sequence[Tensor], position: Position, batch: int) -> Tensor:
    """The calls of one neuron as [T, N, ...]."""
    if position.span == "step":
        return torch.stack(list(values))
    (value,) = values
    match position.axes:
        case ("N", "T"):
            return value.transpose(0, 1)
        case ("NT",):
            return value.reshape(batch, -1, *value.shape[1:]).transpose(0, 1)
        case _:
            return value


def _split(values: Sequence[object]) -> tuple[Tensor | None, list[Tensor]]:
    """The first tensor, and those after it, out of nested tuples."""
    tensors = list(flat_tensors(values))
    return (tensors[0], tensors[1:]) if tensors else (None, [])


def flat_tensors(values: object) -> Iterator[Tensor]:
    """The tensors inside nested tuples, lists and named tuples, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from flat_tensors(value)


def _is_initial(state: Tensor, model: NeuronModel) -> bool:
    """Whether a state holds zeros, or the membrane's initial value."""
    if bool((state == 0).all()):
        return True
    rest = torch.tensor(per_channel(model.initial), dtype=state.dtype, device=state.device)
    return bool((state == rest.reshape(-1, *(1 for _ in state.shape[2:]))).all())

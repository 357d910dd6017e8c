"""A neuron that was called in the pass: with all steps at once, or with one step after the other.

A neuron called once per step, in order, is one node over all steps. Its state is kept in the module (`hidden`), or is
returned and passed in again (`explicit`): then what is passed in at step t must be what it returned at step t - 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mdcompress.adapters import Adapter, probe
from mdcompress.adapters.axes import Reduces
from mdcompress.adapters.calling import advice_on, calling_of
from mdcompress.adapters.recurrence import input_layer
from mdcompress.adapters.state import is_at_rest
from mdcompress.errors import TraceError
from mdcompress.graph import Carries, NeuronModel, TensorShape, channel_values
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.positions import AS_MANY_STEPS, Position
from mdcompress.tracing.recurrence import add_input, add_recurrent, recurrent_name
from mdcompress.tracing.samplewise import as_current

_PROBED_PLACES = 4  # of each axis of a map: a neuron is the same everywhere, or a channel's


@dataclass
class Call:
    """What a neuron read and wrote so far: the currents and spikes of each call, under their leading axes.

    One that does not fire wrote its membranes, of all steps or reduced over them (`reduces`). `recurrent`: the node of
    its recurrent weights, where it has any.
    """

    position: Position
    reduces: Reduces = "none"
    recurrent: str | None = None
    currents: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class NeuronCalls:
    """The neurons of a network, and what the pass has seen of them.

    models: by the module's qualified name; adapters: the user's own, for the probe. seen: by node, of which a module
    has one for every place where it stands. order: the nodes that a module's calls belong to, call by call.
    """

    models: dict[str, NeuronModel]
    adapters: Sequence[Adapter] = ()
    seen: dict[str, Call] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=dict)
    _rested: dict[str, bool] = field(default_factory=dict)

    def enter(self, name: str, module: nn.Module) -> None:
        """Note, before a call, whether the module starts anew."""
        if name in self.models:
            self._rested[name] = is_at_rest(module, self.adapters)

    def record(self, ledger: Ledger, module: nn.Module, name: str, *, inputs: Sequence[object], output: object) -> None:
        """Write the node of a neuron called on `inputs`, and follow its spikes and states."""
        model, calling = self.models[name], calling_of(module, self.adapters)
        x, states = _split(inputs)
        steps = list(flat_tensors(output)) if isinstance(output, list) else []  # the membranes of one that never fires
        spikes, new_states = (torch.stack(steps), []) if steps else _split([output])
        if x is None or spikes is None:
            raise ledger.error(
                f"neuron {name!r} must map currents to spikes (it was called with {len(inputs)} arguments and returned "
                f"{type(output).__name__})",
                "call it with its input first, spikes = neuron(x) or spikes, state = neuron(x, state)",
            )
        source = ledger.source(x)
        ledger.require_running(source, name)
        layer = input_layer(module)
        current = as_current(ledger, source) if layer is None else add_input(ledger, name, layer, source)
        place = self._place(ledger, name, current, keeps_state=calling.state == "hidden" and not states)
        position = self._position(ledger, module, place, source)
        self._check_states(ledger, module, place, states, position, model)
        call = self.seen.setdefault(place, Call(position, calling.reduces))
        if not call.currents:
            shape = ledger.per_sample(current.tensor, position.axes)
            _require_one_gain(ledger, name, model)
            call.recurrent = add_recurrent(ledger, name, module, model, shape=shape)
            self._probe(name, module, shape)
        call.currents.append(current.tensor.detach().clone())  # the network may change its own in place
        call.spikes.append(spikes.detach().clone())
        self.order.setdefault(name, []).append(place)
        sources = [replace(current, position=position)]
        if call.recurrent is not None:
            sources.append(replace(sources[0], node=call.recurrent))
        self._write(ledger, name, sources, spikes, steps, calling.reduces)
        for behind, state in enumerate(reversed(new_states), start=1):
            if state is not spikes:
                ledger.follow(state, place, position, state=behind)

    def _probe(self, name: str, module: nn.Module, shape: TensorShape) -> None:
        """Probe a neuron on a small part of its map; on the whole where it does not run, or differs, on the part."""
        model = self.models[name]
        part = tuple(min(size, _PROBED_PLACES) for size in shape)
        if model.channels > 1:
            part = (*shape[:1], *part[1:])
        if part != shape and model.recurrent is None:
            with contextlib.suppress(TraceError):
                probe(name, module, model, adapters=self.adapters, shape=part)
                return
        probe(name, module, model, adapters=self.adapters, shape=shape)

    def _place(self, ledger: Ledger, name: str, current: Tracked, *, keeps_state: bool) -> str:
        """The node that a call belongs to. A state that the module keeps belongs to one place, until it is reset."""
        before, recurrent = self.order.get(name, []), self.models[name].recurrent is not None
        inputs = (current.node, recurrent_name(name)) if recurrent else (current.node,)
        place = ledger.place_of(name, inputs) or ledger.new_place(name, [current])
        if recurrent and place != name:
            raise ledger.error(
                f"neuron {name!r} stands in several places, and reads its own spikes of the step before in each",
                "give every place a recurrent neuron of its own",
            )
        moves = bool(before) and before[-1] != place
        if keeps_state and moves and (place in before or not self._rested[name]):
            raise ledger.error(
                f"neuron {name!r} is called more than once in a forward pass: the state it keeps from its first place "
                "goes on in the next",
                "give every place a neuron of its own, or reset it between them",
            )
        return place

    def _write(
        self,
        ledger: Ledger,
        name: str,
        sources: list[Tracked],
        output: Tensor,
        steps: Sequence[Tensor],
        reduces: Reduces,
    ) -> None:
        """The node, and its output: one tensor, or one for each of `steps`, of which it is the stack."""
        model = self.models[name]
        carries = Carries.SPIKES if model.output == "spikes" else Carries.CURRENT
        last = ledger.time_steps - 1
        # reduced: a stand-in with the leading axes of all steps
        whole = output if reduces == "none" else output.expand(ledger.time_steps, *output.shape)
        written = ledger.write_module(name, model, sources, whole, carries=carries)
        if reduces == "last":
            ledger.alias(output, written, Position("step", ("N",), last))
        elif reduces == "mean" or reduces == "max":
            ledger.alias(output, written, Position(reduces, ("N",)))
        else:
            for step, tensor in enumerate(steps):
                ledger.alias(tensor, written, Position("step", ("N",), step))

    def calls_of(self, name: str, place: str) -> tuple[int, ...]:
        """Which calls of a module in several places are those of one; () where it stands in one."""
        order = self.order[name]
        return tuple(call for call, of in enumerate(order) if of == place) if len(set(order)) > 1 else ()

    def _position(self, ledger: Ledger, module: nn.Module, name: str, source: Tracked) -> Position:
        """The part of time of this call; TraceError where it is not the next one, or in the wrong layout."""
        calling, position = calling_of(module, self.adapters), source.position
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
                    f"neuron {name!r} is called more than once in a forward pass, on the same tensor",
                    "give the network all steps at once, [T, N, ...], and use the spikes of one call twice",
                )
        elif position.step != count or position.step >= ledger.time_steps:
            raise ledger.error(
                f"neuron {name!r} is called for step {position.step} as call {count + 1} of {ledger.time_steps}",
                AS_MANY_STEPS
                if count >= ledger.time_steps
                else "call every neuron once for each step of the sample, in the order of the steps",
            )
        return position

    def _check_states(
        self,
        ledger: Ledger,
        module: nn.Module,
        name: str,
        states: Sequence[Tensor],
        position: Position,
        model: NeuronModel,
    ) -> None:
        """The states passed in are those that the neuron returned at the step before, at step 0 its initial ones."""
        if position.step == 0:
            if not all(_is_initial(state, model) for state in states):
                raise ledger.error(
                    f"neuron {name!r} starts from a state that is not its resting state",
                    "let states start at their initial value: None, zeros, or what the neuron's own init gives",
                )
            return
        if not states and calling_of(module, self.adapters).state == "explicit":
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
    if model.output == "membrane" and not model.has_one_gain:
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
    match values:
        case Tensor():
            yield values
        case tuple() | list():
            for value in values:
                yield from flat_tensors(value)


def _is_initial(state: Tensor, model: NeuronModel) -> bool:
    """Whether a state holds zeros, or the membrane's initial value."""
    if bool((state == 0).all()):
        return True
    rest = torch.tensor(channel_values(model.initial), dtype=state.dtype, device=state.device)
    return bool((state == rest.reshape(-1, *(1 for _ in state.shape[2:]))).all())

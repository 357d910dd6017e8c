"""lift(network, x): the network in normal form, or an error that names what no graph can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcompress.adapters.advice import resetting
from mdcompress.adapters.base import fresh_copy
from mdcompress.adapters.state import reset_state
from mdcompress.errors import TraceError
from mdcompress.lifting.answers import answer_tensors, needed, read_answer
from mdcompress.lifting.cells import STILL, Cells
from mdcompress.lifting.chains import Chains, Neuron
from mdcompress.lifting.context import Context, MixedError, Parameters
from mdcompress.lifting.layers import record_layer
from mdcompress.lifting.misfits import MisfitError, layers_explained
from mdcompress.lifting.network import Form, InputNode, Lifted
from mdcompress.lifting.neurons import read_neurons
from mdcompress.lifting.proof import prove
from mdcompress.lifting.tape import Operand, Place, Recording, Tape, unread_values
from mdcompress.lifting.words import REPORT

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)

_NO_LAYERS = (nn.Module, *_CONTAINERS)


@dataclass(frozen=True)
class Calling:
    """One way to call a network with x [T, N, ...].

    words: for the user. arrange: x as the network is given it. by_step: whether it is called once for each step.
    is_still: whether it takes one image for all steps.
    """

    words: str
    arrange: Callable[[Tensor], Tensor]
    by_step: bool = False
    is_still: bool = False


CALLINGS = (
    Calling("takes all steps, [T, N, ...]", lambda x: x),
    Calling("takes the batch first, [N, T, ...]", lambda x: x.transpose(0, 1)),
    Calling("takes one image, [N, ...], for all steps", lambda x: x[0], is_still=True),
    Calling("takes one step at a time, [N, ...]", lambda x: x, by_step=True),
    Calling("takes time last, [N, ..., T]", lambda x: x.movedim(0, -1)),
    Calling("takes steps folded into the batch, [T*N, ...]", lambda x: x.flatten(0, 1)),
    Calling("takes steps folded into the batch, [N*T, ...]", lambda x: x.transpose(0, 1).flatten(0, 1)),
)

_OF_ONE_NUMBER = (
    Calling("takes one number at each step, [T, N]", lambda x: x.squeeze(-1)),
    Calling("takes the batch first and one number at each step, [N, T]", lambda x: x.squeeze(-1).transpose(0, 1)),
)


def callings_of(x: Tensor) -> tuple[Calling, ...]:
    """The ways in which a network may take x [T, N, ...], the likeliest first."""
    return (*_OF_ONE_NUMBER, *CALLINGS) if x.shape[2:] == (1,) else CALLINGS


class _NotRunError(TraceError):
    """The network itself fails on what it is given."""


class LiftError(TraceError):
    """A refusal, and how far the reading came.

    cause: the refusal itself.
    reached: which share of the pass's operators was understood before it. has_memory: whether a neuron was met that
    goes on from step to step. ran: whether the network ran at all. mixed: whether samples or steps met, as they do
    where a network is called in a wrong way.
    """

    def __init__(
        self, error: TraceError, reached: float, *, has_memory: bool, ran: bool = True, mixed: bool = False
    ) -> None:
        super().__init__(error.message, hints=error.hints)
        self.cause = error
        self.reached, self.has_memory, self.ran, self.mixed = reached, has_memory, ran, mixed

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The larger, the more likely the network was called as it wants to be."""
        return not self.mixed, self.has_memory, self.reached


def lift(network: nn.Module, x: Tensor, calling: Calling) -> Lifted:
    """The network in normal form.

    Args:
        network: float, in evaluation mode; it is left as it is, and its weights are shared.
        x: [T, N, ...], float, N >= 2.
        calling: how it is called.

    Raises:
        LiftError: it cannot be read; the error says what stands in the way, and where.
    """
    copy = _rested(network)
    given = calling.arrange(x.detach().cpu().double()).clone()
    recording = Recording(copy)
    reached = 0
    neurons: list[Neuron] = []
    try:
        with torch.random.fork_rng(devices=[]):
            answer = _run(recording, copy, given, calling, x)
        context = _context(network, copy, recording.tape, x)
        chains = Chains(context)
        neurons = chains.neurons
        for op in list(recording.tape.ops):
            if op.name == "input":
                _assign_input(context, x, calling)
            elif op.number in context.passed:
                pass
            elif op.evaluate is not None:
                context.follow_elements(op)
                chains.meet(op)
            else:
                record_layer(context, op)
            reached += 1
        read_neurons(context, neurons)
        readout = read_answer(context, answer)
        order = needed(context, readout.reads)
        form = Form({number: context.nodes[number] for number in order}, readout.reads, frozenset(context.reduced))
        lifted = Lifted(network, form, tuple(context.findings), calling.words)
        context.building.into(lifted, form.modules)
        lifted.eval()
        prove(lifted, neurons, readout, context, x)
        _require_own_steps(copy, given, calling, neurons, noisy=bool(context.noisy))
        if recording.read_at is not None:
            _require_unread(network, given, calling, recording.read_at)
        _prove_again(lifted, network, x, calling, noisy=bool(context.noisy))
        context.parameters.settle(lifted)
    except TraceError as error:
        has_memory = any(len(neuron.differences) > 1 and not neuron.at_once for neuron in neurons)
        raise LiftError(
            error,
            reached / max(1, len(recording.tape.ops)),
            has_memory=has_memory,
            ran=not isinstance(error, _NotRunError | MisfitError),
            mixed=isinstance(error, MixedError),
        ) from error
    except Exception as error:
        fault = TraceError(
            f"the reading of the network fails ({type(error).__name__}: {error})",
            hints=[REPORT],
        )
        raise LiftError(fault, reached / max(1, len(recording.tape.ops)), has_memory=False) from error
    lifted.memoryless = any(neuron.at_once for neuron in neurons) or (calling.by_step and not lifted.remembers)
    return lifted.to(x.device)


def _prove_again(lifted: Lifted, network: nn.Module, x: Tensor, calling: Calling, *, noisy: bool) -> None:
    """The same answer for other input: what the tape did not show, as a choice by the data, would differ."""
    if noisy:
        return
    generator = torch.Generator().manual_seed(3)
    steps = x.shape[0]
    still = calling.is_still
    other = x.detach().cpu().double()
    flat = other[:1] if still else other
    mixed = flat.flatten()[torch.randperm(flat.numel(), generator=generator)].reshape(flat.shape)
    other = mixed.expand(steps, *mixed.shape[1:]) if still else mixed
    copy = _rested(network)
    recording = Recording(copy)
    with torch.random.fork_rng(devices=[]), recording.watching():
        found = _output(copy, calling.arrange(other).clone(), calling)
    with torch.no_grad():
        expected = fresh_copy(lifted)(other)
    own = found.double().reshape(-1).sort().values
    ours = expected.reshape(-1).sort().values
    if own.shape != ours.shape or bool(((own - ours).abs() > 1e-6 * own.abs().max().clamp(min=1e-9)).any()):
        raise TraceError(
            "the network computes something else for other input than what was read off one pass",
            hints=["a graph is the same for all data: the network may choose by values, or keep state between calls"],
        )


def _require_unread(network: nn.Module, given: Tensor, calling: Calling, place: Place) -> None:
    """TraceError where a value that the network reads from its data matters: other values give another answer."""
    what, hint = unread_values("item")
    matters = TraceError(f"{what} ({place})", hints=[hint])
    answers: list[Tensor] = []
    passes: list[list[str]] = []
    for value in (None, 1e30, -1e30, float("nan")):
        copy = _rested(network)
        recording = Recording(copy, read_as=value)
        try:
            with torch.random.fork_rng(devices=[]), recording.watching():
                recording.input(given)
                answers.append(_output(copy, given, calling).double())
            passes.append([op.name for op in recording.tape.ops])
        except Exception as error:  # whatever the user's code makes of such a value: it matters
            raise matters from error
    same = all(other.shape == answers[0].shape and torch.equal(other, answers[0]) for other in answers)
    if not same or any(other != passes[0] for other in passes):
        raise matters


def _rested(network: nn.Module) -> nn.Module:
    """A float64 copy whose neurons are at rest: by what is known of them, and by their own reset()."""
    copy = fresh_copy(network)
    reset_state(copy)
    other = fresh_copy(copy)
    try:
        for module in other.modules():
            for name in () if type(module).__module__.startswith("torch.") else resetting(module):
                getattr(module, name)()
    except Exception:  # whatever the user's own method raises: it wants something first
        return copy
    pairs = zip(copy.modules(), other.modules(), strict=False)
    same = len(list(copy.modules())) == len(list(other.modules())) and all(_same_weights(*pair) for pair in pairs)
    return other if same else copy


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same parameters, and layers of torch the same buffers too."""
    layer = any(base.__module__.startswith("torch.nn.modules") and base not in _NO_LAYERS for base in type(one).__mro__)

    def weights(module: nn.Module) -> dict[str, Tensor]:
        buffers = dict(module.named_buffers(recurse=False)) if layer else {}
        return {**dict(module.named_parameters(recurse=False)), **buffers}

    held, others = weights(one), weights(other)
    return held.keys() == others.keys() and all(torch.equal(held[name], others[name]) for name in held)


def _require_own_steps(copy: nn.Module, given: Tensor, calling: Calling, neurons: list[Neuron], *, noisy: bool) -> None:
    """TraceError where a network that takes one step was given all of them as a batch: it keeps its state.

    Its neurons then seem to have no memory, and the same call once more gives another answer.
    """
    if calling.by_step or noisy or not any(neuron.at_once for neuron in neurons):
        return
    with torch.random.fork_rng(devices=[]), Recording(copy).watching():
        first, second = (_output(copy, given.clone(), calling).double() for _ in range(2))
    if first.shape != second.shape or not torch.equal(first, second):
        raise TraceError(
            "the network keeps state from call to call: it takes one step at a time",
            hints=["call it once for each step"],
        )


def _run(recording: Recording, copy: nn.Module, given: Tensor, calling: Calling, x: Tensor) -> Operand:
    try:
        with layers_explained(copy, x), recording.watching():
            recording.input(given)
            return recording.operand(_output(copy, given, calling))
    except TraceError:
        raise
    except Exception as error:
        raise _NotRunError(
            f"the network fails on an input of shape {list(given.shape)}: {type(error).__name__}: {error}",
            hints=["the sample must be what the network takes: float [T, N, ...] for a multi-step network"],
        ) from error


def _output(network: nn.Module, given: Tensor, calling: Calling) -> Tensor:
    """The answer, one tensor; of steps in a list their stack."""
    if calling.by_step:
        outputs = [answer_tensors(network(step)) for step in given.unbind(0)]
        output: object = [each for each in outputs if isinstance(each, Tensor)]
    else:
        output = network(given)
    found = answer_tensors(output)
    return torch.stack(found) if isinstance(found, list) else found


def _context(network: nn.Module, copy: nn.Module, tape: Tape, x: Tensor) -> Context:
    context = Context(Cells(tape, x.shape[0]), x.shape[0], Parameters(network, copy))
    for name, module in network.named_modules():
        parts = [part for part in module.modules() if not isinstance(part, _CONTAINERS)]
        context.holding[name] = any(type(part).__module__.startswith("torch.nn") for part in parts) or name == ""
    return context


def _assign_input(context: Context, x: Tensor, calling: Calling) -> None:
    """The input's cells: steps, samples and places, in the layout in which the network is given them."""
    sample = tuple(x.shape[2:])
    step = torch.arange(x.shape[0]).reshape(-1, 1, *(1 for _ in sample)).expand(x.shape)
    number = torch.arange(x.shape[1]).reshape(1, -1, *(1 for _ in sample)).expand(x.shape)
    place = torch.arange(torch.Size(sample).numel()).reshape(1, 1, *sample).expand(x.shape)
    steps, samples, places = (calling.arrange(each.double()).long().reshape(-1) for each in (step, number, place))
    if len(steps) != x.numel():
        steps = torch.full_like(steps, STILL)
    node = context.new_node("input", InputNode(), sample, "input")
    context.cells.assign(torch.arange(len(steps)), node, steps, samples, places)

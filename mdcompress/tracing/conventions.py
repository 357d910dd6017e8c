"""How a network wants to be called, found by tracing it: as it is, or inside the wrapper in which it can be traced.

A network of one step, of batches first or of one still image comes as its owner wrote it. What it is cannot be read off
its class; it is tried, in the order in which its neurons make it likely. A wrong guess cannot pass: every neuron is
checked on what the pass gave it (`agreement`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from torch import Tensor, nn

from mdcompress.adapters import Adapter, find_neurons
from mdcompress.adapters.calling import calling_of
from mdcompress.adapters.users import carried
from mdcompress.errors import TraceError
from mdcompress.graph import SnnGraph
from mdcompress.lifting import Calling, Finding, Lifted, LiftError, callings_of, lift
from mdcompress.lifting.misfits import MisfitError
from mdcompress.modes import Wrapper, modules_of
from mdcompress.tracing import Failure, attempt, check_model, check_sample, trace, with_two_samples
from mdcompress.tracing.recorder import BatchBeforeTimeError
from mdcompress.tracing.step_count import own_steps
from mdcompress.tracing.unwrapping import uncompiled, unwrapped
from mdcompress.tracing.wrappers import BatchFirst, BatchFirstAnswer, Stepped, StepsFolded, StillImage

WRAPPERS = (Stepped, BatchFirst, BatchFirstAnswer, StepsFolded, StillImage)


_MOVES = TraceError(
    "the network takes one image for all steps, and the sample is not the same at every step",
    hints=["repeat one image: image.unsqueeze(0).expand(T, *image.shape) with image [N, ...]"],
)


@dataclass(frozen=True)
class Fitted:
    """A network that takes [T, N, ...], and its trace.

    network: the user's own, a wrapper around it, or its normal form. convention: what was found, in words; empty where
    it is the own. findings: what was read as which neuron, where the code said nothing of it.
    """

    network: nn.Module
    graph: SnnGraph
    convention: str = ""
    findings: tuple[Finding, ...] = ()


def fit(network: nn.Module, sample: Tensor, *, adapters: Sequence[Adapter] = ()) -> Fitted:
    """The network as one of [T, N, ...]: as it is where it can be traced so, in a wrapper, or in normal form.

    What no wrapper makes traceable is lifted (`mdcompress.lifting`): neurons of any code are read off one pass and
    proved, in whatever layout the network keeps time. Nothing of this runs where a network needs none.

    Args:
        network: it is left as it is.
        sample: [T, N, ...], float.
        adapters: for neurons of one's own.

    Raises:
        TraceError: no convention fits; the error is that of the attempt that came furthest.
    """
    network = unwrapped(network)
    check_model(network)
    check_sample(sample)
    adapters = (*adapters, *carried(network))
    failures: list[tuple[Failure, str]] = []
    refused: TraceError | None = None
    try:
        for candidate, takes in _candidates(network, adapters):
            found = _tried(candidate, takes, sample, adapters)
            if isinstance(found, Fitted):
                return found
            failures.append((found, takes))
    except TraceError as error:  # a neuron without integers: perhaps its code has some
        refused = error
    if isinstance(network, Wrapper | Lifted) or adapters:
        raise refused or _furthest(failures)
    return _lifted(network, sample, refused or _furthest(failures))


def _lifted(network: nn.Module, sample: Tensor, otherwise: TraceError) -> Fitted:
    """The network in normal form, by the first way of calling it that can be read.

    Raises:
        TraceError: that of the way that came furthest; `otherwise` where the network ran in none. Where it can be read
            with another number of steps, which it makes by itself, the error says so.
    """
    errors: list[LiftError] = []
    memoryless: Fitted | None = None
    x = with_two_samples(network, sample[:, :2])
    moves = not bool((x == x[:1]).all())
    callings = callings_of(x)
    for calling in callings:
        if calling.is_still and not moves and (own_steps(network, x, calling) or 0) % len(x):
            _require_own_steps(network, x, [calling])  # now: the ways that follow read each of its steps in vain
        try:
            with uncompiled():
                lifted = lift(network, x, calling)
            found = Fitted(lifted, trace(lifted, sample), lifted.convention, lifted.findings)
        except LiftError as error:
            if not (calling.is_still and moves):
                errors.append(error)
            continue
        except TraceError as error:  # no integers for what was read
            errors.append(LiftError(error, 1.0, has_memory=True))
            continue
        if calling.is_still and moves:
            errors.append(LiftError(_MOVES, 1.0, has_memory=True))
            continue
        if not lifted.memoryless:
            return found
        memoryless = memoryless or found  # another way may show a memory
    if memoryless is not None and not any(error.has_memory for error in errors):
        return memoryless
    _require_own_steps(network, x, callings)
    ran = [error for error in errors if error.ran]
    misfits = [error.cause for error in errors if isinstance(error.cause, MisfitError)]
    known = _has_known_neurons(network)
    if misfits and not ran and not known:
        raise max(misfits, key=lambda misfit: (misfit.passed, misfit.plain))
    if not ran or known:
        raise otherwise
    furthest = max(ran, key=lambda error: error.rank)
    raise TraceError(furthest.message, hints=furthest.hints) from furthest


def _has_known_neurons(network: nn.Module) -> bool:
    """Whether neurons of a library stand in it: what cannot be traced then is best said of its modules."""
    try:
        return bool(find_neurons(network))
    except TraceError:
        return True


def _require_own_steps(network: nn.Module, x: Tensor, callings: Sequence[Calling]) -> None:
    """TraceError where the network cannot be read because it makes another number of steps than x [T, N, ...] has."""
    for calling in callings:
        counted = None if calling.by_step else own_steps(network, x, calling)
        # a line that several layers share is called once for each of them, at every step
        for steps in (k for k in range(counted or 0, 1, -1) if counted and counted % k == 0 and k != len(x)):
            own = x.repeat(math.ceil(steps / len(x)), *(1 for _ in x.shape[1:]))[:steps]
            try:
                with uncompiled():
                    lift(network, own, calling)
            except LiftError:
                continue
            raise TraceError(
                f"the sample must have as many steps as the network makes, {steps} (it has {len(x)})",
                hints=[f"in a recipe `data: {{time_steps: {steps}}}` (--set data.time_steps={steps})"],
            )


def _findings(network: nn.Module) -> tuple[Finding, ...]:
    """What was read of a network that is in normal form already."""
    return network.findings if isinstance(network, Lifted) else ()


def inner(network: nn.Module) -> nn.Module:
    """The user's own network out of the wrappers that it may stand in."""
    while isinstance(network, Wrapper | Lifted):
        network = network.source if isinstance(network, Lifted) else network.network
    return network


def _tried(candidate: nn.Module, takes: str, sample: Tensor, adapters: Sequence[Adapter]) -> Fitted | Failure:
    """What is found of a network that is called in one way; with its answer turned where it answers [N, T, ...]."""
    found = attempt(candidate, sample, adapters=adapters)
    if isinstance(found, Failure) and isinstance(found.error, BatchBeforeTimeError):
        turned = _with_answer_turned(candidate)
        again = attempt(turned, sample, adapters=adapters)
        if isinstance(again, SnnGraph):
            found, candidate, takes = again, turned, takes or "answers with the batch first, [N, T, ...]"
    match found:
        case SnnGraph() as graph:
            return Fitted(
                candidate, graph, takes and f"{takes}: it runs as {_spelled(candidate)}", _findings(candidate)
            )
        case Failure():
            return found
        case other:
            assert_never(other)


def _with_answer_turned(network: nn.Module) -> nn.Module:
    if isinstance(network, BatchFirst):
        return BatchFirst(network.network, layout=network.layout)
    return BatchFirstAnswer(network)


def _spelled(network: nn.Module) -> str:
    """A wrapper as it is written in Python around `network`."""
    if not isinstance(network, Wrapper):
        return "network"
    options = {"layout": "split", "answers": "batch_first"}  # what need not be written
    given = {name: vars(network)[name] for name in options if name in vars(network)}
    written = "".join(f", {name}={value!r}" for name, value in given.items() if value != options[name])
    return f"mdcompress.{type(network).__name__}({_spelled(network.network)}{written})"


def _candidates(network: nn.Module, adapters: Sequence[Adapter]) -> Iterator[tuple[nn.Module, str]]:
    """The network as it is, and in wrappers, with how it then takes its input."""
    yield network, ""
    if isinstance(network, WRAPPERS):
        return  # its owner has said how it is called
    modules = modules_of(network)
    taken = {calling_of(modules[name], adapters).axes for name in find_neurons(network, adapters=adapters)}
    split = BatchFirst(network, answers="time_first"), "takes the batch first, [N, T, ...]"
    if ("N", "T") in taken:
        yield split
    if ("NT",) in taken:
        folded = BatchFirst(network, layout="folded", answers="time_first")
        yield folded, "takes steps folded into the batch, [N*T, ...]"
    if taken & {("N",), None}:
        yield Stepped(network), "takes one step at a time, [N, ...]"
    if taken and ("N", "T") not in taken:  # it turns its input by itself
        yield split
    if taken and ("NT",) not in taken:
        yield StepsFolded(network), "takes steps folded into the batch, [T*N, ...]"
    yield StillImage(network), "takes one image, [N, ...], for all steps"


def _furthest(failures: Sequence[tuple[Failure, str]]) -> TraceError:
    """The error of the attempt that wrote most of the graph; before all others that of a layer given a wrong size.

    Of equals the later one, since it was guessed from neurons; where none came beyond the input, that of the network as
    it is.
    """
    plain = [failure for failure, _ in failures if isinstance(failure.error, MisfitError) and failure.error.plain]
    if plain:
        return max(plain, key=lambda failure: failure.reached).error
    failure, convention = max(reversed(failures), key=lambda tried: (not _is_misfit(tried[0]), tried[0].reached))
    if failure.reached <= 1:
        failure, convention = failures[0]
    if not convention:
        return failure.error
    hint = f"this is what was found on the assumption that the network {convention}"
    found = TraceError(failure.error.message, hints=[*failure.error.hints, hint])
    found.__cause__ = failure.error.__cause__
    return found


def _is_misfit(failure: Failure) -> bool:
    """Whether a layer was given something else than samples: the network is called in another way."""
    return isinstance(failure.error, MisfitError)

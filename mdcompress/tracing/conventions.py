"""How a network wants to be called, found by tracing it: as it is, or inside the wrapper in which it can be traced.

A network of one step, of batches first or of one still image comes as its owner wrote it. What it is cannot be read off
its class; it is tried, in the order in which its neurons make it likely. A wrong guess cannot pass: every neuron is
checked on what the pass gave it (`agreement`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from torch import Tensor, nn

from mdcompress.adapters import Adapter, find_neurons
from mdcompress.adapters.calling import calling_of
from mdcompress.adapters.users import Adapted, carried
from mdcompress.errors import TraceError
from mdcompress.graph import SnnGraph
from mdcompress.tracing import Failure, attempt
from mdcompress.tracing.unwrapping import unwrapped
from mdcompress.tracing.wrappers import BatchFirst, Stepped, StillImage

WRAPPERS = (Stepped, BatchFirst, StillImage)


@dataclass(frozen=True)
class Fitted:
    """A network that takes [T, N, ...], and its trace.

    network: the user's own, or a wrapper around it. convention: what was found, in words; empty where it is the own.
    """

    network: nn.Module
    graph: SnnGraph
    convention: str = ""


def fit(network: nn.Module, sample: Tensor, *, adapters: Sequence[Adapter] = ()) -> Fitted:
    """The network as one of [T, N, ...]: as it is where it can be traced so, else in the first wrapper that fits.

    Args:
        network: it is left as it is.
        sample: [T, N, ...], float.
        adapters: for neurons of one's own.

    Raises:
        TraceError: no convention fits; the error is that of the attempt that came furthest.
    """
    network = unwrapped(network)
    adapters = (*adapters, *carried(network))
    failures: list[tuple[Failure, str]] = []
    for candidate, convention in _candidates(network, adapters):
        match attempt(candidate, sample, adapters=adapters):
            case SnnGraph() as graph:
                return Fitted(candidate, graph, convention)
            case Failure() as failure:
                failures.append((failure, convention))
            case other:
                assert_never(other)
    raise _furthest(failures)


def inner(network: nn.Module) -> nn.Module:
    """The user's own network out of the wrappers that it may stand in."""
    while isinstance(network, (*WRAPPERS, Adapted)):
        network = network.network
    return network


def _candidates(network: nn.Module, adapters: Sequence[Adapter]) -> Iterator[tuple[nn.Module, str]]:
    yield network, ""
    if isinstance(network, WRAPPERS):
        return  # its owner has said how it is called
    modules = dict(network.named_modules())
    taken = {calling_of(modules[name], adapters).axes for name in find_neurons(network, adapters=adapters)}
    if ("N", "T") in taken:
        yield BatchFirst(network), "takes the batch first, [N, T, ...]: it runs as mdcompress.BatchFirst(network)"
    if ("NT",) in taken:
        yield (
            BatchFirst(network, layout="folded"),
            "takes steps folded into the batch, [N*T, ...]: it runs as mdcompress.BatchFirst(network, layout='folded')",
        )
    if taken & {("N",), None}:
        yield Stepped(network), "takes one step at a time, [N, ...]: it runs as mdcompress.Stepped(network)"
    yield StillImage(network), "takes one image, [N, ...], for all steps: it runs as mdcompress.StillImage(network)"


def _furthest(failures: Sequence[tuple[Failure, str]]) -> TraceError:
    """The error of the attempt that wrote most of the graph.

    Of equals the later one, since it was guessed from neurons; where none came beyond the input, that of the network as
    it is.
    """
    failure, convention = max(reversed(failures), key=lambda tried: tried[0].reached)
    if failure.reached <= 1:
        failure, convention = failures[0]
    if not convention:
        return failure.error
    hint = f"this is what was found on the assumption that the network {convention}"
    found = TraceError(failure.error.message, hints=[*failure.error.hints, hint])
    found.__cause__ = failure.error.__cause__
    return found

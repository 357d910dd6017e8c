"""The hidden state of a user's neurons: reset before a pass, and put back after it. How is the adapters' to say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from intsnn.errors import InputError
from mdcompress.adapters.base import Adapter
from mdcompress.adapters.lookup import adapter_of, library_of
from mdcompress.errors import TraceError
from mdcompress.modes import modules_of


def reset_state(network: nn.Module, adapters: Sequence[Adapter] = ()) -> None:
    """Start every neuron of the network anew. Tensors that held a state are let go, never written to."""
    for module in modules_of(network).values():
        adapter_of(module, adapters).reset(module)


def is_at_rest(module: nn.Module, adapters: Sequence[Adapter] = ()) -> bool:
    """Whether a neuron starts its next call anew: it keeps no state, or was reset, or its state is all at rest."""
    return adapter_of(module, adapters).is_at_rest(module)


@contextlib.contextmanager
def fresh_state(network: nn.Module, adapters: Sequence[Adapter] = ()) -> Iterator[None]:
    """A reset network inside; afterwards every attribute and buffer that it had before, hidden state included."""
    kept = {module: _attributes(module) for module in modules_of(network).values()}
    reset_state(network, adapters)
    try:
        yield
    finally:
        for module, attributes in kept.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module, with copies of the dictionaries that a forward pass may write into."""
    return {name: dict(value) if type(value) is dict else value for name, value in module.__dict__.items()}


def state_names(network: nn.Module) -> frozenset[str]:
    """The names of the buffers that hold a neuron's state, which a state dict may hold too; sinabs' does."""
    return frozenset(
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in modules_of(network).items()
        for name in library_of(module).state_names(module)
        if name in module._buffers
    )


def first_tensor(output: object) -> Tensor:
    """The answer of a network that returns its neurons' states or records beside it: (answer, states).

    Raises:
        TraceError: there is no tensor.
    """
    first = output
    while True:
        match first:
            case Tensor():
                return first
            case [inner, *_]:
                first = inner
            case _:
                raise TraceError(
                    f"the network must return a tensor, or one first in a tuple (got {type(output).__name__})",
                    hints=["return the logits: [N, K] averaged over time, or [T, N, K]"],
                )


def run_fresh(network: nn.Module, x: Tensor) -> Tensor:
    """The answer of a network to x [T, N, ...] from a reset state, which is reset again afterwards."""
    reset_state(network)
    try:
        return first_tensor(network(x))
    finally:
        reset_state(network)


def run_time_first(network: nn.Module, x: Tensor) -> Tensor:
    """`run_fresh` of a network that nobody has looked at yet.

    Raises:
        InputError: it does not take x [T, N, ...], as torch says.
    """
    try:
        return run_fresh(network, x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(
            f"the network must take x [T, N, ...], here {list(x.shape)} (torch says: {first_line})",
            hints=[
                "one that takes an image for all steps is md.StillImage(network), one of a single step "
                "md.Stepped(network), one of [N, T, ...] md.BatchFirst(network)",
                "where x are images [N, ...], repeat them: x.unsqueeze(0).expand(T, *x.shape)",
            ],
        ) from error


@contextlib.contextmanager
def sized(network: nn.Module, batch: int, time_steps: int) -> Iterator[None]:
    """Layers that hold the sizes of their batches hold these inside; afterwards their own."""
    names = {module: library_of(module).size_names(module) for module in modules_of(network).values()}
    before = {module: [(name, getattr(module, name)) for name in held] for module, held in names.items() if held}
    for module, held in before.items():
        for (name, _), size in zip(held, (batch, time_steps), strict=True):
            setattr(module, name, size)
    try:
        yield
    finally:
        for module, held in before.items():
            for name, size in held:
                setattr(module, name, size)

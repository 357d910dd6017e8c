"""The hidden state of a user's neurons: reset before a pass, and put back after it.

SpikingJelly keeps state in a dictionary beside the module, snnTorch and sinabs in buffers, Norse in the caller's hands.
A user's own module is reset by its method `reset_state()`, where it has one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError

_SNNTORCH_STATES = ("mem", "syn", "spk")


def reset_state(network: nn.Module) -> None:
    """Start every neuron of the network anew. Tensors that held a state are let go, never written to."""
    for module in network.modules():
        match library_of(module):
            case "spikingjelly" if isinstance(module.__dict__.get("_memories"), dict):
                module.__dict__["_memories"] = copy.deepcopy(module.__dict__["_memories_rv"])
            case "snntorch" | "sinabs":
                _empty(module, _states_of(module))
            case None:
                reset = getattr(module, "reset_state", None)
                if callable(reset):
                    reset()
            case _:
                pass


def is_at_rest(module: nn.Module) -> bool:
    """Whether a neuron starts its next call anew: it keeps no state, or was reset, or its state is all at rest."""
    match library_of(module):
        case "spikingjelly" if isinstance(module.__dict__.get("_memories"), dict):
            rest = module.__dict__["_memories_rv"]
            return all(_equals(value, rest[name]) for name, value in module.__dict__["_memories"].items())
        case "snntorch":
            return all(_equals(module._buffers.get(name), 0.0) for name in _SNNTORCH_STATES)
        case "sinabs":
            return all(_equals(state, 0.0) for state in module._buffers.values())
        case None:
            return not callable(getattr(module, "reset_state", None))
        case _:
            return True


def _equals(state: object, rest: object) -> bool:
    """Whether a state is what it is at rest; None: there is none."""
    if isinstance(state, Tensor):
        return isinstance(rest, int | float | Tensor) and bool(torch.as_tensor(state == rest).all())
    return state is None or state == rest


def _empty(module: nn.Module, names: tuple[str, ...]) -> None:
    """Buffers of no element: the library fills them with zeros of the right shape at the next call."""
    module.__dict__["_buffers"] = dict(module._buffers)
    for name in names:
        old = module._buffers.get(name)
        if old is not None:
            module._buffers[name] = torch.zeros(0, device=old.device, dtype=old.dtype)


@contextlib.contextmanager
def fresh_state(network: nn.Module) -> Iterator[None]:
    """A reset network inside; afterwards every attribute and buffer that it had before, hidden state included."""
    kept = {module: _attributes(module) for module in network.modules()}
    reset_state(network)
    try:
        yield
    finally:
        for module, attributes in kept.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module, with copies of the dictionaries that a forward pass may write into."""
    return {name: dict(value) if type(value) is dict else value for name, value in module.__dict__.items()}


def library_of(module: nn.Module) -> str | None:
    """The package of a library of spiking neurons that the module's class, or a base of it, comes from."""
    packages = (base.__module__.partition(".")[0] for base in type(module).__mro__)
    return next((package for package in packages if package in ("spikingjelly", "snntorch", "norse", "sinabs")), None)


def is_squeezed(module: nn.Module) -> bool:
    """Whether a layer of sinabs takes [N*T, ...], and holds N or T itself."""
    return any(base.__name__ == "SqueezeMixin" for base in type(module).__mro__)


def state_names(network: nn.Module) -> frozenset[str]:
    """The names of the buffers that hold a neuron's state, which a state dict may hold too; sinabs' does."""
    return frozenset(
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in network.named_modules()
        for name in _states_of(module)
        if name in module._buffers
    )


def _states_of(module: nn.Module) -> tuple[str, ...]:
    match library_of(module):
        case "snntorch":
            return _SNNTORCH_STATES
        case "sinabs" if callable(getattr(module, "reset_states", None)):
            return tuple(module._buffers)
        case _:
            return ()


def first_tensor(output: object) -> Tensor:
    """The answer of a network that returns its neurons' states or records beside it: (answer, states).

    Errors: TraceError where there is no tensor.
    """
    answer = output
    while isinstance(answer, tuple | list) and answer:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise TraceError(
            f"the network must return a tensor, or one first in a tuple (got {type(output).__name__})",
            hints=["return the logits: [N, K] averaged over time, or [T, N, K]"],
        )
    return answer


def run_fresh(network: nn.Module, x: Tensor) -> Tensor:
    """The answer of a network to x [T, N, ...] from a reset state, which is reset again afterwards."""
    reset_state(network)
    try:
        return first_tensor(network(x))
    finally:
        reset_state(network)

"""What the class of a module that keeps state must be given, so that it can be reset."""

from __future__ import annotations

import inspect

from torch import nn

_RESETTING = ("reset", "clear")  # words in the names of methods that may put a state to rest
ADAPTED = (
    "where its class is not yours, give an adapter its reset, NeuronAdapter(describe, run, reset=...), and use "
    "mdcompress.adapters.Adapted(network, adapters) in the network's place, to trace, evaluate and train"
)


def reset_advice(module: nn.Module) -> list[str]:
    """What to write, by the methods that the module has."""
    kind, names = type(module).__name__, resetting(module)
    if not names:
        return [f"give {kind} a method reset_state() that puts its state to rest"]
    return [f"if {name}() puts its state to rest, say so: {kind}.reset_state = {kind}.{name}" for name in names]


def resetting(module: nn.Module) -> list[str]:
    """The methods that may put a module's state to rest, by their names."""
    return [name for name in dir(type(module)) if _may_reset(module, name)]


def _may_reset(module: nn.Module, name: str) -> bool:
    """Whether a method may reset a state by its name, and takes no argument."""
    if name.startswith("_") or hasattr(nn.Module, name) or not any(word in name for word in _RESETTING):
        return False
    method = getattr(module, name, None)
    if name in ("reset_state", "reset_parameters") or not inspect.ismethod(method):
        return False
    if method.__func__.__module__.partition(".")[0] == "torch":  # a norm's statistics are no state
        return False
    return all(
        each.default is not each.empty or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in inspect.signature(method).parameters.values()
    )

"""What an adapter is: it recognises the neurons of one library, describes them, and runs them as the library does."""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mdcompress.adapters.refusals import PER_NEURON, Refusal
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, Numbers

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Adapter(Protocol):
    """Turns the neurons of one library into canonical models."""

    def describe(self, module: nn.Module, /) -> NeuronModel | Refusal | None:
        """The canonical model of `module`, why it has none, or None where it is no neuron of this library."""
        ...

    def run(self, module: nn.Module, currents: Tensor, /) -> Tensor:
        """What a neuron puts out, [T, N, ...], for currents [T, N, ...] from a fresh state. `module` may be changed.

        Its spikes, or its membranes where the model's output is that.
        """
        ...


@dataclass(frozen=True)
class NeuronAdapter:
    """An adapter from a function: `trace(network, sample, adapters=[NeuronAdapter(describe)])`.

    describe: the canonical model of a module of one's own, None for every other module.
    run: how currents [T, N, ...] become spikes where the module is not simply called with all steps.
    """

    describe: Callable[[nn.Module], NeuronModel | Refusal | None]
    run: Callable[[nn.Module, Tensor], Tensor] = lambda module, currents: module(currents)


class RefusedParameterError(TraceError):
    """A parameter that no canonical neuron has; it carries the row of the table of refusals."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason, hints=[refusal.hint])
        self.refusal = refusal


def numbers(value: object) -> Numbers:
    """A parameter of a module, one number or a tensor [C], [C, 1, 1] or [1, C, 1, 1], as the canonical model holds it.

    Errors: RefusedParameterError where it differs within a channel.
    """
    if isinstance(value, int | float):  # as_tensor would round it to float32
        return float(value)
    tensor = torch.as_tensor(value).detach().cpu().double()
    if tensor.numel() == 1:
        return float(tensor)
    if sum(size > 1 for size in tensor.shape) > 1:
        raise RefusedParameterError(PER_NEURON)
    return tuple(tensor.flatten().tolist())


def with_plain_numbers(described: NeuronModel | Refusal | None) -> NeuronModel | Refusal | None:
    """The description with numbers in place of tensors and arrays, which a neuron of one's own may give.

    Errors: RefusedParameterError where a parameter differs within a channel.
    """
    if not isinstance(described, NeuronModel):
        return described
    given: dict[str, Any] = {
        name: numbers(value) for name, value in vars(described).items() if isinstance(value, Tensor | np.ndarray | list)
    }
    return replace(described, **given) if given else described


def library_class(module: nn.Module, library: str) -> str | None:
    """The name of the first class of `library` (an import name) among the bases of a module's class."""
    return next((base.__name__ for base in type(module).__mro__ if _package(base) == library), None)


def has_base(module: nn.Module, library: str, names: tuple[str, ...]) -> bool:
    """Whether a class of `library` with one of these names is among the bases of the module's class."""
    return any(base.__name__ in names and _package(base) == library for base in type(module).__mro__)


def class_and_version(module: nn.Module) -> str:
    """`package.module.Class, library 1.2.3` for messages; the version is that of the first installed package."""
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    for base in type(module).__mro__:
        package = _package(base)
        if package not in ("torch", "builtins"):
            version = installed_version(package)
            if version is not None:
                return f"{name}, {package} {version}"
    return name


def installed_version(package: str) -> str | None:
    """The version of an installed package, which need not be imported; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def fresh_copy(module: ModuleT) -> ModuleT:
    """A float64 copy on the CPU in evaluation mode, also of a module whose state hangs on an autograd graph.

    Attributes are copied one by one: a library's own way of copying its neurons (sinabs) knows only its own options.
    """
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().as_subclass(Tensor).clone() for tensor in _states(module) if not _copies(tensor)
    }
    duplicate = type(module).__new__(type(module))
    memo[id(module)] = duplicate  # bound methods among the attributes become the copy's
    duplicate.__dict__.update(copy.deepcopy(vars(module), memo))
    return duplicate.cpu().double().eval()


def cast_inputs(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a module take inputs of any dtype: some libraries' spikes are float32 whatever the weights are."""
    module.register_forward_pre_hook(lambda _, inputs: tuple(x.to(dtype) for x in inputs))


def _states(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        for value in vars(part).values():
            yield from (item for item in (value.values() if isinstance(value, dict) else [value]) if _is_tensor(item))


def _copies(tensor: Tensor) -> bool:
    """Whether deepcopy takes it: not where it hangs on a graph, nor old snnTorch's own kind of tensor."""
    return tensor.is_leaf and type(tensor) in (Tensor, nn.Parameter)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]

"""What an adapter is, and what an adapter of a library is: it recognises neurons, describes, runs and resets them."""

from __future__ import annotations

import copy
import importlib.metadata
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.protocol import method_of
from mdcompress.adapters.refusals import PER_NEURON, Refusal
from mdcompress.adapters.samples import Sample
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, Numbers
from mdcompress.modes import modules_of, to_evaluation_mode

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ItemT = TypeVar("ItemT")


class Adapter(Protocol):
    """What makes one kind of neuron known: its equation, how it runs, how it is called and how it is reset."""

    def describe(self, module: nn.Module, /) -> NeuronModel | Refusal | None:
        """The canonical model of `module`, why it has none, or None where it is no neuron of this kind."""
        ...

    def run(self, module: nn.Module, currents: Tensor, /) -> Tensor:
        """What a neuron puts out, [T, N, ...], for currents [T, N, ...] from a fresh state. `module` may be changed.

        Its spikes, or its membranes where the model's output is that.
        """
        ...

    def calling(self, module: nn.Module, /) -> Calling:
        """The leading axes it takes, who keeps its state, and what of all steps it puts out."""
        ...

    def reset(self, module: nn.Module, /) -> None:
        """Let its next call start anew. Tensors that held a state are let go, never written to."""
        ...

    def is_at_rest(self, module: nn.Module, /) -> bool:
        """Whether its next call starts anew: it keeps no state, or was reset, or its state is all at rest."""
        ...


@dataclass(frozen=True)
class LayerClasses:
    """The layers of one library, by class name.

    packages: their module paths; a subclass of one of torch's layers from there computes what torch's does, but for
    those of `rescaled`, whose weights are not the ones they hold. dropouts: nothing in evaluation. step_scaled: batch
    norms with a factor `scale` for each step.
    """

    packages: tuple[str, ...]
    rescaled: tuple[str, ...] = ()
    dropouts: tuple[str, ...] = ()
    step_scaled: tuple[str, ...] = ()


class Library(ABC):
    """All that is known of one library of spiking neurons: an `Adapter`, and more that only a library has.

    What stands here holds for modules of which nothing else is known; a library's file says what differs.
    title: of its section in docs/frameworks/support.md. library: its import name. refusals: the classes and options
    without integers. layers: its layers that hold no neuron.
    """

    title: str = ""
    library: str = ""
    refusals: tuple[Refusal, ...] = ()
    layers: LayerClasses | None = None

    @abstractmethod
    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """As of every adapter."""

    def run(self, module: nn.Module, currents: Tensor) -> Tensor:
        """As of every adapter; here it is called with all steps."""
        spikes: Tensor = module(currents)
        return spikes

    def calling(self, module: nn.Module) -> Calling:
        """As of every adapter; here the class does not say."""
        return Calling()

    def reset(self, module: nn.Module) -> None:
        """As of every adapter; here by the module's method `reset_state()`, where it has one."""
        reset = method_of(module, "reset_state")
        if reset is not None:
            reset()

    def is_at_rest(self, module: nn.Module) -> bool:
        """As of every adapter; here a module that can be reset may keep state."""
        return method_of(module, "reset_state") is None

    def state_names(self, module: nn.Module) -> tuple[str, ...]:
        """The buffers that hold a neuron's state."""
        return ()

    def size_names(self, module: nn.Module) -> tuple[str, str] | None:
        """The attributes in which a module holds the sizes N and T of its batches; None where it takes any."""
        return None

    def input_layer(self, module: nn.Module) -> nn.Linear | None:
        """The weights that a neuron applies to its input by itself; None where it reads currents."""
        return None

    def recurrent_layer(self, module: nn.Module, name: str) -> nn.Module:
        """What maps a neuron's spikes of a step to what they add to the next; `name` as in `NeuronModel.recurrent`."""
        return module.get_submodule(name)

    def as_layer(self, module: nn.Module) -> nn.Module:
        """A layer of the library, on a neuron's own spikes, as one of torch's or a `weights.OneToOne`."""
        return module

    def samples(self) -> tuple[Sample, ...]:
        """Every class that is described, with the options that change its equation."""
        return ()


class RefusedParameterError(TraceError):
    """A parameter that no canonical neuron has; it carries the row of the table of refusals."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason, hints=[refusal.hint])
        self.refusal = refusal


def numbers(value: object) -> Numbers:
    """A parameter of a module, one number or a tensor [C], [C, 1, 1] or [1, C, 1, 1], as the canonical model holds it.

    Raises:
        RefusedParameterError: it differs within a channel.
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

    Raises:
        RefusedParameterError: a parameter differs within a channel.
    """
    match described:
        case NeuronModel():
            found = {name: of for name, of in vars(described).items() if isinstance(of, Tensor | np.ndarray | list)}
            given: dict[str, Any] = {name: numbers(value) for name, value in found.items()}
            return replace(described, **given) if given else described
        case Refusal() | None:
            return described
        case _:
            assert_never(described)


def library_class(module: nn.Module, library: str) -> str | None:
    """The name of the first class of `library` (an import name) among the bases of a module's class."""
    return next((base.__name__ for base in type(module).__mro__ if package_of(base) == library), None)


def as_tuple(value: ItemT | tuple[ItemT, ...]) -> tuple[ItemT, ...]:
    """What a function returns or is given, one thing or a tuple of them, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def has_base(module: nn.Module, library: str, names: tuple[str, ...]) -> bool:
    """Whether a class of `library` with one of these names is among the bases of the module's class."""
    return any(base.__name__ in names and package_of(base) == library for base in type(module).__mro__)


def class_and_version(module: nn.Module) -> str:
    """`package.module.Class, library 1.2.3` for messages; the version is that of the first installed package.

    A class from another place than that package says where from: it may be another release, or changed.
    """
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    for base in type(module).__mro__:
        package = package_of(base)
        if package not in ("torch", "builtins"):
            version = installed_version(package)
            if version is not None:
                folder = _folder_of_copy(base)
                held = f"{package} {version}" if folder is None else f"from {folder}, not the installed {package}"
                return f"{name}, {held}"
    return name


def installed_version(package: str) -> str | None:
    """The version of an installed package, which need not be imported; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _folder_of_copy(kind: type) -> str | None:
    """Where a class comes from that bears an installed package's name, and is not from there; else None."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    installed = importlib.metadata.distribution(package_of(kind))
    if file is None or '"editable": true' in (installed.read_text("direct_url.json") or ""):
        return None
    root, path = Path(str(installed.locate_file(""))).resolve(), Path(file).resolve()
    return None if path.is_relative_to(root) else str(Path(file).parent)


def fresh_copy(module: ModuleT) -> ModuleT:
    """A float64 copy on the CPU in evaluation mode, also of a module whose state hangs on an autograd graph."""
    duplicate = copied(module, {}).cpu().double()
    to_evaluation_mode(duplicate)
    return duplicate


def copied(module: ModuleT, memo: dict[int, Any]) -> ModuleT:
    """`copy.deepcopy`, also of a module whose state hangs on an autograd graph.

    Attributes are copied one by one: a library's own way of copying its neurons (sinabs) knows only its own options.

    Args:
        module: it is left as it is.
        memo: deepcopy's: what was copied before, by id.
    """
    for tensor in _states(module):
        if not _copies(tensor) and id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().as_subclass(Tensor).clone()
    duplicate = type(module).__new__(type(module))
    memo[id(module)] = duplicate  # bound methods among the attributes become the copy's
    duplicate.__dict__.update(copy.deepcopy(vars(module), memo))
    return duplicate


def equals(state: object, rest: object) -> bool:
    """Whether a state is what it is at rest; None: there is none."""
    return state is None or bool(torch.as_tensor(state == rest).all())


def empty_buffers(module: nn.Module, names: tuple[str, ...]) -> None:
    """Buffers of no element: the library fills them with zeros of the right shape at the next call."""
    module.__dict__["_buffers"] = dict(module._buffers)
    for name in names:
        old = module._buffers.get(name)
        if old is not None:
            module._buffers[name] = torch.zeros(0, device=old.device, dtype=old.dtype)


def cast_inputs(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a module take inputs of any dtype: some libraries' spikes are float32 whatever the weights are."""
    module.register_forward_pre_hook(lambda _, inputs: tuple(x.to(dtype) for x in inputs))


def _states(module: nn.Module) -> Iterator[Tensor]:
    for part in modules_of(module).values():
        for value in vars(part).values():
            match value:
                case Tensor():
                    yield value
                case dict():
                    yield from (each for each in value.values() if isinstance(each, Tensor))
                case list() | tuple():
                    yield from (each for each in value if isinstance(each, Tensor))


def _copies(tensor: Tensor) -> bool:
    """Whether deepcopy takes it: not where it hangs on a graph, nor old snnTorch's own kind of tensor."""
    return tensor.is_leaf and type(tensor) in (Tensor, nn.Parameter)


def package_of(kind: type) -> str:
    """The import name of the package that a class comes from."""
    return kind.__module__.partition(".")[0]

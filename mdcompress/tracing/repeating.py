"""Does the network give the same when it runs again? What keeps state that no reset reaches does not.

Every call of a module is written down, in the traced pass and in a second one, as digests of what it read and gave.
The second pass starts as every evaluation does: from `reset_state`, which knows the adapters that the network carries,
not those that `trace` alone was given. Both are the same computation on the same machine with the same random numbers,
so that equality is exact (`reproducible`: on a GPU, cuDNN may else add in another order). A third pass with other
random numbers, where the first drew any, tells a random network.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from mdcompress.adapters.advice import ADAPTED, reset_advice
from mdcompress.adapters.base import class_and_version
from mdcompress.adapters.state import reset_state
from mdcompress.errors import TraceError
from mdcompress.modes import modules_of, tensors_of

_RANDOM = "is random in evaluation, and a graph is not"
_BEFORE = "draw random numbers before the network: an encoder of its input belongs to the data"
_Generator = tuple[Callable[[], Any], Callable[[Any], Any]]  # how its state is read, and set


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module: its qualified name, and digests of what it read and of what it gave."""

    name: str
    read: bytes
    gave: bytes


class Repeated:
    """The passes of one network: the first is watched, and `check` runs the others.

    It is made before the first pass, and keeps the random numbers that this one begins with.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._generators = list(_generators(network))
        self._begin = self._states()
        self._first: list[ModuleCall] = []
        self._answer = b""

    @contextlib.contextmanager
    def first(self, aside: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        """Watch the first pass; an error of it says so where the network drew random numbers.

        aside: a context in which what is done belongs to no pass.
        """
        try:
            with _watched(self._network, self._first, aside):
                yield
        except TraceError as error:
            if self._drew:
                error.hints = (*error.hints, f"the network {_RANDOM}: {_BEFORE}")
            raise

    def answered(self, output: object) -> None:
        """Note what the first pass gave: no hook sees it where the network's own `__call__` runs none."""
        self._answer = _Digests().of(output)

    def check(self, sample: Callable[[], Tensor], neurons: Collection[str]) -> None:
        """Run the network again on fresh samples; TraceError where its answer or a neuron's output is another.

        The error names the first module, of any kind, that gives something else for the same input.
        """
        drew, end = self._drew, self._states()
        self._set(self._begin)
        self._require_equal(sample(), neurons, self._state_error)
        if drew:
            self._set(end)
            self._require_equal(sample(), neurons, self._random_error)
        self._set(end)

    @property
    def _drew(self) -> bool:
        return _Digests().of(self._states()) != _Digests().of(self._begin)

    def _require_equal(
        self, x: Tensor, neurons: Collection[str], error: Callable[[str, nn.Module], TraceError]
    ) -> None:
        reset_state(self._network)
        again: list[ModuleCall] = []
        with _watched(self._network, again, contextlib.nullcontext):
            answer = self._network(x)
        before, after = ([call.gave for call in calls if call.name in neurons] for calls in (self._first, again))
        if before != after or _Digests().of(answer) != self._answer:
            name = _first_difference(self._first, again)
            raise error(name, modules_of(self._network)[name])

    @staticmethod
    def _state_error(name: str, module: nn.Module) -> TraceError:
        return TraceError(
            f"{_said(name, module)} gives another output for the same input when the network runs again: it keeps "
            "state that is not reset between two runs",
            hints=[*reset_advice(module), ADAPTED],
        )

    @staticmethod
    def _random_error(name: str, module: nn.Module) -> TraceError:
        return TraceError(
            f"{_said(name, module)} gives another output for the same input with other random numbers: the network "
            f"{_RANDOM}",
            hints=[_BEFORE, "switch dropout and noise off in evaluation: they must ask self.training"],
        )

    def _states(self) -> list[Any]:
        return [read() for read, _ in self._generators]  # what is read is no part of the generator

    def _set(self, states: Sequence[Any]) -> None:
        for (_, write), state in zip(self._generators, states, strict=True):
            write(state)


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Inside, cuDNN chooses the same algorithm for the same layer at every call, and one that adds in a fixed order."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


@contextlib.contextmanager
def _watched(
    network: nn.Module, calls: list[ModuleCall], aside: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Append every call of a module to `calls`, in the order in which they end: a part before the whole."""
    names = {module: name for name, module in modules_of(network).items()}
    reads: list[bytes] = []
    digests = _Digests()

    def enter(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if module in names:  # no copy that the tracer makes, nor a layer made inside forward
            with aside():
                reads.append(digests.of(inputs))

    def leave(module: nn.Module, _: object, keywords: dict[str, object], output: object) -> None:
        if module in names:
            with aside():
                calls.append(ModuleCall(names[module], digests.of((reads.pop(), keywords)), digests.of(output)))

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, with_kwargs=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_difference(first: Sequence[ModuleCall], again: Sequence[ModuleCall]) -> str:
    """The first module whose output differs and whose input does not; '' is the network itself."""
    for before, after in zip(first, again, strict=False):
        if before.name != after.name:
            return ""
        if before.read == after.read and before.gave != after.gave:
            return before.name
    return ""


class _Digests:
    """Digests of what modules read and give; that of a tensor that one gives and the next reads is computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], tuple[weakref.ref[Tensor], int, bytes]] = {}

    def of(self, value: object) -> bytes:
        """16 bytes that differ where a bit of a tensor differs, or a number or word beside the tensors."""
        match value:
            case Tensor():
                return self._of_tensor(value)
            case np.ndarray() | np.generic() if value.dtype.hasobject:
                return self.of(value.tolist())
            case np.ndarray() | np.generic():
                return _hashed(f"{value.dtype}{value.shape}".encode(), value.tobytes())
            case list() | tuple() if all(type(part) is int for part in value):  # the state of `random`: 625 of them
                return _hashed(b"whole", repr(tuple(value)).encode())
            case list() | tuple():
                return _hashed(b"parts", *(self.of(part) for part in value))
            case Mapping():
                return self.of([*value.items()])
            case int() | float() | complex() | str() | bytes() | None:
                return _hashed(repr(value).encode())
            case _:
                return _hashed(type(value).__name__.encode())

    def _of_tensor(self, value: Tensor) -> bytes:
        if value.is_nested:
            return self.of(value.unbind())
        held = value.detach()
        dense = (held if held.layout is torch.strided else held.to_dense()).as_subclass(Tensor)
        values = b"" if dense.is_meta else self._of_memory(value, dense.resolve_conj().resolve_neg())
        return _hashed(f"{dense.dtype}{tuple(dense.shape)}".encode(), values)

    def _of_memory(self, value: Tensor, dense: Tensor) -> bytes:
        """The digest of a tensor's numbers; a view that holds those of a known tensor, as a flattened one, is known."""
        owner = value if value._base is None else value._base
        key = (id(owner), int(dense.storage_offset()), dense.numel(), dense.element_size())
        version = -1 if value.is_inference() or not _holds(value, dense) else value._version
        known = self._known.get(key)
        if known is not None and known[0]() is owner and known[1] == version >= 0:
            return known[2]
        found = _hashed(dense.cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        if version >= 0:
            self._known[key] = (weakref.ref(owner), version, found)
        return found


def _holds(value: Tensor, dense: Tensor) -> bool:
    """Whether a tensor has these numbers in its own memory, one after the other."""
    return value.layout is torch.strided and dense.is_contiguous() and value.data_ptr() == dense.data_ptr()


def _hashed(*parts: bytes | memoryview) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.digest()


def _generators(network: nn.Module) -> Iterator[_Generator]:
    """The generators of random numbers that a network may draw from: the global ones, and its modules' own."""
    yield torch.get_rng_state, torch.set_rng_state
    yield np.random.get_state, np.random.set_state
    yield random.getstate, random.setstate
    for device in sorted({str(tensor.device) for tensor in tensors_of(network).values() if tensor.is_cuda}):
        yield partial(torch.cuda.get_rng_state, device), partial(_set_cuda, device)
    for module in modules_of(network).values():
        for value in vars(module).values():
            match value:
                case torch.Generator():
                    yield value.get_state, value.set_state
                case random.Random():
                    yield value.getstate, value.setstate
                case np.random.Generator():
                    bits = value.bit_generator
                    yield partial(getattr, bits, "state"), partial(setattr, bits, "state")
                case _:
                    pass


def _set_cuda(device: str, state: Tensor) -> None:
    torch.cuda.set_rng_state(state, device)


def _said(name: str, module: nn.Module) -> str:
    return f"{f'module {name!r}' if name else 'the network itself'} ({class_and_version(module)})"

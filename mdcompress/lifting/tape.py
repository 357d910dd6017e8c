"""One pass of any network, written down at the level of ATen operators, with the origin of every number.

Each element that an operator computes is a *cell* with a number of its own. A tensor's labels are the cells that its
elements hold, or -1 where an element is a constant of the network. Labels belong to storages: a view has those of its
base, whatever its strides, and what is written in place is written for every view. Operators that only move elements
(reshape, stack, cat, pad, writing into a slice) move labels and are no operators of the tape. So the tape does not
know layouts: time may stand first, last or folded into the batch, steps may be joined from lists or dictionaries.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from mdcompress.errors import TraceError
from mdcompress.lifting.operators import (
    BINARY_TRUTHS,
    ELEMENTWISE,
    FILLING,
    FORMS,
    MOVING,
    RANDOM,
    READING,
    REVIEWING,
    UNARY_TRUTHS,
    base_name,
    needs_floats,
)
from mdcompress.lifting.ops import Op, Operand, Place, Tape

__all__ = ["LARGEST", "Op", "Operand", "Place", "Recording", "Tape", "unread_values"]

LARGEST = 60_000_000  # numbers of a pass: at about 100 bytes each, 6 GB
_INDEXED = frozenset({"index", "index_select", "gather", "take"})
_OWN = Path(__file__).resolve().parents[1]
_ENTRY = str(_OWN / "lifting" / "lift.py")
_HERE = (
    *(str(_OWN / room) for room in ("lifting", "tracing", "adapters")),
    str(Path(torch.__file__).parent),
    "contextlib.py",
)


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Writes a tape while a network runs in float64."""

    def __init__(self, network: nn.Module, *, read_as: float | None = None) -> None:
        """read_as: what the network gets where it reads a value of its data; None: the value."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.tape = Tape()
        self._read_as = read_as
        self.read_at: Place | None = None  # where the network first reads a value
        self._labels: dict[int, tuple[Tensor, Tensor]] = {}  # by storage: a tensor that keeps it alive, flat labels
        self._random: dict[int, Tensor] = {}
        self._names = {module: name for name, module in network.named_modules()}
        self._stack: list[str] = []
        self.random_place: Place | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing here is compiled, and torch need not load its compiler (4 s) to hear that."""
        return False

    # ------------------------------------------------------------------ what a caller does

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, every operator on what comes from an input is written down."""

        def enter(module: nn.Module, _: object) -> None:
            self._stack.append(self._names.get(module, self._stack[-1] if self._stack else ""))

        def leave(*_: object) -> None:
            self._stack.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad(), self:
                yield
        finally:
            torch.set_default_dtype(before)
            for handle in handles:
                handle.remove()

    def input(self, x: Tensor) -> Op:
        """Make the cells of an input; x is what the network is given."""
        return self._write("input", (), {}, x, None)

    def operand(self, x: Tensor) -> Operand:
        """What is known of a tensor."""
        labels = self._labels_of(x)
        if labels is None or not bool((labels >= 0).any()):
            return Operand(None, x.detach().clone(), x, _key(x) in self._random)
        return Operand(labels.clone(), x.detach().clone() if bool((labels < 0).any()) else None)

    @property
    def place(self) -> Place:
        """Where the pass stands."""
        return Place(self._stack[-1] if self._stack else "", _lines())

    # ------------------------------------------------------------------ every operator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every operator of the pass."""
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
            kwargs["dtype"] = torch.float64
        name = base_name(func)
        tensors = list(_tensors((args, tuple(kwargs.values()))))
        if name == "fill" and isinstance(args[1], Tensor) and self._is_tracked(args[1]):
            labels = self._moved_labels(args[1])
            out = func(*args, **kwargs)
            self._label_view(args[0]).copy_(labels)
            return out
        if name in FORMS or name in FILLING or not any(self._is_tracked(each) for each in tensors):
            return self._untracked(func, name, args, kwargs)
        if name in READING:
            return self._read(func, name, args, kwargs)
        renamed = func._schema.name.partition("::")[2] in REVIEWING
        if func.is_view or renamed or MOVING.get(name) == "alias":
            return func(*args, **kwargs)
        in_place = _written(func, args)
        if name == "copy":
            target, source = args[0], args[1]
            labels = self._moved_labels(source)
            out = func(*args, **kwargs)
            self._label_view(target).copy_(labels)
            return out
        if name == "index" and self._is_chosen_by_data(args):
            return self._masked_read(args)
        if name in MOVING:
            return self._moved(func, name, args, kwargs)
        if name == "index_put":
            return self._masked_write(func, args, kwargs)
        arguments, options = self._replaced(args), self._replaced(kwargs)
        out = func(*args, **kwargs)
        evaluate = _functional(func, name) if name in ELEMENTWISE else None
        first = out[0] if isinstance(out, tuple | list) else out
        if not isinstance(first, Tensor):
            return out
        target = in_place if in_place is not None else first
        self._write(name, arguments, options, target, evaluate)
        return out

    def error(self, what: str, hint: str) -> TraceError:
        """The error, with the place in the user's code."""
        return TraceError(f"{what} ({self.place})", hints=[hint])

    # ------------------------------------------------------------------ kinds of operators

    def _read(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of a tensor as a number: as it is, or what it shall be read as, to see whether it matters."""
        if name != "_local_scalar_dense":
            raise self.error(*unread_values(name))
        self.read_at = self.read_at or self.place
        value = func(*args, **kwargs)
        if self._read_as is None:
            return value
        match value:
            case bool():
                return self._read_as > 0
            case int():
                return 0 if self._read_as != self._read_as else int(max(min(self._read_as, 2**31), -(2**31)))
            case _:
                return self._read_as

    def _untracked(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        random = name in RANDOM or any(_key(each) in self._random for each in _tensors((args, tuple(kwargs.values()))))
        written = _written(func, args)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            if random:
                self._random[_key(tensor)] = tensor
                self.random_place = self.random_place or self.place
        if written is not None and _key(written) in self._labels:
            self._label_view(written).fill_(-1)
        return out

    def _moved(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operator that only moves elements: it is done to the labels too."""
        if name == "_to_copy" and _truncates(args[0], kwargs.get("dtype")):
            operand = self.operand(args[0])
            out = func(*args, **kwargs)
            self._write("trunc", (operand,), {}, out, torch.trunc)
            return out
        fixed = 1 if name in _INDEXED else len(args)
        labels = (*_mapped(args[:fixed], self._moved_labels), *args[fixed:])
        written = _written(func, args)
        out = func(*args, **kwargs)
        if name == "constant_pad_nd":
            labels = (*labels[:2], -1)
        if name == "masked_fill" or written is not None:
            raise self.error(f"the network writes in place by {name}", "write it as an expression, or by y[t] = x")
        if needs_floats(name):
            moved = func(*_mapped(labels, lambda each: each.double()), **kwargs).round().long()
        else:
            keep = {key: value for key, value in kwargs.items() if key not in ("dtype", "memory_format")}
            moved = args and (torch.clone(labels[0]) if name in ("_to_copy", "clone") else func(*labels, **keep))
        for tensor, label in zip(_tensors(out), _tensors(moved), strict=False):
            self._label_view(tensor).copy_(label.reshape(tensor.shape))
        return out

    def _is_chosen_by_data(self, args: tuple[Any, ...]) -> bool:
        return any(self._is_tracked(each) for each in _tensors(args[1]))

    def _masked_read(self, args: tuple[Any, ...]) -> Tensor:
        """x[mask] as all of x, to be computed with and written back to the mask's places: x[mask] = f(x[mask])."""
        x, indices = args[0], args[1]
        masks = [each for each in indices if each is not None]
        if len(masks) != 1 or masks[0].dtype is not torch.bool or masks[0].shape != x.shape:
            raise self.error(*unread_values("x[...]"))
        out: Tensor = x.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
        self._label_view(out).copy_(self._moved_labels(x).reshape(-1))
        return out

    def _masked_write(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """out[mask] = value, a choice element by element; out[indices] = values with constant indices, a move."""
        target, indices, value = args[0], args[1], args[2]
        masks = [each for each in indices if each is not None]
        if len(masks) == 1 and masks[0].dtype is torch.bool and self._is_tracked(masks[0]) and value.numel() == 1:
            arguments = tuple(self.operand(each) for each in (masks[0], value, target))
            out = func(*args, **kwargs)
            self._write("where", arguments, {}, target, lambda mask, new, old: torch.where(mask != 0, new, old))
            return out
        if (
            len(masks) == 1
            and masks[0].dtype is torch.bool
            and masks[0].shape == target.shape
            and self._is_tracked(masks[0])
            and value.numel() == target.numel()
        ):  # of _masked_read
            new = value.reshape(target.shape)
            arguments = tuple(self.operand(each) for each in (masks[0], new, target))
            target.copy_(torch.where(masks[0], new, target))
            self._write("where", arguments, {}, target, lambda mask, new, old: torch.where(mask != 0, new, old))
            return target
        if any(self._is_tracked(each) for each in masks) or (len(args) > 3 and args[3]):
            raise self.error(
                "the network writes to places that its data choose",
                "write y = torch.where(mask, a, b), or multiply by the mask",
            )
        labels = self._moved_labels(value)
        out = func(*args, **kwargs)
        view = self._label_view(target)
        view.index_put_(tuple(indices), labels)
        return out

    def _write(
        self,
        name: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        output: Tensor,
        evaluate: Callable[..., Tensor] | None,
    ) -> Op:
        """Write an operator down: what it made are new cells."""
        tape = self.tape
        if tape.size + output.numel() > LARGEST:
            raise self.error(
                f"the network is too large to be read: more than {LARGEST:.0e} numbers in one pass",
                "read it on smaller maps or fewer steps (its layers and neurons are the same), or let its neurons "
                "describe themselves by a method `neuron_model` (docs/frameworks/own.md): then nothing is read",
            )
        op = Op(len(tape.ops), name, arguments, options, tape.size, output.shape, self.place, evaluate)
        tape.ops.append(op)
        tape.values.append(output.detach().double().reshape(-1).clone())
        tape.size += output.numel()
        self._label_view(output).copy_(op.cells)
        return op

    # ------------------------------------------------------------------ labels

    def _label_view(self, x: Tensor) -> Tensor:
        key = _key(x)
        if key not in self._labels:
            count = x.untyped_storage().nbytes() // x.element_size()
            self._labels[key] = (x, torch.full((count,), -1, dtype=torch.int64))
        return self._labels[key][1].as_strided(x.size(), x.stride(), x.storage_offset())

    def _labels_of(self, x: Tensor) -> Tensor | None:
        return self._label_view(x) if _key(x) in self._labels else None

    def _moved_labels(self, x: Tensor) -> Tensor:
        labels = self._labels_of(x)
        return torch.full(x.shape, -1, dtype=torch.int64) if labels is None else labels.clone()

    def _is_tracked(self, x: Tensor) -> bool:
        labels = self._labels_of(x)
        return labels is not None and bool((labels >= 0).any())

    def _replaced(self, values: Any) -> Any:
        return _mapped(values, self.operand)


def unread_values(name: str) -> tuple[str, str]:
    """What is wrong where a network chooses by the values of its data, and what to do."""
    return (
        f"the network reads the values of a tensor that comes from its input ({name.strip('_')})",
        "a graph is the same for all data: choose by shapes or options, not by values",
    )


def _key(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _tensors(values: object) -> Iterator[Tensor]:
    match values:
        case Tensor():
            yield values
        case tuple() | list():
            for value in values:
                yield from _tensors(value)


def _mapped(values: Any, function: Callable[[Tensor], Any]) -> Any:
    match values:
        case Tensor():
            return function(values)
        case tuple():
            return tuple(_mapped(value, function) for value in values)
        case list():
            return [_mapped(value, function) for value in values]
        case dict():
            return {key: _mapped(value, function) for key, value in values.items()}
        case _:
            return values


def _written(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """The tensor that an operator writes in place; None where it makes a new one."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write and place < len(args):
            written = args[place]
            return written if isinstance(written, Tensor) else None
    return None


def _functional(func: Any, name: str) -> Callable[..., Tensor]:
    """The operator as a function of float64 tensors, which writes nothing in place; truths are 0 and 1."""
    if name in UNARY_TRUTHS:
        return UNARY_TRUTHS[name]
    if name in BINARY_TRUTHS:
        return BINARY_TRUTHS[name]
    packet = getattr(torch.ops.aten, name, None)
    overload = getattr(packet, func._overloadname, None) if packet is not None else None
    chosen: Callable[..., Tensor] = overload if overload is not None else func
    if name == "where":
        return lambda mask, yes, no: torch.where(mask != 0, yes, no)
    if name == "masked_fill":
        return lambda x, mask, value: torch.where(mask != 0, torch.as_tensor(value, dtype=x.dtype), x)
    return chosen


def _truncates(x: Tensor, dtype: torch.dtype | None) -> bool:
    return x.is_floating_point() and dtype is not None and not dtype.is_floating_point and dtype is not torch.bool


def _lines() -> tuple[tuple[str, int], ...]:
    """The lines of the user's code that the pass is in, from the outermost call to the innermost."""
    found: list[tuple[str, int]] = []
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not any(part in file for part in _HERE):
            found.append((file, frame.f_lineno))
        elif file == _ENTRY:
            break
        frame = frame.f_back
    return tuple(reversed(found))

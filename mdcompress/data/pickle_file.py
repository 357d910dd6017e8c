"""A pickle of plain containers -> dicts, lists, tuples, numbers, text and arrays of bytes; nothing in it is run.

Python's own unpickler calls what a file names. Here the opcodes (pickletools) are carried out by hand: of every name in
the file only those of NumPy's arrays are known, and none is imported or called. An array's header must fit its bytes.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intsnn.errors import reading
from mdcompress.errors import DataError

Plain = object  # None, bool, int, float, str, bytes, list, tuple, dict with keys of text, or an array of bytes

_ARRAY, _BUFFER, _TYPE, _BYTES = "an array", "an array of a buffer", "a type of numbers", "bytes as text"
_NAMES = {  # what pickles of arrays name, by any release of NumPy and by Python 2 and 3
    "numpy.core.multiarray _reconstruct": _ARRAY, "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy.core.numeric _frombuffer": _BUFFER, "numpy._core.numeric _frombuffer": _BUFFER,
    "numpy dtype": _TYPE, "numpy ndarray": "", "_codecs encode": _BYTES,
}  # fmt: skip
_PUSHED = (
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A name in the file, and what it stands for."""

    kind: str


@dataclass
class _Made:
    """An array, or its type, before its state is known."""

    kind: str
    arguments: tuple[object, ...]
    state: object = None


def read_pickle(path: Path, *, most: int) -> Plain:
    """What a pickle holds.

    Args:
        path: the file.
        most: bytes that it has at most.

    Raises:
        DataError: the file is damaged, larger, or holds what only running code could read.
    """
    with reading(path, "a pickle of plain containers and arrays of bytes"):
        size = path.stat().st_size
        if size > most:
            raise DataError(f"{path}: must have at most {most:,} bytes (got {size:,})", hints=[_HINT])
        return _carried_out(path, path.read_bytes())


_HINT = "delete the file and fetch the set again (`--download`)"


def _carried_out(path: Path, content: bytes) -> Plain:
    stream, machine = io.BytesIO(content), _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        result = machine.result()
    except (ValueError, IndexError, KeyError) as error:  # of pickletools; of a stack or a memo without such an item
        raise _damaged(path, str(error) or type(error).__name__) from error
    if stream.tell() != len(content):
        raise _damaged(path, f"{len(content) - stream.tell()} bytes follow its end")
    return result


def _damaged(path: Path, seen: str) -> DataError:
    return DataError(
        f"{path}: must be a whole pickle of plain containers and arrays of bytes ({seen}); nothing in it was run",
        hints=[_HINT],
    )


class _Machine:
    """The stack and the memo of a pickle; `step` carries out one opcode."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.steps: dict[str, Callable[[object], None]] = {
            "PROTO": _nothing, "FRAME": _nothing, "STOP": _nothing,
            "MARK": lambda _: self.stack.append(_MARK),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "TUPLE": lambda _: self.stack.append(tuple(self._to_mark())),
            "TUPLE1": lambda _: self.stack.append(self._popped(1)),
            "TUPLE2": lambda _: self.stack.append(self._popped(2)),
            "TUPLE3": lambda _: self.stack.append(self._popped(3)),
            "APPEND": lambda _: self._append(self._popped(1)), "APPENDS": lambda _: self._append(self._to_mark()),
            "SETITEM": lambda _: self._set_items(self._popped(2)),
            "SETITEMS": lambda _: self._set_items(self._to_mark()),
            "BINPUT": self._put, "LONG_BINPUT": self._put, "MEMOIZE": lambda _: self._put(len(self.memo)),
            "BINGET": self._get, "LONG_BINGET": self._get,
            "GLOBAL": self._name, "STACK_GLOBAL": lambda _: self._name(" ".join(map(_text, self._popped(2)))),
            "REDUCE": lambda _: self._reduce(*self._popped(2)), "BUILD": lambda _: self._build(*self._popped(2)),
        }  # fmt: skip

    def step(self, name: str, argument: object) -> None:
        """One opcode; ValueError for one that plain data do not need."""
        if name in _PUSHED:
            self.stack.append(_CONSTANTS.get(name, argument))
        elif name in self.steps:
            self.steps[name](argument)
        else:
            raise ValueError(f"its opcode {name} is none of plain data")

    def result(self) -> Plain:
        """The one object that is left, with its arrays."""
        (left,) = self.stack
        return _finished(left)

    def _popped(self, count: int) -> tuple[object, ...]:
        if len(self.stack) < count:
            raise IndexError("its stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _to_mark(self) -> tuple[object, ...]:
        at = next(place for place in range(len(self.stack) - 1, -2, -1) if place < 0 or self.stack[place] is _MARK)
        if at < 0:
            raise IndexError("a mark is missing")
        items = tuple(self.stack[at + 1 :])
        del self.stack[at:]
        return items

    def _append(self, items: tuple[object, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError(f"items must be appended to a list, not to {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: tuple[object, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError(f"items must be set in a dict, not in {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_text(key)] = value

    def _put(self, place: object) -> None:
        assert isinstance(place, int)
        self.memo[place] = self.stack[-1]

    def _get(self, place: object) -> None:
        assert isinstance(place, int)
        self.stack.append(self.memo[place])

    def _name(self, name: object) -> None:
        if name not in _NAMES:
            raise ValueError(f"it names {name!r}, which only running code could read")
        self.stack.append(_Name(_NAMES[str(name)]))

    def _reduce(self, function: object, arguments: object) -> None:
        if not isinstance(function, _Name) or not function.kind or not isinstance(arguments, tuple):
            raise ValueError("it calls what is not a part of an array")
        if function.kind == _BYTES:
            if len(arguments) != 2 or arguments[1] != "latin1":
                raise ValueError("bytes as text must be those of latin1")
            self.stack.append(_bytes(arguments[0]))
        elif function.kind == _BUFFER:
            values, of_type, shape, order = arguments
            self.stack.append(_Made(_ARRAY, (), (1, shape, of_type, order == "F", values)))
        else:
            self.stack.append(_Made(function.kind, arguments))

    def _build(self, made: object, state: object) -> None:
        if not isinstance(made, _Made):
            raise ValueError("it gives a state to what is not an array")
        made.state = state
        self.stack.append(made)


def _nothing(_: object) -> None:
    """An opcode that says how the file is written."""


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bytes():
            return value.decode("latin-1")
        case _:
            raise ValueError(f"a key must be text (got {type(value).__name__})")


def _bytes(value: object) -> bytes:
    match value:
        case str():
            return value.encode("latin-1")  # UnicodeEncodeError is a ValueError
        case bytes() | bytearray():
            return bytes(value)
        case _:
            raise ValueError(f"the values of an array must be bytes (got {type(value).__name__})")


def _finished(value: object) -> Plain:
    """The object, and what the containers at its top hold, with arrays in their places."""
    match value:
        case dict():
            return {key: _array(item) if isinstance(item, _Made) else item for key, item in value.items()}
        case _Made():
            return _array(value)
        case _:
            return value


def _array(made: _Made) -> NDArray[np.uint8]:
    """An array of bytes from its state (version, shape, type, whether columns go first, values)."""
    match made.state:
        case (int(), tuple() as shape, _Made(kind=kind, arguments=(("u1" | "|u1"), *_)), by_columns, values):
            content = _bytes(values)
        case _:
            raise ValueError("its arrays must hold unsigned bytes")
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    if made.kind != _ARRAY or kind != _TYPE or len(sizes) != len(shape) or math.prod(sizes) != len(content):
        raise ValueError(f"an array of shape {list(shape)} must hold as many bytes (got {len(content)})")
    return np.frombuffer(content, np.uint8).reshape(sizes, order="F" if by_columns else "C")

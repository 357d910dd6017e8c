"""What a training script saved -> the state dict in it that is the network's.

A checkpoint holds the state dict under some key, a wrapper's prefix before its names, and other state dicts beside it.
None of this is known by a format: what is taken is what fits the network entirely, names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mdcompress.errors import CheckpointError
from mdcompress.student.torch_files import shortened

_KEYS = ("state_dict", "model", "net", "model_state_dict", "network", "network_state_dict", "net_state_dict", "weights")
_DEPTH = 3  # of dictionaries: {"callbacks": {"EMA": {"state_dict": ...}}}
_WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile
_PARTS = (*_WRAPPERS, "model", "net", "network", "snn", "student", "ema", "ema_model", "model_ema", "teacher")
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Loaded:
    """What a network took out of a file of weights.

    taken_from: the keys that lead to the state dict; empty where the file is one. prefix: what was taken off before
    every name. inside: wrappers' names that were taken out from within names. left: names of tensors that stand outside
    the prefix. passed_over: what fits the network as well, with other values.
    """

    taken_from: tuple[str, ...] = ()
    prefix: str = ""
    inside: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where in the file the tensors stand, in words."""
        words = f"its {'.'.join(self.taken_from)!r}" if self.taken_from else "its tensors"
        return words + (f", of those named {self.prefix + '*'!r}" if self.prefix else "")

    def __str__(self) -> str:
        """One sentence; empty where the file is the network's state dict and nothing had to be chosen."""
        if self == Loaded():
            return ""
        parts = [f"the weights are {'.'.join(self.taken_from)!r} of the file" if self.taken_from else ""]
        if self.prefix:
            parts.append(f"{self.prefix!r} taken off before their names")
        if self.inside:
            parts.append(f"{' and '.join(repr(f'{name}.') for name in self.inside)} taken out of their names")
        if self.left:
            parts.append(f"left out: {shortened(self.left)}")
        if self.passed_over:
            parts.append(f"not taken, though it fits too: {shortened(self.passed_over)}")
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Reading:
    """Tensors of a file under the names that they would have in the network, and how they came to them."""

    tensors: Mapping[str, Tensor]
    how: Loaded

    @property
    def rank(self) -> tuple[int, int, int]:
        """Plain weights before averaged ones before a teacher's, usual keys before others, and these in their order."""
        words = [*self.how.taken_from, *self.how.prefix.split(".")]
        averaged = any(re.search(r"(^|_)(ema|swa|avg|averaged?|teacher)(_|$)", word.lower()) for word in words)
        teacher = any("teacher" in word.lower() for word in words)
        first = _KEYS.index(self.how.taken_from[0]) if self.how.taken_from and not self.unusual else 0
        return averaged + teacher, self.unusual, first

    @property
    def unusual(self) -> bool:
        """Whether it stands under a key that tells nothing."""
        return any(key not in _KEYS for key in self.how.taken_from)


def state_in(
    content: object, expected: Mapping[str, Tensor], *, path: Path, without: frozenset[str] = frozenset()
) -> tuple[dict[str, Tensor], Loaded]:
    """The tensors of a network, under its own names, and how they were found.

    Args:
        content: what the file holds.
        expected: the network's own tensors.
        path: of the file, for messages.
        without: names that the file may hold and the network does not take.

    Raises:
        CheckpointError: nothing in it is a state dict, none fits, or several fit and nothing tells which is meant.
    """
    entries = list(_entries(content))
    readings = [
        replace(reading, tensors={name: tensor for name, tensor in reading.tensors.items() if name not in without})
        for keys, tensors in entries
        for reading in _readings(keys, tensors, expected)
    ]
    fitting = sorted((one for one in readings if not differences(one.tensors, expected)), key=lambda one: one.rank)
    if not fitting:
        raise _no_fit(content, readings, expected, path)
    taken = fitting[0]
    others = [one for one in fitting[1:] if not _equal(one.tensors, taken.tensors)]
    rivals = [one for one in others if one.rank == taken.rank]
    if rivals:
        raise CheckpointError(
            f"{path} must hold one state dict that fits the network (found {taken.how.place}, and "
            f"{rivals[0].how.place}, with other values)",
            hints=["save the one that you mean alone: torch.save(checkpoint['...'], 'weights.pt')"],
        )
    return dict(taken.tensors), replace(taken.how, passed_over=tuple(one.how.place for one in others))


def differences(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What keeps tensors from fitting a network, in words: missing and unknown names, other shapes; else empty."""
    return "; ".join(f"{what}: {shortened(names)}" for what, names in _differing(tensors, expected).items() if names)


def _differing(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, list[str]]:
    return {
        "missing": [name for name in expected if name not in tensors],
        "not known": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name} is {list(tensors[name].shape)}, not {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
    }


# ------------------------------------------------------------------ what may be meant


def _entries(
    content: object, keys: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The tensors of every dictionary in a file with the keys that lead to it, the outer ones first.

    `seen`: inner dictionaries that were walked already. One that a file names a thousand times is walked once.
    """
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or id(content) in seen:
        return
    if len(keys) > 1:
        seen.add(id(content))
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and _is_plain(value)}
    if tensors or not (content or keys):
        yield keys, tensors
    if len(keys) < _DEPTH:
        for key, value in content.items():
            yield from _entries(value, (*keys, str(key)), seen)


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers are there, one for each place."""
    return isinstance(value, Tensor) and not _other_form(value)


def _other_form(tensor: Tensor) -> str:
    """How a tensor is stored where it is not number by number; else empty."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return "sparse"
    return "quantized" if tensor.is_quantized else "without values" if tensor.is_meta else ""


def _of_other_forms(content: object, expected: Mapping[str, Tensor]) -> Iterator[str]:
    """`stem.weight is sparse` of each of the network's tensors that is not plain, in the file or one level below."""
    if not isinstance(content, dict):
        return
    for tensors in (content, *(inner for inner in content.values() if isinstance(inner, dict))):
        for name in expected:
            if isinstance(tensor := tensors.get(name), Tensor) and (form := _other_form(tensor)):
                yield f"{name} is {form}"


def _readings(
    keys: tuple[str, ...], tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Iterator[_Reading]:
    """A state dict as it is, without a prefix, and without the names of wrappers around the network's parts."""
    how = Loaded(keys)
    yield _Reading(tensors, how)
    yield from _without_prefix(tensors, expected, how)
    plain, inside = _without_wrappers(tensors)
    if inside:
        how = replace(how, inside=inside)
        yield _Reading(plain, how)
        yield from _without_prefix(plain, expected, how)


def _without_prefix(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], how: Loaded) -> Iterator[_Reading]:
    """Every prefix that one of the network's names has in the file.

    One that not all tensors have must be usual: the losses of a LightningModule, the count of an average stand beside.
    """
    longest = max(expected, key=len, default="")
    prefixes = [name.removesuffix(longest) for name in tensors if name.endswith(f".{longest}")] if longest else []
    for prefix in prefixes:
        left = tuple(name for name in tensors if not name.startswith(prefix))
        if left and any(part not in _PARTS for part in prefix.removesuffix(".").split(".")):
            continue
        rest = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        yield _Reading(rest, replace(how, prefix=prefix, left=left))


def _without_wrappers(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Names without those of wrappers around parts, `features.module.0`, and the wrappers' names that they had.

    A wrapper stands around a whole part: of which it stands in some names only keeps its name.
    """
    found: set[str] = set()
    for wrapper in _WRAPPERS:
        places = {name[: at.start()] for name in tensors for at in re.finditer(rf"(?<![^.]){wrapper}\.", name)}
        for place in sorted(places, key=len, reverse=True):
            inner = place + wrapper + "."
            if all(name.startswith(inner) for name in tensors if name.startswith(place)):
                found.add(wrapper)
                tensors = {place + name.removeprefix(inner) if name.startswith(inner) else name: tensor
                           for name, tensor in tensors.items()}  # fmt: skip
    return dict(tensors), tuple(sorted(found))


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(tensor.dtype == other[name].dtype and _same(tensor, other[name]) for name, tensor in one.items())


def _same(one: Tensor, other: Tensor) -> bool:
    """Byte by byte: not every type that a file may have can be compared."""
    left, right = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(left, right)


# ------------------------------------------------------------------ what is wrong, in words


def _no_fit(content: object, readings: list[_Reading], expected: Mapping[str, Tensor], path: Path) -> CheckpointError:
    """The error of the reading that comes closest; of equals the first, which is the file as it is."""

    def distance(reading: _Reading) -> tuple[bool, bool, int]:
        differing = sum(map(len, _differing(reading.tensors, expected).values()))
        return not reading.tensors.keys() & expected.keys(), reading.unusual, differing

    closest = min(readings, key=distance, default=None)
    if closest is None or distance(closest)[:2] == (True, True):
        return CheckpointError(
            f"{path} must hold a state dict of tensors (found {_in_words(content)})",
            hints=["save it with torch.save(network.state_dict(), path)"],
        )
    others = list(_of_other_forms(content, expected))
    forms = f"; not plain numbers: {shortened(others)}" if others else ""
    place = f"{path}: {closest.how.place}," if closest.how != Loaded() else f"{path}"
    return CheckpointError(
        f"{place} does not fit the network: {differences(closest.tensors, expected)}{forms}",
        hints=["save plain tensors: tensor.to_dense(), tensor.dequantize()"]
        if others
        else ["these are weights of another network, or of the same one built with other options"],
    )


def _in_words(content: object) -> str:
    if not isinstance(content, dict):
        return type(content).__name__
    return f"a dict of {shortened([f'{name!r}: {type(value).__name__}' for name, value in content.items()])}"

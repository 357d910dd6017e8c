"""The user's own function `package.module:function` -> splits; each batch it gives is checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mdcompress.data.batches import Batch, StoredBatches, leading
from mdcompress.data.names import Loading
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from mdcompress.trust import NamedCode, import_named

PARTS = ("train", "validation", "test")
HINT = (
    "the function must be: def loaders(time_steps: int, batch_size: int, seed: int) -> (train, validation, test) or "
    "(train, validation, test, class_names); each of the three a list, DataLoader or the like of (x [T, N, ...], y "
    "[N]). With a parameter `folder: Path` it is given data.folder too."
)


@runtime_checkable
class EpochAware(Protocol):
    """A loader that wants to know the epoch, for an order that a resumed training meets again."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next walk."""
        ...


class OwnBatches:
    """The user's batches, checked as they come: x [T, N, ...] of real numbers, y [N] of class numbers.

    `set_epoch` is handed on to a loader, or to its `sampler`, that has it; other loaders order themselves.
    """

    def __init__(self, source: Iterable[object], *, size: int, time_steps: int, place: str) -> None:
        self.source = source
        self.size = size
        self.time_steps = time_steps
        self.place = place

    def __len__(self) -> int:
        """Number of batches, as the source says."""
        return self.size

    def __iter__(self) -> Iterator[Batch]:
        """The batches; x as float32, y as int64."""
        for index, item in enumerate(self.source):
            yield _checked(item, time_steps=self.time_steps, place=f"{self.place}, batch {index}")

    def set_epoch(self, epoch: int) -> None:
        """Tell the source, or its sampler, which epoch comes."""
        for part in (self.source, getattr(self.source, "sampler", None)):
            if isinstance(part, EpochAware):
                part.set_epoch(epoch)

    def first(self, samples: int, *, seed: int) -> StoredBatches:
        """The first samples of epoch 0, kept in memory; their order is the source's own, not of `seed`."""
        self.set_epoch(0)
        return StoredBatches(list(leading(self, samples)))


def own_loaders(loading: Loading) -> DataSplits:
    """Splits from the user's function, which is called with time_steps, batch_size, seed, and folder where it asks."""
    returned = _called(_function(loading), loading)
    sources, classes = _unpacked(returned, loading.name)
    train, validation, test = (
        _batches(source, time_steps=loading.time_steps, place=f"{loading.name}, {part}")
        for part, source in zip(PARTS, sources, strict=True)
    )
    x, _ = next(iter(train))
    return DataSplits(train, validation, test, classes=classes, sample_shape=tuple(x.shape[2:]))


def _function(loading: Loading) -> Callable[..., object]:
    name, code = loading.name, NamedCode("data.name", loading.name)
    module_name, attribute = code.module, code.function
    try:
        found: object = getattr(import_named(code, loading.consent), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the user's module is there and lacks a module of its own: the traceback says which
        raise DataError(
            f"data.name: module `{module_name}` cannot be found (got {name!r})",
            hints=["run from the folder that holds it, or put that folder on PYTHONPATH"],
        ) from error
    if not callable(found):
        raise DataError(f"data.name: `{module_name}` must have a function `{attribute}` (got {name!r})", hints=[HINT])
    return found


def _called(function: Callable[..., object], loading: Loading) -> object:
    """What the function returns; `folder` is handed to one that has a parameter of that name."""
    given: dict[str, int | Path] = {
        "time_steps": loading.time_steps, "batch_size": loading.batch_size, "seed": loading.seed,
    }  # fmt: skip
    signature = inspect.signature(function)
    if "folder" in signature.parameters:
        given["folder"] = loading.folder
    try:
        signature.bind(**given)
    except TypeError as error:
        raise DataError(
            f"{loading.name}: must accept time_steps, batch_size and seed ({error})", hints=[HINT]
        ) from error
    return function(**given)


def _unpacked(returned: object, name: str) -> tuple[tuple[object, ...], tuple[str, ...]]:
    """(train, validation, test) and the names of the classes, if given."""
    match returned:
        case tuple() if len(returned) in (3, 4):
            classes = tuple(str(label) for label in returned[3]) if len(returned) == 4 else ()
            return returned[:3], classes
        case tuple():
            seen = f"{len(returned)} values"
        case _:
            seen = type(returned).__name__
    raise DataError(f"{name}: must return (train, validation, test) (got {seen})", hints=[HINT])


def _batches(source: object, *, time_steps: int, place: str) -> OwnBatches:
    if not isinstance(source, Iterable) or isinstance(source, Iterator):
        raise DataError(
            f"{place}: must be something that can be walked again and again (got {type(source).__name__})",
            hints=["return a list, a DataLoader or an object with __iter__ and __len__, not a generator"],
        )
    match source:
        case Sized() if len(source):
            return OwnBatches(source, size=len(source), time_steps=time_steps, place=place)
        case Sized():
            seen = "0 batches"
        case _:
            seen = f"{type(source).__name__} without len()"
    raise DataError(f"{place}: must know its number of batches, at least 1 (got {seen})", hints=[HINT])


def _checked(item: object, *, time_steps: int, place: str) -> Batch:
    match item:
        case (Tensor() as x, Tensor() as y):
            _require_shapes(x, y, time_steps=time_steps, place=place)
            _require_types(x, y, place=place)
            return x.to(torch.float32), y.to(torch.int64)
        case (x, y):
            seen = f"{type(x).__name__} and {type(y).__name__}"
            raise DataError(f"{place}: x and y must be torch tensors (got {seen})", hints=["use torch.from_numpy"])
        case _:
            raise DataError(f"{place}: must be a pair (x, y) (got {type(item).__name__})", hints=[HINT])


def _require_shapes(x: Tensor, y: Tensor, *, time_steps: int, place: str) -> None:
    if x.ndim == 2 and time_steps in x.shape:
        turned = "x" if x.shape[0] == time_steps else "x.T"
        raise DataError(
            f"{place}: x must be [T, N, ...] with an axis for what a sample holds at each step (got {list(x.shape)})",
            hints=[
                f"one number at each step is [T, N, 1]: {turned}.unsqueeze(-1); a network that takes [N, T] is found"
            ],
        )
    if x.ndim == 1 < y.ndim:
        raise DataError(
            f"{place}: must be a pair (x, y), the samples first (got shapes {list(x.shape)} and {list(y.shape)})",
            hints=["give (x, y) and not (y, x)"],
        )
    if x.ndim < 3 or x.shape[0] != time_steps:
        raise DataError(
            f"{place}: x must be [T, N, ...] with T = {time_steps} (got {list(x.shape)})",
            hints=[
                "give as many steps as the function is asked for, time first: x.transpose(0, 1) if it is [N, T, ...]"
            ],
        )
    if y.shape != x.shape[1:2]:
        raise DataError(
            f"{place}: y must be [N] with N = {x.shape[1]}, as in x (got {list(y.shape)})",
            hints=["give one class number a sample, not one-hot rows"],
        )


def _require_types(x: Tensor, y: Tensor, *, place: str) -> None:
    if x.is_complex() or not torch.isfinite(x).all():
        raise DataError(f"{place}: x must be finite real numbers", hints=["look for NaN, inf or a division by zero"])
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or bool((y < 0).any()):
        raise DataError(
            f"{place}: y must be class numbers 0, 1, … (got {y.dtype}, smallest {y.min().item()})",
            hints=["use y.long(); classes count from 0"],
        )

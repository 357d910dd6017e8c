"""Files that torch.save wrote -> what they hold, of which nothing is run.

torch.load builds tensors and plain containers from an allow-list of its own (weights_only). What training scripts put
beside them (arguments, numpy values, dates, paths, optimizers) is named in `_INERT`; such an object is read as an
`Inert`, which keeps no value: the class in the file is neither imported nor called. Every other name is refused.
"""

from __future__ import annotations

import _compat_pickle
import contextlib
import io
import pickle
import pickletools
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

import torch
from torch import _weights_only_unpickler

from mdcompress.errors import CheckpointError

TORCH_SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")  # .tar is that of .pth.tar

_INERT = (
    "argparse.Namespace", "types.SimpleNamespace", "typing.Any",
    "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta",
    "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
    "pathlib.*Path", "pathlib._local.*Path",  # the latter from Python 3.13 on
    "builtins.bool", "builtins.bytes", "builtins.dict", "builtins.float", "builtins.frozenset", "builtins.int",
    "builtins.list", "builtins.object", "builtins.range", "builtins.slice", "builtins.str", "builtins.tuple",
    "copyreg._reconstructor",
    "numpy.bool", "numpy.bool_", "numpy.dtype", "numpy.dtypes.*", "numpy.float[0-9]*", "numpy.int[0-9]*",
    "numpy.uint[0-9]*",
    "numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer", "numpy.random._pickle.*", "numpy.random._mt19937.*", "numpy.random._pcg64.*",
    "torch.optim.*", "torch.amp.grad_scaler.*", "torch.cuda.amp.grad_scaler.*", "torch.torch_version.TorchVersion",
    "omegaconf.*", "mmengine.logging.history_buffer.HistoryBuffer",
)  # fmt: skip
_INERT_DICTS = (
    "collections.defaultdict", "easydict.EasyDict", "addict.addict.Dict", "yacs.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict", "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
)  # fmt: skip
_LEGACY_PICKLES = 5  # magic number, protocol, system, the object, the keys of its storages (torch.serialization)
_NAMES_SHOWN = 3


class Inert:
    """An object that stood beside tensors: nothing of it is kept."""

    def __new__(cls, *_: object) -> Inert:
        """Take the arguments of the class that it stands for, and forget them."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget the object's attributes."""


class _InertDict:
    """A dictionary of a class of its own, as a plain one: a default or an access by dot is of no use here."""

    def __new__(cls, *_: object) -> OrderedDict[object, object]:  # type: ignore[misc]  # a class to torch's reader
        return OrderedDict()


class _InertList:
    """A queue of values, as a plain list."""

    def __new__(cls, *_: object) -> list[object]:  # type: ignore[misc]  # a class to torch's reader
        return []


def read_torch(path: Path) -> object:
    """What a file of torch.save holds: tensors, plain containers, and `Inert` for every other object.

    Raises:
        CheckpointError: the file is damaged or no such file, or holds what only running code could read.
    """
    _require_weights(path)
    names = _names_in(path)
    stand_ins = {name: found for name in names if (found := _stand_in(name)) is not None}
    try:
        with warnings.catch_warnings(action="ignore"):  # what torch says of pickles we say ourselves
            return _loaded(path, stand_ins)
    except (pickle.UnpicklingError, KeyError, AttributeError, TypeError) as error:  # torch advises to run the code
        raise _refusal(path, [name for name in names if _is_refused(name)]) from error
    except Exception as error:  # whatever torch meets in bytes that anyone may have written
        raise _damaged(path, error) from error


def _loaded(path: Path, stand_ins: dict[str, type]) -> object:
    """torch.load of weights only, with stand-ins for names: each is told by its own module and name."""
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    for name, base in stand_ins.items():
        module, _, own = name.rpartition(".")
        allowed.append(type(own, (base,), {"__module__": module, "__qualname__": own}))
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location="cpu", weights_only=True)


def _stand_in(name: str) -> type | None:
    if name in _INERT_DICTS:
        return _InertDict
    if name == "collections.deque":
        return _InertList
    return Inert if any(fnmatchcase(name, pattern) for pattern in _INERT) else None


def _is_refused(name: str) -> bool:
    """Whether neither torch's reader builds it nor we put an inert object in its place."""
    return name not in _weights_only_unpickler._get_allowed_globals() and _stand_in(name) is None


# ------------------------------------------------------------------ what is refused, in words


def _require_weights(path: Path) -> None:
    """CheckpointError for archives of another kind, which torch would open otherwise."""
    with path.open("rb") as stream:
        head = stream.read(9)
    if head[:2] == b"\x1f\x8b" or (head[:2] != b"PK" and tarfile.is_tarfile(path)):
        raise CheckpointError(
            f"{path} must be a file that torch.save wrote (found an archive of files, tar or gzip)",
            hints=["unpack it and give the file of weights inside"],
        )
    if head[:2] != b"PK" and head[:1] != b"\x80":  # a zip archive; or pickles, of protocol 2 or higher
        raise CheckpointError(
            f"{path} must be a whole file that torch.save wrote (found one that begins with {head!r})",
            hints=["fetch it again: pages of failed downloads and pointers to large files have such beginnings"],
        )
    if not zipfile.is_zipfile(path):
        _require_written_sizes(path)
        return
    members = _members(path)
    outside = [member.filename for member in members]
    inside = [name.partition("/")[2] for name in outside]
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise CheckpointError(
            f"{path} must hold a state dict (found a TorchScript archive, which holds a program: code)",
            hints=[f"save its weights alone: torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt')"],
        )
    if "serialized_exported_program.json" in outside or any(name.startswith("models/") for name in inside):
        raise CheckpointError(
            f"{path} must hold a state dict (found a program of torch.export: code)",
            hints=[f"save its weights alone: torch.save(torch.export.load({path.name!r}).state_dict, 'weights.pt')"],
        )
    _require_uncompressed(path, members)


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception as error:  # zipfile has a handful for bytes that it did not write
        raise CheckpointError(
            f"{path} must be a whole file that torch.save wrote ({error})", hints=["fetch it, or write it, again"]
        ) from error


def _require_uncompressed(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """No member is larger than what the file holds of it, nor are all together: a small file asks for little memory."""
    for member in members:
        if member.file_size != member.compress_size:
            raise CheckpointError(
                f"{path} must hold its tensors as torch.save writes them, not compressed (found {member.filename!r}, "
                f"{member.compress_size:,} bytes for {member.file_size:,})",
                hints=["unpack the archive, or save the weights again with torch.save"],
            )
    size, declared = path.stat().st_size, sum(member.file_size for member in members)
    if declared > size:
        raise CheckpointError(
            f"{path} must hold all that it names ({declared:,} bytes are named, it has {size:,})",
            hints=["fetch it, or write it, again"],
        )


def _require_written_sizes(path: Path) -> None:
    """Of a file of before torch 1.6: no storage is larger than the file, since memory is taken before it is read."""
    size = path.stat().st_size
    for numbers in _storage_sizes(path):
        if not 0 <= numbers <= size:
            raise CheckpointError(
                f"{path} must hold the {numbers:,} numbers of a tensor that it names (it has {size:,} bytes)",
                hints=["fetch it, or write it, again"],
            )


def _storage_sizes(path: Path) -> list[int]:
    """The number that stands last before each reference to a storage: how many numbers it has."""
    found, last = list[int](), 0
    content = path.read_bytes()
    stream = io.BytesIO(content)  # of a file, `read` takes the memory that a damaged length asks for
    try:
        for _ in range(_LEGACY_PICKLES):
            if stream.tell() == len(content):  # one pickle is all: no file of torch.save, as its reader will say
                break
            for opcode, argument, _ in pickletools.genops(stream):
                if isinstance(argument, int) and opcode.name.startswith(("BININT", "LONG", "INT")):
                    last = argument
                elif opcode.name == "BINPERSID":
                    found.append(last)
    except Exception as error:  # pickletools has ValueError, and what text in the wrong place gives
        if refused := [name for name in _names_in(path) if _is_refused(name)]:
            raise _refusal(path, refused) from error
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> CheckpointError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{path} must hold tensors only, in a whole file ({first})",
        hints=["save the state dict alone: torch.save(network.state_dict(), path)"],
    )


def _refusal(path: Path, refused: Sequence[str]) -> CheckpointError:
    """What a reader that runs nothing could not read; `refused`: the names that it will not look up."""
    if any(name.startswith("torch.nn.modules.") for name in refused):
        own_first = sorted(refused, key=lambda name: name.startswith("torch."))
        must, found = "hold a state dict of tensors", f"a whole pickled network, of {shortened(own_first)}"
    else:
        must, found = "hold tensors only, in a file that torch.save wrote", shortened(refused)
    if refused:
        found += "; reading it runs code that the file names, so it is not read"
    elif _protocol(path) > 2:
        must, found = "be written by torch.save with its own pickle protocol, 2", "instructions of another"
    else:
        found = "other objects, or no torch file; reading such objects can run code, so they are not read"
    return CheckpointError(
        f"{path} must {must} (found {found})",
        hints=[f"where it was made, save the state dict alone: torch.save(network.state_dict(), {path.name!r})"],
    )


def shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


# ------------------------------------------------------------------ names, without reading what they stand for


def _names_in(path: Path) -> list[str]:
    """The classes and functions that a file's pickle names, each once. Nothing is built: its instructions are listed.

    They choose stand-ins and words; what is built is decided by torch's reader alone.
    """
    found: dict[str, None] = {}
    with contextlib.suppress(Exception):  # damaged: torch's reader says where
        for stream in _pickles(path):
            for name in _names(stream):
                found[name] = None
    return list(found)


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """The pickles of a file of torch.save, each to be read to its end before the next."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            for _ in range(_LEGACY_PICKLES):
                yield stream
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                with archive.open(name) as stream:
                    yield stream


def _protocol(path: Path) -> int:
    """The number of the pickle protocol that a file of torch.save is written in; 0 where it names none."""
    with contextlib.suppress(zipfile.BadZipFile):
        for stream in _pickles(path):
            head = stream.read(2)
            return head[1] if head[:1] == b"\x80" and len(head) == 2 else 0
    return 0


def _names(stream: IO[bytes]) -> Iterator[str]:
    """Names in the order of a pickle's instructions, under the names that Python 3 has for them."""
    strings, memo = ["", ""], dict[int, str]()
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "GLOBAL" | "INST":
                yield _today(*str(argument).split(" ", 1))
            case "STACK_GLOBAL":
                yield _today(*strings[-2:])
            case "MEMOIZE":
                memo[len(memo)] = strings[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT" if isinstance(argument, int):
                memo[argument] = strings[-1]
            case "GET" | "BINGET" | "LONG_BINGET" if isinstance(argument, int):
                strings.append(memo.get(argument, ""))
            case _ if isinstance(argument, str):
                strings.append(argument)
            case _:
                pass


def _today(module: str, name: str) -> str:
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"

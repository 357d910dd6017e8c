"""`.nir` files: read by the nir package (HDF5, nothing is unpickled), written whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from intsnn.errors import InvalidFileError, MissingFileError, Problem, UsageError, reading
from intsnn.files import write_atomically


def nir_package() -> Any:
    """The package `nir`; UsageError where it is not installed."""
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise UsageError(
            "the package nir must be installed to read and write NIR (it is not)",
            hints=["pip install 'mdcompress[nir]'"],
        ) from error


@contextlib.contextmanager
def reading_nir(source: Any) -> Iterator[None]:
    """`intsnn.errors.reading` of a path; nothing of a graph, whose errors are its maker's."""
    with reading(source, "a graph of NIR") if isinstance(source, str | Path) else contextlib.nullcontext():
        yield


def graph_of(source: Any) -> Any:
    """A nir.NIRGraph: `source` itself, or what the file of that path holds.

    Raises:
        MissingFileError: there is no such file.
        InvalidFileError: the file is none of NIR.
    """
    nir = nir_package()
    graph = _read(nir, Path(source)) if isinstance(source, str | Path) else source
    if not isinstance(graph, nir.NIRGraph):
        raise UsageError(
            f"a network is read from a .nir file or a nir.NIRGraph (got {type(graph).__name__})",
            hints=["put a single node into a graph: nir.NIRGraph.from_list(node)"],
        )
    return graph


def write_nir(graph: Any, path: str | Path) -> None:
    """Write a nir.NIRGraph as a file, whole or not at all.

    Args:
        graph: what `to_nir` gave.
        path: of the file, `.nir`; its folder must exist.

    Raises:
        MissingFileError: the folder does not exist.
    """
    write_atomically(path, nir_bytes(graph))


def nir_bytes(graph: Any) -> bytes:
    """The content of the file of a nir.NIRGraph."""
    content = io.BytesIO()
    nir_package().write(content, graph)
    return content.getvalue()


def _read(nir: Any, path: Path) -> Any:
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there must be a NIR file (there is none)", hints=["export the network, or give another path"]
        )
    _require_room(path)
    # types are checked when the network runs: exporters leave shapes of neurons open, which nir calls an error
    options = {"type_check": False} if "type_check" in inspect.signature(nir.read).parameters else {}
    try:
        return nir.read(path, **options)
    except Exception as error:
        problem = Problem(str(path), 0, 0, "", f"must be a file of NIR ({type(error).__name__}: {error})")
        raise InvalidFileError(
            f"{path} cannot be read as a NIR graph", [problem], hints=["write it again with nir.write"]
        ) from error


MOST_BYTES = 1 << 28  # of all arrays, or where that is more, so many times the file: 67 million float32
MOST_TIMES = 4
MOST_OBJECTS = 100_000  # arrays and groups; a node has some ten
MOST_DEPTH = 32  # groups in groups: a graph inside a graph takes three
_HEAP, _HEAD = b"GCOL\x01\0\0\0", 16  # how a heap begins, and the bytes of its head and of an object's
_GZIP = 1032  # the most that deflate, which HDF5 packs arrays with, makes of a byte


def _require_room(path: Path) -> None:
    """The arrays of a file are in it, as large as their headers say, or the file is no NIR; nothing is expanded.

    A few bytes of HDF5 can declare an array of any size whose values were never written, name one array a thousand
    times, or take values from another file.
    """
    h5py = importlib.import_module("h5py")  # nir reads with it
    declared, most = 0, max(MOST_BYTES, MOST_TIMES * path.stat().st_size)
    try:
        _require_heaps(path)
        with h5py.File(path) as file:
            for count, (name, found) in enumerate(_objects(h5py, file)):
                declared += _size(name, found) if isinstance(found, h5py.Dataset) else 0
                if declared > most:
                    raise ValueError(f"its arrays must have at most {most:,} bytes (they have more)")
                if count == MOST_OBJECTS:
                    raise ValueError(f"it must have at most {MOST_OBJECTS:,} arrays and groups (it has more)")
    except Exception as error:  # ours, and where the file is damaged h5py's, which has one for each place
        fault = str(error) if isinstance(error, ValueError) else f"must be a file of NIR ({error})"
        raise InvalidFileError(
            f"{path} cannot be read as a NIR graph",
            [Problem(str(path), 0, 0, "", fault)],
            hints=["write it again with nir.write"],
        ) from error


def _require_heaps(path: Path) -> None:
    """ValueError where a heap of texts is damaged: HDF5's library follows sizes of 0 in it without end.

    A heap has 16 bytes with its size, then objects: a number (0: the rest is free), a size, and so many bytes, filled
    up to 8 (The HDF Group, "HDF5 File Format Specification 3.0", III.E).
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            end, at = start + _size_at(content, start), start + _HEAD
            while at + _HEAD <= end:
                number, size = int.from_bytes(content[at : at + 2], "little"), _size_at(content, at)
                step = _HEAD + -(-size // 8) * 8 if number else size
                if not _HEAD <= step <= end - at:
                    raise ValueError(f"its texts must be whole (one of {size} bytes is in a heap to byte {end})")
                at += step
            if end > len(content):
                raise ValueError(f"its texts must be whole (a heap ends at byte {end} of {len(content)})")
            start = content.find(_HEAP, start + 1)


def _size_at(content: mmap.mmap, at: int) -> int:
    """The size in a heap's head, or in that of an object in it."""
    return int.from_bytes(content[at + 8 : at + _HEAD], "little")


def _objects(h5py: Any, group: Any, *, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every array and group below a group, as often as it is named; ValueError for links, which nir never writes."""
    if depth > MOST_DEPTH:
        raise ValueError(f"its groups must be at most {MOST_DEPTH} in each other ({group.name!r} is deeper)")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} in {group.name!r} must be in the file (it is a link)")
        found = group[name]
        yield f"{group.name}/{name}".lstrip("/"), found
        if isinstance(found, h5py.Group):
            yield from _objects(h5py, found, depth=depth + 1)


def _size(name: str, found: Any) -> int:
    """Bytes of an h5py.Dataset; ValueError where its values are not in the file."""
    if found.external or found.is_virtual:
        raise ValueError(f"array {name!r} must be in the file (its values are in another one)")
    size = int(math.prod(found.shape or ()) * found.dtype.itemsize)
    if size > _GZIP * (found.id.get_storage_size() + found.dtype.itemsize):
        raise ValueError(f"array {name!r} must be in the file ({size:,} bytes are declared, and not written)")
    return size

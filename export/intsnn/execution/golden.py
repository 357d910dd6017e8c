"""golden.npz: one input and all that the graph made of it, so that another tool can prove that it computes the same.

Arrays: `input` [T, N, ...], `output`, `spikes/<neuron>` and `membranes/<neuron>` [T, N, ...] (membranes after reset),
and `graph_hash`, the fingerprint of the graph they belong to. No pickle inside.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.errors import InvalidFileError, MissingFileError, ParityError, Problem, reading
from intsnn.execution.interpreter import Trace, checked_input, run
from intsnn.execution.parity import ParityReport, compare
from intsnn.files import write_atomically
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint

_KIND = "an archive of golden values"  # for errors
_SPIKES, _MEMBRANES = "spikes/", "membranes/"
_WORDS = (np.uint8, np.int8, np.int16, np.int32, np.int64)  # the narrowest that holds the values is written


@dataclass(frozen=True)
class Golden:
    """The content of a golden.npz: the hash of its graph, the input, and the trace. Arrays are int64."""

    graph_hash: str
    x: IntArray
    trace: Trace


def write_golden(graph: IntGraph, path: str | Path, *, x: npt.ArrayLike, trace: Trace | None = None) -> Golden:
    """Write x [T, N, ...] and what the interpreter makes of it. Atomic; equal content gives equal bytes.

    `trace`: what the interpreter was shown to make of x, where that is known; without it, it is run.
    """
    array = checked_input(graph, x)
    golden = Golden(fingerprint(graph), array, run(graph, array) if trace is None else trace)
    arrays = {"graph_hash": np.array(golden.graph_hash), "input": _narrow(array)}
    arrays["output"] = _narrow(golden.trace.output)
    arrays |= {_SPIKES + name: _narrow(values) for name, values in golden.trace.spikes.items()}
    arrays |= {_MEMBRANES + name: _narrow(values) for name, values in golden.trace.membranes.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())
    return golden


def read_golden(path: str | Path) -> Golden:
    """Read a golden.npz; InvalidFileError where it is foreign or damaged, or its arrays do not fit each other."""
    path = Path(path)
    with reading(path, _KIND):
        headers = _headers(path)
        _require_one_run(path, headers)
        _require_room(path, sum(header.size for header in headers.values()))
        arrays = _arrays(path)
        trace = Trace(_wide(arrays["output"]), _part(arrays, _SPIKES), _part(arrays, _MEMBRANES))
        return Golden(str(arrays["graph_hash"]), _wide(arrays["input"]), trace)


def golden_hash(path: str | Path) -> str:
    """The fingerprint of the graph that a golden.npz belongs to. Headers are read, and of the arrays this one alone."""
    path = Path(path)
    with reading(path, _KIND):
        headers = _headers(path)
        _require_one_run(path, headers)
        return str(_arrays(path, only="graph_hash")["graph_hash"])


def golden_input(path: str | Path, graph: IntGraph) -> IntArray:
    """The input of a golden.npz for a graph, [T, N, ...]; the other arrays are not expanded."""
    path = Path(path)
    with reading(path, _KIND):
        headers = _headers(path)
        _require_one_run(path, headers)
        found = headers["input"]
        if found.shape[2:] != graph.input.shape:
            raise _invalid(path, f"its input must be [T, N, {list(graph.input.shape)}] (got {list(found.shape)})")
        _require_room(path, found.size)
        return _wide(_arrays(path, only="input")["input"])


def check_golden(graph: IntGraph, path: str | Path) -> ParityReport:
    """Run the graph on the golden input and compare; ParityError where the file belongs to another graph."""
    golden = read_golden(path)
    expected = fingerprint(graph)
    if golden.graph_hash != expected:
        raise ParityError(
            f"{path} must belong to the graph with hash {expected[:12]} (got {golden.graph_hash[:12]})",
            hints=["model.onnx and golden.npz are written together: export again"],
        )
    return compare(golden.trace, run(graph, golden.x), names=("golden", "interpreter"))


@dataclass(frozen=True)
class _Header:
    """What an array says of itself before its values."""

    shape: tuple[int, ...]
    kind: np.dtype[np.generic]

    @property
    def size(self) -> int:
        """Its number of values."""
        return math.prod(self.shape)


_MOST_HEADER = 1 << 16  # bytes that are looked at for the shape of an array
_HASH = np.dtype("<U64")  # SHA-256 in hexadecimal
MOST_VALUES = 1 << 28  # that are expanded at once: 2 GiB as int64. 16 samples of an ImageNet network have some 2^26


def _headers(path: Path) -> Mapping[str, _Header]:
    """The shape and type of every array; nothing is expanded."""
    if not path.is_file():
        raise MissingFileError(f"{path}: there must be a golden.npz (got none)", hints=["run the export first"])
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if len({*names}) < len(names):
                raise ValueError("it has arrays of the same name")
            return {name: _header(archive, member) for name, member in zip(names, archive.infolist(), strict=True)}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for bytes they did not write
        raise _invalid(path, f"must be an archive of arrays ({error})") from None


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(_MOST_HEADER))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(head)
    return _Header(shape, kind)


def _require_one_run(path: Path, headers: Mapping[str, _Header]) -> None:
    """The arrays are there, are integers, and are of one input: T, N and the values in all are what a run gives."""
    for problem in _misfits(headers):
        raise _invalid(path, problem)


def _require_room(path: Path, values: int) -> None:
    if values > MOST_VALUES:
        raise _invalid(path, f"must hold at most {MOST_VALUES:,} values (its headers say {values:,})")


def _misfits(headers: Mapping[str, _Header]) -> Iterator[str]:
    for name in ("graph_hash", "input", "output"):
        if name not in headers:
            yield f"must hold an array {name!r} (it has: {', '.join(headers) or 'none'})"
            return
    found = headers["graph_hash"]
    if found.shape != () or found.kind.kind != "U" or found.kind.itemsize > _HASH.itemsize:
        yield f"array 'graph_hash' must be a text of at most 64 letters (got {found.kind} {list(found.shape)})"
    steps = headers["input"].shape[:2]
    for name, header in headers.items():
        if name == "graph_hash":
            continue
        if header.kind.kind not in "iu":
            yield f"array {name!r} must hold integers (got {header.kind})"
        if name.startswith((_SPIKES, _MEMBRANES)) and header.shape[:2] != steps:
            yield f"array {name!r} must be of the steps and samples of the input, {steps} (got {header.shape})"


def _arrays(path: Path, *, only: str | None = None) -> dict[str, npt.NDArray[np.generic]]:
    content = io.BytesIO(path.read_bytes())  # np.load leaves a file it cannot read open
    try:
        archive = np.load(content, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        return {name: np.asarray(archive[name]) for name in archive.files if only in (None, name)}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for bytes they did not write
        raise _invalid(path, f"must be an archive of arrays ({error})") from None


def _narrow(values: IntArray) -> npt.NDArray[np.integer]:
    low, high = int(values.min()), int(values.max())
    word = next(word for word in _WORDS if np.iinfo(word).min <= low and high <= np.iinfo(word).max)
    return values.astype(word)


def _wide(values: npt.NDArray[np.generic]) -> IntArray:
    return values.astype(np.int64)


def _part(arrays: dict[str, npt.NDArray[np.generic]], prefix: str) -> dict[str, IntArray]:
    return {name.removeprefix(prefix): _wide(array) for name, array in arrays.items() if name.startswith(prefix)}


def _invalid(path: Path, message: str) -> InvalidFileError:
    problem = Problem(str(path), 0, 0, "", message, "the file is damaged or not one of mdcompress: export again")
    return InvalidFileError(f"{path} cannot be read as golden values", [problem])

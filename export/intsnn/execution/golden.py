"""golden.npz: one input and all that the graph made of it, so that another tool can prove that it computes the same.

Arrays: `input` [T, N, ...], `output`, `spikes/<neuron>` and `membranes/<neuron>` [T, N, ...] (membranes after reset),
and `graph_hash`, the fingerprint of the graph they belong to. No pickle inside.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.errors import InvalidFileError, MissingFileError, ParityError, Problem
from intsnn.execution.interpreter import Trace, checked_input, run
from intsnn.execution.parity import ParityReport, compare
from intsnn.files import write_atomically
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint

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
    """Read a golden.npz; InvalidFileError where it is foreign or damaged."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there must be a golden.npz (got none)", hints=["run the export first"])
    arrays = _arrays(path)
    for name in ("graph_hash", "input", "output"):
        if name not in arrays:
            raise _invalid(path, f"must hold an array {name!r} (it has: {', '.join(arrays) or 'none'})")
    for name, array in arrays.items():
        if name != "graph_hash" and array.dtype.kind not in "iu":
            raise _invalid(path, f"array {name!r} must hold integers (got {array.dtype})")
    trace = Trace(_wide(arrays["output"]), _part(arrays, _SPIKES), _part(arrays, _MEMBRANES))
    return Golden(str(arrays["graph_hash"]), _wide(arrays["input"]), trace)


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


def _arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    content = io.BytesIO(path.read_bytes())  # np.load leaves a file it cannot read open
    try:
        archive = np.load(content, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        return {name: np.asarray(archive[name]) for name in archive.files}
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

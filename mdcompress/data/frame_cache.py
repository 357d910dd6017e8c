"""Binned recordings, kept packed beside the data set, a file each: a recording is read and binned once.

A file is a line of JSON (what made the frames, their type and digest) and the frames, packed by zlib. It is written
whole or not at all, and counts where all of it fits what is asked for; else the recording is binned and kept anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intsnn.errors import reading
from intsnn.files import write_atomically
from mdcompress.errors import DataError

FOLDER = "mdcompress_cache"
BINNING = 1  # one more whenever the same recording gives other frames
MOST_HEAD = 1024  # bytes of the first line
_TYPES = (np.uint8, np.uint16, np.int32)  # the first that has room for the largest count

Counts = NDArray[Any]  # of whole numbers
Shape = tuple[int, ...]


@dataclass(frozen=True)
class FrameCache:
    """The kept frames of one data set. folder: the data set's. name: the data set."""

    folder: Path
    name: str

    def frames(self, path: Path, shape: Shape, *, make: Callable[[], NDArray[np.int32]]) -> Counts:
        """Counts [T, 2, H, W] of the recording at `path`: as they were kept, else made and kept.

        Raises:
            DataError: they cannot be kept.
        """
        place, made_of = self.place(path, shape), self._made_of(path, shape)
        found = kept_frames(place, made_of, shape)
        if found is not None:
            return found
        frames = make()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, packed_frames(frames, made_of))
        except OSError as error:
            raise DataError(
                f"{place}: binned recordings must be kept here ({error.strerror})",
                hints=["make room, or let the folder be written to", "set data.cache to false"],
            ) from error
        return frames

    def place(self, path: Path, shape: Shape) -> Path:
        """Where the frames of a recording are kept."""
        steps, _, height, width = shape
        kept = self.folder / FOLDER / f"{self.name}_T{steps}_{height}x{width}"
        return kept / path.relative_to(self.folder).with_suffix(".frames")

    def _made_of(self, path: Path, shape: Shape) -> str:
        """Whatever frames depend on: the recording's size and time of change stand for its content."""
        state = path.stat()
        return f"binning {BINNING} of {self.name} to {list(shape)}: {state.st_size} bytes of {state.st_mtime_ns} ns"


def packed_frames(frames: NDArray[np.int32], made_of: str) -> bytes:
    """The content of a file of frames; `made_of` says what decides them."""
    most = int(frames.max(initial=0))
    narrow = frames.astype(next(kind for kind in _TYPES if most <= np.iinfo(kind).max))
    content = narrow.tobytes()
    head = {"made_of": made_of, "type": narrow.dtype.name, "digest": _digest(made_of, content)}
    return json.dumps(head).encode() + b"\n" + zlib.compress(content, level=1)


def kept_frames(place: Path, made_of: str, shape: Shape) -> Counts | None:
    """The frames in a file, where it holds all of those that are asked for and nothing else; else None."""
    most = math.prod(shape) * np.dtype(np.int32).itemsize
    try:
        with reading(place, "frames of a recording"), place.open("rb") as file:
            return _unpacked_frames(file.read(MOST_HEAD + 2 * most), made_of, shape)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _unpacked_frames(content: bytes, made_of: str, shape: Shape) -> Counts | None:
    line, _, packed = content.partition(b"\n")
    for kind in _TYPES:
        size = math.prod(shape) * np.dtype(kind).itemsize
        head = {"made_of": made_of, "type": np.dtype(kind).name}
        if not line.startswith(json.dumps(head).encode()[:-1]):
            continue
        unpacked = _unpacked(packed, size)
        if len(unpacked) == size and line == json.dumps({**head, "digest": _digest(made_of, unpacked)}).encode():
            return np.frombuffer(unpacked, kind).reshape(shape)
    return None


def _unpacked(packed: bytes, size: int) -> bytes:
    """What was packed; none of a damaged file, or of one that would expand beyond `size` bytes."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, size + 1)
    except zlib.error:
        return b""
    return content if unpacking.eof and not unpacking.unused_data else b""


def _digest(made_of: str, content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16, key=hashlib.sha256(made_of.encode()).digest()).hexdigest()

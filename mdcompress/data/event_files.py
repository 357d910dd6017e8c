"""A recording's file -> events, every byte of it and every value in range. tonic (GPL-3, the extra `events`) fetches,
and reads AEDAT 4; it is imported here alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcompress.data.event_camera import EVENT_TYPE, Events
from mdcompress.errors import DataError


def tonic_module(name: str) -> ModuleType:
    """`tonic.<name>`, or an error that says how to install it."""
    try:
        return importlib.import_module(f"tonic.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "tonic":
            raise
        raise DataError(
            "recorded event sets are read by the package tonic (got: it is not installed)",
            hints=["pip install 'mdcompress[events]'"],
        ) from error


MOST_BYTES = 1 << 26  # of a recording; the largest of the sets named here has 2^24
MOST_MICROSECONDS = 1 << 40  # twelve days: times of a recording, and T times as much fits int64
_OVERFLOW_ROW, _OVERFLOW_US = 240, 2**13  # an ATIS event of this y is none: later times are so much later
_AEDAT_START = b"#!AER-DAT4.0\r\n"

Column = NDArray[Any]  # integers, floats or truth values, as a format has them


def read_atis(path: Path) -> Events:
    """N-MNIST's format: 40-bit events (x 8, y 8, polarity 1, t 23 bits), high bytes first."""
    raw = _content(path)
    if len(raw) % 5:
        raise DataError(f"it must hold 5 bytes for each event (got {len(raw)} bytes: it is cut, or of another format)")
    x, y, *rest = np.frombuffer(raw, np.uint8).reshape(-1, 5).astype(np.int64).T
    overflow = y == _OVERFLOW_ROW
    t = ((rest[0] & 127) << 16 | rest[1] << 8 | rest[2]) + np.cumsum(overflow) * _OVERFLOW_US
    columns = {"x": x, "y": y, "t": t, "p": rest[0] >> 7}
    return _events({name: column[~overflow] for name, column in columns.items()})


def read_atis_from_corner(path: Path) -> Events:
    """N-Caltech101: the same format, moved so that the smallest x and y are 0, for the images have many sizes."""
    events = read_atis(path)
    for axis in ("x", "y"):
        events[axis] -= events[axis].min(initial=np.iinfo(np.int16).max)
    return events


def read_aedat4(path: Path) -> Events:
    """CIFAR10-DVS as tonic fetches it: AEDAT 4, which tonic reads with the package aedat."""
    if importlib.util.find_spec("aedat") is None:
        raise DataError(
            "AEDAT 4 files are read by the package aedat (got: it is not installed)", hints=["pip install aedat"]
        )
    _require_whole_packets(_content(path))
    packets = tonic_module("io").read_aedat4(str(path))
    return _events({"x": packets["x"], "y": packets["y"], "t": packets["t"], "p": packets["on"]})


def read_gesture(path: Path) -> Events:
    """DVS128 Gesture as tonic fetches it: .npy rows (x, y, polarity, t in milliseconds)."""
    rows = _rows(path)
    x, y, p, t = rows.astype(np.float64).T
    return _events({"x": x, "y": y, "t": t * 1000, "p": p})


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"it must have at most {MOST_BYTES:,} bytes, as recordings do (got {size:,})")
    return path.read_bytes()


def _rows(path: Path) -> Column:
    """The one array of a .npy file [events, 4]; its header must fit the number of bytes."""
    size = len(_content(path))
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
        after = size - stream.tell()
    if len(shape) != 2 or shape[1] != 4 or kind.kind not in "iuf" or math.prod(shape) * kind.itemsize != after:
        raise DataError(
            f"it must hold numbers [events, 4] to its end (its header says {kind} {list(shape)}, and {after} bytes "
            "follow)"
        )
    rows: Column = np.load(path, allow_pickle=False)
    return rows


def _require_whole_packets(content: bytes) -> None:
    """AEDAT 4: a header, packets (stream, size, content), and where the header says so a table after them.

    All sizes are 32 bits, little-endian; the header is a flatbuffer, the table's position its second field.
    """
    at = len(_AEDAT_START)
    if not content.startswith(_AEDAT_START):
        raise DataError(f"it must begin with {_AEDAT_START!r} (got {content[:at]!r})")
    try:
        end = _end_of_packets(content, at + 4)
        at += 4 + _number("<I", content, at)
        while at < end:
            at += 8 + _number("<I", content, at + 4)
    except struct.error as error:
        raise DataError(f"it must hold whole packets (it ends inside one: {error})") from error
    if at != end or end > len(content):
        raise DataError(f"it must hold whole packets to byte {end} (the last one ends at byte {at} of {len(content)})")


def _end_of_packets(content: bytes, header: int) -> int:
    """Where the table begins; without one the end of the file."""
    root = header + _number("<I", content, header)
    fields = root - _number("<i", content, root)
    place = _number("<H", content, fields + 6) if _number("<H", content, fields) > 6 else 0
    table = _number("<q", content, root + place) if place else -1
    return len(content) if table < 0 else table


def _number(form: str, content: bytes, at: int) -> int:
    if at < 0:
        raise struct.error(f"a place before the file, {at}")
    return int(struct.unpack_from(form, content, at)[0])


def _events(columns: Mapping[str, Column]) -> Events:
    """Columns x, y, t in microseconds, p as events; each value must be one that the event has room for."""
    most = {"x": np.iinfo(np.int16).max, "y": np.iinfo(np.int16).max, "t": MOST_MICROSECONDS, "p": 1}
    events = np.empty(len(columns["x"]), dtype=EVENT_TYPE)
    for name, column in columns.items():
        fits = (column >= 0) & (column <= most[name]) & (column == np.floor(column))  # all three are false of NaN
        if not fits.all():
            first = int(np.argmin(fits))
            raise DataError(f"{name} must be an integer in [0, {most[name]}] (got {column[first]} at event {first})")
        events[name] = column
    return events

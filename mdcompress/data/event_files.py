"""A recording's file -> events, every byte of it and every value in range.

tonic (GPL-3, the extra `events`) fetches, and is imported here alone; aedat reads AEDAT 4.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcompress.data.aedat_file import require_whole_packets
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


MOST_BYTES = 1 << 25  # of a recording; the largest of the sets named here has 2^24
MOST_MICROSECONDS = 1 << 40  # twelve days: times of a recording, and T times as much fits int64
_OVERFLOW_ROW, _OVERFLOW_US = 240, 2**13  # an ATIS event of this y is none: later times are so much later
MOST_EVENTS = 1 << 23  # of a recording; those of CIFAR10-DVS have some 2^18

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
    """CIFAR10-DVS as tonic fetches it: AEDAT 4, read with the package aedat."""
    if importlib.util.find_spec("aedat") is None:
        raise DataError(
            "AEDAT 4 files are read by the package aedat (got: it is not installed)", hints=["pip install aedat"]
        )
    require_whole_packets(_content(path))
    events = np.concatenate(list(_packets(importlib.import_module("aedat").Decoder(str(path)))))
    return _events({"x": events["x"], "y": events["y"], "t": events["t"], "p": events["on"]})


def _packets(decoder: Any) -> Iterator[Column]:
    """The events of an aedat.Decoder's first stream of events, packet by packet; each is expanded when it is read."""
    streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
    if not streams:
        raise DataError("it must have a stream of events (it has none)")
    count = 0
    for packet in decoder:
        if packet["stream_id"] != min(streams):
            continue
        count += len(packet["events"])
        if count > MOST_EVENTS:
            raise DataError(f"it must have at most {MOST_EVENTS:,} events, as recordings do")
        yield packet["events"]


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

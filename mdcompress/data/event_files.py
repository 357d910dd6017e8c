"""A recording's file -> events. tonic (GPL-3, the extra `events`) reads and fetches; it is imported here alone."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

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


def read_atis(path: Path) -> Events:
    """N-MNIST's format: 40-bit events (x 8, y 8, polarity 1, t 23 bits)."""
    events: Events = tonic_module("io").read_mnist_file(str(path), dtype=EVENT_TYPE)
    return events


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
    packets = tonic_module("io").read_aedat4(str(path))
    return _events(packets["x"], packets["y"], t=packets["t"], p=packets["on"])


def read_gesture(path: Path) -> Events:
    """DVS128 Gesture as tonic fetches it: .npy rows (x, y, polarity, t in milliseconds)."""
    x, y, p, t = np.load(path, allow_pickle=False).T
    return _events(x, y, t=t.astype(np.int64) * 1000, p=p)


def _events(
    x: np.ndarray[tuple[int], np.dtype[np.generic]],
    y: np.ndarray[tuple[int], np.dtype[np.generic]],
    *,
    t: np.ndarray[tuple[int], np.dtype[np.generic]],
    p: np.ndarray[tuple[int], np.dtype[np.generic]],
) -> Events:
    events = np.empty(len(x), dtype=EVENT_TYPE)
    for name, column in (("x", x), ("y", y), ("t", t), ("p", p)):
        events[name] = column
    return events

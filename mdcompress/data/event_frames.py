"""Events -> T frames of counts [T, 2, H, W]. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mdcompress.data.event_camera import Events
from mdcompress.errors import DataError

Span = tuple[int, int]


def bin_events(
    events: Events, time_steps: int, *, height: int, width: int, span: Span | None = None
) -> NDArray[np.int32]:
    """Number of events in T bins of equal time, by polarity and pixel.

    f[b, p, y, x] = number of events with min(floor((t - t0) * T / (t1 - t0)), T - 1) = b

    Every event is counted. tonic's ToFrame(n_time_bins=T) floors the width of a bin to whole microseconds and leaves
    out what lies beyond the last, the last event always; else the two are equal.

    Args:
        events: structured, with fields x (column), y (row), t (microseconds) and p (1: brighter), in any order.
        time_steps: T.
        height: H, pixels.
        width: W, pixels.
        span: (t0, t1) in microseconds; None: the first and the last event.

    Returns:
        Counts, shape [T, 2, H, W]; polarity 0 is darker, 1 is brighter.
    """
    x, y, t, p = (events[name].astype(np.int64) for name in ("x", "y", "t", "p"))
    _require_on_sensor(x, y, height=height, width=width)
    if len(t) == 0:
        return np.zeros((time_steps, 2, height, width), dtype=np.int32)
    start, end = span if span is not None else (int(t.min()), int(t.max()))
    frame = np.minimum((t - start) * time_steps // max(end - start, 1), time_steps - 1)
    cell = ((frame * 2 + p) * height + y) * width + x
    counts = np.bincount(cell, minlength=time_steps * 2 * height * width)
    return counts.reshape(time_steps, 2, height, width).astype(np.int32)


def _require_on_sensor(x: NDArray[np.int64], y: NDArray[np.int64], *, height: int, width: int) -> None:
    outside = np.flatnonzero((x < 0) | (x >= width) | (y < 0) | (y >= height))
    if len(outside) == 0:
        return
    first = outside[0]
    raise DataError(
        f"events must lie on the sensor of {width} x {height} pixels (got x={x[first]}, y={y[first]} at event {first})"
    )


def reduced(events: Events, size: int, *, height: int, width: int) -> Events:
    """The events on a sensor of size x size pixels: x' = floor(x * size / W), y' = floor(y * size / H); none is lost.

    tonic's Downsample(target_size=(size, size)) computes the same in floating point, which at x * size / W an integer
    may come out one below.
    """
    x, y = events["x"].astype(np.int64), events["y"].astype(np.int64)
    _require_on_sensor(x, y, height=height, width=width)
    moved = events.copy()
    moved["x"], moved["y"] = x * size // width, y * size // height
    return moved

"""Still images -> the events a dynamic vision sensor would give while it looks at them in three saccades. NumPy only.

N-MNIST was recorded so: a sensor on a pan-tilt unit, moved along a triangle in front of a screen (Orchard et al.,
Front. Neurosci. 9:437, 2015, doi:10.3389/fnins.2015.00437). The pixel is that of ESIM (Rebecq et al., CoRL 2018): it
fires each time its log intensity has changed by the contrast threshold. No noise, no refractory time, no mismatch:
the same image always gives the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVENT_TYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])  # as tonic orders them
SMALLEST_CANVAS = 16  # pixels; an 8x8 scan moved by whole pixels would have too few events to tell digits apart
TRIANGLE = np.array([(0.0, 0.0), (0.5, 1.0), (1.0, 0.0), (0.0, 0.0)])  # (x, y) corners: the isosceles path of N-MNIST

Events = NDArray[np.void]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class EventCamera:
    """A simulated sensor.

    Attributes:
        height: rows of the sensor, pixels.
        width: columns of the sensor, pixels.
        amplitude: width and height of the triangle the gaze follows, pixels; half of it is the dark margin round the
            image, which so never leaves the sensor.
        threshold: change of log intensity that makes an event (ESIM's C; sensors have 0.1 to 0.5).
        dark_level: added to the intensity before the logarithm, which bounds the log of black.
        saccade_us: duration of one saccade, microseconds (N-MNIST: 100 ms).
        steps: intensities sampled in one saccade; event times between them are interpolated.
    """

    height: int
    width: int
    amplitude: float = 4.0
    threshold: float = 0.5
    dark_level: float = 0.1
    saccade_us: int = 100_000
    steps: int = 8

    @property
    def duration_us(self) -> int:
        """Length of a recording, microseconds."""
        return self.saccade_us * (len(TRIANGLE) - 1)


def camera_for(height: int, width: int) -> EventCamera:
    """The camera for images of that size: the image, a margin for the movement, and at least 16 x 16 pixels."""
    margins = round(EventCamera.amplitude)
    return EventCamera(max(height + margins, SMALLEST_CANVAS), max(width + margins, SMALLEST_CANVAS))


def record(images: NDArray[np.floating], camera: EventCamera) -> list[Events]:
    """Events of each image, ordered by time.

    L = log(I + dark_level); an event of polarity sign(dL) at each level L(0) + k * threshold that L crosses and that
    is not the level of the event before it.

    Args:
        images: intensities in [0, 1], shape [N, h, w]; scaled up (bilinear) to the sensor less its margins.
        camera: the sensor, H x W pixels.

    Returns:
        N arrays of EVENT_TYPE: x in [0, W), y in [0, H), t in [0, duration_us] microseconds, p True where brighter.
    """
    intervals = _crossings(images.astype(np.float64), camera)
    sample, y, x, t, polarity = (np.concatenate(column) for column in zip(*intervals, strict=True))
    order = np.lexsort((t, sample))
    events = np.empty(len(order), dtype=EVENT_TYPE)
    for name, column in zip(("x", "y", "t", "p"), (x, y, t, polarity), strict=True):
        events[name] = column[order]
    return np.split(events, np.searchsorted(sample[order], np.arange(1, len(images))))


def gaze(camera: EventCamera) -> Reals:
    """Where the gaze stands at each sampled time: (x, y) in pixels, shape [3 * steps + 1, 2], centred, closed."""
    corners = (TRIANGLE - 0.5) * camera.amplitude
    along = np.linspace(0.0, len(TRIANGLE) - 1, (len(TRIANGLE) - 1) * camera.steps + 1)
    return np.stack([np.interp(along, np.arange(len(TRIANGLE)), corners[:, axis]) for axis in (0, 1)], axis=1)


def view(images: Reals, camera: EventCamera, *, shift: Reals) -> Reals:
    """What the sensor sees when the image has moved by `shift` = (x, y) pixels: intensities, [N, h, w] -> [N, H, W]."""
    rows = _sampling(images.shape[1], camera.height, camera=camera, shift=shift[1])
    columns = _sampling(images.shape[2], camera.width, camera=camera, shift=shift[0])
    seen: Reals = rows @ images @ columns.T
    return seen


def _sampling(side: int, pixels: int, *, camera: EventCamera, shift: float) -> Reals:
    """Bilinear weights [pixels, side]; outside the image it is dark.

    Pixel i sees image coordinate u = (i + 1/2 - margin - shift) / scale - 1/2; weight of k is max(0, 1 - |u - k|).
    """
    margin = camera.amplitude / 2
    scale = (pixels - 2 * margin) / side
    seen = (np.arange(pixels) + 0.5 - margin - shift) / scale - 0.5
    weights: Reals = np.maximum(0.0, 1.0 - np.abs(seen[:, None] - np.arange(side)))
    return weights


Crossings = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def _crossings(images: Reals, camera: EventCamera) -> Iterator[Crossings]:
    """(sample, y, x, t, polarity) of the events of each sampled interval."""
    shifts = gaze(camera)
    start = np.log(view(images, camera, shift=shifts[0]) + camera.dark_level)
    before, level = np.zeros_like(start), np.zeros_like(start)
    for step, shift in enumerate(shifts[1:]):
        change = np.log(view(images, camera, shift=shift) + camera.dark_level) - start
        # six decimals: the last bits of a logarithm differ between processors, and floor() would show it
        now = np.round(change / camera.threshold, 6)
        reached = np.clip(level, np.floor(now), np.ceil(now))  # moves only when a whole level has been crossed
        yield _interpolate(before, now, level, reached, camera=camera, step=step)
        before, level = now, reached


def _interpolate(
    before: Reals, now: Reals, level: Reals, reached: Reals, *, camera: EventCamera, step: int
) -> Crossings:
    """Events of one interval: level + 1, ..., reached (or downwards), each at the time a straight line crosses it.

    t = (step + (k - before) / (now - before)) * saccade_us / steps; all arrays are [N, H, W] in thresholds.
    """
    where = np.nonzero(reached != level)
    moved = (reached - level)[where]
    count = np.abs(moved).astype(np.int64)
    which = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 1
    crossed = level[where][which] + np.sign(moved)[which] * nth
    fraction = (crossed - before[where][which]) / (now - before)[where][which]
    t = ((step + fraction) * (camera.saccade_us / camera.steps)).astype(np.int64)
    sample, y, x = (axis[which] for axis in where)
    return sample, y, x, t, moved[which] > 0

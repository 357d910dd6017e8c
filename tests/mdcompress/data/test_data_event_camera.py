"""The simulated event camera and the binning of events, against values computed by hand and against tonic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from mdcompress.data.event_camera import EVENT_TYPE, EventCamera, camera_for, gaze, record, view
from mdcompress.data.event_frames import bin_events
from mdcompress.errors import DataError

SMALL = EventCamera(height=9, width=10, steps=4)
IMAGES = arrays(np.float64, (2, 5, 6), elements=st.floats(0, 1))
# Two float simulators may differ where a level is met to the last bit; scans have steps of 1/16, which never do.
SCANS = arrays(np.float64, (2, 5, 6), elements=st.integers(0, 16).map(lambda value: value / 16))


def events_of(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Rows (x, y, t, p)."""
    return np.array(list(rows), dtype=EVENT_TYPE)


def pixel_by_pixel(image: np.ndarray, camera: EventCamera) -> list[tuple[int, int, int, int]]:
    """An independent simulator in plain Python: a reference per pixel that follows in whole thresholds."""
    shifts, found = gaze(camera), []
    levels = [np.log(view(image[None], camera, shift=shift)[0] + camera.dark_level) for shift in shifts]
    for y in range(camera.height):
        for x in range(camera.width):
            start = reference = levels[0][y, x]
            for step in range(len(shifts) - 1):
                before, now = levels[step][y, x], levels[step + 1][y, x]
                while abs(now - reference) >= camera.threshold * (1 - 1e-6):
                    reference += np.sign(now - reference) * camera.threshold
                    crossed, low, high = ((v - start) / camera.threshold for v in (reference, before, now))
                    part = (round(crossed) - round(low, 6)) / (round(high, 6) - round(low, 6))
                    time = int((step + part) * (camera.saccade_us / camera.steps))
                    found.append((x, y, time, int(now > before)))
    return found


def test_the_gaze_follows_a_closed_triangle_of_three_saccades() -> None:
    path = gaze(replace(SMALL, amplitude=4.0, steps=2))
    assert path.tolist() == [[-2, -2], [-1, 0], [0, 2], [1, 0], [2, -2], [0, -2], [-2, -2]]


def test_the_camera_has_a_margin_for_the_movement_and_at_least_16_pixels() -> None:
    assert [(c.height, c.width) for c in (camera_for(8, 8), camera_for(28, 28), camera_for(32, 40))] == [
        (16, 16),
        (32, 32),
        (36, 44),
    ]


def test_a_view_without_rescaling_or_fraction_is_the_image_moved_by_whole_pixels() -> None:
    image = np.arange(30.0).reshape(1, 5, 6)
    seen = view(image, SMALL, shift=np.array([1.0, -2.0]))
    expected = np.zeros((1, 9, 10))
    expected[0, 0:5, 3:9] = image[0]
    assert_array_equal(seen, expected)


def test_a_view_at_half_a_pixel_is_the_mean_of_two() -> None:
    image = np.array([[[1.0, 3.0]]])
    camera = EventCamera(height=5, width=6)
    assert_allclose(view(image, camera, shift=np.array([0.5, 0.0]))[0, 2], [0, 0, 0.5, 2.0, 1.5, 0])


def test_upscaling_by_two_interpolates_between_pixel_centres() -> None:
    image = np.array([[[1.0, 3.0]]])
    camera = EventCamera(height=5, width=8)
    assert_allclose(view(image, camera, shift=np.zeros(2))[0, 2, 2:6], [0.75, 1.5, 2.5, 2.25])


def test_a_black_image_gives_no_events() -> None:
    black, white = record(np.stack([np.zeros((5, 6)), np.ones((5, 6))]), SMALL)
    assert len(black) == 0 and len(white) > 0


def test_one_bright_pixel_passing_by_gives_the_events_computed_by_hand() -> None:
    # 1 x 1 image at 1.0, sensor 1 x 5, margin 2, threshold ln(11)/2: dark log 0.1 -> bright log 1.1 is two levels.
    # Row sees the image only while the vertical shift is 0, which the flat triangle below keeps.
    camera = EventCamera(height=5, width=5, threshold=float(np.log(11)) / 2, steps=4, saccade_us=1000)
    (events,) = record(np.ones((1, 1, 1)), camera)
    centre = events[(events["x"] == 2) & (events["y"] == 2)]
    # the gaze goes (-2,-2) .. (0,2) .. (2,-2) .. (-2,-2): at steps of (0.5, 1) it never stands at (0, 0)
    assert gaze(camera)[2].tolist() == [-1, 0]
    assert len(centre) == 0
    left = events[(events["x"] == 1) & (events["y"] == 2)]
    # seen in full at (-1, 0) alone, sampled at step 2: two levels up in step 1 -> 2, two levels down in 2 -> 3
    assert left["p"].tolist() == [1, 1, 0, 0]
    assert left["t"].tolist() == [375, 500, 625, 750]


@settings(deadline=None, max_examples=30)
@given(SCANS)
def test_simulated_events_equal_those_of_a_pixel_by_pixel_simulator(images: NDArray[np.float64]) -> None:
    for image, events in zip(images, record(images, SMALL), strict=True):
        assert sorted(events.tolist()) == sorted(pixel_by_pixel(image, SMALL))


@given(IMAGES)
def test_every_pixel_of_a_closed_path_brightens_as_often_as_it_darkens(images: NDArray[np.float64]) -> None:
    for events in record(images, SMALL):
        balance = np.zeros((SMALL.height, SMALL.width), dtype=int)
        np.add.at(balance, (events["y"], events["x"]), np.where(events["p"], 1, -1))
        assert not balance.any()


@given(IMAGES)
def test_events_lie_on_the_sensor_in_time_order(images: NDArray[np.float64]) -> None:
    for events in record(images, SMALL):
        assert events.dtype == EVENT_TYPE
        assert np.all(np.diff(events["t"]) >= 0)
        assert np.all((events["t"] >= 0) & (events["t"] <= SMALL.duration_us))
        assert np.all((events["x"] < SMALL.width) & (events["y"] < SMALL.height))


def test_an_image_gives_the_same_events_in_any_batch() -> None:
    images = np.random.default_rng(0).random((6, 5, 6))
    together = record(images, SMALL)
    assert sum(len(events) for events in together) > 100
    for image, events in zip(images, together, strict=True):
        assert_array_equal(record(image[None], SMALL)[0], events)


def test_a_higher_threshold_gives_fewer_events() -> None:
    images = np.random.default_rng(0).random((4, 5, 6))
    counts = [sum(map(len, record(images, replace(SMALL, threshold=threshold)))) for threshold in (0.2, 0.5, 1.0)]
    assert counts[0] > counts[1] > counts[2] > 0


def test_events_are_binned_by_time_polarity_and_pixel() -> None:
    events = events_of((0, 0, 0, 0), (1, 0, 4, 1), (1, 0, 4, 1), (0, 1, 5, 0), (1, 1, 10, 1))
    frames = bin_events(events, 2, height=2, width=2)
    assert frames.shape == (2, 2, 2, 2) and frames.dtype == np.int32
    assert frames[0].tolist() == [[[1, 0], [0, 0]], [[0, 2], [0, 0]]]
    assert frames[1].tolist() == [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]


def test_a_given_span_fixes_the_bins() -> None:
    frames = bin_events(events_of((0, 0, 3, 1)), 4, height=1, width=1, span=(0, 8))
    assert frames[:, 1, 0, 0].tolist() == [0, 1, 0, 0]


def test_no_events_are_frames_of_zeros() -> None:
    assert not bin_events(events_of(), 3, height=2, width=2).any()


def test_events_at_one_instant_are_all_counted() -> None:
    assert bin_events(events_of((0, 0, 7, 1), (0, 0, 7, 1)), 3, height=1, width=1).sum() == 2


@pytest.mark.parametrize("row", [(4, 0, 0, 0), (0, 3, 0, 0), (-1, 0, 0, 0), (0, -1, 0, 0)])
def test_an_event_beside_the_sensor_is_an_error(row: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataError, match="must lie on the sensor of 4 x 3 pixels"):
        bin_events(events_of((0, 0, 0, 0), row), 2, height=3, width=4)


def recordings(duration: int) -> st.SearchStrategy[np.ndarray]:
    row = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, duration - 1), st.integers(0, 1))
    ends = [(0, 0, 0, 1), (3, 2, duration, 0)]
    return st.lists(row, max_size=40).map(lambda rows: np.sort(events_of(*ends, *rows), order="t", kind="stable"))


@given(st.integers(1, 6), st.data())
def test_frames_equal_those_of_tonic_but_for_the_last_instant_which_tonic_drops(
    time_steps: int, data: st.DataObject
) -> None:
    from tonic.transforms import ToFrame

    duration = 12 * time_steps  # a whole number of microseconds a bin: else tonic rounds the bin down
    events = data.draw(recordings(duration))
    ours = bin_events(events, time_steps, height=3, width=4)
    theirs = ToFrame(sensor_size=(4, 3, 2), n_time_bins=time_steps)(events.copy())
    last = events[events["t"] == duration]
    np.add.at(theirs, (time_steps - 1, last["p"].astype(int), last["y"], last["x"]), 1)
    assert_array_equal(ours, theirs)
    assert ours.sum() == len(events) > theirs.sum() - 2


@given(st.integers(1, 7), st.integers(2, 500), st.data())
def test_every_event_is_counted_once(time_steps: int, duration: int, data: st.DataObject) -> None:
    events = data.draw(recordings(duration))
    frames = bin_events(events, time_steps, height=3, width=4)
    assert frames.sum() == len(events)
    expected = np.zeros((2, 3, 4), dtype=int)
    np.add.at(expected, (events["p"].astype(int), events["y"], events["x"]), 1)
    assert_array_equal(frames.sum(axis=0), expected)

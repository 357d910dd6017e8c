"""Recordings reduced to fewer pixels, binned once and kept."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tonic
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdcompress.data import recording_sets
from mdcompress.data.batches import EVALUATION, Batches
from mdcompress.data.event_camera import EVENT_TYPE
from mdcompress.data.event_frames import bin_events, reduced
from mdcompress.data.frame_cache import FrameCache
from mdcompress.data.loading import load_data
from mdcompress.data.recording_sets import NCALTECH101, Part
from mdcompress.data.recordings import RecordingSamples
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import random_events, write_ncaltech101

SHAPE = (4, 2, 6, 6)


def loaded(folder: Path, **changed: object) -> DataSplits:
    return load_data(data_section("ncaltech101", time_steps=4, encoding="events", **changed), seed=0, folder=folder)


@pytest.fixture
def set_of_nine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """N-Caltech101 of three classes with three recordings each."""
    write_ncaltech101(tmp_path, of_each=3)
    part = Part("NCALTECH101/Caltech101", 9)
    monkeypatch.setattr(recording_sets, "NCALTECH101", replace(NCALTECH101, parts=(part,)))
    return tmp_path


def test_events_are_reduced_by_hand() -> None:
    events = np.array([(0, 0, 1, 0), (239, 179, 2, 1), (119, 89, 3, 1), (120, 90, 4, 0)], dtype=EVENT_TYPE)
    moved = reduced(events, 2, height=180, width=240)
    assert moved.tolist() == [(0, 0, 1, False), (1, 1, 2, True), (0, 0, 3, True), (1, 1, 4, False)]
    with pytest.raises(DataError, match="must lie on the sensor of 240 x 180 pixels"):
        reduced(np.array([(0, 180, 1, 0)], dtype=EVENT_TYPE), 2, height=180, width=240)


@given(st.integers(0, 2**32 - 1))
def test_events_are_reduced_as_tonic_reduces_them_to_a_power_of_two(seed: int) -> None:
    events = random_events(200, width=128, height=128, seed=seed)  # factors of 2: tonic's floating point is exact
    theirs = tonic.transforms.Downsample(sensor_size=(128, 128, 2), target_size=(32, 32))(events)
    ours = reduced(events, 32, height=128, width=128)
    assert np.array_equal(ours["x"], theirs["x"]) and np.array_equal(ours["y"], theirs["y"])


def test_frames_of_a_smaller_size_hold_every_event(set_of_nine: Path) -> None:
    small, large = (whole(loaded(set_of_nine, size=size).test)[0] for size in (6, None))
    assert small.shape[2:] == (2, 6, 6) and large.shape[2:] == (2, 180, 240) and small.sum() > 0
    pooled = large.reshape(*large.shape[:3], 6, 30, 6, 40).sum(dim=(-3, -1))
    assert torch.equal(small, pooled)


def test_more_pixels_than_the_sensor_has_are_an_error(set_of_nine: Path) -> None:
    with pytest.raises(DataError, match=r"data.size: must be at most 180, as the sensor has 180 x 240 .*\(got 181\)"):
        loaded(set_of_nine, size=181)


def test_a_recording_is_read_once(set_of_nine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [whole(part) for part in parts(loaded(set_of_nine, size=6))]
    assert not (set_of_nine / "mdcompress_cache").exists()
    kept = [whole(part) for part in parts(loaded(set_of_nine, size=6, cache=True))]
    files = sorted((set_of_nine / "mdcompress_cache/ncaltech101_T4_6x6/NCALTECH101/Caltech101").rglob("*.*"))
    assert len(files) == 6 and {path.suffix for path in files} == {".frames"}
    monkeypatch.setattr(recording_sets, "NCALTECH101", replace(recording_sets.NCALTECH101, read=never))
    again = [whole(part) for part in parts(loaded(set_of_nine, size=6, cache=True))]
    for one, other, third in zip(plain, kept, again, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[0], third[0]) and one[0].sum() > 0


def parts(splits: DataSplits) -> tuple[Batches, Batches]:
    return splits.validation, splits.test


def never(path: Path) -> np.ndarray:
    raise AssertionError(f"{path} was read again")


@pytest.mark.parametrize("most", [3, 255, 256, 65_535, 65_536, 2**31 - 1])
def test_counts_are_kept_whatever_the_largest_is(tmp_path: Path, most: int) -> None:
    frames, cache, path = np.full(SHAPE, most, np.int32), FrameCache(tmp_path, "set"), tmp_path / "a.bin"
    path.write_bytes(b"events")
    cache.frames(path, SHAPE, make=lambda: frames)
    assert np.array_equal(cache.frames(path, SHAPE, make=unasked), frames)


def unasked() -> np.ndarray:
    raise AssertionError("was made again")


def changed_time(path: Path, place: Path) -> None:
    os.utime(path, ns=(1, 1))


def repacked(path: Path, place: Path) -> None:
    head, _, packed = place.read_bytes().partition(b"\n")
    content = bytearray(zlib.decompress(packed))
    content[7] ^= 1
    place.write_bytes(head + b"\n" + zlib.compress(bytes(content)))


def expanding(path: Path, place: Path) -> None:
    place.write_bytes(place.read_bytes().partition(b"\n")[0] + b"\n" + zlib.compress(bytes(10**6)))


@pytest.mark.parametrize(
    "change",
    [
        changed_time,
        repacked,
        lambda path, place: path.write_bytes(b"other events"),
        lambda path, place: place.write_bytes(place.read_bytes()[:-3]),
        lambda path, place: place.write_bytes(b""),
        lambda path, place: place.write_bytes(place.read_bytes().replace(b"binning 1", b"binning 0")),
        lambda path, place: place.write_bytes(place.read_bytes().replace(b'"uint8"', b'"uint16"')),
        expanding,
    ],
)  # fmt: skip
def test_what_does_not_fit_is_made_anew(tmp_path: Path, change: Callable[[Path, Path], object]) -> None:
    cache, path = FrameCache(tmp_path, "set"), tmp_path / "a.bin"
    path.write_bytes(b"events")
    cache.frames(path, SHAPE, make=lambda: np.full(SHAPE, 1, np.int32))
    change(path, cache.place(path, SHAPE))
    new = np.full(SHAPE, 2, np.int32)
    assert np.array_equal(cache.frames(path, SHAPE, make=lambda: new), new)
    assert np.array_equal(cache.frames(path, SHAPE, make=unasked), new)


def test_frames_of_other_steps_and_sizes_lie_side_by_side(tmp_path: Path) -> None:
    cache, path = FrameCache(tmp_path, "set"), tmp_path / "a.bin"
    path.write_bytes(b"events")
    for shape in (SHAPE, (2, 2, 6, 6), (4, 2, 3, 3)):
        cache.frames(path, shape, make=lambda shape=shape: np.full(shape, shape[0], np.int32))  # type: ignore[misc]
    assert cache.frames(path, SHAPE, make=unasked).max() == 4


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "mdcompress_cache").write_text("a file is in the way")
    path = tmp_path / "a.bin"
    path.write_bytes(b"events")
    with pytest.raises(DataError, match="binned recordings must be kept here") as caught:
        FrameCache(tmp_path, "set").frames(path, SHAPE, make=lambda: np.zeros(SHAPE, np.int32))
    assert "set data.cache to false" in caught.value.hints


def test_a_damaged_recording_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "NCALTECH101/a.bin"
    path.parent.mkdir()
    path.write_bytes(b"odd")
    cache = FrameCache(tmp_path, "ncaltech101")
    samples = RecordingSamples((path,), np.zeros(1, np.int64), NCALTECH101, 4, size=6, cache=cache)
    with pytest.raises(DataError, match="must be a whole recording"):
        samples.frames(np.zeros(1, np.int64), EVALUATION)
    assert not (tmp_path / "mdcompress_cache").exists()


def test_frames_of_events_without_any_are_kept_too(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"")
    empty = bin_events(np.empty(0, dtype=EVENT_TYPE), 4, height=6, width=6)
    assert not FrameCache(tmp_path, "set").frames(path, SHAPE, make=lambda: empty).any()
    assert not FrameCache(tmp_path, "set").frames(path, SHAPE, make=unasked).any()

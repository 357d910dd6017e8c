"""Recorded event sets, from small files in each set's own format."""

import builtins
import importlib.util
import io
import socket
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Never

import flatbuffers
import numpy as np
import pytest
import tonic.datasets
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdcompress.data import recording_sets
from mdcompress.data.batches import EVALUATION
from mdcompress.data.event_camera import EVENT_TYPE
from mdcompress.data.event_files import read_aedat4, read_atis, read_atis_from_corner, read_gesture, tonic_module
from mdcompress.data.loading import load_data
from mdcompress.data.names import Download
from mdcompress.data.recording_sets import CIFAR10_DVS, DVS_GESTURE, NCALTECH101, NMNIST, Part, RecordingSet
from mdcompress.data.recordings import RecordingSamples
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import as_atis

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Never:
        raise AssertionError("a test must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def spec(name: str, **changed: object) -> SimpleNamespace:
    return data_section(name, **{"time_steps": 3, "encoding": "events", **changed})


def random_events(count: int, *, width: int, height: int, unit: int = 1) -> np.ndarray:
    events = np.empty(count, dtype=EVENT_TYPE)
    events["x"], events["y"] = RANDOM.integers(0, width, count), RANDOM.integers(0, height, count)
    events["t"] = np.sort(RANDOM.integers(0, 300_000 // unit, count)) * unit
    events["p"] = RANDOM.integers(0, 2, count)
    return events


DESCRIPTION = """<dv version="2.0"><node name="outInfo"><node name="0">
<attr key="typeIdentifier" type="string">EVTS</attr><node name="info">
<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr></node></node></node></dv>"""


def flat(
    identifier: bytes, *, slots: int, slot: int, content: Callable[[flatbuffers.Builder], int], first: int = 0
) -> bytes:
    """A size-prefixed flatbuffer with a table of one field; or of two, where the first is a number."""
    builder = flatbuffers.Builder(1024)
    offset = content(builder)
    builder.StartObject(slots)
    builder.PrependInt32Slot(0, first, 0)
    builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.FinishSizePrefixed(builder.EndObject(), identifier)
    return bytes(builder.Output())


def as_it_is(packet: bytes) -> bytes:
    return packet


def as_aedat4(events: np.ndarray, *, packing: int = 0, pack: Callable[[bytes], bytes] = as_it_is) -> bytes:
    """AEDAT 4.0: header, one packet of stream 0 with structs (t int64, x int16, y int16, on bool), packed."""

    def structs(builder: flatbuffers.Builder) -> int:
        builder.StartVector(16, len(events), 8)
        for x, y, t, p in reversed(events.tolist()):
            builder.Prep(8, 16)
            builder.Pad(3)
            builder.PrependBool(p)
            builder.PrependInt16(y)
            builder.PrependInt16(x)
            builder.PrependInt64(t)
        offset: int = builder.EndVector()
        return offset

    header = flat(b"IOHE", slots=3, slot=2, first=packing, content=lambda builder: builder.CreateString(DESCRIPTION))
    packet = pack(flat(b"EVTS", slots=1, slot=0, content=structs))
    return b"#!AER-DAT4.0\r\n" + header + struct.pack("<II", 0, len(packet)) + packet


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def small(monkeypatch: pytest.MonkeyPatch, name: str, source: RecordingSet, *counts: int) -> None:
    """The set with as many recordings as the test writes."""
    parts = tuple(Part(part.folder, count) for part, count in zip(source.parts, counts, strict=True))
    monkeypatch.setattr(recording_sets, name, replace(source, parts=parts))


def write_nmnist(folder: Path, *, train: int = 10, test: int = 2) -> dict[str, np.ndarray]:
    """`train` and `test` recordings of each digit."""
    written = {}
    for part, count in (("Train", train), ("Test", test)):
        for digit in range(10):
            for number in range(count):
                name = f"NMNIST/{part}/{digit}/{number:05}.bin"
                written[name] = random_events(50, width=34, height=34)
                write(folder / name, as_atis(written[name]))
    return written


def test_a_file_of_nmnist_is_read_event_by_event(tmp_path: Path) -> None:
    events = random_events(200, width=34, height=34)
    write(tmp_path / "00001.bin", as_atis(events))
    read = read_atis(tmp_path / "00001.bin")
    assert read.dtype == EVENT_TYPE and np.array_equal(read, events)


@given(st.integers(0, 255), st.integers(0, 239), st.integers(0, 2**23 - 1), st.integers(0, 1))
def test_every_field_of_a_40_bit_event_is_read(x: int, y: int, t: int, p: int) -> None:
    raw = io.BytesIO(as_atis(np.array([(x, y, t, p)], dtype=EVENT_TYPE)))
    read = tonic_module("io").read_mnist_file(raw, dtype=EVENT_TYPE, is_stream=True)
    assert read.tolist() == [(x, y, t, bool(p))]


def test_nmnist_frames_are_the_counts_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    written = write_nmnist(tmp_path)
    splits = load_data(spec("nmnist"), seed=0, folder=tmp_path)
    x, y = whole(splits.test)
    assert splits.sample_shape == (2, 34, 34) and splits.classes == tuple("0123456789")
    assert y.tolist() == [digit for digit in range(10) for _ in range(2)]
    events = written["NMNIST/Test/3/00001.bin"]
    expected = np.zeros((2, 34, 34))
    np.add.at(expected, (events["p"].astype(int), events["y"], events["x"]), 1)
    assert torch.equal(x[:, 7].sum(dim=0), torch.from_numpy(expected).float())
    assert x.shape == (3, 20, 2, 34, 34) and x.sum() == 20 * 50
    assert torch.bincount(whole(splits.validation)[1]).tolist() == [1] * 10
    assert torch.bincount(whole(splits.train)[1]).tolist() == [9] * 10


def test_event_sets_may_be_called_direct_for_no_encoding_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    write_nmnist(tmp_path)
    named, default = (load_data(spec("nmnist", encoding=e), seed=0, folder=tmp_path) for e in ("events", "direct"))
    assert torch.equal(whole(named.test)[0], whole(default.test)[0])


def test_nmnist_frames_are_those_of_tonics_own_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    write_nmnist(tmp_path)
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)
    to_frame = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), n_time_bins=1)
    theirs = tonic.datasets.NMNIST(str(tmp_path), train=False)
    x, y = whole(load_data(spec("nmnist", time_steps=1), seed=0, folder=tmp_path).test)
    assert len(theirs) == len(y) == 20
    for index, (events, label) in enumerate(theirs):
        last = events[events["t"] == events["t"].max()]  # tonic leaves out the last instant
        frame = to_frame(events)
        np.add.at(frame, (0, last["p"], last["y"], last["x"]), 1)
        assert label == y[index] and np.array_equal(x[:, index].numpy(), frame)


def test_ncaltech101_starts_at_its_corner_and_is_split_by_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "NCALTECH101", NCALTECH101, 60)
    for label in ("BACKGROUND_Google", "airplanes", "yin_yang"):
        for number in range(20):
            events = random_events(30, width=100, height=90)
            events["x"] += 20
            write(tmp_path / f"NCALTECH101/Caltech101/{label}/image_{number:04}.bin", as_atis(events))
    splits = load_data(spec("ncaltech101"), seed=0, folder=tmp_path)
    assert splits.classes == ("BACKGROUND_Google", "airplanes", "yin_yang")
    assert splits.sample_shape == (2, 180, 240)
    parts = [torch.bincount(whole(part)[1]).tolist() for part in (splits.train, splits.validation, splits.test)]
    assert parts == [[16] * 3, [2] * 3, [2] * 3]
    x, _ = whole(splits.test)
    assert x.sum() == 6 * 30 and x.sum(dim=(0, 2, 3))[:, 0].min() > 0


def test_an_empty_recording_has_no_corner(tmp_path: Path) -> None:
    write(tmp_path / "image.bin", b"")
    assert len(read_atis_from_corner(tmp_path / "image.bin")) == 0


def test_cifar10_dvs_is_read_from_aedat4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "CIFAR10_DVS", CIFAR10_DVS, 100)
    written = {}
    for label in CIFAR10_DVS.classes:
        for number in range(10):
            path = tmp_path / f"CIFAR10DVS/{label}/{number}.aedat4"
            written[path] = random_events(40, width=128, height=128)
            write(path, as_aedat4(written[path]))
            assert np.array_equal(read_aedat4(path), written[path])
    splits = load_data(spec("cifar10_dvs"), seed=0, folder=tmp_path)
    assert splits.classes == CIFAR10_DVS.classes and splits.sample_shape == (2, 128, 128)
    parts = [whole(part) for part in (splits.train, splits.validation, splits.test)]
    assert [torch.bincount(y).tolist() for _, y in parts] == [[8] * 10, [1] * 10, [1] * 10]
    assert sum(x.sum() for x, _ in parts) == 100 * 40


def test_aedat4_without_its_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install aedat"):
        read_aedat4(tmp_path / "0.aedat4")


def test_gestures_are_read_in_microseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "DVS_GESTURE", DVS_GESTURE, 22, 11)
    for part, users in (("ibmGestureTrain", ("user01_led", "user02_lab")), ("ibmGestureTest", ("user24_led",))):
        for user in users:
            for label in range(11):
                events = random_events(60, width=128, height=128, unit=1000)
                rows = np.stack([events["x"], events["y"], events["p"], events["t"] // 1000], axis=1)
                path = tmp_path / f"DVSGesture/{part}/{user}/{label}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, rows.astype(np.float64))
                assert np.array_equal(read_gesture(path), events)
    splits = load_data(spec("dvs_gesture"), seed=0, folder=tmp_path)
    assert splits.classes[0] == "hand clapping" and len(splits.classes) == 11
    assert torch.bincount(whole(splits.test)[1]).tolist() == [1] * 11
    assert torch.bincount(whole(splits.train)[1]).tolist() == [1] * 11


def pickled_npy() -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return content.getvalue()


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        (NMNIST, as_atis(random_events(9, width=34, height=34))[:-2], "it must hold 5 bytes for each event"),
        (CIFAR10_DVS, as_aedat4(random_events(9, width=34, height=34))[:-2], "it must hold whole packets"),
        (CIFAR10_DVS, b"#!AER-DAT3.1\r\n", "it must begin with"),
        (DVS_GESTURE, b"", "EOF"),
        (DVS_GESTURE, pickled_npy(), "it must hold numbers"),
    ],
)
def test_a_damaged_or_foreign_recording_is_an_error_that_names_the_file(
    tmp_path: Path, source: RecordingSet, content: bytes, said: str
) -> None:
    path = tmp_path / f"0{source.suffix}"
    write(path, content)
    samples = RecordingSamples((path,), np.zeros(1, dtype=np.int64), source, 2)
    with pytest.raises(DataError, match=f"{path}: must be a whole recording .*{said}"):
        samples.frames(np.array([0]), EVALUATION)


def as_lz4(packet: bytes) -> bytes:
    """A frame with one plain block of at most 64 KiB; the last byte of its head is a checksum of those before."""
    return bytes.fromhex("04224d18 604082") + struct.pack("<I", 1 << 31 | len(packet)) + packet + bytes(4)


def as_zstd(packet: bytes) -> bytes:
    """A frame of one segment that gives its size less 256, with one plain block."""
    size = struct.pack("<H", len(packet) - 256) + (1 | len(packet) << 3).to_bytes(3, "little")
    return bytes.fromhex("28b52ffd 60") + size + packet


@pytest.mark.parametrize(("packing", "pack"), [(1, as_lz4), (2, as_lz4), (3, as_zstd), (4, as_zstd)])
def test_packed_packets_are_read(tmp_path: Path, packing: int, pack: Callable[[bytes], bytes]) -> None:
    events = random_events(60, width=128, height=128)
    (tmp_path / "0.aedat4").write_bytes(as_aedat4(events, packing=packing, pack=pack))
    assert np.array_equal(read_aedat4(tmp_path / "0.aedat4"), events)


_ZSTD_WINDOW = bytes.fromhex("28b52ffd 00 58")  # of 2 MiB
BOMBS = {
    "lz4 blocks": (1, bytes.fromhex("04224d18 607073") + 17 * (struct.pack("<I", 1 << 16) + bytes(1 << 16)) + bytes(4)),
    "lz4 frames": (1, 17 * (bytes.fromhex("04224d18 607073") + struct.pack("<I", 1 << 16) + bytes(1 << 16) + bytes(4))),
    "zstd, a byte so many times": (3, _ZSTD_WINDOW + 33 * b"\xfa\xff\xff\0" + b"\xfb\xff\xff\0"),
    "zstd, packed blocks": (3, _ZSTD_WINDOW + 513 * b"\x0c\0\0\0" + b"\x0d\0\0\0"),
    "zstd window": (3, bytes.fromhex("28b52ffd 00 88 010000")),
    "zstd size": (3, bytes.fromhex("28b52ffd a0 00000010 010000")),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_packet_that_would_expand_too_far_is_an_error_before_it_does(tmp_path: Path, bomb: str) -> None:
    packing, packet = BOMBS[bomb]
    path = tmp_path / "0.aedat4"
    path.write_bytes(as_aedat4(random_events(9, width=34, height=34), packing=packing, pack=lambda _: packet))
    with pytest.raises(DataError, match=r"at most 67,108,864 bytes \(one can to \d{2,3},\d{3},\d{3}"):
        frames_of(path, CIFAR10_DVS)


def test_packets_that_are_packed_otherwise_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "0.aedat4"
    for packing, pack, said in (
        (0, lambda _: b"EVTS", "at least 12 bytes"),
        (5, as_lz4, "packed in a way from 0 to 4"),
        (1, as_zstd, "must begin with 04 22 4d 18"),
        (3, as_lz4, "must begin with 28 b5 2f fd"),
        (1, lambda packet: as_lz4(packet)[:-1], "it ends inside one"),
        (3, lambda packet: as_zstd(packet)[:-1], "whole recording"),
        (1, lambda _: bytes.fromhex("04224d18 600082"), "of a size from 4 to 7"),
    ):
        path.write_bytes(as_aedat4(random_events(60, width=34, height=34), packing=packing, pack=pack))
        with pytest.raises(DataError, match=said):
            frames_of(path, CIFAR10_DVS)


def test_more_events_than_recordings_have_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdcompress.data.event_files.MOST_EVENTS", 8)
    (tmp_path / "0.aedat4").write_bytes(as_aedat4(random_events(9, width=34, height=34)))
    with pytest.raises(DataError, match="at most 8 events"):
        frames_of(tmp_path / "0.aedat4", CIFAR10_DVS)


def gesture(*rows: tuple[float, ...]) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array(rows))
    return content.getvalue()


def frames_of(path: Path, source: RecordingSet) -> torch.Tensor:
    return RecordingSamples((path,), np.zeros(1, dtype=np.int64), source, 2).frames(np.array([0]), EVALUATION)


WHOLE = [(1.0, 2.0, 1.0, 3.0), (1.0, 2.0, 0.0, 4.0)]


@pytest.mark.parametrize(
    ("source", "content", "most"),
    [
        (NMNIST, as_atis(random_events(9, width=34, height=34)), 8),  # a cut between two events cannot be told
        (NCALTECH101, as_atis(random_events(9, width=34, height=34)), 8),
        (CIFAR10_DVS, as_aedat4(random_events(9, width=34, height=34)), 1),  # nor one behind the header
        (DVS_GESTURE, gesture(*WHOLE), 0),
    ],
)
def test_a_recording_that_is_cut_anywhere_is_an_error(
    tmp_path: Path, source: RecordingSet, content: bytes, most: int
) -> None:
    path, whole_cuts = tmp_path / f"0{source.suffix}", 0
    for end in range(1, len(content)):
        path.write_bytes(content[:end])
        try:
            frames_of(path, source)
        except DataError as error:
            assert str(path) in str(error)
        else:
            whole_cuts += 1
    assert whole_cuts <= most


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((float("nan"), 0, 0, 0), "x must be an integer in"),
        ((0, float("inf"), 0, 0), "y must be an integer in"),
        ((0, -1, 0, 0), "y must be an integer in"),
        ((0, 0, 2, 0), "p must be an integer in"),
        ((0, 0, 0.5, 0), "p must be an integer in"),
        ((0, 0, 0, -1), "t must be an integer in"),
        ((0, 0, 0, 1e18), "t must be an integer in"),
        ((0, 0, 0, float("nan")), "t must be an integer in"),
        ((70_000, 0, 0, 0), "x must be an integer in"),  # wrapped to 4464 before
        ((128, 0, 0, 0), "must lie on the sensor"),
    ],
)
def test_an_event_out_of_range_is_an_error(tmp_path: Path, row: tuple[float, ...], said: str) -> None:
    (tmp_path / "0.npy").write_bytes(gesture(*WHOLE, row))
    with pytest.raises(DataError, match=said):
        frames_of(tmp_path / "0.npy", DVS_GESTURE)


def test_a_header_that_promises_more_than_the_file_has_is_an_error(tmp_path: Path) -> None:
    content = gesture(*WHOLE).replace(b"(2, 4)", b"(99999999999, 4)".ljust(16))
    (tmp_path / "0.npy").write_bytes(content.replace(b" " * 10 + b"\n", b"\n"))
    with pytest.raises(DataError, match="it must hold numbers"):
        frames_of(tmp_path / "0.npy", DVS_GESTURE)


def test_a_recording_of_a_gigabyte_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "0.bin").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DataError, match="it must have at most"):
        frames_of(tmp_path / "0.bin", NMNIST)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 2, st.sampled_from([0, 33, 240]), st.integers(0, 255)), max_size=20))
def test_overflow_events_count_as_tonic_counts_them(rows: list[tuple[int, ...]]) -> None:
    raw = b"".join(bytes([x, y, p, 0, t]) for x, p, y, t in rows)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.bin").write_bytes(raw)
        theirs = tonic_module("io").read_mnist_file(io.BytesIO(raw), dtype=EVENT_TYPE, is_stream=True)
        assert np.array_equal(read_atis(Path(folder) / "0.bin"), theirs)


def test_an_incomplete_set_says_how_much_is_there_and_how_it_should_lie(tmp_path: Path) -> None:
    write_nmnist(tmp_path, train=1, test=1)
    with pytest.raises(DataError) as raised:
        load_data(spec("nmnist"), seed=0, folder=tmp_path)
    said = str(raised.value)
    assert f"data set `nmnist` must be in {tmp_path}: " in said
    assert "NMNIST/Train has 10 recordings (*.bin) of at least 60,000" in said
    assert "└── Test/0/ … 9/" in said and "--download" in said


@pytest.mark.parametrize("name", ["nmnist", "ncaltech101", "cifar10_dvs", "dvs_gesture"])
def test_nothing_is_fetched_unless_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tonic.dataset.Dataset, "download", lambda self: pytest.fail("fetched"))
    with pytest.raises(DataError, match="has 0 recordings"):
        load_data(spec(name), seed=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_recordings_are_fetched_by_tonic_when_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    fetched = []

    def fetch(self: tonic.dataset.Dataset) -> None:
        fetched.append(self.filename)
        write_nmnist(tmp_path)

    monkeypatch.setattr(tonic.dataset.Dataset, "download", fetch)
    splits = load_data(spec("nmnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    assert fetched == ["train.zip"] and len(whole(splits.test)[1]) == 20


def test_a_set_of_one_part_is_fetched_whole_and_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    monkeypatch.setattr(tonic.dataset.Dataset, "download", lambda self: fetched.append(self.filename))
    with pytest.raises(DataError, match="has 0 recordings"):
        load_data(spec("ncaltech101"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    assert fetched == ["N-Caltech101-archive.zip"]


def test_a_foreign_folder_among_the_classes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    write_nmnist(tmp_path)
    write(tmp_path / "NMNIST/Train/copies/1.bin", b"")
    with pytest.raises(DataError, match=r"copies/1.bin: must be a recording of a class .*\(got 'copies'\)"):
        load_data(spec("nmnist"), seed=0, folder=tmp_path)


def test_an_unknown_gesture_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "DVS_GESTURE", DVS_GESTURE, 1, 1)
    for part in ("ibmGestureTrain", "ibmGestureTest"):
        write(tmp_path / f"DVSGesture/{part}/user01_led/11.npy", b"")
    with pytest.raises(DataError, match=r"11.npy: must be a recording of a class .*\(got '11'\)"):
        load_data(spec("dvs_gesture"), seed=0, folder=tmp_path)


def test_events_beside_the_sensor_are_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "NMNIST", NMNIST, 100, 20)
    write_nmnist(tmp_path)
    write(tmp_path / "NMNIST/Test/9/00001.bin", as_atis(np.array([(40, 0, 0, 0)], dtype=EVENT_TYPE)))
    with pytest.raises(
        DataError,
        match=r"Test/9/00001.bin: must be a whole recording .*events must lie on the sensor of 34 x 34 pixels",
    ):
        whole(load_data(spec("nmnist"), seed=0, folder=tmp_path).test)


def without(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the import of `missing` and of what lies in it fail."""
    original = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name.partition(".")[0] == "tonic":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)


def test_without_tonic_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("tonic", monkeypatch)
    with pytest.raises(DataError) as raised:
        load_data(spec("nmnist"), seed=0, folder=tmp_path)
    assert "pip install 'mdcompress[events]'" in str(raised.value)


def test_a_broken_tonic_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("h5py", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="h5py"):
        load_data(spec("nmnist"), seed=0, folder=tmp_path)


def test_digits_need_no_tonic(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> ModuleType:
        assert not name.startswith("tonic"), "tonic was imported"
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    without("tonic", monkeypatch)
    assert load_data(spec("digits_events"), seed=0).sample_shape == (2, 16, 16)

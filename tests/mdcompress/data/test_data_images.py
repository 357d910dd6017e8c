"""MNIST, Fashion-MNIST, CIFAR and image folders, from small files in each set's own format."""

import contextlib
import gzip
import io
import pickle
import socket
import struct
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Never

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file

from mdcompress.data.batches import Batch
from mdcompress.data.cifar import read_batch
from mdcompress.data.idx_file import read_idx
from mdcompress.data.image_folder import pixels_of
from mdcompress.data.loading import load_data
from mdcompress.data.names import Download
from mdcompress.data.pickle_file import read_pickle
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import as_python_2_pickled

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Never:
        raise AssertionError("a test must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


spec = data_section


def pixel_set(batches: Iterable[Batch]) -> list[tuple[float, ...]]:
    x, _ = whole(batches)
    return sorted(map(tuple, (x[0] * 255).round().flatten(1).tolist()))


# --- MNIST ---------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, name: str = "MNIST", compressed: bool = False) -> dict[str, np.ndarray]:
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    written = {}
    for part, count in (("train", 40), ("t10k", 10)):
        images = RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = raw / f"{part}-{kind}-ubyte"
            if compressed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))
            written[f"{part}-{kind}"] = array
    return written


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "folder_name"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_is_read_from_plain_and_from_compressed_files(
    tmp_path: Path, name: str, folder_name: str, compressed: bool
) -> None:
    written = write_mnist(tmp_path, name=folder_name, compressed=compressed)
    splits = load_data(spec(name), seed=0, folder=tmp_path)
    x, y = whole(splits.test)
    assert torch.equal(x[0, :, 0], torch.from_numpy(written["t10k-images-idx3"]).float() / 255)
    assert torch.equal(x[0], x[1])
    assert y.tolist() == written["t10k-labels-idx1"].tolist()
    assert splits.sample_shape == (1, 28, 28) and len(splits.classes) == 10
    carved = pixel_set(splits.train) + pixel_set(splits.validation)
    assert sorted(carved) == sorted(map(tuple, written["train-images-idx3"].reshape(40, -1).tolist()))
    assert torch.bincount(whole(splits.validation)[1]).tolist() == [1] * 10


def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    assert read_idx(path, most=10**6).any()
    assert np.array_equal(read_idx(path, most=10**6), read_image_file(str(path)).numpy())


def test_the_folder_of_the_recipe_is_used_unless_another_is_given(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    assert len(load_data(spec("mnist", folder=str(tmp_path)), seed=0).test) == 2
    with pytest.raises(DataError, match="elsewhere"):
        load_data(spec("mnist", folder=str(tmp_path)), seed=0, folder=tmp_path / "elsewhere")


def test_images_can_be_seen_by_the_event_camera(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    splits = load_data(spec("mnist", encoding="events", time_steps=3), seed=0, folder=tmp_path)
    x, _ = next(iter(splits.train))
    assert splits.sample_shape == (2, 32, 32) and x.shape == (3, 8, 2, 32, 32) and x.sum() > 1000


def test_missing_mnist_says_where_it_looked_what_it_wants_and_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        load_data(spec("mnist"), seed=0, folder=tmp_path)
    said = str(raised.value)
    assert f"data set `mnist` must be in {tmp_path}: MNIST/raw/train-images-idx3-ubyte is missing" in said
    assert "└── MNIST/raw/" in said and "t10k-labels-idx1-ubyte" in said
    assert "--download" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must start with 00 00 08 (got nothing)"),
        (b"\x00\x00\x0d\x03rest", "must start with 00 00 08 (got 00 00 0d)"),
        (idx(np.zeros((2, 3), dtype=np.uint8))[:-1], "must hold 6 values for its shape [2, 3] (got 5)"),
        (idx(np.zeros((2, 3), dtype=np.uint8)) + b"\x00", "must hold 6 values for its shape [2, 3] (got more)"),
        (b"\x00\x00\x08\x00x", "must hold the sizes of its 0 axes, at least 1"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "must hold at most 1,000,000 values (its header says [4294967295"),
        (b"\x00\x00\x08\x02\x00\x00\x00\x01", "must hold the sizes of its 2 axes, at least 1 (got 4 bytes)"),
    ],
)
def test_a_damaged_idx_file_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_idx(path, most=10**6)
    assert said in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-10], lambda data: b"not gzip" + data, lambda data: data[:20] + b"x" * 30 + data[50:]]
)
def test_a_damaged_gzip_file_is_an_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(damage(gzip.compress(idx(RANDOM.integers(0, 9, 2000, dtype=np.uint8)))))
    with pytest.raises(DataError, match="must be a whole gzip file"):
        read_idx(path, most=10**6)


def test_labels_that_do_not_fit_the_images_are_an_error(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"S labels \(got \[40, 28, 28\] and \[3\]\)"):
        load_data(spec("mnist"), seed=0, folder=tmp_path)


def test_missing_files_are_fetched_only_when_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(self: datasets.MNIST) -> None:
        asked.append(self.root)
        write_mnist(tmp_path)

    monkeypatch.setattr(datasets.MNIST, "download", fetch)
    with pytest.raises(DataError):
        load_data(spec("mnist"), seed=0, folder=tmp_path)
    assert asked == []
    load_data(spec("mnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    load_data(spec("mnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    assert asked == [tmp_path]


def test_what_a_download_prints_does_not_reach_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.MNIST, "download", lambda self: (sys.stdout.write("progress"), write_mnist(tmp_path)))
    load_data(spec("mnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    printed = capsys.readouterr()
    assert printed.out == "" and "progress" in printed.err


def test_compressed_files_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, compressed=True)
    monkeypatch.setattr(datasets.MNIST, "download", lambda self: pytest.fail("fetched"))
    load_data(spec("mnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)


def test_a_download_that_fails_is_an_error_that_names_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: datasets.MNIST) -> Never:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(DataError, match=r"could not be fetched into .*: Network is unreachable"):
        load_data(spec("mnist"), seed=0, folder=tmp_path, download=Download.ALLOWED)


# --- CIFAR ---------------------------------------------------------------------------------------------------------


CifarBatch = dict[str, NDArray[np.uint8] | list[int]]  # pixels, and classes under the name of their kind


def cifar_batch(count: int, *, first: int, key: str, classes: int) -> CifarBatch:
    pixels = np.random.default_rng(first).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, key: [(first + index) % classes for index in range(count)]}


def write_cifar(folder: Path, source: type[datasets.CIFAR10]) -> dict[str, CifarBatch]:
    """The files of `source`, with few images."""
    key, classes = ("labels", 10) if source is datasets.CIFAR10 else ("fine_labels", 100)
    names = [name for name, _ in [*source.train_list, *source.test_list]]
    batches = {name: cifar_batch(2 * classes, first=n, key=key, classes=classes) for n, name in enumerate(names)}
    meta = {source.meta["key"]: [f"class {number}" for number in range(classes)]}
    place = folder / source.base_folder
    place.mkdir()
    for name, content in {**batches, source.meta["filename"]: meta}.items():
        (place / name).write_bytes(as_python_2_pickled(content))
    return batches


@pytest.mark.parametrize(
    ("name", "source", "test_batch", "labels"),
    [("cifar10", datasets.CIFAR10, "test_batch", "labels"), ("cifar100", datasets.CIFAR100, "test", "fine_labels")],
)
def test_cifar_is_read_from_its_batches(
    tmp_path: Path, name: str, source: type[datasets.CIFAR10], test_batch: str, labels: str
) -> None:
    written = write_cifar(tmp_path, source)
    splits = load_data(spec(name), seed=0, folder=tmp_path)
    x, y = whole(splits.test)
    expected = torch.from_numpy(written[test_batch]["data"]).reshape(-1, 3, 32, 32).float() / 255
    assert torch.equal(x[0], expected)
    assert y.tolist() == written[test_batch][labels]
    assert splits.sample_shape == (3, 32, 32) and splits.classes[:2] == ("class 0", "class 1")
    count = sum(len(batch["data"]) for part, batch in written.items() if part != test_batch)
    assert len(whole(splits.train)[1]) + len(whole(splits.validation)[1]) == count


class Bomb:
    """A pickle that leaves a mark where it was opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("victim", ["data_batch_3", "test_batch", "batches.meta"])
def test_nothing_in_a_cifar_pickle_is_run(tmp_path: Path, victim: str) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    mark = tmp_path / "opened"
    (tmp_path / "cifar-10-batches-py" / victim).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(DataError, match=f"{victim}: must be a whole pickle .*names '_?io open', which only running"):
        load_data(spec("cifar10"), seed=0, folder=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_arrays_are_read_as_python_reads_them(
    tmp_path: Path, protocol: int, order: Literal["C", "F"]
) -> None:
    pixels = np.asarray(RANDOM.integers(0, 256, (7, 300), dtype=np.uint8), order=order)
    held: dict[str, object] = {"labels": list(range(300)), "also": (None, True, 1.5, -70_000, "ü", [["a"], {}])}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": pixels, **held}, protocol))
    found = read_pickle(path, most=10**6)
    assert isinstance(found, dict) and np.array_equal(found.pop("data"), pixels)
    assert found == held


def test_a_cifar_batch_that_is_cut_anywhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    content = as_python_2_pickled(cifar_batch(1, first=0, key="labels", classes=10))
    for end in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=f"{path}: must be a whole pickle"):
            read_batch(path, labels="labels", classes=10)
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match="1 bytes follow its end"):
        read_batch(path, labels="labels", classes=10)


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([], r"must hold images \[S, 3072\] of unsigned bytes as `data`"),
        ({"data": PIXELS[:, :3071], "labels": [0, 1]}, r"must hold images \[S, 3072\]"),
        ({"data": PIXELS.astype(np.int16), "labels": [0, 1]}, "its arrays must hold unsigned bytes"),
        ({"data": PIXELS, "labels": [0]}, "must hold a class for each of its 2 images"),
        ({"data": PIXELS, "labels": [0, True]}, "must hold a class for each of its 2 images"),
        ({"data": PIXELS, "labels": [0, 10]}, r"its classes must be 0 to 9 \(got 10\)"),
        ({"data": PIXELS, 7: [0, 1]}, r"a key must be text \(got int\)"),
        ({"data": {1}, "labels": []}, "its opcode EMPTY_SET is none of plain data|builtins set"),
    ],
)
def test_a_cifar_batch_of_something_else_is_an_error(tmp_path: Path, held: object, said: str) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(DataError, match=said) as caught:
        read_batch(path, labels="labels", classes=10)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7fj\xff\xff\xff\x7f.", None),  # a large place in the memo takes no memory
        (b"\x80\x02]" + b"\x85" * 10**5 + b".", None),  # nor does depth
        (b"\x80\x02" + b")" + b"\x85" * 10**5 + b"}" + b"q\x00" + b"h\x00s.", "must be|stack"),
        (b"\x80\x02a.", "its stack is empty"),
        (b"\x80\x02e.", "a mark is missing"),
        (b"\x80\x02h\x07.", "7"),
        (b"\x80\x02)e.", "a mark is missing"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "it calls what is not a part of an array"),
        (b"\x80\x02}}b.", "gives a state to what is not an array"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "its arrays must hold unsigned bytes"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x05utf-7\x86R.", "bytes as text must be those of latin1"),
    ],
)
def test_hostile_pickles_are_errors_or_harmless(tmp_path: Path, content: bytes, said: str | None) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    if said is None:
        with contextlib.suppress(DataError):
            read_pickle(path, most=10**6)
        return
    with pytest.raises(DataError, match=said):
        read_pickle(path, most=10**6)


def test_a_pickle_larger_than_the_sets_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DataError, match=r"must have at most 268,435,456 bytes \(got 1,073,741,824\)"):
        read_batch(path, labels="labels", classes=10)


def test_cifar_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    with warnings.catch_warnings(action="ignore"):  # NumPy warns of types that Python 2 pickled
        theirs = datasets.CIFAR10(tmp_path, train=False)
    x, y = whole(load_data(spec("cifar10"), seed=0, folder=tmp_path).test)
    assert np.array_equal((x[0] * 255).numpy().transpose(0, 2, 3, 1), theirs.data) and y.tolist() == theirs.targets


def test_names_of_classes_that_are_not_those_of_the_set_are_an_error(tmp_path: Path) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    (tmp_path / "cifar-10-batches-py/batches.meta").write_bytes(pickle.dumps({"label_names": ["cat"]}))
    with pytest.raises(DataError, match=r"batches\.meta: must hold 10 names of classes as `label_names`"):
        load_data(spec("cifar10"), seed=0, folder=tmp_path)


def test_missing_cifar_says_what_the_folder_must_hold(tmp_path: Path) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    (tmp_path / "cifar-10-batches-py/data_batch_2").unlink()
    with pytest.raises(DataError) as raised:
        load_data(spec("cifar10"), seed=0, folder=tmp_path)
    said = str(raised.value)
    assert "cifar-10-batches-py/data_batch_2 is missing (1 of 7)" in said
    assert "└── cifar-10-batches-py/" in said and "├── data_batch_5" in said and "└── batches.meta" in said


def test_cifar_is_fetched_when_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    place = tmp_path / datasets.CIFAR10.base_folder
    away = place.rename(tmp_path / "away")
    monkeypatch.setattr(datasets.CIFAR10, "download", lambda self: away.rename(place))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)  # torchvision's, of what it fetched
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    with pytest.raises(DataError, match=r"\(7 of 7\)"):
        load_data(spec("cifar10"), seed=0, folder=tmp_path)
    splits = load_data(spec("cifar10"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    assert len(whole(splits.test)[1]) == 20


# --- image folders -------------------------------------------------------------------------------------------------


def write_images(folder: Path, *, parts: Sequence[str] = ("train", "val", "test"), count: int = 10) -> None:
    for part in parts:
        for label, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((6, 5, 3), 100 * label + number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def test_a_folder_of_images_is_a_data_set(tmp_path: Path) -> None:
    write_images(tmp_path)
    splits = load_data(spec("image_folder"), seed=0, folder=tmp_path)
    x, y = whole(splits.test)
    assert splits.classes == ("cat", "dog") and splits.sample_shape == (3, 6, 5)
    assert torch.equal((x[0, :, 0, 0, 0] * 255).round().long(), 100 * y + torch.arange(10).repeat(2))
    assert [len(whole(part)[1]) for part in (splits.train, splits.validation, splits.test)] == [20, 20, 20]


def test_validation_is_carved_where_there_is_no_folder_of_it(tmp_path: Path) -> None:
    write_images(tmp_path, parts=("train", "test"))
    splits = load_data(spec("image_folder"), seed=0, folder=tmp_path)
    assert torch.bincount(whole(splits.validation)[1]).tolist() == [1, 1]
    assert torch.bincount(whole(splits.train)[1]).tolist() == [9, 9]


def test_grey_images_become_three_equal_channels(tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.fromarray(np.full((6, 5), 7, dtype=np.uint8)).save(tmp_path / "test/cat/0.png")
    x, _ = next(iter(load_data(spec("image_folder"), seed=0, folder=tmp_path).test))
    assert torch.unique((x[0, 0] * 255).round()).tolist() == [7]


def test_images_of_two_sizes_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.fromarray(np.zeros((7, 9, 3), dtype=np.uint8)).save(tmp_path / "test/dog/3.png")
    with pytest.raises(DataError, match=r"dog/3.png: must be 5 x 6 pixels.*\(got 9 x 7\)"):
        whole(load_data(spec("image_folder"), seed=0, folder=tmp_path).test)


@pytest.mark.parametrize("keep", [0, 45])
def test_a_damaged_image_is_an_error_that_names_the_file(tmp_path: Path, keep: int) -> None:
    write_images(tmp_path)
    path = tmp_path / "test/dog/3.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"dog/3.png: must be a whole image"):
        whole(load_data(spec("image_folder"), seed=0, folder=tmp_path).test)


def test_parts_with_different_classes_are_an_error(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "val/dog").rename(tmp_path / "val/horse")
    with pytest.raises(DataError, match=r"val: must have the classes of .*train \(differs in dog, horse\)"):
        load_data(spec("image_folder"), seed=0, folder=tmp_path)


def test_an_empty_part_is_an_error_with_the_layout(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "val").rename(tmp_path / "old")
    (tmp_path / "empty").rename(tmp_path / "val")
    with pytest.raises(DataError, match="val/: Couldn't find any class folder") as raised:
        load_data(spec("image_folder"), seed=0, folder=tmp_path)
    assert "├── train/" in str(raised.value)


def test_a_missing_part_is_an_error_that_offers_no_download(tmp_path: Path) -> None:
    write_images(tmp_path, parts=("train",))
    with pytest.raises(DataError, match=r"test is missing \(1 of 2\)") as raised:
        load_data(spec("image_folder"), seed=0, folder=tmp_path, download=Download.ALLOWED)
    assert "--download" not in str(raised.value)


def test_a_gzip_file_of_zeros_is_not_expanded_beyond_its_header(tmp_path: Path) -> None:
    """A compressed label file of 2 MB took 2 GB."""
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(10, np.uint8)) + bytes(1 << 26), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="must hold 10 values"):
            read_idx(path, most=60_000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_label_beyond_the_classes_is_an_error(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x63")
    with pytest.raises(DataError, match="must be 0 to 9 \\(got 99\\)"):
        load_data(spec("mnist"), seed=0, folder=tmp_path)


def test_a_picture_of_more_pixels_than_pillow_decodes_is_an_error_of_ours(tmp_path: Path) -> None:
    path, content = tmp_path / "large.png", io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(content, "PNG")
    whole = content.getvalue()
    for height, width in ((30_000, 30_000), (5_000, 5_000)):  # above Pillow's limit, and above ours
        header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + whole[24:29]
        path.write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
        with pytest.raises(DataError, match=f"{path}"):
            pixels_of(path, None)
        with pytest.raises(DataError, match=f"{path}"):
            pixels_of(path, (3, 2, 2))


def test_a_picture_that_is_cut_anywhere_is_an_error_or_has_all_its_pixels(tmp_path: Path) -> None:
    path, content, refused = tmp_path / "cut.png", io.BytesIO(), 0
    pixels = RANDOM.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    for end in range(len(content.getvalue())):
        path.write_bytes(content.getvalue()[:end])
        try:
            assert np.array_equal(pixels_of(path, (3, 8, 8)), pixels.transpose(2, 0, 1))
        except DataError as error:
            refused += "must be a whole image" in str(error)
    assert refused >= len(content.getvalue()) - 24  # sums of checks and a last chunk that holds nothing

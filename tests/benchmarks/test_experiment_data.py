"""The experiments' loaders, on files that the test writes in the same on-disk format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import experiment_data
from benchmarks.experiment_data import Sizes, held_out, training_subset
from mdcompress.data import DataSplits
from mdcompress.data.batches import Batch
from mdcompress.data.loading import load_data
from mdcompress.errors import DataError
from mdcompress.recipe import DataSpec
from mdcompress.trust import GIVEN

SMALL = Sizes(train=12, validation=8, teacher=16, tuning=6)


def jpegs(images: np.ndarray) -> list[bytes]:
    found = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=75)
        found.append(file.getvalue())
    return found


def packed(part: str, files: list[bytes], labels: np.ndarray, *, shared: int) -> dict[str, np.ndarray]:
    """The bytes after the first `shared` of each file, one after the other."""
    offset = np.cumsum([0, *(len(file) - shared for file in files)])
    body = b"".join(file[shared:] for file in files)
    return {f"jpeg_{part}": np.frombuffer(body, np.uint8), f"offset_{part}": offset, f"y_{part}": labels}


def store(path: Path, **arrays: np.ndarray) -> None:
    """The .npz of these arrays. np.savez has an option beside their names, which a type checker takes one for."""
    save: Callable[..., None] = np.savez
    save(path, **arrays)


@pytest.fixture
def colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """40 + 6 JPEGs in cifar10_jpeg_q75.npz; each image's pixels as Pillow decodes its own whole file."""
    monkeypatch.setattr(experiment_data, "CIFAR10", SMALL)
    images = np.random.default_rng(0).integers(0, 256, (46, 16, 16, 3), dtype=np.uint8)
    files = jpegs(images)
    shared = next(i for i in range(len(files[0])) if any(file[i] != files[0][i] for file in files))
    train, test = np.arange(40) % 4, np.arange(6) % 4
    store(
        tmp_path / "cifar10_jpeg_q75.npz",
        prefix=np.frombuffer(files[0][:shared], np.uint8),
        classes=np.array(["cat", "dog", "emu", "fox"]),
        **packed("train", files[:40], train.astype(np.uint8), shared=shared),
        **packed("test", files[40:], test.astype(np.uint8), shared=shared),
    )
    assert shared > 500  # headers and tables
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files]).transpose(0, 3, 1, 2)
    return {"train": decoded[:40], "test": decoded[40:]}


def load(name: str, folder: Path, *, seed: int = 0, time_steps: int = 2) -> DataSplits:
    spec = DataSpec(name=f"benchmarks.experiment_data:{name}", time_steps=time_steps, batch_size=5)
    return load_data(spec, seed=seed, folder=folder, consent=GIVEN)


def all_of(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    xs, ys = zip(*batches, strict=True)
    return torch.cat(xs, dim=1), torch.cat(ys)


def rows(x: torch.Tensor) -> set[bytes]:
    """Each sample's pixels, to be found again."""
    return {(sample * 255).round().to(torch.uint8).numpy().tobytes() for sample in x[0]}


def test_packed_jpegs_are_decoded_as_pillow_decodes_the_whole_files(
    colour: dict[str, np.ndarray], tmp_path: Path
) -> None:
    splits = load("cifar10", tmp_path)
    x, y = all_of(splits.test)
    assert x.shape == (2, 6, 3, 16, 16) and torch.equal(x[0], x[1])
    assert ((x[0] * 255).round().numpy() == colour["test"]).all()
    assert y.tolist() == [0, 1, 2, 3, 0, 1]
    assert splits.classes == ("cat", "dog", "emu", "fox")


def test_no_sample_is_in_two_parts_and_a_seed_changes_training_alone(
    colour: dict[str, np.ndarray], tmp_path: Path
) -> None:
    first, second = load("cifar10", tmp_path), load("cifar10", tmp_path, seed=1)
    tuning = load("cifar10_tuning", tmp_path)
    parts = [rows(all_of(part)[0]) for part in (first.train, first.validation, tuning.test, first.test)]
    assert [len(part) for part in parts] == [12, 8, 6, 6]
    assert len(set.union(*parts)) == 32
    assert rows(all_of(second.train)[0]) != parts[0]
    assert not rows(all_of(second.train)[0]) & (parts[1] | parts[2] | parts[3])
    assert rows(all_of(second.validation)[0]) == parts[1] and rows(all_of(second.test)[0]) == parts[3]
    assert rows(all_of(tuning.train)[0]) == parts[0]


def test_the_teachers_training_samples_hold_the_students_and_nothing_that_is_held_out(
    colour: dict[str, np.ndarray], tmp_path: Path
) -> None:
    student, teacher = load("cifar10", tmp_path), load("cifar10_teacher", tmp_path)
    tuning = load("cifar10_tuning", tmp_path)
    seen = rows(all_of(teacher.train)[0])
    assert len(seen) == 16 and rows(all_of(student.train)[0]) < seen
    held = [rows(all_of(part)[0]) for part in (student.validation, tuning.test, student.test)]
    assert not seen & held[0].union(*held[1:])
    assert rows(all_of(teacher.validation)[0]) == held[0] and rows(all_of(teacher.test)[0]) == held[2]


def test_classes_are_in_equal_shares(colour: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = load("cifar10", tmp_path)
    assert torch.bincount(all_of(splits.train)[1]).tolist() == [3, 3, 3, 3]
    assert torch.bincount(all_of(splits.validation)[1]).tolist() == [2, 2, 2, 2]


def test_tuning_does_not_read_the_test_part(colour: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "cifar10_jpeg_q75.npz"
    with np.load(path) as archive:
        kept = {name: array for name, array in archive.items() if not name.endswith("_test")}
    np.savez(path, **kept)
    assert len(all_of(load("cifar10_tuning", tmp_path).test)[1]) == 6
    with pytest.raises(KeyError):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["tiny_imagenet", "tiny_imagenet_tuning", "tiny_imagenet_teacher"])
def test_tiny_imagenet_has_the_same_format(
    colour: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(experiment_data, "TINY_IMAGENET", SMALL)
    (tmp_path / "cifar10_jpeg_q75.npz").rename(tmp_path / "tiny_imagenet_32_q75_50cls.npz")
    assert all_of(load(name, tmp_path).train)[0].shape == (2, 16 if name.endswith("teacher") else 12, 3, 16, 16)


def test_mnist_pixels_are_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment_data, "MNIST", Sizes(train=10, validation=5))
    generator = np.random.default_rng(1)
    train, test = (generator.integers(0, 256, (count, 28, 28), dtype=np.uint8) for count in (20, 7))
    np.savez(
        tmp_path / "mnist.npz", x_train=train, y_train=np.arange(20, dtype=np.uint8) % 5, x_test=test,
        y_test=np.arange(7, dtype=np.uint8) % 5,
    )  # fmt: skip
    splits = load("mnist", tmp_path, time_steps=3)
    x, y = all_of(splits.test)
    assert x.shape == (3, 7, 1, 28, 28) and ((x[2, :, 0] * 255).round().numpy() == test).all()
    assert y.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert rows(all_of(splits.train)[0]) <= {image.tobytes() for image in train}


def recorded(part: str, recordings: list[list[tuple[int, int, int, int]]], labels: list[int]) -> dict[str, np.ndarray]:
    """Events (x, y, t, p) of each recording in the file's arrays."""
    events = np.array([event for recording in recordings for event in recording])
    arrays = {f"{field}_{part}": events[:, column] for column, field in enumerate("xytp")}
    arrays = {
        name: array.astype({"x": np.uint8, "y": np.uint8, "t": np.int32, "p": bool}[name[0]])
        for name, array in arrays.items()
    }
    offset = np.cumsum([0, *map(len, recordings)])
    return {**arrays, f"offset_{part}": offset, f"label_{part}": np.array(labels, np.uint8)}


def test_recordings_are_counted_in_bins_and_some_of_training_join_the_test_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording i of training has i + 2 events at column i; the one of test is counted by hand."""
    monkeypatch.setattr(experiment_data, "NMNIST", Sizes(train=4, validation=2, test_from_train=2))
    train = [[(i, 1, 100 * k, 1) for k in range(i + 2)] for i in range(8)]
    test = [[(33, 0, 0, 0), (33, 0, 10, 0), (5, 33, 60, 1), (5, 33, 100, 1)]]
    store(tmp_path / "nmnist_small.npz", **recorded("train", train, [0, 1] * 4), **recorded("test", test, [1]))
    splits = load("nmnist", tmp_path)
    x, y = all_of(splits.test)
    assert x.shape == (2, 3, 2, 34, 34) and y.shape == (3,)
    by_hand = torch.zeros(2, 2, 34, 34)
    by_hand[0, 0, 0, 33] = 2
    by_hand[1, 1, 33, 5] = 2
    assert torch.equal(x[:, 2], by_hand) and y[2] == 1
    seen = [all_of(part)[0] for part in (splits.train, splits.validation)] + [x[:, :2]]
    counts = sorted(int(total) for part in seen for total in part.sum(dim=(0, 2, 3, 4)))
    assert counts == list(range(2, 10))  # all eight, each in one part


def test_the_shares_of_subsets_hold_for_labels_in_any_order() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 20)
    sizes = Sizes(train=40, validation=10, tuning=10, test_from_train=20)
    subset = training_subset(labels, sizes, name="x", seed=3)
    parts = [subset, *held_out(labels, sizes, name="x")]
    assert [len(part) for part in parts] == [40, 10, 10, 20]
    assert len(np.unique(np.concatenate(parts))) == 80
    for part in parts:
        counts = np.bincount(labels[part], minlength=3)
        assert np.abs(counts - len(part) * np.array([0.5, 0.3, 0.2])).max() <= 2


def test_a_missing_or_short_file_is_an_error_that_says_what_to_do(
    colour: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"mnist\.npz: the experiments' file must be there") as caught:
        load("mnist", tmp_path)
    assert "--data-folder" in caught.value.hints[0]
    monkeypatch.setattr(experiment_data, "CIFAR10", Sizes(train=33, validation=8))
    with pytest.raises(DataError, match="cifar10: the training part must have 41 samples"):
        load("cifar10", tmp_path)

"""Data sets of the experiments, from packed files in one folder: a training subset by seed, fixed validation and test.

A recipe names a function of this module, `data: {name: benchmarks.experiment_data:cifar10}`, and the commands run from
the checkout with `--data-folder FOLDER`. The functions are own loaders (mdcompress/data/own_loaders.py). Training
samples are a stratified subset that depends on the run's seed; validation and test samples do not, and no seed trains
on them. Functions `*_teacher` have more training samples, those of the student of the same seed among them: a network
is trained on much data and fine-tuned on little, as users have it. Functions `*_tuning` have, in the place of the test
samples, samples of the training part that no training sees: settings are chosen on them, and the test part is not even
read.

Files (arrays of an .npz archive; `<part>` is train or test; numpy.load reads them without pickles):
    cifar10_jpeg_q75.npz, tiny_imagenet_32_q75_50cls.npz: every image is a JPEG of quality 75. Its first bytes (headers
        and tables) are the same for all and stand once in `prefix` [B]; what follows them is
        `jpeg_<part>`[`offset_<part>`[i] : `offset_<part>`[i + 1]] for image i. `y_<part>` [N] labels, `classes` names.
    mnist.npz: `x_<part>` uint8 [N, 28, 28], `y_<part>` [N].
    nmnist_small.npz: recordings of N-MNIST (Orchard et al. 2015), one after the other: `x_<part>`, `y_<part>` columns
        and rows below 34, `t_<part>` microseconds, `p_<part>` polarity; recording i is offset_<part>[i] to
        offset_<part>[i + 1], its class `label_<part>`[i].
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mdcompress.data.batches import Indices, Order, SampleBatches, Samples, interleaved
from mdcompress.data.event_camera import EVENT_TYPE
from mdcompress.data.event_frames import bin_events
from mdcompress.data.samples import ImageSamples, StoredSamples
from mdcompress.errors import DataError

Loaders = tuple[SampleBatches, SampleBatches, SampleBatches, tuple[str, ...]]
Labels = NDArray[np.int64]
Values = NDArray[Any]  # uint8 pixels or float32 frames, as a file has them
Archive = Mapping[str, NDArray[Any]]

CIFAR10_FILE, TINY_IMAGENET_FILE = "cifar10_jpeg_q75.npz", "tiny_imagenet_32_q75_50cls.npz"

NMNIST_SENSOR = 34  # pixels, both ways
DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Sizes:
    """Samples of each part. `train` are drawn by seed; `validation` and `tuning` are fixed, of the training part.

    `teacher`: what `*_teacher` trains on. `test_from_train`: fixed samples of the training part that are added to the
    file's own test part.
    """

    train: int
    validation: int
    teacher: int = 0
    tuning: int = 0
    test_from_train: int = 0


@dataclass(frozen=True)
class Part:
    """The training or test part of a file: labels [N], and indices [n] -> what the file holds of them, [n, ...]."""

    labels: Labels
    read: Callable[[Indices], Values]


@dataclass(frozen=True)
class PackedSet:
    """An opened file: its parts, the names of its classes, and how what is read becomes samples of T steps.

    `test` opens the test part; None where settings are to be chosen: the samples for tuning then stand in its place.
    """

    name: str
    sizes: Sizes
    train: Part
    test: Callable[[], Part] | None
    classes: tuple[str, ...]
    samples: Callable[[Values, Labels], Samples]


MNIST = Sizes(train=1_000, validation=1_000, teacher=20_000, tuning=4_000)
CIFAR10 = Sizes(train=1_000, validation=1_000, teacher=20_000, tuning=4_000)
TINY_IMAGENET = Sizes(train=1_000, validation=1_000, teacher=20_000, tuning=4_000)
# 1,000 + 100 recordings: 100 are too few for a test
NMNIST = Sizes(train=200, validation=100, teacher=500, tuning=200, test_from_train=200)


def mnist(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """MNIST: 1,000 training, 1,000 validation, 10,000 test images, x = pixel / 255, shape [1, 28, 28]."""
    return _loaders(_mnist(folder, time_steps), batch_size=batch_size, seed=seed)


def mnist_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 20,000 training images."""
    return _loaders(_of_teacher(_mnist(folder, time_steps)), batch_size=batch_size, seed=seed)


def mnist_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The student's training images with 4,000 other ones in the place of the test images."""
    return _loaders(_without_test(_mnist(folder, time_steps)), batch_size=batch_size, seed=seed)


def cifar10(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """CIFAR-10 (JPEG q75): 1,000 training, 1,000 validation, 10,000 test images, shape [3, 32, 32]."""
    return _loaders(_cifar10(folder, time_steps), batch_size=batch_size, seed=seed)


def cifar10_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 20,000 training images."""
    return _loaders(_of_teacher(_cifar10(folder, time_steps)), batch_size=batch_size, seed=seed)


def cifar10_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The student's training images with 4,000 other ones in the place of the test images."""
    return _loaders(_without_test(_cifar10(folder, time_steps)), batch_size=batch_size, seed=seed)


def tiny_imagenet(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """50 classes of Tiny-ImageNet at 32 x 32 (JPEG q75): 1,000 training, 1,000 validation, 2,500 test images."""
    return _loaders(_tiny_imagenet(folder, time_steps), batch_size=batch_size, seed=seed)


def tiny_imagenet_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 20,000 training images."""
    return _loaders(_of_teacher(_tiny_imagenet(folder, time_steps)), batch_size=batch_size, seed=seed)


def tiny_imagenet_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The student's training images with 4,000 other ones in the place of the test images."""
    return _loaders(_without_test(_tiny_imagenet(folder, time_steps)), batch_size=batch_size, seed=seed)


def nmnist(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """N-MNIST: 200 training, 100 validation, 300 test recordings as counts of events in T bins, shape [2, 34, 34]."""
    return _loaders(_nmnist(folder, time_steps), batch_size=batch_size, seed=seed)


def nmnist_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 500 training recordings."""
    return _loaders(_of_teacher(_nmnist(folder, time_steps)), batch_size=batch_size, seed=seed)


def nmnist_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The student's training recordings with 200 other ones in the place of the test recordings."""
    return _loaders(_without_test(_nmnist(folder, time_steps)), batch_size=batch_size, seed=seed)


def _mnist(folder: Path, time_steps: int) -> PackedSet:
    read = partial(_plain_images, _open(folder / "mnist.npz"))
    return PackedSet("mnist", MNIST, read("train"), partial(read, "test"), DIGITS, _images(time_steps))


def _cifar10(folder: Path, time_steps: int) -> PackedSet:
    return _coloured("cifar10", CIFAR10, _open(folder / CIFAR10_FILE), time_steps)


def _tiny_imagenet(folder: Path, time_steps: int) -> PackedSet:
    return _coloured("tiny_imagenet", TINY_IMAGENET, _open(folder / TINY_IMAGENET_FILE), time_steps)


def _nmnist(folder: Path, time_steps: int) -> PackedSet:
    read = partial(_recordings, _open(folder / "nmnist_small.npz"), time_steps=time_steps)
    return PackedSet("nmnist", NMNIST, read("train"), partial(read, "test"), DIGITS, _frames)


def _coloured(name: str, sizes: Sizes, archive: Archive, time_steps: int) -> PackedSet:
    read, classes = partial(_jpeg_images, archive), tuple(str(each) for each in archive["classes"])
    return PackedSet(name, sizes, read("train"), partial(read, "test"), classes, _images(time_steps))


def _of_teacher(opened: PackedSet) -> PackedSet:
    return replace(opened, sizes=replace(opened.sizes, train=opened.sizes.teacher))


def _without_test(opened: PackedSet) -> PackedSet:
    return replace(opened, test=None)


def training_subset(labels: Labels, sizes: Sizes, *, name: str, seed: int) -> Indices:
    """Indices of `sizes.train` samples, each class in its share, none of them held out; they depend on the seed."""
    rest = _held_out_order(labels, name)[_held_out(sizes) :]
    chosen = interleaved(labels[rest], f"{name} training seed={seed}")[: sizes.train]
    return np.sort(rest[chosen])


def held_out(labels: Labels, sizes: Sizes, *, name: str) -> tuple[Indices, Indices, Indices]:
    """Indices (validation, tuning, test_from_train) of the training part, the same for every seed."""
    order = _held_out_order(labels, name)
    stops = np.cumsum([sizes.validation, sizes.tuning, sizes.test_from_train])
    validation, tuning, test, _ = np.split(order, stops)
    return validation, tuning, test


def _held_out_order(labels: Labels, name: str) -> Indices:
    return interleaved(labels, f"{name} held out")


def _held_out(sizes: Sizes) -> int:
    return sizes.validation + sizes.tuning + sizes.test_from_train


def _loaders(opened: PackedSet, *, batch_size: int, seed: int) -> Loaders:
    """(train, validation, test, names of the classes), as an own loader returns them."""
    sizes, labels = opened.sizes, opened.train.labels
    wanted = sizes.train + _held_out(sizes)
    if len(labels) < wanted:
        raise DataError(
            f"{opened.name}: the training part must have {wanted:,} samples (got {len(labels):,})",
            hints=["give the whole file: its format is in benchmarks/experiment_data.py"],
        )
    subset = training_subset(labels, sizes, name=opened.name, seed=seed)
    validation, tuning, extra = held_out(labels, sizes, name=opened.name)
    last = [(opened.train, tuning)]
    if opened.test is not None:
        test = opened.test()
        last = [(opened.train, extra), (test, np.arange(len(test.labels)))]
    return (
        _batches(opened, [(opened.train, subset)], Order.SHUFFLED, batch_size=batch_size, seed=seed),
        _batches(opened, [(opened.train, validation)], Order.FIXED, batch_size=batch_size, seed=seed),
        _batches(opened, last, Order.FIXED, batch_size=batch_size, seed=seed),
        opened.classes,
    )


def _batches(
    opened: PackedSet, chosen: Sequence[tuple[Part, Indices]], order: Order, *, batch_size: int, seed: int
) -> SampleBatches:
    """Batches of the chosen samples, read once and kept as the file has them."""
    labels = np.concatenate([part.labels[indices] for part, indices in chosen])
    values = np.concatenate([part.read(indices) for part, indices in chosen if len(indices)])
    samples = opened.samples(values, labels)
    return SampleBatches(samples, np.arange(len(labels)), batch_size=batch_size, order=order, seed=seed)


# ---------------------------------------------------------------------- files


def _open(path: Path) -> Archive:
    """Every array of the file by its name."""
    if not path.is_file():
        raise DataError(
            f"{path}: the experiments' file must be there (no such file)",
            hints=["name the folder that holds it: --data-folder FOLDER, or data.folder"],
        )
    with np.load(path) as archive:
        return dict(archive)


def _plain_images(archive: Archive, part: str) -> Part:
    """uint8 [N, H, W] as grey images [n, 1, H, W]."""
    pixels = archive[f"x_{part}"][:, None]
    return Part(archive[f"y_{part}"].astype(np.int64), pixels.__getitem__)


def _jpeg_images(archive: Archive, part: str) -> Part:
    """JPEGs whose first bytes stand once in `prefix`, decoded when asked for: uint8 [n, 3, H, W]."""
    prefix, body, offset = archive["prefix"].tobytes(), archive[f"jpeg_{part}"].tobytes(), archive[f"offset_{part}"]

    def read(indices: Indices) -> Values:
        files = (io.BytesIO(prefix + body[offset[index] : offset[index + 1]]) for index in indices)
        return np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])

    return Part(archive[f"y_{part}"].astype(np.int64), read)


def _recordings(archive: Archive, part: str, *, time_steps: int) -> Part:
    """Recordings binned between their first and last event: float32 [n, T, 2, 34, 34]."""
    offset = archive[f"offset_{part}"]

    def read(indices: Indices) -> Values:
        return np.stack([frames(slice(offset[index], offset[index + 1])) for index in indices]).astype(np.float32)

    def frames(span: slice) -> NDArray[np.int32]:
        events = np.empty(span.stop - span.start, dtype=EVENT_TYPE)
        for field in ("x", "y", "t", "p"):
            events[field] = archive[f"{field}_{part}"][span]
        return bin_events(events, time_steps, height=NMNIST_SENSOR, width=NMNIST_SENSOR)

    return Part(archive[f"label_{part}"].astype(np.int64), read)


def _images(time_steps: int) -> Callable[[Values, Labels], Samples]:
    """Pixels [n, C, H, W] -> images shown at every one of T steps."""

    def samples(pixels: Values, labels: Labels) -> Samples:
        return ImageSamples(
            read=pixels.__getitem__,
            labels=labels,
            image_shape=pixels.shape[1:],
            white=255,
            encoding="direct",
            time_steps=time_steps,
        )

    return samples


def _frames(values: Values, labels: Labels) -> Samples:
    """Frames [n, T, 2, H, W] -> samples in memory."""
    return StoredSamples(torch.from_numpy(values).transpose(0, 1), labels)

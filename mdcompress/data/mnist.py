"""MNIST and Fashion-MNIST from their idx files; torchvision knows the names and fetches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision import datasets

from mdcompress.data.files import fetching, incomplete
from mdcompress.data.idx_file import read_idx
from mdcompress.data.names import Download, Loading
from mdcompress.data.samples import ImageSamples
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

LAYOUT = """\
└── {folder}/raw/                       (each file plain or as .gz)
    ├── train-images-idx3-ubyte
    ├── train-labels-idx1-ubyte
    ├── t10k-images-idx3-ubyte
    └── t10k-labels-idx1-ubyte"""
PARTS = ("train", "t10k")
KINDS = ("images-idx3", "labels-idx1")
MOST = {"images-idx3": 60_000 * 28 * 28, "labels-idx1": 60_000}  # values of the training images, which are more
DIGITS = tuple(str(digit) for digit in range(10))


def mnist(loading: Loading) -> DataSplits:
    """28 x 28 grey images, x = pixel / 255, shape [1, 28, 28]; 10 % of the training images are validation."""
    source = datasets.MNIST if loading.name == "mnist" else datasets.FashionMNIST
    folder = Path(source.__name__) / "raw"
    if loading.download is Download.ALLOWED and not all(_found(loading, path) for path in _wanted(folder)):
        with fetching(loading):
            source(loading.folder, download=True)
    train, test = (_samples(loading, folder, part) for part in PARTS)
    classes = DIGITS if loading.name == "mnist" else tuple(source.classes)
    return split_training(LabelledSet(train=train, test=test, classes=classes), loading)


def _samples(loading: Loading, folder: Path, part: str) -> ImageSamples:
    images, labels = (read_idx(_present(loading, _plain(folder, part, kind)), most=MOST[kind]) for kind in KINDS)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{loading.folder / folder}: `{part}` must hold images [S, H, W] and S labels "
            f"(got {list(images.shape)} and {list(labels.shape)})",
            hints=["delete the files and fetch them again (`--download`)"],
        )
    if len(labels) and int(labels.max()) >= len(DIGITS):
        raise DataError(
            f"{loading.folder / folder}: the labels of `{part}` must be 0 to {len(DIGITS) - 1} (got {labels.max()})",
            hints=["delete the files and fetch them again (`--download`)"],
        )
    pixels = images[:, None]
    return ImageSamples(
        read=pixels.__getitem__,
        labels=labels.astype(np.int64),
        image_shape=pixels.shape[1:],
        white=255,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )


def _plain(folder: Path, part: str, kind: str) -> Path:
    return folder / f"{part}-{kind}-ubyte"


def _wanted(folder: Path) -> list[Path]:
    return [_plain(folder, part, kind) for part in PARTS for kind in KINDS]


def _found(loading: Loading, path: Path) -> Path | None:
    """The file as it is, else compressed."""
    candidates = (loading.folder / path, loading.folder / f"{path}.gz")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _present(loading: Loading, path: Path) -> Path:
    found = _found(loading, path)
    if found is None:
        raise incomplete(loading, f"{path} is missing", layout=LAYOUT.format(folder=path.parts[0]))
    return found

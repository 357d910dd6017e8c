"""MNIST and Fashion-MNIST from their idx files; torchvision knows the names and fetches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision import datasets

from mdcompress.data.files import fetching, incomplete, may_fetch
from mdcompress.data.idx_file import read_idx
from mdcompress.data.names import Loading
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
DIGITS = tuple(str(digit) for digit in range(10))


def mnist(loading: Loading) -> DataSplits:
    """28 x 28 grey images, x = pixel / 255, shape [1, 28, 28]; 10 % of the training images are validation."""
    source = datasets.MNIST if loading.name == "mnist" else datasets.FashionMNIST
    folder = Path(source.__name__) / "raw"
    if may_fetch(loading, [_plain(folder, part, kind) for part in PARTS for kind in ("images-idx3", "labels-idx1")]):
        with fetching(loading):
            source(loading.folder, download=True)
    train, test = (_samples(loading, folder, part) for part in PARTS)
    classes = DIGITS if loading.name == "mnist" else tuple(source.classes)
    return split_training(LabelledSet(train=train, test=test, classes=classes), loading)


def _samples(loading: Loading, folder: Path, part: str) -> ImageSamples:
    images = read_idx(_present(loading, _plain(folder, part, "images-idx3")))
    labels = read_idx(_present(loading, _plain(folder, part, "labels-idx1")))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{loading.folder / folder}: `{part}` must hold images [S, H, W] and S labels "
            f"(got {list(images.shape)} and {list(labels.shape)})",
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


def _present(loading: Loading, path: Path) -> Path:
    """The file as it is, else compressed."""
    for candidate in (loading.folder / path, loading.folder / f"{path}.gz"):
        if candidate.is_file():
            return candidate
    raise incomplete(loading, f"{path} is missing", layout=LAYOUT.format(folder=path.parts[0]))

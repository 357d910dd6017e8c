"""CIFAR-10 and CIFAR-100 from the Python batches; torchvision checks their md5, unpickles and fetches."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from mdcompress.data.files import fetching, require_files
from mdcompress.data.names import Download, Loading
from mdcompress.data.samples import ImageSamples
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

Checksums = list[tuple[Path, str]]


def cifar(loading: Loading) -> DataSplits:
    """32 x 32 colour images, x = pixel / 255 (not whitened: the integer input is exact), shape [3, 32, 32].

    5,000 of the 50,000 training images are validation.
    """
    source = datasets.CIFAR10 if loading.name == "cifar10" else datasets.CIFAR100
    checksums = _checksums(source)
    if loading.download is Download.ALLOWED and not all((loading.folder / path).exists() for path, _ in checksums):
        with fetching(loading):
            source(loading.folder, download=True)
    require_files(loading, [path for path, _ in checksums], layout=_layout(checksums))
    _require_official(loading, checksums)
    train, test = _open(source, loading, part="train"), _open(source, loading, part="test")
    found = LabelledSet(train=_samples(train, loading), test=_samples(test, loading), classes=tuple(train.classes))
    return split_training(found, loading)


def _checksums(source: type[datasets.CIFAR10]) -> Checksums:
    """Every file the set consists of, with the md5 torchvision expects."""
    folder = Path(source.base_folder)
    files = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    return [(folder / name, md5) for name, md5 in files]


def _layout(checksums: Checksums) -> str:
    *names, last = (path.name for path, _ in checksums)
    lines = [f"└── {checksums[0][0].parent}/", *(f"    ├── {name}" for name in names), f"    └── {last}"]
    return "\n".join(lines)


def _require_official(loading: Loading, checksums: Checksums) -> None:
    """The files are pickles, and a pickle can run code: only the official bytes are opened."""
    for path, md5 in checksums:
        if not check_integrity(loading.folder / path, md5):
            raise DataError(
                f"{loading.folder / path}: must be the official file of md5 {md5}; it is not, and was not opened "
                "(a foreign pickle can run code)",
                hints=["delete the file and fetch the set again (`--download`)"],
            )


def _open(source: type[datasets.CIFAR10], loading: Loading, *, part: Literal["train", "test"]) -> datasets.CIFAR10:
    """The opened set; torchvision checks the md5 sums once more before it unpickles."""
    with warnings.catch_warnings():
        # Python 2 pickled these files in 2009 with dtype(…, 0, 1); NumPy 2.4.0 to 2.4.4 warn of it (numpy#31177)
        warnings.filterwarnings("ignore", message=".*align should be passed")
        return source(loading.folder, train=part == "train", download=False)


def _samples(opened: datasets.CIFAR10, loading: Loading) -> ImageSamples:
    pixels = np.ascontiguousarray(opened.data.transpose(0, 3, 1, 2))  # [S, H, W, C] -> [S, C, H, W]
    return ImageSamples(
        read=pixels.__getitem__,
        labels=np.asarray(opened.targets, dtype=np.int64),
        image_shape=pixels.shape[1:],
        white=255,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )

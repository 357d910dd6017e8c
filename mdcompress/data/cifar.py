"""CIFAR-10 and CIFAR-100 from the official Python batches; torchvision knows their names and fetches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets

from mdcompress.data.files import fetching, require_files
from mdcompress.data.names import Download, Loading
from mdcompress.data.pickle_file import read_pickle
from mdcompress.data.samples import ImageSamples
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

SHAPE = (3, 32, 32)
MOST_BYTES = 1 << 28  # of a file; the training batch of CIFAR-100 has 1.5 x 10^8
HINT = "delete the file and fetch the set again (`--download`)"


@dataclass(frozen=True)
class Batch:
    """One file: pixels [S, 3072], red before green before blue, and the class of each image."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def cifar(loading: Loading) -> DataSplits:
    """32 x 32 colour images, x = pixel / 255 (not whitened: the integer input is exact), shape [3, 32, 32].

    A tenth of each class of the training images is validation: 5,000 of 50,000.
    """
    source = datasets.CIFAR10 if loading.name == "cifar10" else datasets.CIFAR100
    folder = Path(source.base_folder)
    train, test = ([folder / name for name, _ in part] for part in (source.train_list, source.test_list))
    meta = folder / source.meta["filename"]
    wanted = [*train, *test, meta]
    if loading.download is Download.ALLOWED and not all((loading.folder / path).exists() for path in wanted):
        with fetching(loading), warnings.catch_warnings():
            # Python 2 pickled these files in 2009 with dtype(…, 0, 1); NumPy 2.4.0 to 2.4.4 warn of it (numpy#31177)
            warnings.filterwarnings("ignore", message=".*align should be passed")
            source(loading.folder, download=True)  # torchvision holds what it fetched to its md5, and opens it
    require_files(loading, wanted, layout=_layout(wanted))
    classes = read_classes(loading.folder / meta, key=source.meta["key"], count=_classes(loading.name))
    labels = "labels" if loading.name == "cifar10" else "fine_labels"
    parts = (
        [read_batch(loading.folder / path, labels=labels, classes=len(classes)) for path in part]
        for part in (train, test)
    )
    samples = [_samples(part, loading) for part in parts]
    return split_training(LabelledSet(train=samples[0], test=samples[1], classes=classes), loading)


def _classes(name: str) -> int:
    return 10 if name == "cifar10" else 100


def _layout(wanted: Sequence[Path]) -> str:
    *names, last = (path.name for path in wanted)
    lines = [f"└── {wanted[0].parent}/", *(f"    ├── {name}" for name in names), f"    └── {last}"]
    return "\n".join(lines)


def read_classes(path: Path, *, key: str, count: int) -> tuple[str, ...]:
    """The names of the classes, from the file beside the batches."""
    match read_pickle(path, most=MOST_BYTES):
        case dict() as found:
            names = found.get(key)
        case _:
            names = None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: must hold {count} names of classes as `{key}`", hints=[HINT])
    return tuple(names)


def read_batch(path: Path, *, labels: str, classes: int) -> Batch:
    """The images of one file and their classes.

    Args:
        path: the pickle.
        labels: under which name it has the classes.
        classes: how many there are.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    match read_pickle(path, most=MOST_BYTES):
        case {"data": np.ndarray() as pixels, **rest} if pixels.ndim == 2 and pixels.shape[1] == np.prod(SHAPE):
            return Batch(pixels, _labels(path, rest.get(labels), count=len(pixels), classes=classes))
        case _:
            raise DataError(f"{path}: must hold images [S, {np.prod(SHAPE)}] of unsigned bytes as `data`", hints=[HINT])


def _labels(path: Path, found: object, *, count: int, classes: int) -> NDArray[np.int64]:
    if not isinstance(found, list) or len(found) != count or not all(type(label) is int for label in found):
        raise DataError(f"{path}: must hold a class for each of its {count:,} images", hints=[HINT])
    odd = [label for label in found if not 0 <= label < classes]
    if odd:
        raise DataError(f"{path}: its classes must be 0 to {classes - 1} (got {odd[0]})", hints=[HINT])
    return np.array(found, dtype=np.int64)


def _samples(batches: Sequence[Batch], loading: Loading) -> ImageSamples:
    pixels = np.concatenate([batch.pixels for batch in batches]).reshape(-1, *SHAPE)
    return ImageSamples(
        read=pixels.__getitem__,
        labels=np.concatenate([batch.labels for batch in batches]),
        image_shape=SHAPE,
        white=255,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )

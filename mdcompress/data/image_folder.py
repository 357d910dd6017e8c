"""The user's own images, one folder a class -> splits. Images are decoded when a batch asks for them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder

from mdcompress.data.batches import Indices
from mdcompress.data.files import incomplete, require_files
from mdcompress.data.names import Loading
from mdcompress.data.samples import ImageSamples, Pixels
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError, MdcompressError

LAYOUT = """\
├── train/
│   ├── first_class/    any_name.png, …
│   └── second_class/   …
├── val/                the same classes; without it, 10 % of train/
└── test/               the same classes"""


def image_folder(loading: Loading) -> DataSplits:
    """Colour images of one size, x = pixel / 255, shape [3, H, W]; classes are the names of the folders."""
    require_files(loading, [Path("train"), Path("test")], layout=LAYOUT)
    train = _listing(loading, "train")
    shape = pixels_of(Path(train.samples[0][0]), None).shape
    validation = _listing(loading, "val") if (loading.folder / "val").exists() else None
    test = _listing(loading, "test")
    for part in (test, *([validation] if validation else [])):
        _require_same_classes(train, part)
    found = LabelledSet(
        train=_samples(train, loading, shape=shape),
        validation=_samples(validation, loading, shape=shape) if validation else None,
        test=_samples(test, loading, shape=shape),
        classes=tuple(train.classes),
    )
    return split_training(found, loading)


def _listing(loading: Loading, part: str) -> ImageFolder:
    try:
        return ImageFolder(str(loading.folder / part))
    except FileNotFoundError as error:  # no folder of a class, or one without images
        raise incomplete(loading, f"{part}/: {error}", layout=LAYOUT) from error


def _require_same_classes(train: ImageFolder, part: ImageFolder) -> None:
    if part.classes == train.classes:
        return
    odd = sorted(set(train.classes) ^ set(part.classes))
    raise DataError(
        f"{part.root}: must have the classes of {train.root} (differs in {', '.join(odd)})",
        hints=["give train/, val/ and test/ the same folders of classes"],
    )


def _samples(listing: ImageFolder, loading: Loading, *, shape: tuple[int, ...]) -> ImageSamples:
    return ImageSamples(
        read=Pictures(tuple(Path(path) for path, _ in listing.samples), shape),
        labels=np.asarray(listing.targets, dtype=np.int64),
        image_shape=shape,
        white=255,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )


@dataclass(frozen=True)
class Pictures:
    """Image files of one shape [3, H, W], decoded when they are asked for by their indices."""

    paths: tuple[Path, ...]
    shape: tuple[int, ...]

    def __call__(self, indices: Indices) -> Pixels:
        """The images at `indices`, uint8 [N, 3, H, W]."""
        return np.stack([pixels_of(self.paths[index], self.shape) for index in indices])


MOST_PIXELS = 1 << 24  # of the first image, 4096 x 4096: no spiking network has taken larger ones


def pixels_of(path: Path, shape: tuple[int, ...] | None) -> Pixels:
    """Red, green and blue of an image file, uint8 [3, H, W]; its size is known before it is decoded.

    `shape`: what it must have; None: any of at most MOST_PIXELS.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # of sizes: they are held below
            _require_size(path, (3, image.height, image.width), shape)
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (MdcompressError, MemoryError):
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, DecompressionBombError …: each decoder has its own
        raise DataError(
            f"{path}: must be a whole image ({type(error).__name__}: {error})", hints=["replace or delete the file"]
        ) from error


def _require_size(path: Path, seen: tuple[int, ...], wanted: tuple[int, ...] | None) -> None:
    if wanted is not None and seen != wanted:
        raise _odd_size(path, seen, wanted)
    if math.prod(seen[1:]) > MOST_PIXELS:
        raise DataError(
            f"{path}: must have at most {MOST_PIXELS:,} pixels (got {seen[2]} x {seen[1]})",
            hints=["resize or crop the images to one size"],
        )


def _odd_size(path: Path, seen: tuple[int, ...], wanted: tuple[int, ...]) -> DataError:
    return DataError(
        f"{path}: must be {wanted[2]} x {wanted[1]} pixels, as the other images are (got {seen[2]} x {seen[1]})",
        hints=["resize or crop the images to one size"],
    )

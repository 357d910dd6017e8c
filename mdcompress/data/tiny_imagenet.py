"""Tiny-ImageNet in its official layout -> splits. Its validation images are the test part: its own has no labels.

Le & Yang 2015 (CS231n): 200 classes, 500 training and 50 validation images of each, 64 x 64, JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from intsnn.errors import reading
from mdcompress.data.files import incomplete, require_files
from mdcompress.data.image_folder import first_shape, image_samples, listed
from mdcompress.data.names import Loading
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

ROOT = Path("tiny-imagenet-200")
ANNOTATIONS = ROOT / "val" / "val_annotations.txt"
LAYOUT = """\
└── tiny-imagenet-200/
    ├── train/
    │   ├── n01443537/images/   n01443537_0.JPEG, …
    │   └── …
    └── val/
        ├── val_annotations.txt     val_0.JPEG, tab, n03444034, tab, …
        └── images/                 val_0.JPEG, …"""


def tiny_imagenet(loading: Loading) -> DataSplits:
    """Colour images, x = pixel / 255; classes by their WordNet number. Validation is 10 % of the training images."""
    require_files(loading, [ROOT / "train", ANNOTATIONS, ROOT / "val" / "images"], layout=LAYOUT)
    train = listed(loading, ROOT / "train", layout=LAYOUT)
    shape = first_shape(train)
    test = list(_annotated(loading, {name: number for number, name in enumerate(train.classes)}))
    if not test:
        raise incomplete(loading, f"{ANNOTATIONS}: names no image", layout=LAYOUT)
    found = LabelledSet(
        train=image_samples(train.samples, loading, shape=shape),
        validation=None,
        test=image_samples(test, loading, shape=shape),
        classes=tuple(train.classes),
    )
    return split_training(found, loading)


def read_annotations(path: Path) -> list[tuple[str, str]]:
    """File name and class of each image, line by line; the box that follows in a line is not read.

    Raises:
        DataError: it is not such a list; a name leads out of the folder of images.
    """
    with reading(path, "the classes of Tiny-ImageNet's validation images"):
        return [_entry(path, line) for line in enumerate(path.read_text("utf-8").splitlines(), start=1)]


_AGAIN = ["unpack the archive anew: every file must be as it is there"]


def _entry(path: Path, line: tuple[int, str]) -> tuple[str, str]:
    number, text = line
    name, label, *_ = (*text.split("\t"), "")
    if not name or not label or Path(name).name != name:
        raise DataError(
            f"{path}:{number}: must be the name of an image, a tab, and its class (got {text[:60]!r})", hints=_AGAIN
        )
    return name, label


def _annotated(loading: Loading, classes: Mapping[str, int]) -> Iterator[tuple[Path, int]]:
    """Each image of the validation part, and its class."""
    path = loading.folder / ANNOTATIONS
    for number, (name, label) in enumerate(read_annotations(path), start=1):
        image = path.parent / "images" / name
        if label not in classes:
            raise DataError(
                f"{path}:{number}: must name a class of {loading.folder / ROOT / 'train'} (got {label!r})", hints=_AGAIN
            )
        if not image.is_file():
            raise DataError(f"{path}:{number}: {image} must be there (no such file)", hints=_AGAIN)
        yield image, classes[label]

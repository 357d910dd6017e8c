"""Tiny-ImageNet in its official layout -> splits; images are decoded when a batch asks for them.

200 classes of 64 x 64 colour images (Stanford CS231n, 2015). The official test part has no labels: the official
validation part is the test here, as in the literature, and a tenth of the training images is validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets.utils import download_and_extract_archive

from intsnn.errors import reading
from mdcompress.data.files import fetching, incomplete, require_files
from mdcompress.data.image_folder import Pictures
from mdcompress.data.names import Download, Loading
from mdcompress.data.samples import ImageSamples
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

FOLDER = Path("tiny-imagenet-200")
URL, MD5 = "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"  # as published
SHAPE = (3, 64, 64)
SUFFIX = ".JPEG"
LAYOUT = """\
└── tiny-imagenet-200/
    ├── wnids.txt               the classes, one a line
    ├── words.txt               their names
    ├── train/n01443537/images/ n01443537_0.JPEG, … (500 of each of 200 classes)
    └── val/
        ├── images/             val_0.JPEG, … (10,000 in all)
        └── val_annotations.txt the class of each"""
WANTED = (Path("wnids.txt"), Path("words.txt"), Path("train"), Path("val/images"), Path("val/val_annotations.txt"))
MOST_BYTES = 1 << 24  # of a text file; words.txt has 2.7 x 10^6
MOST_CLASSES = 1000
WNID = re.compile(r"n\d{8}")  # a noun of WordNet 3.0


def tiny_imagenet(loading: Loading) -> DataSplits:
    """64 x 64 colour images, x = pixel / 255, shape [3, 64, 64]; classes in the order of wnids.txt."""
    if loading.download is Download.ALLOWED and not (loading.folder / FOLDER).exists():
        with fetching(loading):
            download_and_extract_archive(URL, str(loading.folder), md5=MD5)
    require_files(loading, [FOLDER / path for path in WANTED], layout=LAYOUT)
    place = loading.folder / FOLDER
    classes = read_wnids(place / "wnids.txt")
    words = read_words(place / "words.txt", classes)
    train = [(path, label) for label, wnid in enumerate(classes) for path in _of_class(loading, wnid)]
    test = _annotated(loading, classes)
    found = LabelledSet(
        train=_samples(train, loading), test=_samples(test, loading), classes=tuple(words[wnid] for wnid in classes)
    )
    return split_training(found, loading)


def read_wnids(path: Path) -> tuple[str, ...]:
    """wnids.txt: the classes, in the order of their labels."""
    with reading(path, "the list of Tiny-ImageNet's classes"):
        found = tuple(line for _, line in _lines(path))
        odd = [line for line in found if not WNID.fullmatch(line)]
        if odd or not 2 <= len(set(found)) == len(found) <= MOST_CLASSES:
            seen = repr(odd[0][:40]) if odd else f"{len(found)} lines, {len(set(found))} different ones"
            raise DataError(
                f"{path}: must hold 2 to {MOST_CLASSES} different classes like n01443537, one a line (got {seen})",
                hints=[HINT],
            )
        return found


def read_words(path: Path, classes: Sequence[str]) -> Mapping[str, str]:
    """words.txt: the name of each class, `n01443537<tab>goldfish, Carassius auratus`, up to the first comma."""
    with reading(path, "the names of WordNet's nouns"):
        named = {wnid: words.partition(",")[0] for _, line in _lines(path) for wnid, _, words in [line.partition("\t")]}
        missing = [wnid for wnid in classes if not named.get(wnid)]
        if missing:
            raise DataError(f"{path}: must name each class of wnids.txt ({missing[0]} is missing)", hints=[HINT])
        return {wnid: named[wnid] for wnid in classes}


def read_annotations(path: Path, classes: Sequence[str]) -> Mapping[str, int]:
    """val_annotations.txt: file and class, with tabs between them, and a box that is not read -> label of each file."""
    numbers = {wnid: label for label, wnid in enumerate(classes)}
    labels: dict[str, int] = {}
    with reading(path, "the classes of Tiny-ImageNet's validation images"):
        for number, line in _lines(path):
            name, wnid, *_ = [*line.split("\t"), ""]
            if wnid not in numbers or not _is_plain(name) or name in labels:
                raise DataError(
                    f"{path}, line {number}: must be the name of another image, a tab and one of the {len(classes)} "
                    f"classes of wnids.txt (got {line[:60]!r})",
                    hints=[HINT],
                )
            labels[name] = numbers[wnid]
    return labels


HINT = "delete the folder tiny-imagenet-200 and fetch the set again (`--download`)"


def _is_plain(name: str) -> bool:
    """Whether it is the name of an image, and leads to no other folder."""
    return name.endswith(SUFFIX) and Path(name).name == name


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not empty."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{path}: must have at most {MOST_BYTES:,} bytes (got {size:,})", hints=[HINT])
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be text in UTF-8 ({error})", hints=[HINT]) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line


def _of_class(loading: Loading, wnid: str) -> list[Path]:
    folder = FOLDER / "train" / wnid / "images"
    paths = sorted((loading.folder / folder).glob(f"*{SUFFIX}"))
    if not paths:
        raise incomplete(loading, f"{folder} has no image (*{SUFFIX})", layout=LAYOUT)
    return paths


def _annotated(loading: Loading, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """The images of the validation part, each of which must be annotated, in the order of their names."""
    folder = loading.folder / FOLDER / "val"
    labels = read_annotations(folder / "val_annotations.txt", classes)
    there = {path.name for path in (folder / "images").glob(f"*{SUFFIX}")}
    differing = sorted(there ^ labels.keys())
    if differing or not labels:
        seen = f"{differing[0]} is in one of them only" if differing else "both are empty"
        seen = f"val/images and val_annotations.txt must have the same images; {seen}"
        raise incomplete(loading, seen, layout=LAYOUT)
    return [(folder / "images" / name, labels[name]) for name in sorted(labels)]


def _samples(listed: Sequence[tuple[Path, int]], loading: Loading) -> ImageSamples:
    return ImageSamples(
        read=Pictures(tuple(path for path, _ in listed), SHAPE),
        labels=np.array([label for _, label in listed], dtype=np.int64),
        image_shape=SHAPE,
        white=255,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )

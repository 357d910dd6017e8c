"""Tiny-ImageNet in its official layout, from small files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdcompress.data.loading import load_data
from mdcompress.data.names import Download
from mdcompress.data.splits import DataSplits
from mdcompress.data.tiny_imagenet import read_annotations, read_wnids, read_words
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import WNIDS, write_tiny_imagenet

SPEC = data_section("tiny_imagenet", batch_size=4)


def loaded(folder: Path, *, download: Download = Download.NEVER) -> DataSplits:
    return load_data(SPEC, seed=0, folder=folder, download=download)


def test_the_official_layout_is_read_with_its_annotations(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    splits = loaded(tmp_path)
    assert splits.classes == ("Egyptian cat", "goldfish", "espresso") and splits.sample_shape == (3, 64, 64)
    assert [torch.bincount(whole(part)[1]).tolist() for part in (splits.train, splits.validation)] == [[5] * 3, [1] * 3]
    x, y = whole(splits.test)
    for index, number in enumerate(range(9)):  # val_0 … val_8: their classes go round
        path = tmp_path / f"tiny-imagenet-200/val/images/val_{number}.JPEG"
        pixels = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        assert torch.equal(x[1, index], torch.from_numpy(pixels.astype(np.float32)) / 255)
        assert int(y[index]) == number % 3


def test_missing_tiny_imagenet_says_what_the_folder_must_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        loaded(tmp_path)
    said = str(caught.value)
    assert "tiny-imagenet-200/wnids.txt is missing (5 of 5)" in said and "val_annotations.txt the class of each" in said


def test_tiny_imagenet_is_fetched_when_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, root: str, *, md5: str) -> None:
        asked.append((url, root, md5))
        write_tiny_imagenet(Path(root))

    monkeypatch.setattr("mdcompress.data.tiny_imagenet.download_and_extract_archive", fetch)
    for _ in range(2):
        assert len(loaded(tmp_path, download=Download.ALLOWED).test) == 3
    published = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", str(tmp_path), "90528d7ca1a48142e341f4ef8d21d0de")
    assert asked == [published]


def test_an_archive_that_is_no_zip_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise zipfile.BadZipFile("File is not a zip file")

    monkeypatch.setattr("mdcompress.data.tiny_imagenet.download_and_extract_archive", fail)
    with pytest.raises(DataError, match=r"could not be fetched into .*not a zip file"):
        loaded(tmp_path, download=Download.ALLOWED)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda place: (place / "val/images/val_2.JPEG").unlink(), r"same images; val_2\.JPEG is in one of them only"),
        (lambda place: (place / "val/val_annotations.txt").write_text(""), r"same images; val_0\.JPEG is in one"),
        (lambda place: (place / "train/n01443537/images").rename(place / "away"), "n01443537/images has no image"),
        (
            lambda place: (place / "train/n01443537/images/n01443537_0.JPEG").write_bytes(b"JPEG"),
            "n01443537_0.JPEG: must",
        ),
        (
            lambda place: Image.new("RGB", (32, 64)).save(place / "train/n01443537/images/n01443537_0.JPEG"),
            r"n01443537_0\.JPEG: must be 64 x 64 pixels, as the other images are \(got 32 x 64\)",
        ),
    ],
)
def test_a_damaged_set_is_an_error_that_names_the_place(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    write_tiny_imagenet(tmp_path)
    damage(tmp_path / "tiny-imagenet-200")
    with pytest.raises(DataError, match=said):
        for part in (loaded(tmp_path).train, loaded(tmp_path).validation):
            whole(part)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("n01443537", r"2 to 1000 different classes like n01443537, one a line \(got 1 lines, 1 different ones\)"),
        ("n01443537\nn01443537", r"\(got 2 lines, 1 different ones\)"),
        ("n01443537\n../../etc", r"\(got '\.\./\.\./etc'\)"),
    ],
)
def test_a_list_of_classes_that_is_none_is_an_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "wnids.txt").write_text(content)
    with pytest.raises(DataError, match=said):
        read_wnids(tmp_path / "wnids.txt")


def test_a_class_without_a_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("n01443537\tgoldfish\n\nn02124075\n")
    assert read_words(tmp_path / "words.txt", WNIDS[1:2]) == {"n01443537": "goldfish"}
    with pytest.raises(DataError, match=r"must name each class of wnids.txt \(n02124075 is missing\)"):
        read_words(tmp_path / "words.txt", WNIDS)


@pytest.mark.parametrize(
    "line",
    [
        "val_1.JPEG\tn00000000\t0",  # another class
        "val_1.JPEG n01443537",  # no tab
        "val_0.JPEG\tn02124075",  # the same image once more
        "../val_1.JPEG\tn01443537",  # out of the folder
        "val_1.png\tn01443537",
    ],
)
def test_a_wrong_annotation_is_an_error_that_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "val_annotations.txt"
    path.write_text(f"val_0.JPEG\tn01443537\t0\t0\t62\t62\n{line}\n")
    with pytest.raises(DataError, match=r"val_annotations.txt, line 2: must be the name of another image, a tab and"):
        read_annotations(path, WNIDS)


def test_a_text_file_of_a_gigabyte_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "wnids.txt").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DataError, match="must have at most 16,777,216 bytes"):
        read_wnids(tmp_path / "wnids.txt")

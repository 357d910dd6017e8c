"""Small data sets in the official layouts, as tests write them: a few samples that a small network can tell apart."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from mdcompress.data.event_camera import EVENT_TYPE

Pixels = NDArray[np.uint8]


def image_of(label: int, number: int, *, side: int) -> Pixels:
    """A noisy image [H, W, 3] that is brighter in a band of its class."""
    drawn = np.random.default_rng([label, number])
    pixels = drawn.integers(0, 100, (side, side, 3), dtype=np.uint8)
    band = side // 4
    pixels[band * (label % 4) : band * (label % 4 + 1), :, label % 3] += 150
    return pixels


def as_python_2_pickled(content: object) -> bytes:
    """A pickle whose booleans are integers, as in the official files: dtype('u1', 0, 1)."""
    return pickle.dumps(content, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def write_cifar(folder: Path, source: type[datasets.CIFAR10], *, of_each: int = 2) -> None:
    """CIFAR-10 or CIFAR-100: pickles with `of_each` images of each class in each file."""
    key, classes = ("labels", 10) if source is datasets.CIFAR10 else ("fine_labels", 100)
    place = folder / source.base_folder
    place.mkdir()
    for part, (name, _) in enumerate([*source.train_list, *source.test_list]):
        listed = [(label, part * of_each + number) for label in range(classes) for number in range(of_each)]
        pixels = np.stack([image_of(*one, side=32).transpose(2, 0, 1).reshape(-1) for one in listed])
        held = {"data": pixels, key: [label for label, _ in listed], "filenames": [f"{one}.png" for one in listed]}
        (place / name).write_bytes(as_python_2_pickled(held))
    meta = {source.meta["key"]: [f"class {number}" for number in range(classes)]}
    (place / source.meta["filename"]).write_bytes(as_python_2_pickled(meta))


WNIDS = ("n02124075", "n01443537", "n07920052")  # in no order, as in the official file


def write_tiny_imagenet(folder: Path, *, train: int = 6, test: int = 3) -> None:
    """Tiny-ImageNet: so many images of each of three classes, every third one grey, as some official ones are."""
    place = folder / "tiny-imagenet-200"
    (place / "val/images").mkdir(parents=True)
    (place / "wnids.txt").write_text("\n".join(WNIDS))
    names = (
        "n00001740\tentity",
        "n01443537\tgoldfish, Carassius auratus",
        "n02124075\tEgyptian cat",
        "n07920052\tespresso",
    )
    (place / "words.txt").write_text("\n".join(names) + "\n")
    annotations = []
    for label, wnid in enumerate(WNIDS):
        (place / "train" / wnid / "images").mkdir(parents=True)
        (place / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
        for number in range(train):
            _save(place / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", label, number)
        for number in range(test):
            name = f"val_{number * len(WNIDS) + label}.JPEG"
            _save(place / "val/images" / name, label, train + number)
            annotations.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (place / "val/val_annotations.txt").write_text("".join(annotations))


def _save(path: Path, label: int, number: int) -> None:
    image = Image.fromarray(image_of(label, number, side=64))
    (image.convert("L") if number % 3 == 2 else image).save(path, quality=95)


def random_events(count: int, *, width: int, height: int, seed: int) -> NDArray[np.void]:
    """Events anywhere on a sensor, within 300 ms."""
    drawn = np.random.default_rng(seed)
    events = np.empty(count, dtype=EVENT_TYPE)
    events["x"], events["y"] = drawn.integers(0, width, count), drawn.integers(0, height, count)
    events["t"] = np.sort(drawn.integers(0, 300_000, count))
    events["p"] = drawn.integers(0, 2, count)
    return events


def as_atis(events: NDArray[np.void]) -> bytes:
    """40-bit events, most significant bit first: x 8, y 8, polarity 1, time 23."""
    return b"".join(struct.pack(">BBBH", x, y, int(p) << 7 | t >> 16, t & 0xFFFF) for x, y, t, p in events.tolist())


def write_shd(folder: Path, *, train: int = 40, test: int = 20) -> None:
    """SHD: recordings in float16 and uint16 of any length, as the official files have them; labels go round."""
    (folder / "SHD").mkdir()
    for name, count, first in (("train", train, 0), ("test", test, train)):
        with h5py.File(folder / f"SHD/shd_{name}.h5", "w") as file:
            spikes = file.create_group("spikes")
            times = spikes.create_dataset("times", (count,), dtype=h5py.vlen_dtype(np.float16))
            units = spikes.create_dataset("units", (count,), dtype=h5py.vlen_dtype(np.uint16))
            for index in range(count):
                drawn = np.random.default_rng(first + index)
                length = int(drawn.integers(50, 200))
                times[index] = np.sort(drawn.uniform(0, 1.2, length)).astype(np.float16)
                units[index] = (35 * (index % 20) + drawn.integers(0, 35, length)).astype(np.uint16)
            file["labels"] = (np.arange(count) % 20).astype(np.int64)
            file["extra/keys"], file["extra/speaker"] = np.array([b"zero", b"eins"]), np.zeros(count, np.int64)


def write_ncaltech101(folder: Path, *, of_each: int) -> None:
    """N-Caltech101 of three classes, whose events are most often in a band of their class."""
    for label, name in enumerate(("BACKGROUND_Google", "airplanes", "yin_yang")):
        place = folder / "NCALTECH101/Caltech101" / name
        place.mkdir(parents=True)
        for number in range(of_each):
            events = random_events(400, width=240, height=180, seed=100 * label + number)
            events["y"][:300] = 60 * label + events["y"][:300] // 3
            (place / f"image_{number:04}.bin").write_bytes(as_atis(events))

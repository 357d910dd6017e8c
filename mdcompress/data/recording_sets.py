"""The recorded event sets: how each lies on disk (tonic's layout), its sensor, its classes, its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mdcompress.data.event_camera import Events
from mdcompress.data.event_files import read_aedat4, read_atis, read_atis_from_corner, read_gesture


@dataclass(frozen=True)
class Part:
    """One folder of recordings, and how many it holds at least when it is whole."""

    folder: str
    recordings: int


@dataclass(frozen=True)
class RecordingSet:
    """One data set.

    Attributes:
        tonic_class: the class in tonic.datasets that fetches it.
        parts: training and test; or one part, where there is no official split.
        suffix: of a recording's file name.
        height: H of the sensor, pixels.
        width: W of the sensor, pixels.
        classes: names in label order; empty: the words of `label_of`, sorted.
        label_of: the name of a recording's class, from its path.
        read: file -> events.
        layout: the tree, as an error shows it.
    """

    tonic_class: str
    parts: tuple[Part, ...]
    suffix: str
    height: int
    width: int
    classes: tuple[str, ...]
    label_of: Callable[[Path], str]
    read: Callable[[Path], Events]
    layout: str


# classes 1..11 of gesture_mapping.csv (Amir et al., CVPR 2017); tonic's files count from 0
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)


def _folder_name(path: Path) -> str:
    return path.parent.name


def _gesture(path: Path) -> str:
    names = {str(number): name for number, name in enumerate(GESTURES)}
    return names.get(path.stem, path.stem)


NMNIST = RecordingSet(
    tonic_class="NMNIST",
    parts=(Part("NMNIST/Train", 60_000), Part("NMNIST/Test", 10_000)),  # one for each MNIST image
    suffix=".bin",
    height=34,
    width=34,
    classes=tuple(str(digit) for digit in range(10)),
    label_of=_folder_name,
    read=read_atis,
    layout="""\
└── NMNIST/
    ├── Train/0/ … 9/    00002.bin, … (60,000 in all)
    └── Test/0/ … 9/     00004.bin, … (10,000 in all)""",
)
NCALTECH101 = RecordingSet(
    tonic_class="NCALTECH101",
    parts=(Part("NCALTECH101/Caltech101", 8_709),),  # tonic's bound: Caltech101 with background, without "Faces"
    suffix=".bin",
    height=180,  # images were shown at no more than 240 x 180 pixels (Orchard et al. 2015)
    width=240,
    classes=(),
    label_of=_folder_name,
    read=read_atis_from_corner,
    layout="""\
└── NCALTECH101/
    └── Caltech101/
        └── accordion/ … yin_yang/    image_0001.bin, … (8,709 in all)""",
)
CIFAR10_DVS = RecordingSet(
    tonic_class="CIFAR10DVS",
    parts=(Part("CIFAR10DVS", 10_000),),  # Li et al. 2017, doi:10.3389/fnins.2017.00309
    suffix=".aedat4",
    height=128,
    width=128,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    label_of=_folder_name,
    read=read_aedat4,
    layout="""\
└── CIFAR10DVS/
    └── airplane/ … truck/    0.aedat4, … (10,000 in all)""",
)
DVS_GESTURE = RecordingSet(
    tonic_class="DVSGesture",
    parts=(Part("DVSGesture/ibmGestureTrain", 100), Part("DVSGesture/ibmGestureTest", 100)),  # tonic's bounds
    suffix=".npy",
    height=128,
    width=128,
    classes=GESTURES,
    label_of=_gesture,
    read=read_gesture,
    layout="""\
└── DVSGesture/
    ├── ibmGestureTrain/    user01_fluorescent/0.npy, …
    └── ibmGestureTest/     user24_fluorescent/0.npy, …""",
)

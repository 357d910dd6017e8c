"""The words a recipe and a command line may use for data: set names, encodings, download. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from mdcompress.trust import REFUSED, Consent

Encoding = Literal["direct", "rate", "events"]
ENCODINGS: tuple[Encoding, ...] = ("direct", "rate", "events")

IMAGE_SETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet", "image_folder")
EVENT_SETS = ("digits_events", "nmnist", "ncaltech101", "cifar10_dvs", "dvs_gesture", "shd")
DATA_SETS = (*IMAGE_SETS, *EVENT_SETS)
RECORDED_SETS = ("nmnist", "ncaltech101", "cifar10_dvs", "dvs_gesture")
MIRRORED_SETS = ("fashion_mnist", "cifar10", "cifar100", "tiny_imagenet", "image_folder", "ncaltech101", "cifar10_dvs")
"""Whose samples keep their class in a mirror; digits do not, nor gestures of the left hand."""

DEFAULT_FOLDER = Path("data")  # under the working directory, as torchvision's and tonic's examples have it


class Download(Enum):
    """Whether missing files may be fetched from the network."""

    NEVER = "never"
    ALLOWED = "allowed"


class DataSource(Protocol):
    """What the loaders read of a recipe's `data` section."""

    @property
    def name(self) -> str:
        """One of DATA_SETS, or `package.module:function`."""
        ...

    @property
    def time_steps(self) -> int:
        """T."""
        ...

    @property
    def encoding(self) -> str:
        """One of ENCODINGS."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""
        ...

    @property
    def folder(self) -> Path | str | None:
        """Where files lie."""
        ...

    @property
    def size(self) -> int | None:
        """H and W of recorded events; None: those of the sensor."""
        ...

    @property
    def cache(self) -> bool:
        """Whether binned recordings are kept in the folder."""
        ...

    @property
    def augment(self) -> Augment:
        """How training samples are varied."""
        ...

    @property
    def workers(self) -> int:
        """Processes that prepare batches."""
        ...

    @property
    def pin_memory(self) -> bool:
        """Whether batches are put where a GPU reads them fastest."""
        ...


class Augment(Protocol):
    """What the loaders read of a recipe's `data.augment` section; zero and False: left out."""

    @property
    def crop(self) -> int:
        """Pixels of dark margin out of which an image of the same size is cut."""
        ...

    @property
    def flip(self) -> bool:
        """Whether every second sample is mirrored."""
        ...

    @property
    def cutout(self) -> int:
        """Side of a square that is made dark, pixels."""
        ...

    @property
    def roll(self) -> int:
        """Most pixels by which events are moved."""
        ...

    @property
    def drop(self) -> float:
        """Share of the events that is left out."""
        ...


def varies(augment: Augment) -> bool:
    """Whether training samples are varied at all."""
    return any((augment.crop, augment.flip, augment.cutout, augment.roll, augment.drop))


@dataclass(frozen=True)
class NoAugment:
    """Samples as they are."""

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    roll: int = 0
    drop: float = 0.0


@dataclass(frozen=True)
class Loading:
    """A checked request for data: what, over how many steps T, from where, in what batches; may code run?"""

    name: str
    time_steps: int
    encoding: Encoding
    batch_size: int
    seed: int
    folder: Path
    download: Download
    consent: Consent = REFUSED
    size: int | None = None
    cache: bool = False
    augment: Augment = NoAugment()
    workers: int = 0
    pin_memory: bool = False

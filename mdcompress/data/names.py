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
NOT_FETCHED = ("tiny_imagenet", "image_folder")  # no download of them is known here
EVENT_SETS = ("digits_events", "nmnist", "ncaltech101", "cifar10_dvs", "dvs_gesture")
DATA_SETS = (*IMAGE_SETS, *EVENT_SETS)

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

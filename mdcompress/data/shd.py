"""Spiking Heidelberg Digits: spoken digits as spikes of 700 cochlear channels -> frames of counts [T, N, 700].

Cramer et al., IEEE TNNLS 2020, doi:10.1109/TNNLS.2020.3044364. Two HDF5 files, as tonic fetches them; spikes are read
when a batch asks for them.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcompress.data.batches import Draw, Indices
from mdcompress.data.event_camera import EVENT_TYPE
from mdcompress.data.event_files import tonic_module
from mdcompress.data.event_frames import bin_events
from mdcompress.data.files import fetching, require_files
from mdcompress.data.names import Download, Loading
from mdcompress.data.splits import DataSplits, LabelledSet, split_training
from mdcompress.errors import DataError

CHANNELS = 700
PARTS = (Path("SHD/shd_train.h5"), Path("SHD/shd_test.h5"))
LAYOUT = """\
└── SHD/
    ├── shd_train.h5            8,156 recordings
    └── shd_test.h5             2,264"""
CLASSES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun",
)  # fmt: skip  # the order of the labels (extra/keys)
MOST_RECORDINGS = 1 << 16
MOST_SPIKES = 1 << 20  # of a recording; they have some 10^4
MOST_SECONDS = 60.0  # recordings have at most 1.4
HINT = "delete the file and fetch the set again (`--download`)"


def shd(loading: Loading) -> DataSplits:
    """Splits of the set, shape [700]; values are counts of spikes. Test is the set's own, with its unheard speakers."""
    if loading.download is Download.ALLOWED and not all((loading.folder / path).exists() for path in PARTS):
        make = tonic_module("datasets").SHD
        with fetching(loading):
            for part in (True, False):
                make(save_to=str(loading.folder), train=part)
    require_files(loading, PARTS, layout=LAYOUT)
    train, test = (read_spikes(loading.folder / path, loading.time_steps) for path in PARTS)
    return split_training(LabelledSet(train=train, test=test, classes=CLASSES), loading)


@dataclass(frozen=True)
class SpikeSamples:
    """The recordings of a file, each binned when asked for into T frames between its first and last spike."""

    path: Path
    labels: NDArray[np.int64]
    time_steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        """One count for each channel."""
        return (CHANNELS,)

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """Counts, float32 [T, N, 700]; nothing is drawn."""
        with _opened(self.path) as file:
            frames = [self._counts(file, int(index)) for index in indices]
        return torch.from_numpy(np.stack(frames, axis=1).astype(np.float32))

    def _counts(self, file: Any, index: int) -> NDArray[np.int32]:
        times, units = (np.asarray(file[f"spikes/{name}"][index]) for name in ("times", "units"))
        times = times.astype(np.float64)
        if times.ndim != 1 or times.shape != units.shape or len(times) > MOST_SPIKES or units.dtype.kind not in "iu":
            raise DataError(f"recording {index} must have at most {MOST_SPIKES:,} spikes, each with time and channel")
        if not ((times >= 0) & (times <= MOST_SECONDS)).all() or not ((units >= 0) & (units < CHANNELS)).all():
            raise DataError(
                f"recording {index} must have times from 0 to {MOST_SECONDS:g} s and channels from 0 to {CHANNELS - 1}"
            )
        events = np.zeros(len(times), dtype=EVENT_TYPE)
        events["x"], events["t"] = units, times * 1e6
        return bin_events(events, self.time_steps, height=1, width=CHANNELS)[:, 0, 0]


def read_spikes(path: Path, time_steps: int) -> SpikeSamples:
    """The recordings of a file of SHD.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    with _opened(path) as file:
        stored = {name: file[name] for name in ("labels", "spikes/times", "spikes/units")}
        sizes = {name: part.shape for name, part in stored.items()}
        if len(set(sizes.values())) != 1 or len(sizes["labels"]) != 1 or not 0 < sizes["labels"][0] <= MOST_RECORDINGS:
            raise DataError(f"it must hold as many labels as recordings, 1 to {MOST_RECORDINGS:,} (got {sizes})")
        labels = np.asarray(stored["labels"])
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(CLASSES):
            raise DataError(f"its labels must be integers from 0 to {len(CLASSES) - 1}")
        return SpikeSamples(path, labels.astype(np.int64), time_steps)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file; whatever is amiss in it is an error that names it."""
    try:
        h5py = importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise DataError(
            "SHD is read by the package h5py (got: it is not installed)", hints=["pip install 'mdcompress[events]'"]
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except Exception as error:  # as h5py and NumPy say damage
        raise DataError(f"{path}: must be a whole file of SHD ({error})", hints=[HINT]) from error

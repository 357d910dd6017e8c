"""N-MNIST, N-Caltech101, CIFAR10-DVS and DVS128 Gesture -> frames of event counts, read when a batch asks for them.

Files are listed here and not by tonic's classes: those fetch of their own accord, and want the archives kept beside
the unpacked files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcompress.data.batches import Draw, Indices
from mdcompress.data.event_files import tonic_module
from mdcompress.data.event_frames import bin_events, reduced
from mdcompress.data.files import fetching, incomplete
from mdcompress.data.frame_cache import Counts, FrameCache
from mdcompress.data.names import Download, Loading
from mdcompress.data.recording_sets import Part, RecordingSet
from mdcompress.data.splits import VALIDATION_FRACTION, DataSplits, LabelledSet, split_in_three, split_training
from mdcompress.errors import DataError

TEST_FRACTION = 0.1  # of N-Caltech101 and CIFAR10-DVS, which have no official split; 9 : 1 is the literature's


@dataclass(frozen=True)
class RecordingSamples:
    """Recordings, each binned when asked for into T frames between its first and last event.

    size: H and W to which events are reduced; None: those of the sensor. cache: what was binned before, if it is kept.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    source: RecordingSet
    time_steps: int
    size: int | None = None
    cache: FrameCache | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape at one step: darker and brighter events of the whole sensor."""
        return frame_shape(self.source, self.size)

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        """Counts, float32 [T, N, 2, H, W]; nothing is drawn."""
        frames = [self._counts(self.paths[index]) for index in indices]
        return torch.from_numpy(np.stack(frames, axis=1).astype(np.float32))

    def _counts(self, path: Path) -> Counts:
        if self.cache is None:
            return self._binned(path)
        return self.cache.frames(path, (self.time_steps, *self.shape), make=lambda: self._binned(path))

    def _binned(self, path: Path) -> NDArray[np.int32]:
        try:
            events, (_, height, width) = self.source.read(path), self.shape
            if self.size is not None:
                events = reduced(events, self.size, height=self.source.height, width=self.source.width)
            return bin_events(events, self.time_steps, height=height, width=width)
        except BaseException as error:  # as NumPy, tonic and aedat say damage; aedat's panics are no Exceptions
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            hint = "delete the file and fetch the set again (`--download`)"
            raise DataError(
                f"{path}: must be a whole recording of the data set ({error})",
                hints=error.hints if isinstance(error, DataError) and error.hints else [hint],
            ) from error


def frame_shape(source: RecordingSet, size: int | None) -> tuple[int, ...]:
    """[2, H, W] of a frame: of the sensor, or reduced to size x size.

    Raises:
        DataError: the sensor has fewer pixels.
    """
    if size is None:
        return 2, source.height, source.width
    if size > min(source.height, source.width):
        raise DataError(
            f"data.size: must be at most {min(source.height, source.width)}, as the sensor has {source.height} x "
            f"{source.width} pixels (got {size})",
            hints=["set data.size to null for the sensor's own"],
        )
    return 2, size, size


def recordings(source: RecordingSet, loading: Loading) -> DataSplits:
    """Splits of a recorded set, shape [2, H, W] of its sensor or of data.size; values are counts of events.

    Test is the set's own, or a fixed tenth of each class; validation is a tenth of what is left.
    """
    frame_shape(source, loading.size)
    tonic_module("io")  # before anything is listed or fetched: without tonic nothing can be read
    parts = [_listed(source, part, loading) for part in source.parts]
    classes = source.classes or tuple(sorted({source.label_of(path) for path in parts[0]}))
    samples = [_samples(paths, classes, source=source, loading=loading) for paths in parts]
    if len(samples) == 1:
        return split_in_three(samples[0], classes, loading, test=TEST_FRACTION, validation=VALIDATION_FRACTION)
    return split_training(LabelledSet(train=samples[0], test=samples[1], classes=classes), loading)


def _listed(source: RecordingSet, part: Part, loading: Loading) -> tuple[Path, ...]:
    """The recordings of a part in sorted order, fetched first if they are not whole and that is allowed."""
    paths = _paths(source, part, loading)
    if len(paths) < part.recordings and loading.download is Download.ALLOWED:
        _fetch(source, part, loading)
        paths = _paths(source, part, loading)
    if len(paths) < part.recordings:
        seen = f"{part.folder} has {len(paths):,} recordings (*{source.suffix}) of at least {part.recordings:,}"
        raise incomplete(loading, seen, layout=source.layout)
    return paths


def _paths(source: RecordingSet, part: Part, loading: Loading) -> tuple[Path, ...]:
    return tuple(sorted((loading.folder / part.folder).glob(f"*/*{source.suffix}")))


def _fetch(source: RecordingSet, part: Part, loading: Loading) -> None:
    make = getattr(tonic_module("datasets"), source.tonic_class)
    with fetching(loading):
        if len(source.parts) == 1:
            make(save_to=str(loading.folder))
        else:
            make(save_to=str(loading.folder), train=part is source.parts[0])


def _samples(
    paths: tuple[Path, ...], classes: tuple[str, ...], *, source: RecordingSet, loading: Loading
) -> RecordingSamples:
    labels = np.array([_label(path, classes, source=source) for path in paths], dtype=np.int64)
    cache = FrameCache(loading.folder, loading.name) if loading.cache else None
    return RecordingSamples(paths, labels, source, loading.time_steps, size=loading.size, cache=cache)


def _label(path: Path, classes: tuple[str, ...], *, source: RecordingSet) -> int:
    word = source.label_of(path)
    if word in classes:
        return classes.index(word)
    raise DataError(
        f"{path}: must be a recording of a class ({', '.join(classes[:3])}, …) (got {word!r})",
        hints=["move what is not part of the data set out of its folder"],
    )

"""Data of the confirmatory experiment: the packed files of experiment_data.py in splits that no experiment had before.

`<data set>_teacher` has what a teacher is trained on. Students have a part of it (`_less`) or all of it (`_same`). All
have the same validation and test samples, whatever the seed, and no training sees those. `_less_tuning` has, in the
place of the test samples, others of the training part that no training sees; the test part is not read.

Images and frames have half the resolution: 2 x 2 pixels are one, so that hundreds of networks take hours, not days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

# Their code is part of the keys of stored results, so that these names cannot lose their underscore.
from benchmarks.experiment_data import Loaders, PackedSet, Part, Sizes, Values, _loaders, _mnist, _nmnist
from mdcompress.data.batches import interleaved


@dataclass(frozen=True)
class Samples:
    """Of each part. less, same: of a student; same: of its teacher too. test: drawn from the file's test part."""

    less: int
    same: int
    validation: int
    tuning: int
    test: int
    test_from_train: int = 0  # as in Sizes


# N-MNIST has 1,000 + 100 recordings
NMNIST = Samples(less=200, same=500, validation=100, tuning=200, test=100, test_from_train=200)
MNIST = Samples(less=200, same=1_000, validation=200, tuning=1_000, test=2_500)


def nmnist_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """N-MNIST: 500 training, 100 validation, 300 test recordings, shape [2, 17, 17]."""
    return _of(_half(_nmnist(folder, time_steps), _sums), NMNIST, NMNIST.same, batch_size=batch_size, seed=seed)


def nmnist_same(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """What the teacher has."""
    return nmnist_teacher(time_steps, batch_size, seed, folder)


def nmnist_less(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """200 of the teacher's 500 training recordings."""
    return _of(_half(_nmnist(folder, time_steps), _sums), NMNIST, NMNIST.less, batch_size=batch_size, seed=seed)


def nmnist_less_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 200 recordings to tune on."""
    opened = replace(_half(_nmnist(folder, time_steps), _sums), test=None)
    return _of(opened, NMNIST, NMNIST.less, batch_size=batch_size, seed=seed)


def mnist_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """MNIST: 1,000 training, 200 validation, 2,500 test images, shape [1, 14, 14]."""
    return _of(_half(_mnist(folder, time_steps), _means), MNIST, MNIST.same, batch_size=batch_size, seed=seed)


def mnist_same(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """What the teacher has."""
    return mnist_teacher(time_steps, batch_size, seed, folder)


def mnist_less(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """200 of the teacher's 1,000 training images."""
    return _of(_half(_mnist(folder, time_steps), _means), MNIST, MNIST.less, batch_size=batch_size, seed=seed)


def mnist_less_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 1,000 images to tune on."""
    opened = replace(_half(_mnist(folder, time_steps), _means), test=None)
    return _of(opened, MNIST, MNIST.less, batch_size=batch_size, seed=seed)


def _of(opened: PackedSet, samples: Samples, train: int, *, batch_size: int, seed: int) -> Loaders:
    """Another name draws another split: the earlier experiments' test recordings of N-MNIST are not those of this."""
    sizes = Sizes(
        train=train,
        validation=samples.validation,
        tuning=samples.tuning,
        test_from_train=samples.test_from_train,
    )
    name, whole = f"{opened.name} confirmatory", opened.test
    test = None if whole is None else lambda: _drawn(whole(), samples.test, name)
    return _loaders(replace(opened, name=name, sizes=sizes, test=test), batch_size=batch_size, seed=seed)


def _drawn(part: Part, count: int, name: str) -> Part:
    """So many samples of a part, each class in its share, the same for every seed."""
    chosen = np.sort(interleaved(part.labels, f"{name} test")[:count])
    return Part(part.labels[chosen], lambda indices: part.read(chosen[indices]))


def _half(opened: PackedSet, halved: Callable[[Values], Values]) -> PackedSet:
    whole = opened.test
    test = None if whole is None else lambda: _halved(whole(), halved)
    return replace(opened, train=_halved(opened.train, halved), test=test)


def _halved(part: Part, halved: Callable[[Values], Values]) -> Part:
    return Part(part.labels, lambda indices: halved(part.read(indices)))


def _sums(frames: Values) -> Values:
    """Counts of events of 2 x 2 pixels: [..., H, W] -> [..., H/2, W/2]."""
    *others, height, width = frames.shape
    return frames.reshape(*others, height // 2, 2, width // 2, 2).sum(axis=(-3, -1), dtype=frames.dtype)  # type: ignore[no-any-return]  # of an array of Any


def _means(pixels: Values) -> Values:
    """Means of 2 x 2 pixels, rounded to the nearest integer, of two the even one."""
    *others, height, width = pixels.shape
    means = pixels.reshape(*others, height // 2, 2, width // 2, 2).mean(axis=(-3, -1))
    return np.rint(means).astype(pixels.dtype)  # type: ignore[no-any-return]  # likewise

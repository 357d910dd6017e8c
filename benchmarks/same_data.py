"""Data of experiments whose students have all samples of their teacher: the packed files of experiment_data.py.

Images and frames have their full resolution. Validation and test samples are the same for every seed, and no training
sees them. `*_tuning` have, in the place of the test samples, others of the training part that no training sees; the
test part is not read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

# Their code is part of the keys of stored results, so that these names cannot lose their underscore.
from benchmarks.experiment_data import Loaders, PackedSet, Sizes, _cifar10, _loaders, _nmnist, _without_test

CIFAR10 = Sizes(train=10_000, validation=2_000, tuning=4_000)
NMNIST = Sizes(train=500, validation=100, tuning=200, test_from_train=200)  # the file has 1,000 + 100 recordings


def cifar10_same(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """CIFAR-10 (JPEG q75): 10,000 training, 2,000 validation, 10,000 test images, shape [3, 32, 32]."""
    return _loaders(_whole(_cifar10(folder, time_steps), CIFAR10), batch_size=batch_size, seed=seed)


def cifar10_same_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same: what experiment_students.teachers_recipe looks for."""
    return cifar10_same(time_steps, batch_size, seed, folder)


def cifar10_same_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 4,000 images to tune on."""
    return _loaders(_without_test(_whole(_cifar10(folder, time_steps), CIFAR10)), batch_size=batch_size, seed=seed)


def nmnist_same(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """N-MNIST: 500 training, 100 validation, 300 test recordings as counts of events in T bins, shape [2, 34, 34]."""
    return _loaders(_whole(_nmnist(folder, time_steps), NMNIST), batch_size=batch_size, seed=seed)


def nmnist_same_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same: what experiment_students.teachers_recipe looks for."""
    return nmnist_same(time_steps, batch_size, seed, folder)


def nmnist_same_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 200 recordings to tune on."""
    return _loaders(_without_test(_whole(_nmnist(folder, time_steps), NMNIST)), batch_size=batch_size, seed=seed)


def _whole(opened: PackedSet, sizes: Sizes) -> PackedSet:
    return replace(opened, sizes=sizes)

"""CIFAR-10 where students have all samples of their teacher, at half the resolution: 2 x 2 pixels are one.

Validation and test samples are the same for every seed, and no training sees them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

# Their code is part of the keys of stored results, so that these names cannot lose their underscore.
from benchmarks.confirmatory_data import _half, _means
from benchmarks.experiment_data import Loaders, PackedSet, Sizes, _cifar10, _loaders, _without_test

CIFAR10 = Sizes(train=10_000, validation=2_000, tuning=4_000)


def cifar10_same(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """CIFAR-10 (JPEG q75): 10,000 training, 2,000 validation, 10,000 test images, shape [3, 16, 16]."""
    return _loaders(_opened(folder, time_steps), batch_size=batch_size, seed=seed)


def cifar10_same_teacher(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same: what experiment_students.teachers_recipe looks for."""
    return cifar10_same(time_steps, batch_size, seed, folder)


def cifar10_same_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """The same with 4,000 other images of the training part in the place of the test images, which are not read."""
    return _loaders(_without_test(_opened(folder, time_steps)), batch_size=batch_size, seed=seed)


def _opened(folder: Path, time_steps: int) -> PackedSet:
    return _half(replace(_cifar10(folder, time_steps), sizes=CIFAR10), _means)

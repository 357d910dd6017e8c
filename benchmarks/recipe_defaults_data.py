"""Data on which defaults of shipped recipes are compared: students have what their teacher has, no test part is read.

The samples are those of confirmatory_data.py; in the place of the test samples stand those for tuning.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

# `*_teacher` are what experiment_students.teachers_recipe looks for
from benchmarks.confirmatory_data import (
    MNIST,
    NMNIST,
    _half,
    _means,
    _of,
    _sums,
    mnist_teacher,
    nmnist_teacher,
)
from benchmarks.experiment_data import Loaders, _mnist, _nmnist

__all__ = ["mnist_teacher", "mnist_tuning", "nmnist_teacher", "nmnist_tuning"]


def mnist_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """MNIST: 1,000 training, 200 validation, 1,000 tuning images, shape [1, 14, 14]."""
    opened = replace(_half(_mnist(folder, time_steps), _means), test=None)
    return _of(opened, MNIST, MNIST.same, batch_size=batch_size, seed=seed)


def nmnist_tuning(time_steps: int, batch_size: int, seed: int, folder: Path) -> Loaders:
    """N-MNIST: 500 training, 100 validation, 200 tuning recordings, shape [2, 17, 17]."""
    opened = replace(_half(_nmnist(folder, time_steps), _sums), test=None)
    return _of(opened, NMNIST, NMNIST.same, batch_size=batch_size, seed=seed)

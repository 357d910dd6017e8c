"""A data set of the confirmatory experiment whose trainings take a fraction of a second."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from benchmarks.confirmatory_data import Samples
from benchmarks.confirmatory_design import DataSet
from tests.support.experiment_cases import RECIPE
from tests.support.training_cases import Batch, Shuffled, Tiny

Loaders = tuple[Shuffled, list[Batch], list[Batch]]


def tiny_teacher(time_steps: int, batch_size: int, seed: int) -> Loaders:
    """96 training, 48 validation and 32 test samples."""
    return Shuffled(), list(Shuffled(samples=48)), list(Shuffled(samples=32))


def tiny_same(time_steps: int, batch_size: int, seed: int) -> Loaders:
    """What the teacher has."""
    return tiny_teacher(time_steps, batch_size, seed)


def tiny_less(time_steps: int, batch_size: int, seed: int) -> Loaders:
    """32 training samples."""
    return Shuffled(samples=32), list(Shuffled(samples=48)), list(Shuffled(samples=32))


def tiny_less_tuning(time_steps: int, batch_size: int, seed: int) -> Loaders:
    """16 samples in the place of the test samples."""
    return Shuffled(samples=32), list(Shuffled(samples=48)), list(Shuffled(samples=16))


def tiny() -> nn.Module:
    """8 inputs, 12 neurons, 3 classes."""
    return Tiny()


def tiny_data(folder: Path) -> DataSet:
    """The data set, with its recipes written to a folder."""
    for setting, bits in (("2bit", 2), ("ternary", 3), ("4bit", 4)):
        text = RECIPE.format(name=f"tiny_{setting}", bits=bits)
        (folder / f"tiny_{setting}.yaml").write_text(text)
    samples = Samples(less=32, same=96, validation=48, tuning=16, test=32)
    return DataSet(
        "tiny", samples, (1, 2), {"less": 1, "same": 1}, compared=16, recipes=folder, module=__name__, networks=__name__
    )

"""A network, loaders and a recipe of an experiment whose trainings take a fraction of a second."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tests.support.training_cases import Batch, Shuffled, Tiny

RECIPE = """\
schema: mdcompress.recipe/1
name: {name}
model: {{builder: tests.support.experiment_cases:network}}
quantize: {{weight: {{bit_width: {bits}, narrow_range: false}}, membrane: {{bit_width: {bits}}}}}
teacher: {{epochs: 2, optimizer: {{lr: 0.01}}}}
distill: {{epochs: 1, membrane: {{weight: 0.1}}}}
data: {{name: tests.support.experiment_cases:loaders, time_steps: 3, batch_size: 16, calibration_samples: 32}}
train: {{optimizer: {{lr: 0.01}}}}
"""


def network() -> nn.Module:
    """8 inputs, 12 neurons, 3 classes."""
    return Tiny()


def loaders(time_steps: int, batch_size: int, seed: int) -> tuple[Shuffled, list[Batch], list[Batch]]:
    """96 training, 48 validation and 32 test samples."""
    return Shuffled(), list(Shuffled(samples=48)), list(Shuffled(samples=32))


def loaders_tuning(time_steps: int, batch_size: int, seed: int) -> tuple[Shuffled, list[Batch], list[Batch]]:
    """The same with 16 samples to tune on."""
    return Shuffled(), list(Shuffled(samples=48)), list(Shuffled(samples=16))


def write_recipe(folder: Path, *, setting: str, bits: int) -> str:
    """The path of the written recipe `loaders_<setting>`."""
    path = folder / f"loaders_{setting}.yaml"
    path.write_text(RECIPE.format(name=f"loaders_{setting}", bits=bits))
    return str(path)

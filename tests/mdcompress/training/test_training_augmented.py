"""A training on samples that are varied: stopped and resumed it meets the same ones, whoever makes the batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import datasets

from mdcompress.data import DataSplits, load_data
from mdcompress.data.names import NoAugment
from mdcompress.recipe import TeacherSpec
from mdcompress.training import Event, StepRecord, train_network
from mdcompress.zoo import LIF
from tests.support.data_batches import data_section
from tests.support.official_sets import write_cifar
from tests.support.training_cases import FAST, StoppedError, assert_same_state, state_of


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.neuron, self.head = nn.Linear(3 * 32 * 32, 8), LIF(), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.neuron(self.inner(x.flatten(2))))
        return logits.mean(0)


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def splits(folder: Path, *, workers: int = 0) -> DataSplits:
    augment = NoAugment(crop=4, flip=True, cutout=8)
    section = data_section("cifar10", batch_size=24, augment=augment, workers=workers)
    return load_data(section, seed=1, folder=folder)


def trained(data: DataSplits, *, checkpoint: Path | None = None, stop_at: int | None = None) -> Small:
    steps = 0

    def progress(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, StepRecord)
        if steps == stop_at:
            raise StoppedError

    return train_network(
        small(), train=data.train, validate=data.validation, spec=TeacherSpec(epochs=2), settings=FAST,
        checkpoint=checkpoint, checkpoint_every=2, progress=progress,
    )  # fmt: skip


def test_a_stopped_training_on_augmented_samples_ends_in_the_same_bits(tmp_path: Path) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    data, checkpoint = splits(tmp_path), tmp_path / "last"
    assert len(data.train) == 4
    whole = state_of(trained(data))
    with pytest.raises(StoppedError):
        trained(data, checkpoint=checkpoint, stop_at=7)
    assert_same_state(trained(splits(tmp_path), checkpoint=checkpoint), whole)
    assert_same_state(trained(splits(tmp_path, workers=2)), whole)

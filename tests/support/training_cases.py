"""A network, data and recipes small enough that a training takes a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mdcompress.compression import compress
from mdcompress.processes import ValueT
from mdcompress.recipe import DistillSpec, OptimizerSpec, Recipe, TeacherSpec, TrainSpec
from mdcompress.student import Student
from mdcompress.training import (
    Event,
    StepRecord,
    distill,
    train_network,
)
from mdcompress.zoo import LIF

T, CLASSES, FEATURES = 3, 3, 8
RECIPE = Recipe.model_validate({"name": "tiny", "quantize": {"weight": {"bit_width": 3}, "membrane": {"bit_width": 4}}})
FAST = TrainSpec(optimizer=OptimizerSpec(lr=0.01))
TEACHER = TeacherSpec(epochs=5, optimizer=OptimizerSpec(lr=0.01))
TWO_EPOCHS = DistillSpec(epochs=2)

Batch = tuple[Tensor, Tensor]


class Tiny(nn.Module):
    """8 inputs, 12 neurons, 3 classes, with dropout so that the random generators matter."""

    def __init__(self, *, hidden: int = 12) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.neuron = LIF()
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        current = self.norm(self.inner(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        logits: Tensor = self.head(self.drop(self.neuron(current)))
        return logits.mean(0)


class Plain(nn.Module):
    """One linear layer and no neuron, which lets NaN through to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits.mean(0)


class Shuffled:
    """Clusters in an order that depends on the epoch alone, as mdcompress.data.Batches have it."""

    def __init__(self, *, samples: int = 96, batch_size: int = 16) -> None:
        generator = torch.Generator().manual_seed(5)
        self.y = torch.arange(samples) % CLASSES
        centres = torch.rand(CLASSES, FEATURES, generator=generator)
        x = centres[self.y] + 0.25 * torch.randn(samples, FEATURES, generator=generator)
        self.x, self.batch_size, self.epoch = x.clamp(0, 1).expand(T, -1, -1), batch_size, 0

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(self.epoch))
        for chosen in torch.split(order, self.batch_size):
            yield self.x[:, chosen], self.y[chosen]


def float_network() -> Tiny:
    torch.manual_seed(3)
    return Tiny().eval()


class Doubled(Tiny):
    """Another network: its neuron layer is wider."""

    def __init__(self) -> None:
        super().__init__(hidden=24)


def trained_teacher() -> Tiny:
    return train_network(float_network(), train=Shuffled(), validate=Shuffled(), spec=TEACHER, settings=FAST)


def tiny_student(teacher: nn.Module) -> Student:
    batches = list(Shuffled())
    return compress(teacher, batches[0][0], RECIPE, batches)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same_state(network: nn.Module, expected: dict[str, Tensor]) -> None:
    state = network.state_dict()
    assert state.keys() == expected.keys()
    differing = [name for name in state if not torch.equal(state[name], expected[name])]
    assert not differing


@dataclass(frozen=True)
class Second:
    """Rank 1 of 2; the other one has the same tensors."""

    device: str = "cpu"
    rank: int = 1
    size: int = 2

    def wait(self) -> None: ...

    def broadcast(self, value: ValueT) -> ValueT:
        return value

    def sum(self, tensor: Tensor) -> Tensor:
        return 2 * tensor


class StoppedError(Exception):
    pass


def run(
    student: Student, teacher: nn.Module, path: Path | None, *, stop_at: int | None = None, settings: TrainSpec = FAST
) -> list[Event]:
    """Distil for two epochs of 6 steps at T = 1 and 3; raise StoppedError after `stop_at` steps of this call."""
    events: list[Event] = []

    def progress(event: Event) -> None:
        events.append(event)
        if stop_at is not None and sum(isinstance(each, StepRecord) for each in events) == stop_at:
            raise StoppedError

    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=2, time_steps=(1, 3)),
        settings=settings,
        checkpoint=path,
        checkpoint_every=4,
        progress=progress,
    )
    return events

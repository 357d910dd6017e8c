"""Schedule, optimizer and history by hand; equal bits for equal seeds."""

from __future__ import annotations

import copy
import csv
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mdcompress.recipe import DistillSpec, OptimizerSpec, TeacherSpec, TrainSpec
from mdcompress.student import Student
from mdcompress.training import (
    Choice,
    EpochRecord,
    Validation,
    best_epoch,
    distill,
    train_network,
    write_history,
)
from mdcompress.training.determinism import algorithms, reproducible, seed_step
from mdcompress.training.history import untrained
from mdcompress.training.optimization import clip_gradient, learning_rate, make_optimizer
from tests.support.training_cases import FAST, Batch, Shuffled, assert_same_state, float_network, state_of


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


def test_cosine_schedule_starts_at_the_rate_is_half_in_the_middle_and_ends_near_zero() -> None:
    spec = TrainSpec(optimizer=OptimizerSpec(lr=0.8))
    rates = [learning_rate(spec, done=done, total=4) for done in range(5)]
    quarter = 0.8 * (1 + math.sqrt(0.5)) / 2
    assert rates == pytest.approx([0.8, quarter, 0.4, 0.8 - quarter, 0.0])


def test_an_epoch_longer_than_announced_ends_at_rate_zero_and_does_not_rise_again() -> None:
    assert learning_rate(FAST, done=9, total=4) == 0.0


def test_constant_schedule_stays() -> None:
    spec = TrainSpec(optimizer=OptimizerSpec(lr=0.8), schedule="constant")
    assert {learning_rate(spec, done=done, total=4) for done in range(5)} == {0.8}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_only_matrices_decay(name: Literal["adamw", "adam", "sgd"], kind: type, student: Student) -> None:
    optimizer = make_optimizer(student, OptimizerSpec(name=name, lr=0.1, weight_decay=0.5))
    assert type(optimizer) is kind
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = {key: decays[id(p)] for key, p in student.named_parameters() if p.requires_grad}
    assert {key for key, decay in named.items() if decay} == {"layers.inner.layer.weight", "layers.head.layer.weight"}
    assert any("scaling" in key for key, decay in named.items() if not decay)


def test_one_sgd_step_by_hand() -> None:
    """w <- w - lr * (g + decay * w), with the gradient cut to norm 1."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    optimizer = make_optimizer(layer, OptimizerSpec(name="sgd", lr=0.5, weight_decay=0.1, momentum=0.0))
    layer.weight.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert float(clip_gradient(list(layer.parameters()), 1.0)) == pytest.approx(5.0)
    optimizer.step()
    expected = torch.tensor([[1 - 0.5 * (0.6 + 0.1), -0.4], [0.0, 1 - 0.05]])
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_without_a_limit_the_gradient_is_left_as_it_is() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[30.0, 40.0]])
    assert float(clip_gradient(list(layer.parameters()), None)) == pytest.approx(50.0)
    assert torch.equal(layer.weight.grad, torch.tensor([[30.0, 40.0]]))


def record(epoch: int, *scores: tuple[float, float]) -> EpochRecord:
    validation = tuple(Validation(t + 1, accuracy, loss) for t, (accuracy, loss) in enumerate(scores))
    return EpochRecord(epoch, 9, 0.1, {"total": 1.0}, 0.5, validation, 1.0)


def test_best_is_accuracy_then_loss_then_the_earlier_epoch() -> None:
    records = [record(1, (0.8, 0.1)), record(2, (0.9, 0.5)), record(3, (0.9, 0.4)), record(4, (0.9, 0.4))]
    assert best_epoch(records).epoch == 3
    assert best_epoch([record(1, (1.0, 0.1), (0.5, 0.1)), record(2, (0.8, 0.9), (0.8, 0.9))]).epoch == 2  # the mean


def test_where_the_trained_losses_are_validated_their_lowest_mean_is_best_whatever_the_accuracy() -> None:
    def totals(epoch: int, first: float, second: float) -> EpochRecord:
        scores = (Validation(1, 1.0 / epoch, 0.1, first), Validation(2, 1.0 / epoch, 0.1, second))
        return EpochRecord(epoch, 9, 0.1, {"total": 1.0}, 0.5, scores, 1.0)

    records = [totals(1, 0.1, 0.9), totals(2, 0.4, 0.4), totals(3, 0.3, 0.5), totals(4, 0.0, 0.9)]
    assert best_epoch(records, Choice(by="loss")).epoch == 2 and records[1].validation_total == 0.4
    assert best_epoch(records).epoch == 1
    assert record(1, (0.8, 0.1)).validation_total is None


# ------------------------------------------------------------------ determinism


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(0, 100_000))
@settings(deadline=None, max_examples=30)
def test_random_numbers_follow_from_seed_epoch_and_step(seed: int, epoch: int, step: int) -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(()).item(), float(np.random.rand()), random.random()

    with reproducible(torch.device("cpu")):
        seed_step(seed, epoch, step)
        first = draw()
        seed_step(seed, epoch, step)
        assert draw() == first
        seed_step(seed, epoch, step + 1)
        assert draw() != first


@pytest.mark.parametrize(
    ("device", "deterministic", "repeats"),
    [("cpu", True, True), ("cpu", False, True), ("cuda", True, True), ("cuda", False, False)],
)
def test_a_gpu_alone_may_take_the_fastest_algorithms_and_the_callers_are_back_afterwards(
    device: str, deterministic: bool, repeats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with algorithms(torch.device(device), deterministic=deterministic):
        assert torch.are_deterministic_algorithms_enabled() is repeats
        assert torch.backends.cudnn.benchmark is not repeats
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is (repeats and device == "cuda")
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with algorithms(torch.device(device), deterministic=deterministic):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "what the caller chose stays"


def fill_uninitialized_memory() -> bool:
    deterministic: Any = torch.utils.deterministic  # its one attribute is a property of the module, which no stub has
    return bool(deterministic.fill_uninitialized_memory)


def test_memory_that_is_about_to_be_written_is_not_filled_first() -> None:
    """With deterministic algorithms torch writes NaN into every empty tensor, a pass over memory for each."""
    with reproducible(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled() and not fill_uninitialized_memory()
    assert fill_uninitialized_memory()


def test_training_leaves_the_callers_generators_and_modes_alone(student: Student, teacher: nn.Module) -> None:
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    teacher.train()
    before = state_of(teacher)
    with torch.no_grad():  # a caller's mode, which training must not inherit
        distill(student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=DistillSpec(epochs=1))
        assert not torch.is_grad_enabled()
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert not torch.are_deterministic_algorithms_enabled() and fill_uninitialized_memory()
    assert teacher.training
    assert_same_state(teacher.eval(), before)


def test_equal_seeds_give_equal_bits_and_another_seed_does_not() -> None:
    def trained(seed: int) -> nn.Module:
        data = DataLoader(TensorDataset(Shuffled().x.transpose(0, 1), Shuffled().y), batch_size=16, shuffle=True)
        batches = _TimeFirst(data)
        return train_network(
            float_network(), train=batches, validate=batches, spec=TeacherSpec(epochs=2), settings=FAST, seed=seed
        )

    first = state_of(trained(0))
    torch.rand(7)  # whatever the caller's generator did in between
    assert_same_state(trained(0), first)
    assert any(not torch.equal(tensor, first[name]) for name, tensor in trained(1).state_dict().items())


class _TimeFirst:
    """A DataLoader's [N, T, F] as [T, N, F]; it shuffles with torch's global generator and has no set_epoch."""

    def __init__(self, loader: DataLoader[tuple[Tensor, ...]]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self.loader:
            yield x.transpose(0, 1), y


# ------------------------------------------------------------------ history


def test_history_reads_back_from_csv_as_it_was(tmp_path: Path) -> None:
    first, second = record(1, (1 / 3, 0.7), (0.5, 0.6)), record(2, (0.4, 0.6), (0.5, 0.5))
    path = tmp_path / "history.csv"
    write_history([first, second], path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["validation_accuracy_T1"]) == 1 / 3
    assert [row["best"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == [
        "epoch",
        "learning_rate",
        "total",
        "train_accuracy",
        "validation_accuracy_T1",
        "validation_loss_T1",
        "validation_accuracy_T2",
        "validation_loss_T2",
        "best",
        "seconds",
    ]


def test_the_network_as_it_came_has_scores_and_no_losses_in_the_table(tmp_path: Path) -> None:
    start = untrained((Validation(1, 0.9, 0.3), Validation(2, 0.9, 0.3)), epochs=9)
    write_history([start, record(1, (1 / 3, 0.7), (0.5, 0.6))], tmp_path / "history.csv")
    zero, one = csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
    assert list(zero)[:4] == ["epoch", "learning_rate", "total", "train_accuracy"]
    assert (zero["epoch"], zero["total"], zero["train_accuracy"], zero["best"]) == ("0", "", "", "1")
    assert (zero["validation_accuracy_T2"], one["best"]) == ("0.9", "0")


def test_the_table_has_the_trained_losses_on_validation_where_they_decide(tmp_path: Path) -> None:
    write_history([untrained((Validation(1, 0.9, 0.3, 1 / 3),), epochs=9)], tmp_path / "history.csv")
    (row,) = csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
    assert list(row)[2:] == ["validation_accuracy_T1", "validation_loss_T1", "validation_total_T1", "best", "seconds"]
    assert float(row["validation_total_T1"]) == 1 / 3


def test_an_empty_history_is_an_empty_table(tmp_path: Path) -> None:
    write_history([], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().strip() == ""

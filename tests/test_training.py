"""Training: schedules by hand; equal bits for equal seeds; a killed training goes on as if nothing had happened."""

from __future__ import annotations

import copy
import csv
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mdcompress.compression import compress
from mdcompress.data import load_data
from mdcompress.errors import CheckpointError, DataError, TrainingError
from mdcompress.evaluation import evaluate
from mdcompress.recipe import DistillSpec, MembraneLossSpec, OptimizerSpec, Recipe, TeacherSpec, TrainSpec, load_recipe
from mdcompress.student import Student
from mdcompress.training import (
    EpochRecord,
    Event,
    Resumed,
    StepRecord,
    Validation,
    best_epoch,
    distill,
    read_history,
    train_network,
    write_history,
)
from mdcompress.training.determinism import reproducible, seed_step
from mdcompress.training.optimization import clip_gradient, learning_rate, make_optimizer
from mdcompress.zoo import LIF, digits_snn

T, CLASSES, FEATURES = 3, 3, 8
RECIPE = Recipe.model_validate({"name": "tiny", "quantize": {"weight": {"bit_width": 3}, "membrane": {"bit_width": 4}}})
FAST = TrainSpec(optimizer=OptimizerSpec(lr=0.01))
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
        for chosen in order.split(self.batch_size):
            yield self.x[:, chosen], self.y[chosen]


def float_network() -> Tiny:
    torch.manual_seed(3)
    return Tiny().eval()


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return train_network(
        float_network(), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=6), settings=FAST
    )


@pytest.fixture(scope="module")
def quantized(teacher: nn.Module) -> Student:
    batches = list(Shuffled())
    return compress(teacher, batches[0][0], RECIPE, batches)


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same_state(network: nn.Module, expected: dict[str, Tensor]) -> None:
    state = network.state_dict()
    assert state.keys() == expected.keys()
    differing = [name for name in state if not torch.equal(state[name], expected[name])]
    assert not differing


# ------------------------------------------------------------------ schedule, optimizer, selection


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
def test_only_matrices_decay(name: str, kind: type, student: Student) -> None:
    optimizer = make_optimizer(student, OptimizerSpec(name=name, lr=0.1, weight_decay=0.5))  # type: ignore[arg-type]
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
    assert clip_gradient([layer.weight], 1.0) == pytest.approx(5.0)
    optimizer.step()
    expected = torch.tensor([[1 - 0.5 * (0.6 + 0.1), -0.4], [0.0, 1 - 0.05]])
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_without_a_limit_the_gradient_is_left_as_it_is() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[30.0, 40.0]])
    assert clip_gradient([layer.weight], None) == pytest.approx(50.0)
    assert torch.equal(layer.weight.grad, torch.tensor([[30.0, 40.0]]))


def record(epoch: int, *scores: tuple[float, float]) -> EpochRecord:
    validation = tuple(Validation(t + 1, accuracy, loss) for t, (accuracy, loss) in enumerate(scores))
    return EpochRecord(epoch, 9, 0.1, {"total": 1.0}, 0.5, validation, 1.0)


def test_best_is_accuracy_then_loss_then_the_earlier_epoch() -> None:
    records = [record(1, (0.8, 0.1)), record(2, (0.9, 0.5)), record(3, (0.9, 0.4)), record(4, (0.9, 0.4))]
    assert best_epoch(records).epoch == 3
    assert best_epoch([record(1, (1.0, 0.1), (0.5, 0.1)), record(2, (0.8, 0.9), (0.8, 0.9))]).epoch == 2  # the mean


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
    assert not torch.are_deterministic_algorithms_enabled()
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


# ------------------------------------------------------------------ what training does


def test_the_network_learns_and_holds_its_best_epoch() -> None:
    events: list[Event] = []
    network = train_network(
        float_network(),
        train=Shuffled(),
        validate=Shuffled(),
        spec=TeacherSpec(epochs=5),
        settings=FAST,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    steps = [event for event in events if isinstance(event, StepRecord)]
    assert not network.training
    assert [each.epoch for each in records] == [1, 2, 3, 4, 5]
    assert len(steps) == 5 * 6
    assert [each.step for each in steps[:6]] == [1, 2, 3, 4, 5, 6]
    assert records[-1].losses["total"] < 0.5 * records[0].losses["total"]
    assert records[0].losses["total"] == pytest.approx(np.mean([each.loss for each in steps[:6]]))
    assert records[-1].learning_rate == steps[-1].learning_rate < steps[0].learning_rate
    best = best_epoch(records)
    metrics = evaluate(network, Shuffled())
    assert (metrics.accuracy, metrics.loss) == (best.validation_accuracy, best.validation_loss)
    assert best.validation_accuracy > 0.9


def test_the_best_epoch_is_kept_when_a_later_one_is_worse(student: Student, teacher: nn.Module) -> None:
    ruinous = TrainSpec(optimizer=OptimizerSpec(name="sgd", lr=30.0, momentum=0.0), schedule="constant")
    events: list[Event] = []
    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=3, logits=None, membrane=None),
        settings=ruinous,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    accuracies = [each.validation_accuracy for each in records]
    assert len(set(accuracies)) > 1
    assert evaluate(student, Shuffled()).accuracy == max(accuracies)


def test_distillation_brings_the_student_nearer_to_its_teacher(student: Student, teacher: nn.Module) -> None:
    events: list[Event] = []
    before = state_of(student)
    returned = distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=4),
        settings=FAST,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    assert returned is student and not student.training
    assert list(records[0].losses) == ["total", "task", "logits", "membrane", "membrane/neuron"]
    assert records[-1].losses["total"] < records[0].losses["total"]
    assert any(not torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_every_listed_number_of_steps_is_trained_and_validated(student: Student, teacher: nn.Module) -> None:
    events: list[Event] = []
    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=1, time_steps=(1, 3)),
        progress=events.append,
    )
    (finished,) = [event for event in events if isinstance(event, EpochRecord)]
    assert [score.time_steps for score in finished.validation] == [1, 3]
    for score in finished.validation:
        assert evaluate(student, Shuffled(), time_steps=score.time_steps).accuracy == score.accuracy
    assert finished.validation_accuracy == sum(score.accuracy for score in finished.validation) / 2


def test_one_listed_number_of_steps_is_training_on_the_first_steps(student: Student, teacher: nn.Module) -> None:
    """Without a loss that looks at the teacher's later steps, T=2 of 3 equals data cut to 2 steps."""
    spec = DistillSpec(epochs=1, logits=None, membrane=MembraneLossSpec())
    other = copy.deepcopy(student)
    cut = [(x[:2], y) for x, y in Shuffled()]
    whole = list(Shuffled())
    listed = spec.model_copy(update={"time_steps": (2,)})
    distill(student, teacher=teacher, train=whole, validate=whole, spec=listed)
    distill(other, teacher=teacher, train=cut, validate=cut, spec=spec)
    assert_same_state(other, state_of(student))


def test_zero_epochs_leave_the_student_as_it_came(student: Student) -> None:
    before = state_of(student)
    returned = distill(student.train(), teacher=None, train=[], validate=[], spec=DistillSpec(epochs=0))
    assert returned is student and not student.training
    assert_same_state(student, before)


def test_a_student_can_be_the_teacher_of_a_coarser_one(student: Student, teacher: nn.Module) -> None:
    coarse = Recipe.model_validate({"name": "coarse", "quantize": {"weight": {"bit_width": 2}}})
    batches = list(Shuffled())
    coarser = compress(teacher, batches[0][0], coarse, batches)
    before = state_of(student)
    distill(coarser, teacher=student, train=batches, validate=batches, spec=DistillSpec(epochs=1))
    assert_same_state(student, before)


def test_without_teacher_losses_no_teacher_is_needed(student: Student) -> None:
    spec = DistillSpec(epochs=1, logits=None, membrane=None)
    events: list[Event] = []
    distill(student, teacher=None, train=Shuffled(), validate=Shuffled(), spec=spec, progress=events.append)
    (finished,) = [event for event in events if isinstance(event, EpochRecord)]
    assert list(finished.losses) == ["total", "task"]


def test_set_epoch_is_called_with_1_to_the_last_epoch() -> None:
    called: list[int] = []

    class Watched(Shuffled):
        def set_epoch(self, epoch: int) -> None:
            called.append(epoch)

    train_network(float_network(), train=Watched(), validate=Shuffled(), spec=TeacherSpec(epochs=3))
    assert called == [1, 2, 3]


# ------------------------------------------------------------------ errors


class Doubled(Tiny):
    """Another network: its neuron layer is wider."""

    def __init__(self) -> None:
        super().__init__(hidden=24)


def test_a_missing_teacher_is_an_error(student: Student) -> None:
    with pytest.raises(TrainingError, match="compare with a teacher"):
        distill(student, teacher=None, train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_a_teacher_with_other_neurons_is_an_error_that_names_the_layer(student: Student) -> None:
    with pytest.raises(TrainingError, match=r"neuron layer 'neuron' of shape \(12,\).*\(24,\)"):
        distill(student, teacher=Doubled().eval(), train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_a_teacher_with_other_neurons_will_do_where_only_logits_are_compared(student: Student) -> None:
    spec = DistillSpec(epochs=1, membrane=None)
    distill(student, teacher=Doubled().eval(), train=Shuffled(), validate=Shuffled(), spec=spec)


def test_a_teacher_with_other_classes_is_an_error(student: Student) -> None:
    network = float_network()
    network.head = nn.Linear(12, 5)
    with pytest.raises(TrainingError, match="same classes"):
        distill(student, teacher=network.eval(), train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_data_shorter_than_the_listed_steps_are_an_error(student: Student, teacher: nn.Module) -> None:
    spec = DistillSpec(epochs=1, time_steps=(1, 4))
    with pytest.raises(TrainingError, match=r"at most the 3 steps of the data \(got 4\)"):
        distill(student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec)


def test_data_that_can_be_walked_only_once_are_an_error() -> None:
    with pytest.raises(TrainingError, match="a generator only gives them once"):
        train_network(
            float_network(), train=(batch for batch in Shuffled()), validate=Shuffled(), spec=TeacherSpec(epochs=2)
        )


def test_no_training_data_are_an_error() -> None:
    with pytest.raises(TrainingError, match="at least one batch"):
        train_network(float_network(), train=[], validate=Shuffled(), spec=TeacherSpec(epochs=1))


def test_a_network_without_parameters_to_train_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"Tiny must have parameters that can be trained"):
        train_network(
            float_network().requires_grad_(False), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1)
        )


def test_a_label_without_a_logit_is_an_error() -> None:
    batches = [(x, y + 1) for x, y in Shuffled()]
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.2"):
        train_network(float_network(), train=batches, validate=batches, spec=TeacherSpec(epochs=1))


def test_nan_in_the_loss_names_epoch_step_and_part(tmp_path: Path) -> None:
    batches = list(Shuffled())
    batches[3] = (batches[3][0] * math.nan, batches[3][1])
    path = tmp_path / "last"
    with pytest.raises(TrainingError, match="total is nan in epoch 1, step 4") as caught:
        train_network(
            float_network(),
            train=batches,
            validate=Shuffled(),
            spec=TeacherSpec(epochs=1),
            checkpoint=path,
            checkpoint_every=1,
        )
    assert "optimizer.lr" in str(caught.value)
    kept = load_file(path)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())  # the state before the step that broke


def test_the_part_that_broke_is_named_before_the_sum(student: Student, teacher: nn.Module) -> None:
    broken = copy.deepcopy(teacher)
    with torch.no_grad():
        broken.head.weight.mul_(1e30)  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match="logits is (nan|inf)"):
        distill(student, teacher=broken, train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_an_infinite_gradient_is_an_error_before_it_reaches_the_weights() -> None:
    network = float_network()
    network.head.weight.register_hook(lambda gradient: gradient * math.inf)
    before = state_of(network)["head.weight"]
    with pytest.raises(TrainingError, match="gradient's norm is (nan|inf) in epoch 1, step 1"):
        train_network(network, train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1))
    assert torch.equal(network.head.weight, before)


def test_a_validation_loss_that_is_not_finite_is_an_error() -> None:
    broken = [(x * math.inf, y) for x, y in Shuffled()]
    with pytest.raises(TrainingError, match="validation loss at T=3 is nan in epoch 1"):
        train_network(float_network(), train=Shuffled(), validate=broken, spec=TeacherSpec(epochs=1))


# ------------------------------------------------------------------ history


def test_history_reads_back_from_csv_as_it_was(tmp_path: Path) -> None:
    first, second = record(1, (1 / 3, 0.7), (0.5, 0.6)), record(2, (0.4, 0.6), (0.5, 0.5))
    path = tmp_path / "history.csv"
    write_history([first, second], path)
    rows = list(csv.DictReader(path.open()))
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


def test_an_empty_history_is_an_empty_table(tmp_path: Path) -> None:
    write_history([], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().strip() == ""


# ------------------------------------------------------------------ checkpoint and resume


class Stop(Exception):
    pass


def run(student: Student, teacher: nn.Module, path: Path | None, *, stop_at: int | None = None) -> list[Event]:
    """Distil for two epochs of 6 steps at T = 1 and 3; raise Stop after `stop_at` steps of this call."""
    events: list[Event] = []

    def progress(event: Event) -> None:
        events.append(event)
        if stop_at is not None and sum(isinstance(each, StepRecord) for each in events) == stop_at:
            raise Stop

    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=2, time_steps=(1, 3)),
        settings=FAST,
        checkpoint=path,
        checkpoint_every=4,
        progress=progress,
    )
    return events


@pytest.fixture(scope="module")
def uninterrupted(quantized: Student, teacher: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that nobody stopped; its end state lies beside it."""
    path = tmp_path_factory.mktemp("whole") / "last"
    student = copy.deepcopy(quantized)
    run(student, teacher, path)
    save_file(state_of(student), path.with_name("end"))
    return path


@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 9, 12])
def test_a_training_stopped_after_any_step_ends_in_the_same_bits(
    quantized: Student, teacher: nn.Module, uninterrupted: Path, tmp_path: Path, stop_at: int
) -> None:
    path = tmp_path / "last"
    with pytest.raises(Stop):
        run(copy.deepcopy(quantized), teacher, path, stop_at=stop_at)
    student = copy.deepcopy(quantized)
    events = run(student, teacher, path)
    resumed = events[0]
    assert isinstance(resumed, Resumed)
    assert (resumed.epoch, resumed.step) == {1: (1, 0), 4: (1, 4), 5: (1, 4), 6: (1, 4), 9: (2, 0), 12: (2, 4)}[stop_at]
    assert_same_state(student, load_file(uninterrupted.with_name("end")))
    assert read_history(path) == read_history(uninterrupted)  # seconds are not compared
    ends = load_file(path), load_file(uninterrupted)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_checkpoint_does_not_change_the_result(quantized: Student, teacher: nn.Module, uninterrupted: Path) -> None:
    student = copy.deepcopy(quantized)
    run(student, teacher, None)
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


def test_a_finished_training_is_not_repeated(quantized: Student, teacher: nn.Module, uninterrupted: Path) -> None:
    student = copy.deepcopy(quantized)
    events = run(student, teacher, uninterrupted)
    assert len(events) == 1
    assert isinstance(events[0], Resumed)
    assert [each.epoch for each in events[0].history] == [1, 2]
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_optimizer_resumes_in_the_same_bits(name: str, tmp_path: Path) -> None:
    optimizer = OptimizerSpec.model_validate({"name": name, "lr": 0.01})

    def train(path: Path | None, *, stop_at: int | None = None) -> nn.Module:
        events: list[Event] = []

        def progress(event: Event) -> None:
            events.append(event)
            if len(events) == stop_at:
                raise KeyboardInterrupt

        return train_network(
            float_network(),
            train=Shuffled(),
            validate=Shuffled(),
            spec=TeacherSpec(epochs=2, optimizer=optimizer),
            checkpoint=path,
            checkpoint_every=2,
            progress=progress,
        )

    path = tmp_path / "last"
    with pytest.raises(KeyboardInterrupt):
        train(path, stop_at=10)
    assert_same_state(train(path), state_of(train(None)))


def changed_run(path: Path, student: Student, teacher: nn.Module, **changes: object) -> None:
    arguments: dict[str, object] = {
        "teacher": teacher,
        "train": Shuffled(),
        "validate": Shuffled(),
        "spec": DistillSpec(epochs=2, time_steps=(1, 3)),
        "settings": FAST,
        **changes,
    }
    distill(student, checkpoint=path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed: it has 0, this one 1"),
        ({"spec": DistillSpec(epochs=3, time_steps=(1, 3))}, "distill.epochs: it has 2, this one 3"),
        ({"settings": TrainSpec(optimizer=OptimizerSpec(lr=0.02))}, "train.optimizer.lr: it has 0.01, this one 0.02"),
        ({"train": Shuffled(batch_size=8)}, "batches: it has 6, this one 12"),
    ],
)
def test_a_checkpoint_of_another_training_is_an_error_that_names_the_difference(
    uninterrupted: Path, student: Student, teacher: nn.Module, changes: dict[str, object], named: str
) -> None:
    before = uninterrupted.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        changed_run(uninterrupted, student, teacher, **changes)
    assert named in str(caught.value)
    assert "hint:" in str(caught.value)
    assert uninterrupted.read_bytes() == before


def test_a_checkpoint_of_another_plan_network_or_teacher_is_an_error(
    uninterrupted: Path, student: Student, teacher: nn.Module
) -> None:
    batches = list(Shuffled())
    coarse = Recipe.model_validate({"name": "coarse", "quantize": {"weight": {"bit_width": 2}}})
    with pytest.raises(CheckpointError, match="plan: it has"):
        changed_run(uninterrupted, compress(teacher, batches[0][0], coarse, batches), teacher)
    with pytest.raises(CheckpointError, match="network: it has"):
        changed_run(uninterrupted, compress(Doubled().eval(), batches[0][0], RECIPE, batches), Doubled().eval())
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.bias.add_(1.0)  # type: ignore[union-attr, operator]
    with pytest.raises(CheckpointError, match="teacher: it has"):
        changed_run(uninterrupted, student, other)


def test_the_checkpoint_of_a_float_training_is_no_checkpoint_of_a_distillation(
    tmp_path: Path, student: Student, teacher: nn.Module
) -> None:
    path = tmp_path / "last"
    train_network(float_network(), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match="kind: it has training of a float network, this one distillation"):
        changed_run(path, student, teacher)


class Explosive:
    """A pickle that would create a file if it were loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def spoiled(kind: str, whole: bytes, folder: Path) -> bytes:
    match kind:
        case "truncated":
            return whole[: len(whole) // 2]
        case "header only":
            return whole[:20]
        case "empty":
            return b""
        case "text":
            return b"weights: none\n"
        case "pickle":
            return pickle.dumps(Explosive(folder / "exploded"))
        case _:
            save_file({"weight": torch.zeros(2)}, folder / "foreign")
            return (folder / "foreign").read_bytes()


@pytest.mark.parametrize("kind", ["truncated", "header only", "empty", "text", "pickle", "foreign safetensors"])
def test_a_file_that_is_no_checkpoint_is_an_error_and_is_left_alone(
    uninterrupted: Path, student: Student, teacher: nn.Module, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "last"
    content = spoiled(kind, uninterrupted.read_bytes(), tmp_path)
    path.write_bytes(content)
    before = state_of(student)
    with pytest.raises(CheckpointError) as caught:
        changed_run(path, student, teacher)
    assert str(path) in str(caught.value)
    assert "hint:" in str(caught.value)
    assert path.read_bytes() == content
    assert not (tmp_path / "exploded").exists()
    assert_same_state(student, before)


def test_a_checkpoint_of_a_later_format_is_an_error(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "last"
    path.write_bytes(uninterrupted.read_bytes().replace(b"mdcompress.training/1", b"mdcompress.training/9"))
    with pytest.raises(CheckpointError, match=r"format mdcompress.training/1 \(got mdcompress.training/9\)"):
        read_history(path)


def test_a_checkpoint_whose_tensors_do_not_fit_is_an_error(
    uninterrupted: Path, student: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    from safetensors import safe_open

    with safe_open(uninterrupted, framework="pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor for name, tensor in load_file(uninterrupted).items() if not name.startswith("model/")}
    path = tmp_path / "last"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        changed_run(path, student, teacher)


def test_a_folder_that_does_not_exist_is_an_error_before_any_step(
    student: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        run(student, teacher, tmp_path / "missing" / "last", stop_at=1)
    assert "the folder must exist" in str(caught.value)


def test_an_interrupt_while_a_checkpoint_is_written_keeps_the_old_one(
    quantized: Student, teacher: nn.Module, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "last", []
    synchronise = os.fsync

    def interrupted(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise KeyboardInterrupt
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(quantized), teacher, path)
    assert [each.name for each in tmp_path.iterdir()] == ["last"]
    student = copy.deepcopy(quantized)
    run(student, teacher, path)
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


def test_data_that_shrank_since_the_interruption_are_an_error(tmp_path: Path) -> None:
    class Shrinking(Shuffled):
        limit = 6

        def __iter__(self) -> Iterator[Batch]:
            for index, batch in enumerate(super().__iter__()):
                if index < self.limit:
                    yield batch

    def stop(event: Event) -> None:
        if isinstance(event, StepRecord) and event.step == 5:
            raise Stop

    data, path, spec = Shrinking(), tmp_path / "last", TeacherSpec(epochs=1)
    how = {"validate": Shuffled(), "spec": spec, "checkpoint": path, "checkpoint_every": 2}
    with pytest.raises(Stop):
        train_network(float_network(), train=data, progress=stop, **how)  # type: ignore[arg-type]
    data.limit = 3
    with pytest.raises(TrainingError, match=r"epoch 1 must give the batches it gave before \(now 3, before 4\)"):
        train_network(float_network(), train=data, **how)  # type: ignore[arg-type]


# ------------------------------------------------------------------ a real kill

KILLABLE = """
import os, sys, copy
sys.path[:0] = {path!r}
import torch
from pathlib import Path
from safetensors.torch import save_file
torch.set_num_threads(1)
import test_training as tests

network = tests.float_network()   # an untrained teacher will do, and nothing has run backward before the forks
batches = list(tests.Shuffled(samples=192))
quantized = tests.compress(network, batches[0][0], tests.RECIPE, batches)
print("ready", flush=True)
for line in sys.stdin:
    checkpoint, end = map(Path, line.split())
    child = os.fork()
    if child == 0:
        tests.distill(
            quantized, teacher=network, train=batches, validate=batches,
            spec=tests.DistillSpec(epochs=8, time_steps=(1, 3)), settings=tests.FAST,
            checkpoint=checkpoint, checkpoint_every=5,
        )
        save_file(tests.state_of(quantized), end)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Killable:
    """A process that imports once and forks a training for each request, so that the training can be killed."""

    def __init__(self) -> None:
        script = KILLABLE.format(path=[*sys.path, str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def train(self, checkpoint: Path, end: Path, *, kill_after: float | None = None) -> int:
        """Train; send SIGKILL after so many seconds; the wait status."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{checkpoint} {end}\n")
        self.process.stdin.flush()
        child = int(self._line())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        return int(self._line())

    def close(self) -> None:
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.mark.slow
def test_a_training_killed_twice_at_random_moments_ends_in_the_same_bits(tmp_path: Path) -> None:
    killable = Killable()
    try:
        whole, start = tmp_path / "whole", time.monotonic()
        assert killable.train(whole, tmp_path / "whole.end") == 0
        duration = time.monotonic() - start
        seed = random.SystemRandom().randrange(2**32)
        print(f"kill moments from seed {seed}, an uninterrupted run takes {duration:.2f} s")
        moments, path, end = random.Random(seed), tmp_path / "last", tmp_path / "end"
        for _ in range(2):
            status = killable.train(path, end, kill_after=moments.uniform(0.1, 0.45) * duration)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            assert not end.exists()
        assert read_history(path) != read_history(whole)
        assert killable.train(path, end) == 0
    finally:
        killable.close()
    expected, found = load_file(tmp_path / "whole.end"), load_file(end)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert read_history(path) == read_history(whole)


# ------------------------------------------------------------------ the embedded digits


@pytest.mark.slow
def test_the_digits_are_learned_and_survive_four_bits() -> None:
    recipe = load_recipe("4bit", changes=["teacher.epochs=4", "distill.epochs=1"])
    data = load_data(recipe.data, seed=0)
    torch.manual_seed(0)
    network = train_network(
        digits_snn(), train=data.train, validate=data.validation, spec=recipe.teacher, settings=recipe.train
    )
    calibration = [next(iter(data.train))]
    student = compress(network, calibration[0][0], recipe, calibration)
    distill(
        student, teacher=network, train=data.train, validate=data.validation, spec=recipe.distill, settings=recipe.train
    )
    teachers, students = evaluate(network, data.test).accuracy, evaluate(student, data.test).accuracy
    assert teachers > 0.93
    assert students > teachers - 0.03

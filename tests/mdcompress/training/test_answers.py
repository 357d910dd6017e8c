"""What a teacher showed is remembered over epochs: the student is the same, to the last bit, and the teacher rests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mdcompress.compression import compress
from mdcompress.recipe import DistillSpec, load_recipe
from mdcompress.student import Observation, Student
from mdcompress.training import OtherTeacher, distill, observed_teacher
from mdcompress.training.answers import Answers, Compared
from mdcompress.zoo import digits_snn
from tests.support.training_cases import (
    FAST,
    Shuffled,
    assert_same_state,
    state_of,
    tiny_student,
    trained_teacher,
)

EPOCHS = 3


class Counted:
    """How often the teacher has run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        run = observed_teacher.Teacher.run

        def counted(teacher: observed_teacher.Teacher, network: nn.Module, x: Tensor) -> Observation:
            self.runs += 1
            return run(teacher, network, x)

        monkeypatch.setattr(observed_teacher.Teacher, "run", counted)


class Images:
    """25 images in batches of 8, so that the last has one; other numbers in each epoch where they are drawn anew."""

    def __init__(self, *, drawn_anew: bool = False) -> None:
        self.drawn_anew, self.epoch = drawn_anew, 0

    def __len__(self) -> int:
        return 4

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x = torch.rand(2, 25, 1, 8, 8, generator=torch.Generator().manual_seed(self.epoch if self.drawn_anew else 0))
        order = torch.randperm(25, generator=torch.Generator().manual_seed(self.epoch))
        for chosen in torch.split(order, 8):
            yield x[:, chosen], chosen % 10


def _distilled(
    student: Student, teacher: nn.Module | OtherTeacher, batches: Shuffled | Images, spec: DistillSpec
) -> Student:
    own, validate = copy.deepcopy(student), list(batches)
    return distill(own, teacher=teacher, train=batches, validate=validate, spec=spec, settings=FAST)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Student]:
    """A network of convolutions, and its student."""
    torch.manual_seed(0)
    network, batches = digits_snn(channels=4).eval(), list(Images())
    return network, compress(network, batches[0][0], load_recipe("4bit"), batches)


@pytest.mark.slow
@pytest.mark.parametrize("losses", [{}, {"rates": {}, "membrane": {"distance": "moments", "align": "mean"}}])
def test_a_student_is_the_same_with_and_without_memory(
    digits: tuple[nn.Module, Student], losses: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = digits
    spec = DistillSpec.model_validate({"epochs": EPOCHS, "weights": "train", **losses})
    counted = Counted(monkeypatch)
    remembered, rested = _distilled(student, teacher, Images(), spec), counted.runs
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    counted.runs = 0
    anew = _distilled(student, teacher, Images(), spec)
    assert_same_state(remembered, state_of(anew))
    assert counted.runs == 4 * (EPOCHS + EPOCHS + 1), "each batch of training and validation, and epoch 0"
    assert rested == 4 * (EPOCHS + 1), "each batch of training, and each of validation once"
    untrained = state_of(student)
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in state_of(anew).items())


@pytest.mark.slow
def test_so_is_one_of_several_numbers_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher of fewer steps has other statistics: it is remembered beside the one of all."""
    teacher = trained_teacher()
    student, spec = tiny_student(teacher), DistillSpec(epochs=3, time_steps=(1, 3))
    counted = Counted(monkeypatch)
    remembered, rested = _distilled(student, teacher, Shuffled(batch_size=20), spec), counted.runs
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    counted.runs = 0
    assert_same_state(remembered, state_of(_distilled(student, teacher, Shuffled(batch_size=20), spec)))
    assert rested < counted.runs


@pytest.mark.slow
def test_samples_that_are_drawn_anew_are_not_taken_for_others(
    digits: tuple[nn.Module, Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = digits
    spec, counted = DistillSpec(epochs=3), Counted(monkeypatch)
    remembered, ran = _distilled(student, teacher, Images(drawn_anew=True), spec), counted.runs
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    assert_same_state(remembered, state_of(_distilled(student, teacher, Images(drawn_anew=True), spec)))
    assert ran >= 4 * 3, "each batch of training"


# --- the memory itself ------------------------------------------------------------------------------------------------


def _shown(x: Tensor) -> Observation:
    """Potentials laid out with channels beside each other, and an output without time."""
    potentials = (2.0 * x).transpose(2, 3).contiguous().transpose(2, 3)
    logits = x.flatten(2)
    return Observation(logits.mean(0), logits, {"a": potentials, "b": -x}, {"a": (x > 0).float()})


def _unasked(_x: Tensor) -> Observation:
    raise AssertionError("it is known")


def _batch(start: int, stop: int) -> Tensor:
    return torch.arange(2 * 60, dtype=torch.float32).reshape(2, 10, 2, 3)[:, start:stop] - 60.0


READ = Compared(("a",), ("a",))


def test_a_batch_that_comes_again_has_the_tensors_that_were_shown() -> None:
    answers = Answers(3, READ)
    shown = [answers.of(_batch(start, start + 4), _shown) for start in (0, 4)]
    assert len(answers) == 2
    assert answers.of(_batch(4, 8), _unasked) is shown[1] and answers.of(_batch(0, 4), _unasked) is shown[0]
    assert set(shown[0].potentials) == {"a"}, "what no loss compares is not kept"
    assert torch.equal(shown[0].potentials["a"], 2 * _batch(0, 4))


@pytest.mark.parametrize(
    "other", [_batch(0, 4)[:, [1, 0, 2, 3]], _batch(0, 3), _batch(0, 4)[:1], _batch(0, 4).reshape(4, 2, 2, 3)]
)
def test_the_same_samples_in_another_batch_are_another_batch(other: Tensor) -> None:
    answers = Answers(3, READ)
    answers.of(_batch(0, 4), _shown)
    found = answers.of(other, _shown)
    assert torch.equal(found.logits, _shown(other).logits) and len(answers) == 2


def test_membranes_after_reset_are_remembered_where_they_are_compared() -> None:
    x = _batch(0, 4)
    seen = replace(_shown(x), membranes={"a": 3.0 * x, "b": x})
    shown = Answers(3, Compared((), (), ("a",))).of(x, lambda _: seen)
    assert shown.potentials == {} and set(shown.membranes) == {"a"}
    assert torch.equal(shown.membranes["a"], 3.0 * x)
    size = sum(each.numel() * each.element_size() for each in (shown.output, shown.logits, shown.membranes["a"]))
    for limit, known in ((size, 1), (size - 1, 0)):
        answers = Answers(3, Compared((), (), ("a",)), limit_bytes=limit)
        answers.of(x, lambda _: seen)
        assert len(answers) == known


def test_what_has_no_room_is_shown_anew() -> None:
    seen = READ.of(_shown(_batch(0, 4)))
    tensors = (seen.output, seen.logits, seen.potentials["a"], seen.spikes["a"])
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    for limit, known in ((needed, 1), (needed - 1, 0)):
        answers = Answers(3, READ, limit_bytes=limit)
        answers.of(_batch(0, 4), _shown)
        answers.of(_batch(4, 8), _shown)
        assert len(answers) == known


def test_data_without_a_length_are_not_remembered() -> None:
    answers = Answers(0, READ)
    answers.of(_batch(0, 4), _shown)
    assert len(answers) == 0


def test_after_an_epoch_of_other_batches_nothing_is_remembered() -> None:
    answers = Answers(2, READ)
    for start in (0, 4):
        answers.of(_batch(start, start + 4), _shown)
    assert len(answers) == 2
    answers.of(_batch(0, 4) + 0.5, _shown)
    assert len(answers) == 0

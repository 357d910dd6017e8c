"""What a teacher showed is remembered over epochs: the student is the same, to the last bit, and the teacher rests."""

from __future__ import annotations

import copy
from collections.abc import Iterator

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
    Tiny,
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
    return distill(copy.deepcopy(student), teacher=teacher, train=batches, validate=batches, spec=spec, settings=FAST)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Student]:
    """A network of convolutions, and its student."""
    torch.manual_seed(0)
    network, batches = digits_snn(channels=4).eval(), list(Images())
    return network, compress(network, batches[0][0], load_recipe("4bit"), batches)


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
    assert rested == 2 * 4 + 2, "each once, and the first that is put together, of training and of validation"
    untrained = state_of(student)
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in state_of(anew).items())


def test_so_is_one_of_several_numbers_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher of fewer steps has other statistics: it is remembered beside the one of all."""
    teacher = trained_teacher()
    student, spec = tiny_student(teacher), DistillSpec(epochs=3, time_steps=(1, 3))
    counted = Counted(monkeypatch)
    remembered, rested = _distilled(student, teacher, Shuffled(batch_size=20), spec), counted.runs
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    counted.runs = 0
    assert_same_state(remembered, state_of(_distilled(student, teacher, Shuffled(batch_size=20), spec)))
    assert rested < counted.runs / 2


def test_samples_that_are_drawn_anew_are_not_taken_for_others(
    digits: tuple[nn.Module, Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = digits
    spec, counted = DistillSpec(epochs=3), Counted(monkeypatch)
    remembered, ran = _distilled(student, teacher, Images(drawn_anew=True), spec), counted.runs
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    assert_same_state(remembered, state_of(_distilled(student, teacher, Images(drawn_anew=True), spec)))
    assert ran >= 4 * 3, "each batch of training"


class FollowsBatches(Tiny):
    """In evaluation too its norm has the statistics of the batch: a sample's answer depends on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(12, track_running_stats=False)


def test_a_teacher_whose_answer_depends_on_the_batch_is_run_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    student = tiny_student(trained_teacher())
    torch.manual_seed(1)
    teacher = OtherTeacher(FollowsBatches().eval())
    spec = DistillSpec.model_validate({"epochs": 3, "membrane": None})
    remembered = _distilled(student, teacher, Shuffled(), spec)
    monkeypatch.setattr(observed_teacher, "LIMIT_BYTES", 0)
    assert_same_state(remembered, state_of(_distilled(student, teacher, Shuffled(), spec)))


# --- the memory itself ------------------------------------------------------------------------------------------------


def _shown(x: Tensor) -> Observation:
    """Potentials laid out with channels beside each other, and an output without time."""
    potentials = (2.0 * x).transpose(2, 3).contiguous().transpose(2, 3)
    logits = x.flatten(2)
    return Observation(logits.mean(0), logits, {"a": potentials, "b": -x}, {"a": (x > 0).float()})


def _batch(start: int, stop: int) -> Tensor:
    return torch.arange(2 * 60, dtype=torch.float32).reshape(2, 10, 2, 3)[:, start:stop] - 60.0


def _assert_same(found: Observation, expected: Observation) -> None:
    assert torch.equal(found.output, expected.output) and torch.equal(found.logits, expected.logits)
    assert torch.equal(found.potentials["a"], expected.potentials["a"])
    assert torch.equal(found.spikes["a"], expected.spikes["a"])
    assert found.potentials["a"].stride() == expected.potentials["a"].stride()


def test_what_is_put_together_is_laid_out_as_it_was_shown() -> None:
    answers = Answers(3, Compared(("a",), ("a",)))
    for start in (0, 4, 8):
        answers.of(_batch(start, min(start + 4, 10)), _shown)
    assert len(answers) == 10
    mixed = _batch(0, 10)[:, [9, 3, 5, 0]]
    _assert_same(answers.of(mixed, _shown), _shown(mixed))  # the first is shown besides

    def unasked(_x: Tensor) -> Observation:
        raise AssertionError("all of it is known")

    others = _batch(0, 10)[:, [2, 7]]
    found = answers.of(others, unasked)
    _assert_same(found, _shown(others))
    assert set(found.potentials) == {"a"}, "what no loss compares is not kept"


def test_a_budget_that_is_too_small_remembers_nothing() -> None:
    shown = Compared(("a",), ("a",)).of(_shown(_batch(0, 4)))
    needed = 3 * sum(part.numel() * part.element_size() for part in shown.values())
    for limit, known in ((needed, 4), (needed - 1, 0)):
        answers = Answers(3, Compared(("a",), ("a",)), limit_bytes=limit)
        answers.of(_batch(0, 4), _shown)
        assert len(answers) == known


def test_data_without_a_length_are_not_remembered() -> None:
    answers = Answers(0, Compared((), ()))
    answers.of(_batch(0, 4), _shown)
    assert len(answers) == 0


def test_batches_of_other_steps_are_shown_anew() -> None:
    answers = Answers(3, Compared(("a",), ("a",)))
    answers.of(_batch(0, 4), _shown)
    _assert_same(answers.of(_batch(4, 8)[:1], _shown), _shown(_batch(4, 8)[:1]))
    assert len(answers) == 4


def test_after_an_epoch_of_other_samples_nothing_is_remembered() -> None:
    answers = Answers(2, Compared(("a",), ("a",)))
    for start in (0, 4):
        answers.of(_batch(start, start + 4), _shown)
    assert len(answers) == 8
    answers.of(_batch(0, 4) + 0.5, _shown)
    assert len(answers) == 0

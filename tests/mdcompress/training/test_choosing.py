"""Which epoch is kept: the criteria, and the epochs that are refused."""

from __future__ import annotations

import copy
import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn

from mdcompress.errors import TrainingError
from mdcompress.evaluation import evaluate
from mdcompress.pipeline.kept_epoch import kept_in_words, kept_measured
from mdcompress.recipe import DistillSpec, Recipe
from mdcompress.recipe.distilling import Guard
from mdcompress.student import Student
from mdcompress.training import Choice, EpochRecord, Event, Validation, best_epoch, choice_of, distill, what_was_kept
from mdcompress.training.choosing import chance_of_at_most, is_less_accurate
from mdcompress.training.history import untrained
from mdcompress.training.history_table import write_history
from mdcompress.training.pictures import draw_training
from tests.support.training_cases import FAST, Shuffled, Tiny

BY_LOSS = Choice("loss", "accuracy")


def validation(right: str, total: float, *, time_steps: int = 4, loss: float = 0.5) -> Validation:
    return Validation(time_steps, right.count("1") / len(right), loss, total, right, rate=total / 10)


def start(*scores: Validation) -> EpochRecord:
    return untrained(scores, epochs=9)


def epoch(number: int, *scores: Validation) -> EpochRecord:
    return EpochRecord(number, 9, 0.1, {"total": 1.0}, 0.5, scores, 1.0)


# ------------------------------------------------------------------ the test


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        ("1111100000", "1110000000", False),  # 2 lost of 2: P = 1/4
        ("1111100000", "1100000000", True),  # 3 of 3: 1/8
        ("1111100000", "1000010000", False),  # 4 lost, 1 gained: P(at most 1 of 5) = 6/32 = 0.19
        ("1111110000", "1000010000", True),  # 4 lost, none gained: 1/16
        ("1111100000", "0000011111", False),  # as many right as before
    ],
)
def test_an_epoch_is_less_accurate_where_its_losses_are_more_than_chance(before: str, after: str, less: bool) -> None:
    assert is_less_accurate(epoch(1, validation(after, 0.0)), start(validation(before, 1.0))) is less


def test_of_several_steps_a_sample_counts_once_by_all_its_answers() -> None:
    """Three samples lose an answer at T = 1, two of which gain one at T = 4: one is left, which is chance."""
    before = start(validation("111000", 1.0, time_steps=1), validation("001111", 1.0))
    after = epoch(1, validation("000000", 0.5, time_steps=1), validation("111111", 0.5))
    assert after.validation_accuracy < before.validation_accuracy
    assert not is_less_accurate(after, before)
    worse = epoch(2, validation("000000", 0.5, time_steps=1), validation("001111", 0.5))
    assert is_less_accurate(worse, before)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_chance_is_that_of_a_fair_coin(successes: int, more: int) -> None:
    assert chance_of_at_most(successes, successes + more) == pytest.approx(binom.cdf(successes, successes + more, 0.5))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_the_order_of_samples_decides_nothing(answers: list[tuple[bool, bool]]) -> None:
    def judged(pairs: list[tuple[bool, bool]]) -> bool:
        before, after = ("".join("01"[pair[place]] for pair in pairs) for place in (0, 1))
        return is_less_accurate(epoch(1, validation(after, 0.0)), start(validation(before, 0.0)))

    assert judged(answers) is judged(sorted(answers))


def test_validation_that_drops_samples_is_an_error() -> None:
    with pytest.raises(TrainingError, match="epoch 1: \\[3, 4\\] samples"):
        is_less_accurate(epoch(1, validation("000", 0.1)), start(validation("1111", 0.2)))


# ------------------------------------------------------------------ the choice


HISTORY = (
    start(validation("1111110000", 3.0, loss=0.4)),
    epoch(1, validation("1111111000", 2.0, loss=0.3)),
    epoch(2, validation("1111100000", 1.5, loss=0.6)),  # one sample fewer is chance
    epoch(3, validation("1000000000", 1.0, loss=0.9)),  # five are not
)


def test_by_loss_the_lowest_is_kept_of_those_that_are_not_refused() -> None:
    assert best_epoch(HISTORY, BY_LOSS).epoch == 2
    assert best_epoch(HISTORY, Choice("loss", "none")).epoch == 3
    assert best_epoch(HISTORY, Choice("accuracy", "accuracy")).epoch == 1
    found = what_was_kept(HISTORY, BY_LOSS)
    assert (found.kept.epoch, found.most_accurate.epoch, found.lowest_loss.epoch) == (2, 1, 3)
    assert found.refused == (3,)


def test_what_is_best_so_far_stays_best_of_what_there_was() -> None:
    """One network is held in memory: the kept epoch is the one that was the best when it ended."""
    best = [best_epoch(HISTORY[: done + 1], BY_LOSS).epoch for done in range(len(HISTORY))]
    assert best == [0, 1, 2, 2]


def test_where_all_are_refused_the_start_is_kept() -> None:
    history = (HISTORY[0], HISTORY[3])
    assert best_epoch(history, BY_LOSS).epoch == 0
    recipe = Recipe.model_validate({"name": "mine", "distill": {"best": "loss"}})
    words = kept_in_words(recipe, kept_measured(history, BY_LOSS))
    assert words.splitlines()[0] == (
        "kept       the calibrated student, epoch 0 of 3: no other that is not refused had a lower total loss on "
        "validation samples (distill.best: loss)"
    )
    assert "1 epoch, which is less accurate" in words and "distill.guard=none" in words


def test_every_epoch_that_people_ask_about_is_named_with_all_its_scores() -> None:
    recipe = Recipe.model_validate({"name": "mine", "distill": {"best": "loss"}})
    words = kept_in_words(recipe, kept_measured(HISTORY, BY_LOSS)).splitlines()
    assert words[0].startswith(
        "kept       epoch 2 of 3: the lowest total loss on validation samples that is not refused"
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in words[-4:]]
    assert rows == [
        ["2: kept", "50.00 %", "0.6000", "1.5000", "15.00 %"],
        ["0: calibrated", "60.00 %", "0.4000", "3.0000", "30.00 %"],
        ["1: most accurate", "70.00 %", "0.3000", "2.0000", "20.00 %"],
        ["3: lowest total loss", "10.00 %", "0.9000", "1.0000", "10.00 %"],
    ]


def test_a_record_of_an_earlier_version_says_what_it_knows() -> None:
    recipe = Recipe.model_validate({"name": "mine"})
    assert kept_in_words(recipe, {"best_epoch": 0}) == "kept       the calibrated student, epoch 0"
    assert kept_in_words(recipe, {}) == ""


@pytest.mark.usefixtures("drawn_as_shipped")
def test_table_and_picture_mark_the_epoch_that_is_kept(tmp_path: Path) -> None:
    write_history(HISTORY, tmp_path / "history.csv", choice=BY_LOSS)
    rows = csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
    assert [row["best"] for row in rows] == ["0", "0", "1", "0"]
    draw_training(HISTORY, tmp_path / "training.svg", title="kept", choice=BY_LOSS)
    picture = (tmp_path / "training.svg").read_text()
    assert all(f">{label}<" in picture for label in ("kept", "most accurate", "lowest loss"))


# ------------------------------------------------------------------ a training


def _rolled(teacher: nn.Module) -> Tiny:
    """A teacher that takes each class for the next: who learns from it answers wrongly, with a falling loss."""
    assert isinstance(teacher, Tiny)
    wrong = copy.deepcopy(teacher)
    with torch.no_grad():
        wrong.head.weight.copy_(wrong.head.weight.roll(1, 0))
        wrong.head.bias.copy_(wrong.head.bias.roll(1, 0))
    return wrong


@pytest.mark.parametrize("guard", ["accuracy", "none"])
def test_a_student_that_learns_what_is_wrong_is_not_kept_unless_that_is_allowed(
    quantized: Student, teacher: nn.Module, guard: Guard
) -> None:
    student, events = copy.deepcopy(quantized), list[Event]()
    accuracy = evaluate(student, Shuffled()).accuracy
    section = {"epochs": 3, "task": None, "membrane": None, "best": "loss", "guard": guard}
    spec = DistillSpec.model_validate(section)
    distill(
        student, teacher=_rolled(teacher), train=Shuffled(), validate=Shuffled(), spec=spec, settings=FAST,
        progress=events.append,
    )  # fmt: skip
    records = [event for event in events if isinstance(event, EpochRecord)]
    totals = [record.validation_total for record in records]
    assert accuracy > 0.9 and records[-1].validation_accuracy < accuracy - 0.1
    assert totals[0] is not None and totals[-1] is not None and totals[-1] < totals[0]
    kept = best_epoch(records, choice_of(spec))
    assert evaluate(student, Shuffled()).accuracy == kept.validation_accuracy
    assert is_less_accurate(records[-1], records[0])
    if guard == "accuracy":
        assert kept is not records[-1] and not is_less_accurate(kept, records[0])
    else:
        assert kept is records[-1]

"""`distill.membrane.epochs`: membranes are learned from in the first epochs, and shown in all."""

from __future__ import annotations

import copy

import pytest
from torch import nn

from mdcompress.recipe import DistillSpec, MembraneLossSpec
from mdcompress.student import Student
from mdcompress.training import EpochRecord, distill
from tests.support.training_cases import FAST, Shuffled, assert_same_state, state_of

FIRST = MembraneLossSpec(weight=10.0, epochs=1)


def trained(
    student: Student, teacher: nn.Module, membrane: MembraneLossSpec | None, *, epochs: int = 2
) -> tuple[Student, list[EpochRecord]]:
    records: list[EpochRecord] = []
    found, spec = copy.deepcopy(student), DistillSpec(epochs=epochs, membrane=membrane, best="loss", guard="none")
    distill(
        found, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, settings=FAST,
        progress=lambda event: records.append(event) if isinstance(event, EpochRecord) else None,
    )  # fmt: skip
    return found, records


@pytest.mark.slow
def test_the_sum_has_membranes_in_their_epochs_and_none_on_validation(quantized: Student, teacher: nn.Module) -> None:
    _, (start, first, second) = trained(quantized, teacher, FIRST)
    for record, weight in ((first, 10.0), (second, 0.0)):
        parts = record.losses
        assert parts["membrane"] > 0
        expected = parts["task"] + 4 * parts["logits"] + weight * parts["membrane"]
        assert parts["total"] == pytest.approx(expected, rel=1e-5)
    _, (plain, *_) = trained(quantized, teacher, None)
    assert start.validation[0].total == pytest.approx(plain.validation[0].total, rel=1e-6)


@pytest.mark.slow
def test_an_epoch_with_membranes_is_the_one_without_a_limit_and_one_without_that_of_none(
    quantized: Student, teacher: nn.Module
) -> None:
    """The rate of a step depends on how many epochs there are: 2 each."""
    limited, all_of_them, none = (
        trained(quantized, teacher, membrane)[1]
        for membrane in (FIRST, FIRST.model_copy(update={"epochs": None}), None)
    )
    assert limited[1].losses == all_of_them[1].losses != none[1].losses
    assert limited[2].losses["total"] != all_of_them[2].losses["total"]
    whole, beside = (trained(quantized, teacher, FIRST.model_copy(update={"epochs": each}))[0] for each in (2, None))
    assert_same_state(whole, state_of(beside))

"""One teacher for several T: what is trained on which steps, and what the page tells."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import versatile_teacher
from benchmarks.experiment_runs import print_page, run_units
from benchmarks.experiment_store import Result, Store
from benchmarks.experiment_students import FirstSteps, Workplace, key_of
from benchmarks.versatile_teacher import (
    ONE_FOR_ALL,
    VERSATILE,
    page,
    planned,
    student_name,
    tasks_of,
    teacher_name,
)
from mdcompress.data.batches import StoredBatches
from tests.support.experiment_cases import write_recipe
from tests.support.training_cases import T

ROW = Result("", "versatile", "mnist", "4bit", "", 0, (), {4: 0.0}, {4: 0.0}, 1.0, "2 shared cores")


def row(variant: str, seed: int, tests: dict[int, float]) -> Result:
    return replace(ROW, key=f"{variant} {seed}", variant=variant, seed=seed, test=tests)


def test_first_steps_cuts_time_and_nothing_else() -> None:
    x, y = torch.arange(24.0).reshape(4, 3, 2), torch.tensor([0, 1, 2])
    cut = FirstSteps(StoredBatches([(x, y)]), 2)
    cut.set_epoch(3)
    for batches in (cut, cut.first(3, seed=0)):
        ((seen, labels),) = list(batches)
        assert torch.equal(seen, x[:2]) and torch.equal(labels, y) and len(batches) == 1


def test_students_of_one_t_differ_in_their_teacher_alone() -> None:
    tasks = {(task.kind, task.variant): task for task in tasks_of("4bit", ())}
    assert len(tasks) == 4 + 3 + 3 + 2 + 1
    assert tasks["teacher", VERSATILE].of_seed(0).teacher.time_steps == (1, 2, 4)
    for steps in (1, 2):
        own, plain, versatile = (
            tasks["student", student_name(steps, teacher)]
            for teacher in (teacher_name(steps), teacher_name(4), VERSATILE)
        )
        assert own.of_seed(3) == plain.of_seed(3)
        assert own.of_seed(3).distill == versatile.of_seed(3).distill
        assert own.of_seed(3).distill.time_steps == (steps,) and own.of_seed(3).teacher.time_steps is None
        assert (own.input_steps, plain.input_steps, versatile.input_steps) == (steps, None, None)
    for steps in (1, 2, 4):
        assert key_of(tasks["teacher", teacher_name(steps)], 0) != key_of(tasks["teacher", VERSATILE], 0)
    assert tasks["student", ONE_FOR_ALL].of_seed(0).distill.time_steps == (1, 2, 4)


def test_all_networks_are_trained_measured_at_their_steps_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versatile_teacher, "STEPS", (1, T))
    monkeypatch.setattr(versatile_teacher, "LONGEST", T)
    recipes = [write_recipe(tmp_path, setting="4bit", bits=4)]
    units = planned(Namespace(recipes=recipes, seeds=[0], changes=["teacher.epochs=1"]))
    place = Workplace(None, tmp_path / "work", Store(tmp_path / "results.jsonl"))
    run_units(units, place, processes=1)
    found = {result.variant: result for result in place.store.results().values()}
    assert {name: tuple(result.test) for name, result in found.items()} == {
        VERSATILE: (1, T), teacher_name(1): (1,), teacher_name(T): (T,), ONE_FOR_ALL: (1, T),
        student_name(1, VERSATILE): (1,), student_name(T, VERSATILE): (T,), student_name(1, teacher_name(1)): (1,),
        student_name(T, teacher_name(T)): (T,), student_name(1, teacher_name(T)): (1,),
    }  # fmt: skip
    assert len(list((tmp_path / "work").iterdir())) == 3  # the versatile teacher and one for each T
    exact = [result.exactness for result in found.values() if result.exactness is not None]
    assert len(exact) == 6 and not any(each.differing for each in exact)
    capsys.readouterr()
    print_page(units, place, page, command="the command")
    assert "All of the plan is done." in capsys.readouterr().out


def test_the_page_compares_students_of_one_t_and_seed_by_hand() -> None:
    """T = 1: from the versatile teacher 1 and 3 points better: mean 2, s = 1.414, half width 12.706."""
    rows = [row(student_name(1, teacher_name(1)), seed, {1: 50.0}) for seed in (0, 1)]
    rows += [row(student_name(1, VERSATILE), 0, {1: 51.0}), row(student_name(1, VERSATILE), 1, {1: 53.0})]
    rows += [row(student_name(1, teacher_name(4)), 0, {1: 40.0})]
    rows += [row(student_name(4, teacher_name(4)), 0, {4: 60.0}), row(student_name(4, VERSATILE), 0, {4: 60.5})]
    rows += [row(VERSATILE, 0, {1: 52.0, 2: 56.0, 4: 61.0}), row(ONE_FOR_ALL, 0, {1: 49.0, 2: 55.0, 4: 59.0})]
    text = page(rows, missing=2, command="x")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "| mnist | 1 | +2.00 ± 12.71 (n = 2) | -1.00 ± ? (n = 1) | -10.00 ± ? (n = 1) |" in lines
    assert "| mnist | 4 | +0.50 ± ? (n = 1) | -1.00 ± ? (n = 1) | itself |" in lines
    assert "| mnist | 2 | - | - | 56.00 ± 0.00 | - | - | 55.00 ± 0.00 |" in lines
    assert "**2 networks of the plan are not done yet.**" in text

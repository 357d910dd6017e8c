"""Four bits beside a teacher trained to the end: the plan, that it is the shipped recipe, what the page tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.experiment_store import Exactness, Result
from benchmarks.experiment_students import key_of, teachers_recipe
from benchmarks.four_bits import (
    CALIBRATED,
    DISTILLED,
    LABELS,
    LONGER,
    RECIPE,
    SEEDS,
    TEACHER,
    differences,
    page,
    planned,
)
from mdcompress.recipe import load_recipe

ROW = Result("", "four_bits", "cifar10_same", "4bit", "", 0, (), {4: 50.0}, {4: 0.0}, 1.0, "2 cores")


def rows(variant: str, *accuracies: float) -> list[Result]:
    """One for each seed, counted from 1; students have been compared with their graphs."""
    exact = None if variant in (TEACHER, LONGER) else Exactness(10, 1000, 0, 0)
    return [
        replace(ROW, variant=variant, seed=seed, test={4: accuracy}, exactness=exact)
        for seed, accuracy in enumerate(accuracies, 1)
    ]


TEACHERS = rows(TEACHER, 57.0, 58.0)


def test_students_are_those_of_the_shipped_recipe() -> None:
    own, shipped = load_recipe(RECIPE), load_recipe("4bit")
    assert (own.quantize, own.distill, own.train) == (shipped.quantize, shipped.distill, shipped.train)
    data = {"name": shipped.data.name}
    assert own.data.model_copy(update=data) == shipped.data


def test_every_network_is_planned_once_and_students_share_their_teacher() -> None:
    units = planned()
    tasks = [(task, unit.seed) for unit in units for task in unit.tasks]
    keys = [key_of(task, seed) for task, seed in tasks]
    assert len(set(keys)) == len(keys) == 5 * len(SEEDS)
    longer = {task.of_seed(1).teacher.epochs for task, _ in tasks if task.variant == LONGER}
    others = {task.of_seed(1).teacher.epochs for task, _ in tasks if task.variant != LONGER}
    assert len(others) == 1 and longer == {2 * others.pop()}
    data = {teachers_recipe(task.of_seed(seed)).data.name for task, seed in tasks}
    assert data == {"benchmarks.same_data:cifar10_same_teacher"}
    assert [task.variant for task, _ in tasks[-len(SEEDS) :]] == [LONGER] * len(SEEDS)  # no student waits for them


def test_differences_are_of_seeds_that_have_both() -> None:
    students = rows(DISTILLED, 57.5, 57.0, 60.0)
    assert differences([*TEACHERS, *students], DISTILLED, TEACHER) == [0.5, -1.0]
    assert differences(students, DISTILLED, TEACHER) == []


@pytest.mark.parametrize(
    ("students", "verdict"),
    [
        ((56.4, 57.6), "-0.50 ± 1.27 (n = 2) points. Bar (-0.5): reached."),
        ((56.0, 57.6), "Bar (-0.5): **not reached**"),
    ],
)
def test_the_bar_is_of_the_mean_of_the_recipes_students(students: tuple[float, float], verdict: str) -> None:
    others = [*rows(LABELS, 56.0, 57.0), *rows(CALIBRATED, 55.0, 56.0)]
    assert verdict in page([*TEACHERS, *rows(DISTILLED, *students), *others], missing=0, command="x")


@pytest.mark.parametrize(("longer", "verdict"), [((57.2, 58.2), "they are trained to the end"),
                                                 ((57.4, 58.4), "they are **not trained to the end**")])  # fmt: skip
def test_teachers_are_trained_to_the_end_where_more_epochs_gain_little(
    longer: tuple[float, float], verdict: str
) -> None:
    assert verdict in page([*TEACHERS, *rows(LONGER, *longer)], missing=0, command="x")


def test_the_page_says_what_is_missing_and_what_was_compared() -> None:
    text = page([*TEACHERS, *rows(DISTILLED, 57.0, 57.5), *rows(LABELS, 56.0, 57.0)], missing=3, command="x")
    assert "**3 networks of the plan are not done yet.**" in text
    assert "4 students: 4,000 values, 0 batches differ" in text
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {DISTILLED}")]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == [
        "57.25 ± 0.35", "-0.25 ± 3.18 (n = 2)", "57.00 57.50"
    ]  # fmt: skip

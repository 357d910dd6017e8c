"""Defaults of the recipes of few bits: what is planned, what counts as a cluster, which change the rule takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.experiment_comparisons import Comparison
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import key_of, teachers_recipe
from benchmarks.recipe_defaults import CHANGES, SEEDS, SHIPPED, best, comparisons, page, planned

ROW = Result("", "defaults", "mnist_tuning", "2bit", SHIPPED, 0, (), {4: 0.0}, {4: 0.0}, 1.0, "2 cores")


def rows(variant: str, accuracies: dict[tuple[str, int, str], float]) -> list[Result]:
    """Keys: data set, seed, recipe."""
    return [
        replace(ROW, variant=variant, group=f"{data}_tuning", seed=seed, setting=recipe, test={4: accuracy})
        for (data, seed, recipe), accuracy in accuracies.items()
    ]


# differences of the clusters, means of two recipes: 2, 3, 4 points; the last has but one recipe of the change
SHIPPED_ROWS = rows(
    SHIPPED,
    {
        ("mnist", 1, "2bit"): 80.0, ("mnist", 1, "ternary"): 80.0,
        ("mnist", 2, "2bit"): 80.0, ("mnist", 2, "ternary"): 81.0,
        ("nmnist", 1, "2bit"): 70.0, ("nmnist", 1, "ternary"): 71.0,
        ("nmnist", 2, "2bit"): 70.0, ("nmnist", 2, "ternary"): 71.0,
    },
)  # fmt: skip
CHANGED_ROWS = rows(
    "rate 2e-3",
    {
        ("mnist", 1, "2bit"): 83.0, ("mnist", 1, "ternary"): 81.0,
        ("mnist", 2, "2bit"): 83.0, ("mnist", 2, "ternary"): 84.0,
        ("nmnist", 1, "2bit"): 74.0, ("nmnist", 1, "ternary"): 75.0,
        ("nmnist", 2, "2bit"): 50.0,
    },
)  # fmt: skip


def test_every_student_has_a_key_of_its_own() -> None:
    """2 data sets x 2 recipes x 10 trainings x 5 seeds, each beside the teacher of its data set and seed."""
    units = planned()
    keys = [key_of(task, unit.seed) for unit in units for task in unit.tasks]
    assert len(set(keys)) == len(keys) == 2 * 2 * len(CHANGES) * len(SEEDS)
    teachers = {teachers_recipe(task.of_seed(unit.seed)).data.name for unit in units for task in unit.tasks}
    assert teachers == {
        "benchmarks.recipe_defaults_data:mnist_teacher",
        "benchmarks.recipe_defaults_data:nmnist_teacher",
    }


def test_a_cluster_is_the_mean_over_both_recipes() -> None:
    (found,) = comparisons([*SHIPPED_ROWS, *CHANGED_ROWS])
    assert found.variant == "rate 2e-3"
    assert found.differences == (2.0, 3.0, 4.0)
    assert found.corrected == pytest.approx(0.0352, abs=1e-3)  # t = 3 / (1 / sqrt 3) = 5.196, 2 degrees of freedom


def test_the_rule_takes_the_highest_mean_where_it_is_significant() -> None:
    small, large = Comparison("small", (0.1, 0.2), 0.01), Comparison("large", (1.0, 2.0), 0.04)
    assert best([small, large]) == "large"
    assert best([small, replace(large, corrected=0.06)]) == SHIPPED  # not the second best in its place
    assert best([Comparison("worse", (-2.0, -1.0), 0.01)]) == SHIPPED
    assert best([]) == SHIPPED


def test_the_page_says_what_is_missing_and_what_follows() -> None:
    text = page([*SHIPPED_ROWS, *CHANGED_ROWS], missing=3, command="command")
    assert "**3 students of the plan are not done yet.**" in text
    assert "**By this rule the default is: rate 2e-3.**" in text
    assert "+3.00 ± 2.48 (n = 3)" in text  # 4.303 * 1 / sqrt 3
    assert "80.00 ± 0.00" in text

"""Other ways to compare membranes: equal trials, what is taken from the search, what counts as a cluster, the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.experiment_store import Result
from benchmarks.experiment_students import key_of
from benchmarks.membrane_ideas import (
    ALONE,
    ALONE_AT_2,
    COMPARED,
    IDEAS,
    LAST_LAYER,
    SEARCH_SEEDS,
    SEARCHED,
    SEEDS,
    WAYS,
    Found,
    candidates,
    compared,
    comparisons,
    page,
    search_results,
    searched,
    taken,
)

ROW = Result("", "membrane_ideas", "mnist_less_tuning", "2bit", "", 0, (), {4: 0.0}, {4: 0.0}, 1.0, "2 cores")
FIRST = "distributions (emd)"
AT_2 = "each potential (mse), T = 2 of a teacher of 4"


def rows(name: str, *accuracies: tuple[int, str, float]) -> list[Result]:
    """Each: seed, setting, accuracy."""
    return [
        replace(ROW, variant=name, seed=seed, setting=setting, test={4: accuracy})
        for seed, setting, accuracy in accuracies
    ]


ROWS = [
    *rows(ALONE, (1, "2bit", 80.0), (1, "ternary", 70.0), (2, "2bit", 80.0), (2, "ternary", 70.0), (3, "2bit", 80.0)),
    *rows(FIRST, (1, "2bit", 82.0), (1, "ternary", 72.0), (2, "2bit", 83.0), (2, "ternary", 75.0), (3, "2bit", 0.0)),
]


def test_each_way_has_as_many_trials_and_each_student_a_key_of_its_own() -> None:
    assert len({len(candidates(way)) for way in WAYS.values()}) == 1
    units = searched()
    keys = {key_of(task, unit.seed) for unit in units for task in unit.tasks}
    assert len(keys) == sum(len(unit.tasks) for unit in units) == 2 * len(SEARCH_SEEDS) * 4 * len(WAYS)
    assert not set(SEARCH_SEEDS) & set(SEEDS)


def test_no_student_reads_the_test_part() -> None:
    names = {task.of_seed(unit.seed).data.name for unit in searched() for task in unit.tasks}
    assert all(name.endswith("_tuning") for name in names)


def test_ideas_learn_from_answers_and_membranes_and_what_they_stand_beside_from_answers() -> None:
    (unit, *_) = searched()
    for task in unit.tasks:
        name = task.variant.partition(": ")[0]
        distill = task.of_seed(unit.seed).distill
        assert distill.logits is not None and (distill.membrane is not None) == (name in IDEAS)
        assert distill.time_steps == ((2,) if name in (ALONE_AT_2, AT_2) else None)
        if name == "last layer alone":
            assert distill.membrane is not None and distill.membrane.match == LAST_LAYER
        if name == "first half of the epochs":
            assert distill.membrane is not None and distill.membrane.epochs == distill.epochs / 2
    assert WAYS[AT_2].beside == ALONE_AT_2


def test_the_candidate_of_the_highest_mean_is_taken_on_each_data_set_and_of_equal_ones_the_first() -> None:
    found = [
        Found("mnist", ALONE, ("a",), (80.0, 70.0)),
        Found("mnist", ALONE, ("b",), (76.0, 75.0)),
        Found("mnist", ALONE, ("c",), (75.0, 76.0)),
        Found("nmnist", ALONE, ("c",), (60.0, 60.0)),
    ]
    assert {key: each.candidate for key, each in taken(found).items()} == {
        ("mnist", ALONE): ("b",), ("nmnist", ALONE): ("c",)
    }  # fmt: skip


def test_the_comparison_waits_for_the_whole_search_and_has_what_was_taken() -> None:
    tasks = [(task, unit.seed) for unit in searched() for task in unit.tasks]
    results = {
        key_of(task, seed): replace(ROW, key=key_of(task, seed), seed=seed, test={4: float(place % 7)})
        for place, (task, seed) in enumerate(tasks)
    }
    found = search_results(results)
    units = compared(found)
    assert len(units) == 2 * len(SEEDS)
    best = taken(found)
    for unit in units:
        assert [(setting, name) for setting in COMPARED for name in WAYS] == [
            (task.of_seed(0).name.rpartition("_")[2], task.variant) for task in unit.tasks
        ]
        assert all(set(best[unit.group, task.variant].candidate) <= set(task.changes) for task in unit.tasks)
    assert SEARCHED in COMPARED
    results.popitem()
    assert compared(search_results(results)) == ()


def test_a_cluster_is_the_mean_of_both_settings_where_both_are_there() -> None:
    (found,) = comparisons(ROWS)
    assert (found.variant, found.differences) == (FIRST, (2.0, 4.0))
    assert found.corrected == pytest.approx(0.2048, abs=1e-3)  # t = 3 / (sqrt 2 / sqrt 2) = 3, one degree of freedom


def test_the_page_names_what_adds_to_logits() -> None:
    clusters = [(seed, bits) for seed in (1, 2, 3) for bits in COMPARED]
    given = [
        *rows(ALONE, *((*each, 80.0) for each in clusters)),
        *rows(FIRST, *((*each, 81.0 + each[0]) for each in clusters)),
    ]
    less = [*given, *rows(IDEAS[0], *((*each, 79.0 - 0.01 * each[0]) for each in clusters))]
    text = page([], less, missing=0, command="x")
    assert f"these add to logits: {FIRST} (+3.00 ± 2.48 (n = 3) points).**" in text


def test_the_page_says_what_was_found_and_what_is_missing() -> None:
    text = page([Found("mnist", ALONE, ("a",), (80.0, 70.0))], ROWS, missing=4, command="x")
    assert "**4 students of the plan are not done yet.**" in text
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {FIRST}") and "±" in line and "n =" in line]
    assert "+3.00 ± 12.71 (n = 2)" in line
    assert "**After correction for 8 no idea is shown to add to logits.**" in text
    assert "75.00 ± 7.07" in text and "taken" in text

"""Energy against accuracy: what is planned, which price is chosen, what the page tells, and what a student costs."""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.experiment_costs import ENERGIES, EVENTS, GATED, OPERATIONS, RATE, SHIPPED, costs
from benchmarks.experiment_store import Exactness, Result
from benchmarks.experiment_students import key_of
from benchmarks.sparsity_energy import (
    COSTS,
    RECIPES,
    SEEDS,
    WEIGHTS,
    WITHOUT,
    baseline,
    chosen,
    page,
    planned,
    tasks_of,
)
from mdcompress.data.batches import StoredBatches
from mdcompress.student import Student
from tests.support.training_cases import Shuffled

ROW = Result(
    "", "sparsity", "nmnist", "4bit", "", 0, (), {4: 0.0}, {4: 0.0}, 1.0, "2 shared cores",
    exactness=Exactness(10, 1000, 0, 0),
)  # fmt: skip


def row(variant: str, seed: int, *, validation: float, test: float, cost: float = 1.0) -> Result:
    figures = dict.fromkeys((OPERATIONS, RATE, *ENERGIES), cost)
    return replace(
        ROW,
        key=f"{variant} {seed}",
        variant=variant,
        seed=seed,
        validation={4: validation},
        test={4: test},
        costs=figures,
    )


ROWS = (
    row(WITHOUT[0], 0, validation=90.0, test=88.0),
    row(WITHOUT[0], 1, validation=90.0, test=86.0),
    row(WITHOUT[1], 0, validation=91.0, test=87.0, cost=2.0),
    row(WITHOUT[1], 1, validation=90.0, test=87.0, cost=2.0),
    row("w = 3", 0, validation=90.0, test=87.5, cost=1.0),
    row("w = 3", 1, validation=90.5, test=88.5, cost=1.0),
    row("w = 10", 0, validation=90.1, test=87.0, cost=0.5),  # its mean is 90.2, 0.3 under the best without
    row("w = 10", 1, validation=90.3, test=87.2, cost=0.5),
    row("w = 30", 0, validation=90.5, test=90.0, cost=0.1),
    row("w = 30", 1, validation=89.0, test=90.0, cost=0.1),
)


def by_variant() -> dict[str, list[Result]]:
    return {
        variant: [each for each in ROWS if each.variant == variant]
        for variant in dict.fromkeys(r.variant for r in ROWS)
    }


def test_the_largest_price_is_chosen_that_costs_no_validation_accuracy_whatever_the_test_says() -> None:
    assert baseline(by_variant()) == WITHOUT[1]
    assert chosen(by_variant(), "network") == "w = 10"
    assert chosen(by_variant(), "operations") == WITHOUT[1]
    costly = {**by_variant(), "w = 3": [row("w = 3", 0, validation=80.0, test=99.0)]}
    del costly["w = 10"]
    assert chosen(costly, "network") == WITHOUT[1]


def test_the_page_tells_accuracy_and_cost_beside_the_training_without() -> None:
    """Seeds differ by 0.0 and +0.2 points: 0.1 ± 12.706 * 0.1414 / sqrt(2); every cost is a quarter."""
    text = page(ROWS, missing=3, command="python -m x page")
    assert "**3 students of the plan are not done yet.**" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| nmnist")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["nmnist", "w = 10", WITHOUT[1], "+0.10 ± 1.27 (n = 2)", *["-75.0 %"] * len(COSTS)]
    assert "10 students: 10,000 values, 0 batches differ" in text


def test_the_bar_is_cleared_by_less_cost_at_equal_accuracy_on_two_data_sets() -> None:
    """N-MNIST clears it; a second one too, unless the student of the choice is 0.4 points less accurate on test."""
    second = tuple(replace(each, group="digits") for each in ROWS)
    worse = tuple(replace(each, test={4: 86.6}) if each.variant == "w = 10" else each for each in second)
    for rows, line in (
        (ROWS, "| nmnist | no"),
        ((*ROWS, *second), "| nmnist, digits | yes"),
        ((*ROWS, *worse), "| nmnist | no"),
    ):
        text = [re.sub(" +", " ", each) for each in page(rows, missing=0, command="x").splitlines()]
        found = [each for each in text if each.startswith(f"| network | {OPERATIONS} |")]
        assert [each.removesuffix(" |") for each in found] == [f"| network | {OPERATIONS} {line}"]


def test_every_data_set_has_its_seeds_in_turn() -> None:
    units = planned(RECIPES, ())
    assert [(unit.group, unit.seed) for unit in units[:5]] == [
        ("digits", 1), ("nmnist", 1), ("cifar10", 1), ("cifar10_same", 1), ("digits", 2)
    ]  # fmt: skip
    assert {group: tuple(unit.seed for unit in units if unit.group == group) for group in SEEDS} == SEEDS
    assert [unit.seed for unit in planned(RECIPES[:1], (7,))] == [7]


def test_students_differ_in_the_price_and_the_rate_alone() -> None:
    tasks = {task.variant: task for task in tasks_of("benchmarks/recipes/nmnist_4bit.yaml")}
    prices = [f"w = {weight}" for weight in WEIGHTS["network"]]
    assert [*tasks] == [*WITHOUT, *prices, *(f"per operations, w = {weight}" for weight in WEIGHTS["operations"])]
    assert len({key_of(task, 0) for task in tasks.values()}) == len(tasks)
    plain, priced = (tasks[name].of_seed(2) for name in (WITHOUT[1], "w = 10"))
    assert priced.distill.sparsity is not None and priced.distill.sparsity.weight == 10
    assert priced.distill.sparsity.per == "network"
    counted = tasks["per operations, w = 10"].of_seed(2).distill.sparsity
    assert counted == priced.distill.sparsity.model_copy(update={"per": "operations"})
    assert priced.distill.model_copy(update={"sparsity": None}) == plain.distill
    assert priced.train == plain.train != tasks[WITHOUT[0]].of_seed(2).train
    assert [*dict.fromkeys(task.variant for task in tasks_of("4bit"))] == [WITHOUT[1], *[*tasks][2:]]


def test_what_a_student_costs_is_of_its_own_spikes(quantized: Student) -> None:
    """Skipping idle arrays costs no more than reading them; only what is asked for is given."""
    batches = StoredBatches([(x, y) for x, y in Shuffled()])
    found = costs(quantized, batches, steps=3, names=(OPERATIONS, RATE, *ENERGIES))
    assert found[RATE] > 1 and found[OPERATIONS] > 0
    for name in SHIPPED:
        assert 0 < found[f"{name}{GATED}"] <= found[name]
    assert 0 < found[EVENTS] < found["sram_digital"]
    shorter = costs(quantized, batches, steps=1, names=(OPERATIONS,))
    assert [*shorter] == [OPERATIONS] and 0 < shorter[OPERATIONS] < found[OPERATIONS]

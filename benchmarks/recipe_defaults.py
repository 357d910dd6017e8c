"""Whether the shipped recipes of 2 bits and ternary weights should have other settings of training; resumable.

    python -m benchmarks recipe_defaults run --store STORE --data-folder FOLDER
    python -m benchmarks recipe_defaults page --store STORE > docs/results/recipe_defaults.md

(from the checkout, with OMP_NUM_THREADS=1; STORE: docs/results/recipe_defaults.jsonl.) The plan, fixed before a student
was trained:

- `2bit` and `ternary` as shipped (10 epochs; first and last layer at 8 bits), on MNIST and N-MNIST at half the
  resolution: students have all samples of their teacher, which was trained for 160 epochs.
- Nine changes of rate, weights of losses and choice of the epoch beside what was shipped then, seeds 3000 to 3004,
  scored on samples for tuning that no training and no choice of an epoch sees. No test part is read.
- A cluster is a data set and a seed; its value is the mean over both recipes of the paired difference to what is
  shipped. The change with the highest mean becomes the default if its p-value (Student's t, ten clusters) is below 0.05
  after Holm's correction for nine; else what is shipped stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.confirmatory_design import TEACHER_RATE
from benchmarks.experiment_comparisons import Comparison, compared_by_cluster
from benchmarks.experiment_runs import Unit, experiment_parser, origin, run_or_print, units_of
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import TUNING, Task
from mdcompress.pipeline.report import table

RECIPES = ("2bit", "ternary")
DATA_SETS = ("mnist", "nmnist")
SEEDS = (3000, 3001, 3002, 3003, 3004)
EXPERIMENT = "defaults"
TEACHER_EPOCHS = 160
SIGNIFICANT = 0.05
SHIPPED = "as shipped"  # when the plan was made
SHIPPED_THEN = ("train.optimizer.lr=5e-4", "distill.membrane.weight=10")
CHANGES: Mapping[str, tuple[str, ...]] = {
    SHIPPED: (),
    "rate 2e-3": ("train.optimizer.lr=2e-3",),
    "rate 5e-3": ("train.optimizer.lr=5e-3",),
    "rate 2e-3, most accurate epoch": ("train.optimizer.lr=2e-3", "distill.best=accuracy"),
    "rate 2e-3, membrane 1": ("train.optimizer.lr=2e-3", "distill.membrane.weight=1"),
    "rate 5e-3, membrane 1": ("train.optimizer.lr=5e-3", "distill.membrane.weight=1"),
    "rate 2e-3, membrane 0.1": ("train.optimizer.lr=2e-3", "distill.membrane.weight=0.1"),
    "rate 2e-3, logits alone": ("train.optimizer.lr=2e-3", "distill.membrane=null"),
    "rate 5e-3, logits alone": ("train.optimizer.lr=5e-3", "distill.membrane=null"),
    "rate 2e-3, labels alone": ("train.optimizer.lr=2e-3", "distill.membrane=null", "distill.logits=null"),
}


def planned() -> tuple[Unit, ...]:
    """Every student, the first seed of each data set first."""
    tasks = [
        Task("student", EXPERIMENT, recipe, variant, (*_on(data, recipe), *SHIPPED_THEN, *changes))
        for data in DATA_SETS
        for recipe in RECIPES
        for variant, changes in CHANGES.items()
    ]
    return units_of(tasks, SEEDS)


def _on(data: str, recipe: str) -> tuple[str, ...]:
    """What makes a shipped recipe one of a data set."""
    return (
        f"name={data}_{recipe}",
        f"model.builder=benchmarks.confirmatory_networks:{data}",
        f"data.name=benchmarks.recipe_defaults_data:{data}{TUNING}",
        f"teacher.epochs={TEACHER_EPOCHS}",
        f"teacher.optimizer.lr={TEACHER_RATE:g}",
    )


def comparisons(rows: Sequence[Result]) -> tuple[Comparison, ...]:
    """Every change beside what is shipped."""
    return compared_by_cluster(rows, {variant: SHIPPED for variant in CHANGES if variant != SHIPPED}, RECIPES)


def best(found: Sequence[Comparison]) -> str:
    """What the plan makes the default: the highest mean where it is significant, else what is shipped."""
    highest = max(found, key=lambda each: each.mean, default=None)
    if highest is None or highest.mean <= 0 or not highest.corrected < SIGNIFICANT:
        return SHIPPED
    return highest.variant


def page(rows: Sequence[Result], *, missing: int, command: str) -> str:
    """The whole page; `missing` students are planned and not done."""
    found = comparisons(rows)
    return "\n\n".join(
        [
            "# Training of few bits: what the shipped recipes should have",
            origin(rows, missing=missing, command=command),
            _HEAD,
            f"**By this rule the default is: {best(found)}.**",
            "## Beside what is shipped",
            _differences_table(found),
            "## Accuracy",
            _accuracies(rows),
        ]
    )


_HEAD = """\
`2bit` and `ternary` as shipped, on MNIST and N-MNIST at half the resolution (14 x 14 and 17 x 17; networks of
`benchmarks/confirmatory_networks.py`, teachers of 160 epochs, students on all samples of their teacher). Shipped were
rate 5e-4, logits of weight 4, membranes of weight 10, and of the epochs that with the lowest total loss. Accuracies are
in percent of samples for tuning (MNIST 1,000, N-MNIST 200) that neither a training nor the choice of an epoch sees; no
test part is read. Plan and rule stand in `benchmarks/recipe_defaults.py`, which was committed before a student was
trained: a cluster is a data set and a seed, its value the mean over both recipes of the difference to what is shipped;
the change with the highest mean becomes the default where p < 0.05 after Holm's correction."""


def _differences_table(found: Sequence[Comparison]) -> str:
    ordered = sorted(found, key=lambda each: -each.mean)
    rows = [[each.variant, str(paired_interval(each.differences)), f"{each.corrected:.3f}"] for each in ordered]
    header = ["change", "points", "p, corrected"]
    return table(header, rows, numbers=header[1:])


def _accuracies(rows: Sequence[Result]) -> str:
    cells = list(dict.fromkeys((row.group.removesuffix(TUNING), row.setting) for row in rows))
    lines = [
        [
            variant,
            *(
                spread([row.accuracy for row in rows if row.variant == variant and _cell(row) == cell])
                for cell in cells
            ),
        ]
        for variant in CHANGES
    ]
    header = ["training", *(f"{data}, {setting}" for data, setting in cells)]
    return table(header, lines, numbers=header[1:])


def _cell(row: Result) -> tuple[str, str]:
    return row.group.removesuffix(TUNING), row.setting


def main() -> None:
    """Run or print."""
    parser = experiment_parser(__doc__, store="runs/experiments/recipe_defaults.jsonl")
    run_or_print(planned(), parser.parse_args(), page, name="recipe_defaults")


if __name__ == "__main__":
    main()

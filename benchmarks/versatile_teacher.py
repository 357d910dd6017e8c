"""One teacher for students of T = 1, 2, 4, beside teachers of each student's own T; resumable, one command.

    python -m benchmarks versatile_teacher run --data-folder FOLDER --processes 2
    python -m benchmarks versatile_teacher page > docs/results/versatile_teacher.md

(from the checkout, with OMP_NUM_THREADS=1.) For each data set and seed: a versatile teacher, trained for T = 1, 2 and 4
at once (`teacher.time_steps`), and a student of it for each T, calibrated and trained on the first T steps; a teacher
for each T that was trained on the first T steps only, and its student; students of T = 1 and 2 of the teacher that was
trained for T = 4 only; and one student of the versatile teacher that is trained for all T at once. All students have
the same recipe, epochs and seeds, and each starts from the weights of its own teacher. All teachers are trained for
twice the epochs of the recipe: at its epochs networks of one T are not done either.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from benchmarks.distillation_ablation import OTHER_SEEDS, RECIPES
from benchmarks.distillation_ablation import SEEDS as ABLATION_SEEDS
from benchmarks.experiment_runs import Unit, exactness, experiment_parser, origin, run_or_print, units_of
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import Task, group_of
from mdcompress.pipeline.report import table
from mdcompress.recipe import load_recipe

GROUPS = ("mnist", "nmnist", "cifar10")
SETTING = "4bit"
STEPS = (1, 2, 4)
LONGEST = max(STEPS)
ONE_FOR_ALL = "one student for all T"
VERSATILE = "versatile teacher"
EXPERIMENT = "versatile"
TIMES_EPOCHS = 2  # of the recipe's teacher
SEEDS = {**ABLATION_SEEDS, "nmnist": 10}  # its 300 test samples tell little, and a seed of it costs three minutes

By = Mapping[tuple[str, str], Mapping[int, Result]]  # (data set, variant) -> seed -> result


def tasks_of(recipe: str, changes: tuple[str, ...]) -> tuple[Task, ...]:
    """The teachers, then for each T the students of each, and the student for all T."""
    epochs = load_recipe(recipe, changes=changes).teacher.epochs
    changes = (*changes, f"teacher.epochs={TIMES_EPOCHS * epochs}")
    for_all = (*changes, f"teacher.time_steps={list(STEPS)}")
    short = [steps for steps in STEPS if steps < LONGEST]
    return (
        Task("teacher", EXPERIMENT, recipe, VERSATILE, for_all),
        *(Task("teacher", EXPERIMENT, recipe, teacher_name(steps), changes, _seen(steps)) for steps in STEPS),
        *(_student(recipe, for_all, steps, VERSATILE, None) for steps in STEPS),
        *(_student(recipe, changes, steps, teacher_name(steps), _seen(steps)) for steps in STEPS),
        *(_student(recipe, changes, steps, teacher_name(LONGEST), None) for steps in short),
        Task("student", EXPERIMENT, recipe, ONE_FOR_ALL, (*for_all, f"distill.time_steps={list(STEPS)}")),
    )


def teacher_name(steps: int) -> str:
    """`teacher of T = 4`."""
    return f"teacher of T = {steps}"


def student_name(steps: int, teacher: str) -> str:
    """`T = 1 from teacher of T = 4`."""
    return f"T = {steps} from {teacher}"


def _student(recipe: str, changes: tuple[str, ...], steps: int, teacher: str, seen: int | None) -> Task:
    name = student_name(steps, teacher)
    return Task("student", EXPERIMENT, recipe, name, (*changes, f"distill.time_steps=[{steps}]"), seen)


def _seen(steps: int) -> int | None:
    """How many steps of a sample a teacher of its own T sees; None: all."""
    return None if steps == LONGEST else steps


def page(rows: Sequence[Result], *, missing: int, command: str) -> str:
    """The whole page; `missing` networks are planned and not done."""
    found = _sorted(rows)
    return "\n\n".join(
        [
            "# One teacher for students of several T",
            origin(rows, missing=missing, command=command, networks="networks"),
            _HEAD,
            _accuracies(found),
            "## Beside the student of a teacher of its own T",
            _differences(found),
            "## Exactness",
            exactness(rows),
        ]
    )


_HEAD = """\
Students at 4/4/8 bits (recipes `benchmarks/recipes/*_4bit.yaml`). A student of T steps sees the first T of the 4 steps
of a sample, and so does a teacher of its own T. The versatile teacher is one network trained for T = 1, 2 and 4 at once
(`teacher.time_steps: [1, 2, 4]`); the plain teacher of T = 4 has seen all steps only. At each T a network has batch
norms with the statistics of the first T steps of its calibration samples. Samples of each part are those of
[what distillation is worth](distillation.md); CIFAR-10 is JPEG of quality 75. Accuracies in percent of the test part at
the student's T, mean ± standard deviation over the seeds; intervals are 95 % (Student's t) of paired differences over
the seeds.

**All teachers are trained for twice the epochs** of those pages (24 of 20,000 images, 80 of 500 recordings), the ones
of a single T too. A batch is an optimizer step of the versatile teacher at each T: it takes as many steps at each T as
the teacher of that T alone, and the time of the three together.

**One step on the mean of the three losses**, as it was before (commit 4f7b56c), costs the same and learns more slowly.
Students of such teachers stood beside those of teachers of their own T, at T = 1, 2 and 4, at +0.06, +0.18 and +0.21
points on MNIST, -1.93 ± 1.05, -0.60 ± 1.59 and -0.23 ± 1.39 on N-MNIST (ten seeds), +0.10, +0.21 and -0.53 on CIFAR-10.
On N-MNIST's recordings that no training sees (seeds 100 to 103, validation and tuning: 300) float networks of a step at
each T have 88.3, 90.8 and 90.3 % at T = 1, 2 and 4 after 80 epochs; of one step on the mean 87.9, 90.2 and 90.2 % after
160, and 89.3, 89.7 and 91.1 % after 320. On two of these seeds a weight of 3 for the loss at T = 1 (160 epochs), gains
and offsets of batch norm for each T (80) and learning the answers of T = 4 at T = 1 and 2 (80) gained nothing.

**Before each T had statistics of its own**, and with once the epochs, they stood 0.2, 1.8 and 0.6 points lower at T = 1
on MNIST, N-MNIST and CIFAR-10, and students of the plain teacher 0.6, 7.1 and 2.8 (commit 2e4353d)."""


def _accuracies(found: By) -> str:
    header = [
        "data", "T", "teacher of its own T", "its student", VERSATILE, "its student", "student of plain T = 4 teacher",
        ONE_FOR_ALL,
    ]  # fmt: skip
    rows = []
    for group in dict.fromkeys(group for group, _ in found):
        for steps in STEPS:
            columns = (
                teacher_name(steps), student_name(steps, teacher_name(steps)), VERSATILE,
                student_name(steps, VERSATILE), student_name(steps, teacher_name(LONGEST)), ONE_FOR_ALL,
            )  # fmt: skip
            results = [found.get((group, variant), {}) for variant in columns]
            rows.append([group, str(steps), *(spread([row.test[steps] for row in each.values()]) for each in results)])
    return table(header, rows, numbers=header[1:])


def _differences(found: By) -> str:
    header = [
        "data",
        "T",
        "student of versatile teacher, points",
        f"{ONE_FOR_ALL}, points",
        "of plain T = 4 teacher, points",
    ]
    rows = []
    for group in dict.fromkeys(group for group, _ in found):
        for steps in STEPS:
            own = found.get((group, student_name(steps, teacher_name(steps))), {})
            others = (student_name(steps, VERSATILE), ONE_FOR_ALL, student_name(steps, teacher_name(LONGEST)))
            gains = [
                [each[seed].test[steps] - own[seed].test[steps] for seed in each if seed in own]
                for each in (found.get((group, variant), {}) for variant in others)
            ]
            cells = [str(paired_interval(each)) if each else "-" for each in gains]
            rows.append([group, str(steps), *(cells if steps < LONGEST else [*cells[:2], "itself"])])
    return table(header, rows, numbers=header[1:])


def _sorted(rows: Sequence[Result]) -> By:
    found: dict[tuple[str, str], dict[int, Result]] = {}
    for row in rows:
        found.setdefault((row.group, row.variant), {})[row.seed] = row
    return found


# ---------------------------------------------------------------------- command line


def planned(options: argparse.Namespace) -> tuple[Unit, ...]:
    """Every network of the tables, done or not, the first seed of all data sets first."""
    units: list[Unit] = []
    for recipe in options.recipes:
        tasks = tasks_of(recipe, tuple(options.changes))
        group = group_of(tasks[0].of_seed(0))
        units += units_of(tasks, options.seeds or range(SEEDS.get(group, OTHER_SEEDS)))
    return tuple(sorted(units, key=lambda unit: unit.seed))


def main() -> None:
    """Run or print."""
    parser = experiment_parser(__doc__, store="runs/experiments/versatile.jsonl")
    every = [str(RECIPES / f"{group}_{SETTING}.yaml") for group in GROUPS]
    parser.add_argument("--recipes", nargs="+", default=every, help="paths, or names of shipped recipes; T = 4")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help=f"default: as many as {SEEDS}")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a change of every recipe")
    options = parser.parse_args()
    run_or_print(planned(options), options, page, name="versatile_teacher")


if __name__ == "__main__":
    main()

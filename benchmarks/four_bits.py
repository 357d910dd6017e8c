"""Students of the shipped recipe of 4 bits on CIFAR-10 beside float teachers that were trained to the end; resumable.

    python -m benchmarks four_bits run --store STORE --data-folder FOLDER
    python -m benchmarks four_bits page --store STORE > docs/results/four_bits.md

(from the checkout, with OMP_NUM_THREADS=1; STORE: docs/results/four_bits.jsonl.) The plan, fixed before a test accuracy
of its seeds was read:

- `benchmarks/recipes/cifar10_same_4bit.yaml`: all of the shipped recipe `4bit` but its name, network, data and the
  teacher's epochs. Students have all samples of their teacher. Seeds 1 to 5. Epochs and rate of the teacher were
  chosen on samples for tuning of seed 100.
- A teacher of twice as many epochs, of every seed, shows whether the teachers were trained to the end: on test samples
  more epochs gain less than 0.3 points in the mean.
- Beside the recipe's students stand the calibrated ones without any training, and those of labels alone, with as many
  steps.
- The bar: in the mean over the seeds the recipe's students are at most 0.5 points less accurate on test samples than
  their teachers.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.experiment_runs import Unit, exactness, experiment_parser, origin, run_or_print, units_of
from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Result
from benchmarks.experiment_students import Task
from mdcompress.pipeline.report import table
from mdcompress.recipe import load_recipe

RECIPE = "benchmarks/recipes/cifar10_same_4bit.yaml"
SEEDS = (1, 2, 3, 4, 5)
EXPERIMENT = "four_bits"
TEACHER, LONGER = "float teacher", "float teacher, twice the epochs"
CALIBRATED, LABELS, DISTILLED = "calibrated", "labels alone", "as the recipe says"
STUDENTS: dict[str, tuple[str, ...]] = {
    CALIBRATED: ("distill.epochs=0",),
    LABELS: ("distill.logits=null", "distill.membrane=null"),
    DISTILLED: (),
}
CONVERGED = 0.3  # points that more epochs of the teacher may gain
ALLOWED = 0.5  # points that the students may be below their teachers


def planned() -> tuple[Unit, ...]:
    """Every network; the teachers of twice the epochs, which no student needs, come last."""
    students = [Task("student", EXPERIMENT, RECIPE, variant, changes) for variant, changes in STUDENTS.items()]
    twice = f"teacher.epochs={2 * load_recipe(RECIPE).teacher.epochs}"
    return (
        *units_of([Task("teacher", EXPERIMENT, RECIPE, TEACHER), *students], SEEDS),
        *units_of([Task("teacher", EXPERIMENT, RECIPE, LONGER, (twice,))], SEEDS),
    )


def differences(rows: Sequence[Result], variant: str, beside: str) -> list[float]:
    """Points of test accuracy, of each seed that has both."""
    accuracies = {(row.variant, row.seed): row.accuracy for row in rows}
    seeds = [row.seed for row in rows if row.variant == variant and (beside, row.seed) in accuracies]
    return [accuracies[variant, seed] - accuracies[beside, seed] for seed in seeds]


def page(rows: Sequence[Result], *, missing: int, command: str) -> str:
    """The whole page; `missing` networks are planned and not done."""
    return "\n\n".join(
        [
            "# Four bits beside a teacher trained to the end",
            origin(rows, missing=missing, command=command, networks="networks"),
            _HEAD,
            _verdicts(rows),
            "## Accuracy",
            _accuracies(rows),
            "## Exactness",
            exactness(rows),
        ]
    )


_HEAD = """\
The shipped recipe `4bit` (4-bit weights, 8 bits in the first and last layer, 4-bit membranes, 8-bit batch norm; labels,
logits and membranes) on CIFAR-10 at half the resolution (16 x 16; the file's images are JPEGs of quality 75):
accuracies are not comparable with published ones, differences on the same data are. Network:
`zoo.conv_snn(image_size=16, channels=16)`, T = 4. Teacher and students are trained on the same 10,000 images; 2,000
others choose the epoch; all 10,000 test images are read once. Plan and bar stand in `benchmarks/four_bits.py`, which
was committed before that. ± in the table is a standard deviation over the seeds; of differences, the 95 % interval
(Student's t)."""


def _verdicts(rows: Sequence[Result]) -> str:
    longer, below = differences(rows, LONGER, TEACHER), differences(rows, DISTILLED, TEACHER)
    lines = []
    if longer:
        ended = "trained to the end" if statistics.fmean(longer) < CONVERGED else "**not trained to the end**"
        lines.append(
            f"- Twice the epochs give the teachers {paired_interval(longer)} points: they are {ended} (< {CONVERGED})."
        )
    if below:
        reached = "reached" if statistics.fmean(below) >= -ALLOWED else "**not reached**"
        lines.append(f"- Students beside their teachers: {paired_interval(below)} points. Bar ({-ALLOWED}): {reached}.")
    for other in (LABELS, CALIBRATED):
        if found := differences(rows, DISTILLED, other):
            lines.append(f"- Students beside {other}: {paired_interval(found)} points.")
    return "\n".join(lines)


def _accuracies(rows: Sequence[Result]) -> str:
    lines = []
    for variant in (TEACHER, LONGER, *STUDENTS):
        mine = [row for row in rows if row.variant == variant]
        if mine:
            beside = "" if variant == TEACHER else str(paired_interval(differences(rows, variant, TEACHER)))
            each = [f"{row.accuracy:.2f}" for row in mine]
            accuracies = [spread([row.chosen_by for row in mine]), spread([row.accuracy for row in mine])]
            lines.append([variant, *accuracies, beside, " ".join(each)])
    header = ["network", "validation, %", "test, %", "beside its teacher, points", "test, seed by seed"]
    return table(header, lines, numbers=header[1:4])


def main() -> None:
    """Run or print."""
    parser = experiment_parser(__doc__, store="runs/experiments/four_bits.jsonl")
    run_or_print(planned(), parser.parse_args(), page, name="four_bits")


if __name__ == "__main__":
    main()

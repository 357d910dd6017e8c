"""Results of the ablation -> docs/results/distillation.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.distillation_variants import (
    CONTROL,
    EVERY,
    FEW_BITS,
    FEW_BITS_CONTROL,
    FROM_ROUNDING,
    KEPT_WEIGHTS,
    NEAR,
    NEARER,
    ROUNDING,
    STUDENTS,
    TEACHER,
    Decision,
    Variant,
)
from benchmarks.experiment_statistics import Interval, paired_interval, spread
from benchmarks.experiment_store import Result
from mdcompress.pipeline.report import table

TRAINED: tuple[Variant, ...] = ("+ logits", "+ membrane", "+ both")  # what is held against QAT
HARD = 1.0  # points that QAT must lie under the teacher for distillation to have something to win
UP_TO_4_BITS = ("4bit", "2bit", "ternary")


@dataclass(frozen=True)
class Cell:
    """One data set at one setting."""

    group: str
    setting: str


class Results:
    """Results by data set, setting, variant and seed."""

    def __init__(self, rows: Iterable[Result]) -> None:
        self.rows = tuple(rows)
        self._found = {(row.group, row.setting, row.variant, row.seed): row for row in self.rows}

    @property
    def groups(self) -> tuple[str, ...]:
        """The data sets."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The data sets and settings that students have."""
        cells = (Cell(row.group, row.setting) for row in self.rows if row.exactness is not None)
        return tuple(dict.fromkeys(cells))

    def of(self, cell: Cell, variant: str) -> dict[int, Result]:
        """By seed; teachers and controls are those of the data set."""
        setting = "float" if variant in (TEACHER, CONTROL, FEW_BITS_CONTROL) else cell.setting
        wanted = (cell.group, setting, variant)
        return {key[3]: row for key, row in self._found.items() if key[:3] == wanted}

    def control(self, cell: Cell) -> dict[int, Result]:
        """The teacher trained on at the setting's own rate; that of many bits where few bits have no other."""
        own = self.of(cell, FEW_BITS_CONTROL) if cell.setting in FEW_BITS else {}
        return own or self.of(cell, CONTROL)

    def differences(
        self, cell: Cell, variant: str, reference: str, value: Callable[[Result], float]
    ) -> dict[int, float]:
        """value(variant) - value(reference) for each seed that has both."""
        mine, other = self.of(cell, variant), self.of(cell, reference)
        return {seed: value(mine[seed]) - value(other[seed]) for seed in mine if seed in other}


def page(rows: Sequence[Result], decisions: Mapping[str, Sequence[Decision]], *, missing: int, command: str) -> str:
    """The whole page; `missing` networks are planned and not done."""
    results = Results(rows)
    machines = "; ".join(dict.fromkeys(row.machine for row in rows))
    parts = [
        "# What distillation is worth",
        f"`{command}` writes this page from the results of `tune` and `run` with the same options ({machines}). "
        f"{_completeness(missing)}",
        _HEAD,
        "## Settings that were chosen",
        _decisions(decisions),
        "## Teachers",
        _teachers(results),
        "## Accuracy",
        _accuracies(results),
        "## Differences to QAT without distillation",
        _differences(results),
        _pooled(results),
        "## Students at 4 bits, and calibration alone at 8",
        _bars(results),
        "## Membrane mismatch with the teacher",
        _mismatches(results),
        "## From plain rounding",
        _from_rounding(results),
        "## Near to the teacher's membranes",
        _near(results),
        "## Exactness",
        _exactness(results),
        "## Every seed",
        _every_seed(results),
    ]
    return "\n\n".join(parts)


_HEAD = """\
**The question.** A network was trained on much data; its quantized student is fine-tuned on little. On MNIST,
CIFAR-10 and Tiny-ImageNet the float teacher is trained on 20,000 images and students on 1,000 of them, the same for
every variant of a seed; on N-MNIST, of which 1,000 recordings are there for everything, on 500 and 200. Calibration,
too, has at most 512 samples of the student's part alone.

CIFAR-10 and Tiny-ImageNet (50 classes at 32x32) are JPEG of quality 75: figures are not comparable with those published
on the original pixels. Samples of each part are in `benchmarks/experiment_data.py`, networks (small ones) in
`benchmarks/experiment_networks.py`, recipes in `benchmarks/recipes/`. In `2bit` and `ternary` every layer has so many
bits; in `4bit` the first and the last layer have 8. Accuracies are in percent of the test part, mean ± standard
deviation over the seeds; intervals are 95 % (Student's t) of paired differences: same seed, teacher and data. Of each
training the epoch with the best validation is kept, of which epoch 0 is the calibrated student.

**Earlier plans.** With teachers that saw no more than their students (2,000 and 4,000 images), one rate for all
variants, and students scored with running averages in their batch norms, by which accuracy jumped from epoch to epoch,
membrane + logits gained +0.07 ± 0.79 points (9 pairs) over QAT on labels alone (page and results: commit 12cad70).
Before Tiny-ImageNet was measured, and while N-MNIST had MNIST's choices and one set of 600 recordings for teacher and
students, the gain was 0.00 ± 1.77 over 5 settings (commit 916d69b). Before the calibrated student counted as epoch 0 it
was +0.64 ± 0.39 over 18 pairs (commit 2e4353d); the settings were chosen then, and 25 of the 224 students changed."""


def _completeness(missing: int) -> str:
    return "All of the plan is done." if missing == 0 else f"**{missing} networks of the plan are not done yet.**"


def _decisions(decisions: Mapping[str, Sequence[Decision]]) -> str:
    rows = [
        [
            search,
            decision.step.field,
            decision.step.variant,
            " ".join(candidate),
            f"{score:.2f}",
            "chosen" if candidate == decision.chosen else "",
        ]
        for search, made in decisions.items()
        for decision in made
        for candidate, score in decision.scores.items()
    ]
    if not rows:
        return "Nothing was tuned: learning rate, weights, temperature and distance are the recipes' own."
    told = (
        "By mean accuracy on samples of the training part that no training sees, under seeds of their own "
        "(`tune`); each stage with what was chosen before it; less than 0.1 points under the best, the first is "
        "chosen. At 2 bits and ternary every variant has its own rate. Tiny-ImageNet takes what was chosen on CIFAR-10."
    )
    header = ["data", "decides", "variant", "change", "accuracy, %", ""]
    return f"{told}\n\n{table(header, rows, numbers=['accuracy, %'])}"


def _teachers(results: Results) -> str:
    header = ["data", "seeds", "teacher, %", "trained on, %", "difference, points"]
    rows = []
    for group in results.groups:
        cell = Cell(group, "float")
        teachers, controls = results.of(cell, TEACHER), results.of(cell, CONTROL)
        gains = results.differences(cell, CONTROL, TEACHER, _test)
        rows.append([group, str(len(teachers)), _spread(teachers), _spread(controls), _interval(gains.values())])
        few = results.of(cell, FEW_BITS_CONTROL)
        if few:
            comparable = {one.machine for one in few.values()} == {one.machine for one in teachers.values()}
            gains = results.differences(cell, FEW_BITS_CONTROL, TEACHER, _test)
            difference = _interval(gains.values()) if comparable else "-"
            rows.append([f"{group}, few bits", str(len(few)), "", _spread(few), difference])
    told = (
        "`trained on`: on the students' samples, for as many epochs, with their schedule and the rate of QAT; "
        "`few bits`: with that of QAT at 2 bits and ternary, where it is another. Without a difference: run with other "
        "releases than the teachers beside it (top of the page), where the same training gives another teacher, and "
        "that one was trained on."
    )
    return f"{told}\n\n{table(header, rows, numbers=header[2:])}"


def _accuracies(results: Results) -> str:
    variants = (TEACHER, *STUDENTS)
    rows = [
        [cell.group, cell.setting, *(_spread(results.of(cell, variant)) for variant in variants)]
        for cell in results.cells
    ]
    return table(["data", "setting", *variants], rows, numbers=variants)


def _differences(results: Results) -> str:
    header = ["data", "setting", "QAT - teacher", *TRAINED]
    rows = []
    for cell in results.cells:
        gap = results.differences(cell, "QAT", TEACHER, _test)
        gains = [results.differences(cell, variant, "QAT", _test) for variant in TRAINED]
        rows.append([cell.group, cell.setting, *(_interval(each.values()) for each in (gap, *gains))])
    return table(header, rows, numbers=header[2:])


def _pooled(results: Results) -> str:
    """The bar of the experiment, with the settings picked by the test part, as it says, and by the validation part."""
    few = [cell for cell in results.cells if cell.setting in UP_TO_4_BITS]
    rows = []
    for name, value in (("test", _test), ("validation", _validation)):
        hard = [cell for cell in few if _is_hard(results, cell, value)]
        for variant in (*TRAINED, NEAR):
            gains = [list(results.differences(cell, variant, "QAT", _test).values()) for cell in hard]
            means = [statistics.fmean(each) for each in gains if each]
            pooled = [gain for each in gains for gain in each]
            rows.append([name, str(len(hard)), variant, _interval(pooled), _interval(means)])
    header = ["picked by", "settings", "variant", "gain, points", "gain, means of settings"]
    told = (
        f"Mean over the settings of 4 bits and fewer in which QAT lies at least {HARD:g} point under the teacher. "
        "Picked by the test part, a setting in which QAT happened to score low counts, which favours what is held "
        "against it; picked by the validation part, it does not. The last column takes each setting's mean as one "
        f"pair: seeds of a setting are not independent of each other. `{NEAR}`: both parts, and membranes that count "
        "ten times (below)."
    )
    return f"{told}\n\n{table(header, rows, numbers=header[3:])}"


def _is_hard(results: Results, cell: Cell, value: Callable[[Result], float]) -> bool:
    gaps = list(results.differences(cell, "QAT", TEACHER, value).values())
    return bool(gaps) and statistics.fmean(gaps) <= -HARD


def _bars(results: Results) -> str:
    wanted = [("8bit", "calibration only"), *(("4bit", variant) for variant in STUDENTS[1:])]
    rows = [
        [cell.group, setting, variant, _interval(results.differences(cell, variant, TEACHER, _test).values())]
        for setting, variant in wanted
        for cell in results.cells
        if cell.setting == setting
    ]
    header = ["data", "setting", "variant", "student - teacher, points"]
    return table(header, rows, numbers=header[3:])


def _mismatches(results: Results) -> str:
    """Means over the layers of each setting and variant, then the layers of the last variant."""
    header = ["data", "setting", "before", *STUDENTS[1:]]
    rows = []
    for cell in results.cells:
        before = [_mean_layers(row, "before") for row in results.of(cell, STUDENTS[0]).values()]
        after = [_ends(results, cell, variant) for variant in STUDENTS[1:]]
        rows.append([cell.group, cell.setting, *(_mean(each, digits=4) for each in (before, *after))])
    layers = ["data", "setting", "neuron", "before", *STUDENTS[1:]]
    told = (
        "mean ((v_s - v_t) / threshold)² of potentials before reset on validation samples; `before` is after "
        "calibration. First the mean over the layers, then each layer, means over the seeds."
    )
    return "\n\n".join(
        [told, table(header, rows, numbers=header[2:]), table(layers, _layer_rows(results), numbers=layers[3:])]
    )


def _layer_rows(results: Results) -> list[list[str]]:
    rows = []
    for cell in results.cells:
        found = {variant: list(results.of(cell, variant).values()) for variant in STUDENTS}
        names = dict.fromkeys(name for each in found.values() for row in each for name in row.layers or {})
        for name in names:
            before = [row.layers[name].membrane_before for row in found[STUDENTS[0]] if row.layers]
            after = [
                [row.layers[name].membrane_after for row in found[variant] if row.layers] for variant in STUDENTS[1:]
            ]
            rows.append([cell.group, cell.setting, name, *(_mean(each, digits=4) for each in (before, *after))])
    return rows


def _from_rounding(results: Results) -> str:
    """Accuracy and mismatch of rounded students, of calibrated ones, and of each after the same distillation."""
    variants = (FROM_ROUNDING[0], STUDENTS[0], FROM_ROUNDING[1], STUDENTS[-1])
    rows, falls = [], []
    for cell in results.cells:
        mismatch = [_ends(results, cell, variant) for variant in variants]
        found = (results.of(cell, variant).values() for variant in variants)
        accuracy = (_mean([row.accuracy for row in each], digits=2) for each in found)
        rows.append([cell.group, cell.setting, *accuracy, *(_mean(each, digits=4) for each in mismatch)])
        means = [statistics.fmean(each) if each else math.nan for each in mismatch]
        falls.append((means[2] < means[0], means[3] < means[1], means[3] < means[0]))
    header = ["data", "setting", *(f"{name}, %" for name in variants), *(f"mismatch: {name}" for name in variants)]
    first, second, whole = (sum(each) for each in zip(*falls, strict=True)) if falls else (0, 0, 0)
    told = (
        f"Calibration already fits weights, statistics and offsets to the membranes (`{'`, `'.join(ROUNDING)}` switch "
        "it off). What the whole way from plain rounding to the distilled student does to accuracy and mismatch, and "
        "what distillation does from either start; means over the seeds. The mismatch falls by distillation in "
        f"{first} of {len(rows)} settings from plain rounding and in {second} from calibration; from plain rounding to "
        f"the calibrated and distilled student in {whole}."
    )
    return f"{told}\n\n{table(header, rows, numbers=header[2:])}"


def _near(results: Results) -> str:
    """Accuracy and mismatch of students that follow their teacher's membranes, on validation and on test samples."""
    header = [
        "data", "setting", f"{NEAR} - teacher, points", f"{NEAR} - both, points", "mismatch: before", "+ both", NEAR,
        f"of {NEAR}, test samples: before", "after", "share left",
    ]  # fmt: skip
    rows, falls, students, fallen = [], 0, 0, 0
    for cell in results.cells:
        found = results.of(cell, NEAR)
        if not found:
            continue
        gaps = (results.differences(cell, NEAR, other, _test) for other in (TEACHER, STUDENTS[-1]))
        before = [_mean_layers(row, "before") for row in found.values()]
        means = (before, _ends(results, cell, STUDENTS[-1]), _ends(results, cell, NEAR))
        unseen = [row.test_mismatch for row in found.values() if row.test_mismatch is not None]
        first, last = ([pair[when] for pair in unseen] for when in (0, 1))
        left = statistics.fmean(last) / statistics.fmean(first) if unseen else math.nan
        rows.append(
            [
                cell.group,
                cell.setting,
                *(_interval(each.values()) for each in gaps),
                *(_mean(each, digits=4) for each in (*means, first, last)),
                f"{left:.2f}",
            ]
        )
        falls += left < 1.0
        students += len(unseen)
        fallen += sum(end < start for start, end in unseen)
    told = (
        f"Both parts as in the recipes, and `{'`, `'.join(NEARER)}`; at 8 and 4 bits `{'`, `'.join(KEPT_WEIGHTS)}` "
        "besides. **They were not tuned as the others were**: the store has no trial of their rate, of their weight or "
        "of the choice by loss. Kept is the epoch with the lowest loss on validation samples, whatever its accuracy, "
        "so the mismatch is measured on as many test samples too, which chose "
        f"nothing: there its mean over the seeds falls in {falls} of {len(rows)} settings, and that of {fallen} of "
        f"{students} students. The shipped recipes do the same, those of 2 bits and ternary weights at a rate of 5e-4, "
        "and refuse epochs that are less accurate than the calibrated student by more than chance (`distill.guard`)."
    )
    return f"{told}\n\n{table(header, rows, numbers=header[2:])}"


def _exactness(results: Results) -> str:
    header = [
        "data",
        "setting",
        "students",
        "test samples each",
        "values compared",
        "differing batches",
        "silent layers",
    ]
    rows = []
    for cell in results.cells:
        seen = [row.exactness for variant in EVERY for row in results.of(cell, variant).values() if row.exactness]
        samples = ", ".join(f"{count:,}" for count in sorted({each.samples for each in seen}))
        sums = (
            sum(each.values for each in seen),
            sum(each.differing for each in seen),
            sum(each.silent for each in seen),
        )
        rows.append([cell.group, cell.setting, str(len(seen)), samples, *(f"{each:,}" for each in sums)])
    told = (
        "Every spike, membrane and output of every student and test sample beside its exported graph in onnxruntime, "
        "and on the first 256 samples also in the interpreter."
    )
    return f"{told}\n\n{table(header, rows, numbers=header[2:])}"


def _every_seed(results: Results) -> str:
    variants = (TEACHER, CONTROL, *EVERY)
    rows = []
    for cell in results.cells:
        found: dict[str, Mapping[int, Result]] = {variant: results.of(cell, variant) for variant in variants}
        found[CONTROL] = results.control(cell)
        for seed in sorted({seed for each in found.values() for seed in each}):
            figures = (f"{each[seed].accuracy:.2f}" if seed in each else "-" for each in found.values())
            rows.append([cell.group, cell.setting, str(seed), *figures])
    header = ["data", "setting", "seed", *variants]
    return table(header, rows, numbers=header[2:])


def _test(result: Result) -> float:
    return result.accuracy


def _validation(result: Result) -> float:
    return result.chosen_by


def _ends(results: Results, cell: Cell, variant: str) -> list[float]:
    """The mismatch that each seed's student ends with, mean over its layers."""
    return [_mean_layers(row, "after") for row in results.of(cell, variant).values()]


def _mean_layers(result: Result, when: str) -> float:
    layers = (result.layers or {}).values()
    return statistics.fmean(layer.membrane_before if when == "before" else layer.membrane_after for layer in layers)


def _spread(found: Mapping[int, Result]) -> str:
    return spread([row.accuracy for row in found.values()])


def _interval(differences: Iterable[float]) -> str:
    values = list(differences)
    interval: Interval | None = paired_interval(values) if values else None
    return "-" if interval is None else str(interval)


def _mean(values: Sequence[float], *, digits: int) -> str:
    return f"{statistics.fmean(values):.{digits}f}" if values else "-"

"""What the confirmatory experiment compares: data sets, scenarios, settings, variants and their candidates -> tasks.

All are changes of the ablation's recipes, as `--set` takes them, so that every network is a command.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never, get_args

from benchmarks.confirmatory_data import MNIST, NMNIST, Samples
from benchmarks.distillation_variants import NO_LOGITS, NO_MEMBRANE, Changes
from benchmarks.experiment_students import TUNING, Task

Scenario = Literal["less", "same"]  # students on a part of their teacher's samples, or on all of them
Setting = Literal["2bit", "ternary", "4bit_all"]
Trained = Literal["QAT", "+ logits", "+ membrane", "+ both"]
Search = Literal["few", "four"]

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
SETTINGS: tuple[Setting, ...] = get_args(Setting)
TRAINED: tuple[Trained, ...] = get_args(Trained)
SEARCHES: tuple[Search, ...] = get_args(Search)
CALIBRATED, TEACHER = "calibration only", "teacher"
# what a search chooses holds for these settings, in both scenarios
SETTINGS_OF: Mapping[Search, tuple[Setting, ...]] = {"few": ("2bit", "ternary"), "four": ("4bit_all",)}
TUNED_ON: Mapping[Search, Setting] = {"few": "2bit", "four": "4bit_all"}
TUNED_IN: Scenario = "less"
TEACHER_RATE = 2e-2  # of 1e-2 and 2e-2 the one whose teachers were better after 40 epochs (seed 9, tuning samples)

# the parts of the experiment
CONVERGENCE, TUNED, LONGER, CONFIRMATORY = "convergence", "tuning", "longer", "confirmatory"
TUNING_SEEDS = (2000, 2001, 2002)

# The same number of trials for each: labels alone have a rate, the others the rates with two weights of their loss.
QAT_RATES = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2)
RATES = (1e-3, 3e-3, 1e-2)
LOGITS_WEIGHTS = (1.0, 4.0)
MEMBRANE_WEIGHTS = (0.1, 1.0)
BOTH_WEIGHTS = ((4.0, 0.1), (1.0, 1.0))  # of logits and membrane: each weight of each part once


@dataclass(frozen=True)
class DataSet:
    """One data set of the experiment.

    Attributes:
        name: its recipes are `<name>_<bits>.yaml`, its loaders `<name>_<scenario>` and `<name>_teacher`.
        samples: of each part.
        teacher_epochs: that are tried, each twice the one before.
        student_epochs: by scenario.
        compared: test samples of each student that are held against its exported graph; None: all.
        recipes: their folder.
        module: of the loaders. networks: of the function `<name>` that makes the network.
    """

    name: str
    samples: Samples
    teacher_epochs: tuple[int, ...]
    student_epochs: Mapping[Scenario, int]
    compared: int | None = None
    recipes: Path = Path("benchmarks/recipes")
    module: str = "benchmarks.confirmatory_data"
    networks: str = "benchmarks.confirmatory_networks"


# students take 64 optimizer steps in either scenario
DATA_SETS = {
    each.name: each
    for each in (
        DataSet("nmnist", NMNIST, (40, 80, 160, 320), {"less": 16, "same": 8}, compared=128),
        DataSet("mnist", MNIST, (40, 80, 160, 320), {"less": 16, "same": 4}, compared=128),
    )
}


def candidates(variant: Trained) -> tuple[Changes, ...]:
    """What is tried of a variant: learning rate, and weights of its own losses."""
    match variant:
        case "QAT":
            return tuple((_rate(rate), NO_LOGITS, NO_MEMBRANE) for rate in QAT_RATES)
        case "+ logits":
            pairs = itertools.product(RATES, LOGITS_WEIGHTS)
            return tuple((_rate(rate), _logits(weight), NO_MEMBRANE) for rate, weight in pairs)
        case "+ membrane":
            pairs = itertools.product(RATES, MEMBRANE_WEIGHTS)
            return tuple((_rate(rate), NO_LOGITS, _membrane(weight)) for rate, weight in pairs)
        case "+ both":
            both = itertools.product(RATES, BOTH_WEIGHTS)
            return tuple((_rate(rate), _logits(logits), _membrane(membrane)) for rate, (logits, membrane) in both)
        case _:
            assert_never(variant)


def _rate(rate: float) -> str:
    return f"train.optimizer.lr={rate:g}"


def _logits(weight: float) -> str:
    return f"distill.logits.weight={weight:g}"


def _membrane(weight: float) -> str:
    return f"distill.membrane.weight={weight:g}"


# ---------------------------------------------------------------------- tasks


def convergence_task(data: DataSet, epochs: int) -> Task:
    """A teacher of so many epochs, scored on validation samples and on those for tuning."""
    recipe, changes = _base(data, TUNED_IN, "2bit", teacher_epochs=epochs, suffix=TUNING)
    return Task("teacher", CONVERGENCE, recipe, f"{epochs} epochs", changes)


def tuning_task(data: DataSet, setting: Setting, variant: Trained, candidate: Changes, *, teacher_epochs: int) -> Task:
    """A student of a candidate, scored on the samples for tuning."""
    recipe, changes = _base(data, TUNED_IN, setting, teacher_epochs=teacher_epochs, suffix=TUNING)
    return Task("student", TUNED, recipe, f"{variant}: {' '.join(candidate)}", (*changes, *candidate))


def longer_task(data: DataSet, setting: Setting, variant: Trained, candidate: Changes, *, teacher_epochs: int) -> Task:
    """The same for twice the epochs."""
    short = tuning_task(data, setting, variant, candidate, teacher_epochs=teacher_epochs)
    twice = f"distill.epochs={2 * data.student_epochs[TUNED_IN]}"
    return replace(short, experiment=LONGER, changes=(*short.changes, twice))


def teacher_task(data: DataSet, *, teacher_epochs: int, plan: str) -> Task:
    """The teacher of students in both scenarios."""
    recipe, changes = _base(data, TUNED_IN, "2bit", teacher_epochs=teacher_epochs)
    return Task("teacher", CONFIRMATORY, recipe, TEACHER, changes, plan=plan)


def student_task(
    data: DataSet,
    scenario: Scenario,
    setting: Setting,
    variant: str,
    changes: Changes,
    *,
    teacher_epochs: int,
    plan: str,
) -> Task:
    """A student of the comparison."""
    recipe, base = _base(data, scenario, setting, teacher_epochs=teacher_epochs)
    return Task(
        "student",
        CONFIRMATORY,
        recipe,
        variant,
        (*base, *changes),
        compared=data.compared,
        mismatch=("validation",),
        plan=plan,
    )


def _base(
    data: DataSet, scenario: Scenario, setting: Setting, *, teacher_epochs: int, suffix: str = ""
) -> tuple[str, Changes]:
    """The recipe, and what makes it one of the scenario and the setting."""
    group = f"{data.name}_{scenario}"
    bits = "4bit" if setting == "4bit_all" else setting
    # first and last layer as the others, and multipliers of batch norms as few bits as weights
    all_4_bits = ("quantize.overrides=[]", "quantize.batch_norm.scale_bit_width=4") if setting == "4bit_all" else ()
    changes = (
        f"name={group}_{setting}",
        f"model.builder={data.networks}:{data.name}",
        f"data.name={data.module}:{group}{suffix}",
        f"teacher.epochs={teacher_epochs}",
        f"teacher.optimizer.lr={TEACHER_RATE:g}",
        f"distill.epochs={data.student_epochs[scenario]}",
        *all_4_bits,
    )
    return str(data.recipes / f"{data.name}_{bits}.yaml"), changes

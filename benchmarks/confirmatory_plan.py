"""The plan of a data set: written from its tuning results, committed, and only then read by `run`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmarks.confirmatory_design import (
    CALIBRATED,
    SCENARIOS,
    SEARCHES,
    SETTINGS,
    SETTINGS_OF,
    TRAINED,
    DataSet,
    Scenario,
    Search,
    Setting,
    Trained,
    student_task,
    teacher_task,
)
from benchmarks.distillation_variants import Changes
from benchmarks.experiment_runs import Unit, units_of
from benchmarks.experiment_store import digest
from mdcompress.errors import RunError

CALIBRATED_CHANGES: Changes = ("distill.epochs=0",)
ANALYSIS = (
    "Unit: a cluster, which is a data set and a seed (one teacher, one draw of samples). Its value is the mean over "
    "the cells (setting x scenario) in question of the paired difference of test accuracies, in points.",
    "Primary: + both minus QAT, mean over the clusters of all data sets (N-MNIST and MNIST; each has a plan of its "
    "own, fixed before its test part is read; what N-MNIST shows does not decide whether or how MNIST is run), cells "
    "of 2bit and ternary in both scenarios, 95 % interval of Student's t; a sign-flip test over all signs as a check.",
    "Secondary: the six differences of two variants at 2bit and ternary, the same clusters, Student's t, "
    "corrected together by Holm. The claim that membranes add to logits is + both minus + logits.",
    "Tertiary: the six differences at 4bit_all, and in every data set x setting x scenario (clusters there are "
    "seeds), each family corrected by Holm.",
    "Sensitivity: for the primary and secondary differences an interval in which the test samples too count as drawn "
    "(variances of the means over samples and over seeds added, that of single answers taken off).",
    "calibration only is a reference: no trial, no hypothesis. Kept is the epoch of the best validation, of which "
    "epoch 0 is the calibrated student. No exclusions; a cluster that lacks a student is not done and left out whole.",
)


@dataclass(frozen=True)
class Plan:
    """All that is fixed of a data set before its test part is read.

    chosen: the changes of each variant by search. digest: of the file that says all this.
    """

    data: str
    seeds: tuple[int, ...]
    teacher_epochs: int
    student_epochs: Mapping[Scenario, int]
    chosen: Mapping[Search, Mapping[Trained, Changes]]
    analysis: tuple[str, ...]
    digest: str = ""


_PLAN = TypeAdapter(Plan)


def write_plan(plan: Plan, path: Path) -> None:
    """Write the file; one that is there is not replaced.

    Raises:
        RunError: there is a plan.
    """
    if path.exists():
        raise RunError(
            f"{path}: a plan is fixed once (there is one)",
            hints=["run it: `run`", "or give another experiment a folder and a store of its own: --plans, --store"],
        )
    content = asdict(plan)
    del content["digest"]
    path.write_text(json.dumps(content, indent=2) + "\n")


def read_plan(path: Path) -> Plan:
    """The plan of the file, with its digest.

    Raises:
        RunError: there is none, or it is no plan.
    """
    if not path.exists():
        raise RunError(f"{path}: the plan must be fixed first (no such file)", hints=["write it: `plan`; commit it"])
    text = path.read_text("utf-8")
    try:
        return _PLAN.validate_python({**json.loads(text), "digest": digest("plan", text)})
    except (ValidationError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: must be a plan as `plan` writes it ({error})", hints=["take it from git"]) from error


def require_committed(path: Path) -> None:
    """The file is in the git history as it is now.

    Raises:
        RunError: it is not, or git cannot tell.
    """
    committed = subprocess.run(
        ["git", "show", f"HEAD:./{path.name}"], cwd=path.resolve().parent, capture_output=True, check=False
    )
    if committed.returncode != 0 or committed.stdout != path.read_bytes():
        raise RunError(
            f"{path}: the plan must be committed as it is before the test part is read (it differs from HEAD's)",
            hints=[f"git add {path} && git commit", f"or take the committed one: git checkout {path}"],
        )


def plan_path(folder: Path, data: str) -> Path:
    """Where the plan of a data set lies."""
    return folder / f"confirmatory_plan_{data}.json"


def units(plan: Plan, data: DataSet) -> tuple[Unit, ...]:
    """Every network of the plan, seed by seed.

    Raises:
        RunError: the code trains students for other epochs than the plan fixed.
    """
    if dict(data.student_epochs) != dict(plan.student_epochs):
        raise RunError(
            f"{data.name}: students must be trained for the epochs of the plan ({dict(plan.student_epochs)}; the "
            f"code has {dict(data.student_epochs)})",
            hints=["check out the code of the plan"],
        )
    students = [
        student_task(data, scenario, setting, variant, changes, teacher_epochs=plan.teacher_epochs, plan=plan.digest)
        for scenario in SCENARIOS
        for setting in SETTINGS
        for variant, changes in variants(plan, setting).items()
    ]
    teacher = teacher_task(data, teacher_epochs=plan.teacher_epochs, plan=plan.digest)
    return units_of([teacher, *students], plan.seeds)


def variants(plan: Plan, setting: Setting) -> dict[str, Changes]:
    """The changes of each variant at a setting."""
    (search,) = (each for each in SEARCHES if setting in SETTINGS_OF[each])
    return {CALIBRATED: CALIBRATED_CHANGES, **{variant: plan.chosen[search][variant] for variant in TRAINED}}

"""`run`: all stages in a row; those that have finished and are not stale are not done again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from mdcompress.errors import RunError
from mdcompress.pipeline.distilling import distill
from mdcompress.pipeline.estimating import ActivityChoice, Priced, estimate, estimate_settings
from mdcompress.pipeline.exporting import export
from mdcompress.pipeline.kept_epoch import kept_in_words
from mdcompress.pipeline.networks import teacher_weights, torch_device
from mdcompress.pipeline.other_teacher import OTHER_ACCURACY, require_other_teacher
from mdcompress.pipeline.quantizing import quantize
from mdcompress.pipeline.report import JsonValue, Report, percent, table, written
from mdcompress.pipeline.sizes import files_line, overridden_in_words, run_sizes, size_table
from mdcompress.pipeline.teaching import train
from mdcompress.pipeline.versatile import draw, keep_recipe, student_runs, summarised, with_exports, write_page
from mdcompress.pipeline.workspace import Workspace, record_document
from mdcompress.recipe import Recipe
from mdcompress.runs import Overwrite
from mdcompress.runs.manifest import Stage, StageRecord

SHARED = (Stage.TRAIN, Stage.DISTILL)  # what several processes do together; the rest is done by the one that writes
AFTER_TRAINING = (Stage.QUANTIZE, Stage.DISTILL, Stage.EXPORT)
MEASURED = ActivityChoice()  # a whole run has counted its spikes


@dataclass(frozen=True)
class WholeRun:
    """The report of a run, and the newest student's accuracy in [0, 1] to compare with a limit."""

    report: Report
    accuracy: float


def run_all(workspace: Workspace, hardware: str) -> WholeRun:
    """Train (if there are no weights), quantize, distill, export and price; go on where an earlier run stopped.

    Where the recipe has a student for each T, all but the training is done for each; the accuracy is the least.
    """
    if not workspace.has_several_students:
        return _run_one(workspace, hardware)
    if workspace.model.weights is None:
        _bring_up_to_date(workspace, Stage.TRAIN, lambda: train(workspace), {})
    students = _students(workspace, {**{stage: {} for stage in AFTER_TRAINING}, Stage.ESTIMATE: _pricing(hardware)})
    accuracies = [_run_one(_announced(student), hardware).accuracy for student in students]
    report = with_exports(summarised(workspace, students), students)
    report = _drawn(workspace, students, report)
    if workspace.writes and len(students) > 1:
        report = replace(report, paths=(*report.paths, write_page(workspace, students)))
    return WholeRun(report, min(accuracies))


def distill_all(workspace: Workspace) -> Report:
    """Distil the student, or quantize and distil the student of each T that is not there yet."""
    if not workspace.has_several_students:
        return distill(workspace)
    students = _students(workspace, {Stage.QUANTIZE: {}, Stage.DISTILL: {}})
    for student in map(_announced, students):
        _bring_up_to_date(student, Stage.QUANTIZE, functools.partial(quantize, student), {})
        _bring_up_to_date(student, Stage.DISTILL, functools.partial(distill, student), {})
    return _drawn(workspace, students, summarised(workspace, students))


def _drawn(workspace: Workspace, students: tuple[Workspace, ...], report: Report) -> Report:
    """The report with the picture of all students, which the process that writes draws."""
    return replace(report, paths=(*report.paths, *draw(workspace, students))) if workspace.writes else report


def _students(workspace: Workspace, stages: Mapping[Stage, Mapping[str, str]]) -> tuple[Workspace, ...]:
    """The run of each student; RunError, and nothing is written, where one has a result that is stale."""
    students = student_runs(workspace)
    for student in students:
        for stage, extra in stages.items():
            _reasons_to_work(student, stage, extra)
    keep_recipe(workspace)
    return students


def _announced(student: Workspace) -> Workspace:
    student.note(f"student of T = {student.recipe.student_time_steps}, in {student.run.path}")
    return student


def _run_one(workspace: Workspace, hardware: str) -> WholeRun:
    steps: dict[Stage, Callable[[], Report]] = {
        Stage.TRAIN: lambda: train(workspace),
        Stage.QUANTIZE: lambda: quantize(workspace),
        Stage.DISTILL: lambda: distill(workspace),
        Stage.EXPORT: lambda: export(workspace),
        Stage.ESTIMATE: lambda: estimate(workspace, Priced(hardware), choice=MEASURED),
    }
    if workspace.model.trained is not None:
        del steps[Stage.TRAIN]
    extra = {Stage.ESTIMATE: _pricing(hardware)}
    stale = tuple(stage for stage in steps if workspace.stale(stage, extra.get(stage, {})))
    _check_first(workspace, workspace.processes.broadcast(stale))
    with workspace.listener.job({stage.value: _work(workspace.recipe, stage) for stage in stale}):
        for stage, perform in steps.items():
            _bring_up_to_date(workspace, stage, perform, extra.get(stage, {}))
    return _summarised(workspace, tuple(steps))


def _work(recipe: Recipe, stage: Stage) -> float:
    """About how much work a stage is, in epochs of the teacher, as it is for the recipe 4bit and its digits."""
    match stage:
        case Stage.TRAIN:
            return recipe.teacher.epochs  # of 1.2 s each, where one of the distillation takes 3.3 s
        case Stage.DISTILL:
            return 2.7 * recipe.distill.epochs
        case Stage.QUANTIZE:
            return 3
        case Stage.EXPORT | Stage.ESTIMATE:
            return 1
        case _:
            assert_never(stage)


def _check_first(workspace: Workspace, stages: tuple[Stage, ...]) -> None:
    """What would end a later stage ends the run before any stage works; each stage looks for its data first itself.

    stages: those that have to be done.
    """
    if workspace.model.trained is not None and Stage.QUANTIZE in stages:
        teacher_weights(workspace)
    if set(stages) - {Stage.ESTIMATE}:  # pricing alone needs no torch
        torch_device(workspace)
    if Stage.DISTILL in stages:
        require_other_teacher(workspace)


def _bring_up_to_date(
    workspace: Workspace, stage: Stage, perform: Callable[[], Report], extra: Mapping[str, str]
) -> None:
    reasons, finished = _reasons_to_work(workspace, stage, extra)
    if not reasons:
        workspace.note(f"{stage.value}: up to date")
        return
    workspace.note(f"{stage.value}: {'; '.join(reasons) if finished else 'starting'}")
    if workspace.writes or stage in SHARED:
        workspace.note(written(perform().paths))
    workspace.processes.wait()


def _reasons_to_work(workspace: Workspace, stage: Stage, extra: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """Why the stage has to be done (again), and whether it was done before; RunError where that needs --force."""
    reasons = workspace.stale(stage, extra)
    finished = workspace.run.record(stage) is not None
    reasons, finished = workspace.processes.broadcast((reasons, finished))  # all decide alike
    if reasons and finished and workspace.overwrite is Overwrite.NEVER:
        raise RunError(
            f"the result of `{stage.value}` in {workspace.run.path} is stale: {'; '.join(reasons)}",
            hints=[
                "add --force to replace it and what follows from it",
                "or keep it: choose another folder with --run",
            ],
        )
    return reasons, finished


def _pricing(hardware: str) -> Mapping[str, str]:
    return estimate_settings(Priced(hardware), MEASURED)


def _summarised(workspace: Workspace, stages: tuple[Stage, ...]) -> WholeRun:
    records = {stage: workspace.run.manifest().stages[stage.value] for stage in stages}
    accuracies = _accuracies(records)
    distilled = records[Stage.DISTILL].measured
    sizes = run_sizes(workspace.run)
    overridden = overridden_in_words(workspace.recipe.quantize.weight.bit_width, sizes.compression.weights)
    text = "\n\n".join(
        [
            _accuracy_table(workspace.recipe, accuracies, distilled),
            *filter(None, [kept_in_words(workspace.recipe, distilled)]),
            "\n".join(filter(None, [records[Stage.EXPORT].summary, overridden])),
            files_line(sizes),
            size_table(sizes),
            records[Stage.ESTIMATE].summary,
        ]
    )
    document: JsonValue = {
        "run": str(workspace.run.path),
        "test_accuracy": accuracies,
        "sizes": sizes.document(),
        "stages": [record_document(workspace.run, stage, record) for stage, record in records.items()],
    }
    paths = tuple(path for stage in records for path in workspace.run.written_files(stage))
    return WholeRun(Report(text, document, paths), accuracies["distilled"])


def _accuracy_table(recipe: Recipe, accuracies: Mapping[str, float], distilled: Mapping[str, float]) -> str:
    """A row for each network; where they do not all run for the same steps, with T, the student at each of its own.

    Membrane mismatch with the teacher (squared thresholds, mean over layers) is measured at the student's most steps.
    """
    seen, steps = recipe.data.time_steps, recipe.student_step_counts
    before, after = (f"{distilled[f'membrane_mismatch_{when}']:.4f}" for when in ("before", "after"))
    rows = [
        ["teacher", str(seen), percent(accuracies["teacher"]), "-"],
        *(
            [["other teacher", str(seen), percent(distilled[OTHER_ACCURACY]), "-"]]
            if OTHER_ACCURACY in distilled
            else []
        ),
        ["quantized", str(max(steps)), percent(accuracies["quantized"]), before],
        *(
            ["distilled", str(each), percent(distilled[f"test_accuracy_T{each}"]), after if each == max(steps) else "-"]
            for each in steps
        ),
    ]
    header = ["network", "T", "test accuracy", "membrane mismatch"]
    if steps == (seen,):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    return table(header, rows, numbers=header[1:])


def _accuracies(records: Mapping[Stage, StageRecord]) -> Mapping[str, float]:
    quantized, distilled = records[Stage.QUANTIZE].measured, records[Stage.DISTILL].measured
    other = distilled.get(OTHER_ACCURACY)
    return {
        "teacher": quantized["teacher_test_accuracy"],
        **({} if other is None else {"other_teacher": other}),
        "quantized": quantized["test_accuracy"],
        "distilled": distilled["test_accuracy"],
    }

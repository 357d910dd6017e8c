"""`distill`: quantized student, float teacher and data -> distilled.safetensors, its history, mismatch and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress._version import __version__
from mdcompress.pipeline.accuracies import accuracies_at, in_words, recorded
from mdcompress.pipeline.kept_epoch import kept_in_words, kept_measured
from mdcompress.pipeline.networks import (
    at_steps,
    fitted,
    load_splits,
    numbers_of_neurons,
    some_names,
    teacher_weights,
    torch_device,
    trained_network,
)
from mdcompress.pipeline.other_teacher import OTHER_ACCURACY, accuracy_of_other, other_teacher, other_teacher_weights
from mdcompress.pipeline.report import Report, percent, table
from mdcompress.pipeline.resuming import refuse_other_trainings, resumable
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import (
    DISTILLED_FILE,
    HISTORY_FILE,
    MISMATCH_FILE,
    MISMATCH_PICTURE_FILE,
    MISMATCH_TABLE_FILE,
    QUANTIZED_FILE,
    TRAINING_PICTURE_FILE,
    StartedStage,
)
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from mdcompress.data import DataSplits
    from mdcompress.evaluation.mismatch import MismatchReport
    from mdcompress.recipe import Recipe
    from mdcompress.student import Student
    from mdcompress.tracing.conventions import Fitted
    from mdcompress.training import EpochRecord


@own_threads_afterwards()
def distill(workspace: Workspace) -> Report:
    """Train the quantized student under its float teacher."""
    with workspace.held(), workspace.listener.stage(Stage.DISTILL.value, "networks and data"):
        finished = workspace.processes.broadcast(workspace.has_finished(Stage.DISTILL))  # all decide alike
        return workspace.report(Stage.DISTILL) if finished else _distill(workspace)


def _distill(workspace: Workspace) -> Report:
    workspace.refuse_to_overwrite(Stage.DISTILL)
    workspace.require(Stage.QUANTIZE)
    weights, quantized = teacher_weights(workspace), workspace.run.file(QUANTIZED_FILE)
    others = other_teacher_weights(workspace)
    from mdcompress.student.weights import load_student
    from mdcompress.training import distill as distill_student

    recipe, started = workspace.recipe, workspace.start(Stage.DISTILL, quantized, weights, *others)
    refuse_other_trainings(workspace, started)
    student, own, splits = load_student(quantized), trained_network(workspace, weights), load_splits(workspace)
    teacher = fitted(workspace, own, splits)
    threads = use_threads(workspace, teacher.graph)
    _note_numbers(workspace, teacher)
    _note_what_little_is_trained(workspace, student)
    workspace.processes.wait()  # all have read what is there before one of them writes
    other = other_teacher(workspace, splits)
    with resumable(workspace, started) as training:
        distill_student(
            student,
            teacher=other or teacher.network,
            train=splits.train,
            validate=splits.validation,
            spec=recipe.distill,
            settings=recipe.train,
            seed=recipe.seed,
            checkpoint=training.checkpoint,
            progress=training.progress,
            device=torch_device(workspace),
            processes=workspace.processes,
        )
    if workspace.writes:
        workspace.listener.doing("mismatch and test accuracy")
        mismatch = _mismatch(workspace, quantized, student, teacher, splits)
        found = {**accuracy_of_other(other, splits, torch_device(workspace)), **threads}
        _write(workspace, started, student, splits, mismatch=mismatch, history=training.history(), found=found)
    workspace.processes.wait()
    return workspace.report(Stage.DISTILL)


def _note_numbers(workspace: Workspace, teacher: Fitted) -> None:
    """The parameters of the float network that the student has as numbers of its neurons, where weights are trained."""
    spec = workspace.recipe.distill
    kept = numbers_of_neurons(teacher)
    if spec.epochs and spec.weights == "train" and kept:
        workspace.note_once(
            f"distill does not train these, as they are numbers of the student's neurons: {some_names(kept)} (what "
            "they learn, they learn in the float network)"
        )


def _note_what_little_is_trained(workspace: Workspace, student: Student) -> None:
    """Without a batch norm no gain makes up for weights that are kept."""
    from mdcompress.calibration.norm_statistics import has_statistics

    spec = workspace.recipe.distill
    if spec.epochs and spec.weights == "keep" and not has_statistics(student):
        workspace.note(
            "distill.weights: keep trains no gain here, as the student has no batch norm: at most biases and ranges of "
            "membranes (`--set distill.weights=train` trains all)"
        )


def _write(
    workspace: Workspace,
    started: StartedStage,
    student: Student,
    splits: DataSplits,
    *,
    mismatch: MismatchReport,
    history: Sequence[EpochRecord],
    found: Mapping[str, float],
) -> None:
    """Score the student on the test split, and write it with all that is known of its training.

    found: more figures for the record.
    """
    from mdcompress.student.weights import save_student
    from mdcompress.training import choice_of, write_history
    from mdcompress.training.pictures import draw_mismatch, draw_training

    recipe = workspace.recipe
    accuracies = accuracies_at(student, splits.test, recipe.student_step_counts)
    choice = choice_of(recipe.distill)
    measured = {
        **recorded(accuracies),
        **kept_measured(history, choice),
        "membrane_mismatch_before": mismatch.membrane_before,
        "membrane_mismatch_after": mismatch.membrane_after,
        **found,
    }
    with started.writing(measured=measured, summary=_summary(recipe, measured, accuracies)) as folder:
        provenance = {"recipe": recipe.name, "mdcompress": __version__, "stage": Stage.DISTILL.value}
        save_student(student, folder / DISTILLED_FILE, provenance=provenance)
        write_history(history, folder / HISTORY_FILE, choice=choice)
        write_atomically(folder / MISMATCH_FILE, mismatch.to_json().encode())
        write_atomically(folder / MISMATCH_TABLE_FILE, f"{mismatch_table(mismatch)}\n".encode())
        mismatches = picture_paths(folder / MISMATCH_PICTURE_FILE, workspace.pictures)
        draw_mismatch(mismatch, *mismatches, title=f"{recipe.name}: student against teacher, layer by layer")
        trainings = picture_paths(folder / TRAINING_PICTURE_FILE, workspace.pictures)
        draw_training(history, *trainings, title=f"{recipe.name}: distillation", choice=choice)


def _summary(recipe: Recipe, measured: Mapping[str, float], accuracies: dict[int, float]) -> str:
    """What was reached, and which epoch was kept."""
    from intsnn.report.words import readable

    steps = "" if [*accuracies] == [recipe.data.time_steps] or len(accuracies) > 1 else f" at T = {max(accuracies)}"
    before, after = (measured[f"membrane_mismatch_{when}"] for when in ("before", "after"))
    other = measured.get(OTHER_ACCURACY)
    taught = "" if other is None else f"\nother teacher  test accuracy {percent(other)}"
    return (
        f"distilled  test accuracy {in_words(accuracies)}{steps}{taught}\n"
        f"membranes  mismatch with the teacher {readable(before)} before, {readable(after)} after (squared thresholds, "
        f"mean over layers)\n{kept_in_words(recipe, measured)}"
    )


def _mismatch(
    workspace: Workspace, quantized: Path, student: Student, teacher: Fitted, splits: DataSplits
) -> MismatchReport:
    """Before and after, on validation samples: as many as calibration takes of the training samples."""
    from mdcompress.evaluation.mismatch import MismatchReport, measure_mismatch
    from mdcompress.student.weights import load_student

    recipe, device = workspace.recipe, torch_device(workspace)
    steps = recipe.student_time_steps
    batches = splits.validation.first(recipe.data.calibration_samples, seed=recipe.seed)
    network = at_steps(workspace, teacher.network, splits, steps)
    before = measure_mismatch(load_student(quantized).to(device), network, teacher.graph, batches, time_steps=steps)
    after = measure_mismatch(student, network, teacher.graph, batches, time_steps=steps)
    return MismatchReport(steps, sum(len(y) for _, y in batches), before, after)


def mismatch_table(report: MismatchReport) -> str:
    """mismatch.md."""
    from intsnn.report.words import readable

    header = ["neuron", "membrane before", "after", "rate of teacher", "before", "after", "difference before", "after"]
    rows = [
        [
            name,
            readable(before.membrane),
            readable(report.after[name].membrane),
            percent(before.teacher_rate),
            percent(before.student_rate),
            percent(report.after[name].student_rate),
            percent(before.rate_difference),
            percent(report.after[name].rate_difference),
        ]
        for name, before in report.before.items()
    ]
    means = f"Mean over layers: {readable(report.membrane_before)} before, {readable(report.membrane_after)} after."
    return "\n\n".join(
        [
            "# Mismatch of student and teacher, before and after distillation",
            f"{report.samples} validation samples, T = {report.time_steps}. Membrane: mean ((v_s - v_t) / threshold)^2 "
            "before reset. Rate: spikes per neuron and step; difference: mean |r_s - r_t| over samples and neurons.",
            table(header, rows, numbers=header[1:]),
            means,
        ]
    )

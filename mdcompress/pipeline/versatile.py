"""One float teacher, a student for each T: the runs `runs/<name>/T1`, `runs/<name>/T2`, … beside the teacher's files.

Each is a whole run of its own, so that every command works on it: `mdcompress export --run runs/4bit/T1`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress.errors import RunError
from mdcompress.pipeline.networks import teacher_weights
from mdcompress.pipeline.report import JsonValue, Report, percent, table
from mdcompress.pipeline.students_picture import StudentFigures, draw_students
from mdcompress.pipeline.workspace import Workspace
from mdcompress.recipe import dump_recipe
from mdcompress.runs import HARDWARE_PAGE_FILE, STUDENTS_PICTURE_FILE, RunDirectory
from mdcompress.runs.manifest import Stage


def student_runs(workspace: Workspace) -> tuple[Workspace, ...]:
    """The run of each student, under the teacher that is there; by increasing T."""
    weights = teacher_weights(workspace)
    return tuple(_student_run(workspace, steps, weights) for steps in workspace.recipe.distill.time_steps or ())


def keep_recipe(workspace: Workspace) -> None:
    """Write the recipe of all students beside their runs, so that `--run` alone means them all."""
    with workspace.held():
        if workspace.writes:
            workspace.run.write_recipe(dump_recipe(workspace.recipe))
    workspace.processes.wait()


def summarised(workspace: Workspace, students: tuple[Workspace, ...]) -> Report:
    """What the students are worth, in one table."""
    stages = [student.run.manifest().stages for student in students]
    measured = [found[Stage.DISTILL.value].measured for found in stages]
    calibrated = [found[Stage.QUANTIZE.value].measured["test_accuracy"] for found in stages]
    steps = [student.recipe.student_time_steps for student in students]
    rows = [
        [
            str(count),
            percent(before),
            percent(found["test_accuracy"]),
            _epoch(found.get("best_epoch")),
            f"{found['membrane_mismatch_before']:.4g}",
            f"{found['membrane_mismatch_after']:.4g}",
            str(student.run.path),
        ]
        for count, before, found, student in zip(steps, calibrated, measured, students, strict=True)
    ]
    header = ["T", "calibrated", "distilled", "best epoch", "membrane mismatch before", "after", "run"]
    trained = workspace.run.record(Stage.TRAIN)
    document: JsonValue = {
        "run": str(workspace.run.path),
        "teacher": None if trained is None else dict(trained.measured),
        "students": [
            {"time_steps": count, "run": str(student.run.path), "measured": dict(found)}
            for count, found, student in zip(steps, measured, students, strict=True)
        ],
    }
    paths = tuple(path for student in students for path in student.run.written_files(Stage.DISTILL))
    text = table(header, rows, numbers=header[:-1])
    return Report(text if trained is None else f"{trained.summary}\n\n{text}", document, paths)


def with_exports(report: Report, students: tuple[Workspace, ...]) -> Report:
    """The report with what a whole run has found besides: parity of each exported graph, energy and latency."""
    rows, lines = [], []
    found: list[JsonValue] = []
    for student in students:
        stages, steps = student.run.manifest().stages, student.recipe.student_time_steps
        price, export = stages[Stage.ESTIMATE.value].measured, stages[Stage.EXPORT.value]
        ratio = export.measured.get("ratio_to_float32")  # runs of earlier versions do not say
        smaller = "-" if ratio is None else f"{ratio:.1f} x"
        rows.append([str(steps), smaller, f"{price['energy_pj'] / 1e6:.4g}", f"{price['latency_ns'] / 1e3:.4g}"])
        lines.append(f"T = {steps}: {export.summary.splitlines()[0]}")
        found.append({"time_steps": steps, "export": dict(export.measured), "hardware": dict(price)})
    header = ["T", "smaller than float32", "energy per inference, uJ", "latency, us"]
    text = "\n\n".join([report.text, table(header, rows, numbers=header), "\n".join(lines)])
    assert isinstance(report.document, dict)  # as `summarised` makes it
    return replace(report, text=text, document={**report.document, "exported": found})


def draw(workspace: Workspace, students: tuple[Workspace, ...]) -> tuple[Path, ...]:
    """Draw the students beside their runs; returns the pictures' paths."""
    paths = picture_paths(workspace.run.file(STUDENTS_PICTURE_FILE), workspace.pictures)
    found = [_figures(student) for student in students]
    with workspace.held():
        draw_students(found, paths, title=f"{workspace.recipe.name}: one student for each T")
    return paths


def write_page(workspace: Workspace, students: tuple[Workspace, ...]) -> Path:
    """Write the page of all students beside their runs, once all are priced; returns its path."""
    from mdcompress.pipeline.pages import compare_runs, students_page

    path = workspace.run.file(HARDWARE_PAGE_FILE)
    page = students_page(compare_runs([student.run for student in students]), workspace.run.path.resolve().name)
    with workspace.held():
        write_atomically(path, page.encode())
    return path


def _figures(student: Workspace) -> StudentFigures:
    stages = student.run.manifest().stages
    distilled, price = stages[Stage.DISTILL.value].measured, stages.get(Stage.ESTIMATE.value)
    return StudentFigures(
        student.recipe.student_time_steps,
        stages[Stage.QUANTIZE.value].measured["test_accuracy"],
        distilled["test_accuracy"],
        distilled["membrane_mismatch_before"],
        distilled["membrane_mismatch_after"],
        None if price is None else price.measured.get("energy_pj"),
    )


def _epoch(best: float | None) -> str:
    """The epoch that a student holds; runs of earlier versions do not say."""
    return "-" if best is None else f"{best:.0f}" if best else "0: calibrated"


def _student_run(workspace: Workspace, steps: int, weights: Path) -> Workspace:
    recipe = workspace.recipe
    own = recipe.model_copy(
        update={
            "name": f"{recipe.name}-T{steps}",
            "model": workspace.model.model_copy(update={"weights": str(weights)}),
            "distill": recipe.distill.model_copy(update={"students": "one", "time_steps": (steps,)}),
        }
    )
    folder = workspace.student_folder(steps)
    if folder.is_symlink():
        raise RunError(
            f"{folder} must be a folder of the run (it is a link to {folder.resolve()})",
            hints=["remove the link, or give the run another folder with --run"],
        )
    return replace(workspace, run=RunDirectory(folder), recipe=own, selection=f"--run {folder}")

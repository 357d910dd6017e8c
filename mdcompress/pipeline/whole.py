"""`run`: all stages in a row; those that have finished and are not stale are not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdcompress.console import JsonValue, Report, percent, table, written
from mdcompress.errors import RunError
from mdcompress.manifest import Stage, StageRecord
from mdcompress.pipeline.distilling import distill
from mdcompress.pipeline.estimating import ActivityChoice, estimate, estimate_settings
from mdcompress.pipeline.exporting import export
from mdcompress.pipeline.networks import teacher_weights, torch_device
from mdcompress.pipeline.quantizing import quantize
from mdcompress.pipeline.teaching import train
from mdcompress.pipeline.workspace import Workspace, record_document
from mdcompress.runs import Overwrite

MEASURED = ActivityChoice()  # a whole run has counted its spikes


@dataclass(frozen=True)
class WholeRun:
    """The report of a run, and the newest student's accuracy in [0, 1] to compare with a limit."""

    report: Report
    accuracy: float


def run_all(workspace: Workspace, hardware: str) -> WholeRun:
    """Train (if there are no weights), quantize, distill, export and price; go on where an earlier run stopped."""
    steps: dict[Stage, Callable[[], Report]] = {
        Stage.TRAIN: lambda: train(workspace),
        Stage.QUANTIZE: lambda: quantize(workspace),
        Stage.DISTILL: lambda: distill(workspace),
        Stage.EXPORT: lambda: export(workspace),
        Stage.ESTIMATE: lambda: estimate(workspace, hardware, choice=MEASURED),
    }
    if workspace.model.trained is not None:
        del steps[Stage.TRAIN]
    extra = {Stage.ESTIMATE: estimate_settings(hardware, MEASURED)}
    _check_first(workspace, tuple(stage for stage in steps if workspace.stale(stage, extra.get(stage, {}))))
    for stage, perform in steps.items():
        _bring_up_to_date(workspace, stage, perform, extra.get(stage, {}))
    return _summarised(workspace, tuple(steps))


def _check_first(workspace: Workspace, stages: tuple[Stage, ...]) -> None:
    """What would end a later stage ends the run before any stage works; each stage looks for its data first itself.

    stages: those that have to be done.
    """
    if workspace.model.trained is not None and Stage.QUANTIZE in stages:
        teacher_weights(workspace)
    if set(stages) - {Stage.ESTIMATE}:  # pricing alone needs no torch
        torch_device(workspace)


def _bring_up_to_date(
    workspace: Workspace, stage: Stage, perform: Callable[[], Report], extra: Mapping[str, str]
) -> None:
    reasons = workspace.stale(stage, extra)
    if not reasons:
        workspace.listener.note(f"{stage.value}: up to date")
        return
    finished = workspace.run.record(stage) is not None
    if finished and workspace.overwrite is Overwrite.NEVER:
        raise RunError(
            f"the result of `{stage.value}` in {workspace.run.path} is stale: {'; '.join(reasons)}",
            hints=[
                "add --force to replace it and what follows from it",
                "or keep it: choose another folder with --run",
            ],
        )
    workspace.listener.note(f"{stage.value}: {'; '.join(reasons) if finished else 'starting'}")
    workspace.listener.note(written(perform().paths))


def _summarised(workspace: Workspace, stages: tuple[Stage, ...]) -> WholeRun:
    records = {stage: workspace.run.manifest().stages[stage.value] for stage in stages}
    accuracies = _accuracies(records)
    text = "\n\n".join(
        [
            table(
                ["network", "test accuracy"],
                [[name, percent(accuracy)] for name, accuracy in accuracies.items()],
                numbers=["test accuracy"],
            ),
            records[Stage.EXPORT].summary,
            records[Stage.ESTIMATE].summary,
        ]
    )
    document: JsonValue = {
        "run": str(workspace.run.path),
        "test_accuracy": accuracies,
        "stages": [record_document(workspace.run, stage, record) for stage, record in records.items()],
    }
    paths = tuple(path for stage in records for path in workspace.run.files(stage))
    return WholeRun(Report(text, document, paths), accuracies["distilled"])


def _accuracies(records: Mapping[Stage, StageRecord]) -> Mapping[str, float]:
    quantized = records[Stage.QUANTIZE].measured
    return {
        "teacher": quantized["teacher_test_accuracy"],
        "quantized": quantized["test_accuracy"],
        "distilled": records[Stage.DISTILL].measured["test_accuracy"],
    }

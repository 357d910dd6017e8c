"""`estimate-hw`: model.onnx, its activity, a hardware description -> hardware.json, hardware.md. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import UsageError
from mdcompress.console import Report
from mdcompress.manifest import Stage
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import ACTIVITY_FILE, HARDWARE_JSON_FILE, HARDWARE_TABLE_FILE, MODEL_FILE, make_folder, write_text

if TYPE_CHECKING:
    from intsnn.activity import Activity
    from intsnn.graph import IntGraph
    from intsnn.report import HardwareReport


@dataclass(frozen=True)
class ActivityChoice:
    """Where spike counts come from: a file, an assumed firing rate with T, or neither: the file beside the model."""

    file: Path | None = None
    rate: float | None = None
    time_steps: int | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.rate is not None:
            raise UsageError(
                "activity is either measured or assumed (got --activity and --rate)", hints=["give one of them"]
            )
        if (self.rate is None) != (self.time_steps is None):
            raise UsageError(
                "an assumed activity needs a rate and a number of steps (got one of them)",
                hints=["give both, for example `--rate 0.1 --time-steps 4`"],
            )

    def file_for(self, model: Path) -> Path | None:
        """The file to read; None where a rate is assumed. MissingFileError comes from whoever reads it."""
        if self.rate is not None:
            return None
        return self.file or model.with_name(ACTIVITY_FILE)


def estimate(workspace: Workspace, hardware: str, *, choice: ActivityChoice) -> Report:
    """Price the run's model.onnx and keep the figures in the run."""
    workspace.refuse_to_overwrite(Stage.ESTIMATE)
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    extra = estimate_settings(hardware, choice)
    inputs = [model, *filter(None, [choice.file_for(model), _description_file(hardware)])]
    _require_files(inputs)
    started = workspace.start(Stage.ESTIMATE, *inputs, extra=extra)
    figures = _priced(model, hardware, choice)
    summary = figures.summary_table()
    with started.writing(measured=_totals(figures), summary=summary) as folder:
        write_figures(figures, folder)
    return Report(summary, json.loads(figures.to_json()), workspace.report(Stage.ESTIMATE).paths)


def estimate_file(model: Path, hardware: str, *, choice: ActivityChoice, output: Path | None) -> Report:
    """Price any model.onnx that mdcompress wrote; `output`: a folder for hardware.json and hardware.md."""
    _require_files([model, *filter(None, [choice.file_for(model)])])
    figures = _priced(model, hardware, choice)
    paths: tuple[Path, ...] = ()
    if output is not None:
        make_folder(output)
        write_figures(figures, output)
        paths = (output / HARDWARE_JSON_FILE, output / HARDWARE_TABLE_FILE)
    return Report(figures.summary_table(), json.loads(figures.to_json()), paths)


def estimate_settings(hardware: str, choice: ActivityChoice) -> Mapping[str, str]:
    """What the figures depend on besides files, `key -> JSON value`."""
    return {
        "hardware": json.dumps(hardware),
        "rate": json.dumps(choice.rate),
        "time_steps": json.dumps(choice.time_steps),
    }


def write_figures(figures: HardwareReport, folder: Path) -> None:
    """Write hardware.json and hardware.md."""
    write_text(folder / HARDWARE_JSON_FILE, figures.to_json())
    write_text(folder / HARDWARE_TABLE_FILE, figures.to_markdown())


def _priced(model: Path, hardware: str, choice: ActivityChoice) -> HardwareReport:
    from intsnn.checking import check
    from intsnn.estimation import estimate as price
    from intsnn.onnx_file import read_onnx

    graph = read_onnx(model)
    check(graph)
    return price(graph, _activity(graph, model, choice), hardware)


def _activity(graph: IntGraph, model: Path, choice: ActivityChoice) -> Activity:
    from intsnn.activity import assume, read_activity

    if choice.rate is not None and choice.time_steps is not None:
        return assume(graph, rate=choice.rate, time_steps=choice.time_steps)
    return read_activity(choice.file or model.with_name(ACTIVITY_FILE))


def _totals(figures: HardwareReport) -> Mapping[str, float]:
    """The totals that the hardware's rules can give, by key."""
    return {total.key: total.figure for total in figures.totals() if isinstance(total.figure, float)}


def _description_file(hardware: str) -> Path | None:
    """The file, where --hardware is a path and not a shipped name."""
    return Path(hardware) if Path(hardware).is_file() else None


def _require_files(paths: list[Path]) -> None:
    from intsnn.errors import MissingFileError

    for path in paths:
        if path.name == ACTIVITY_FILE and not path.is_file():
            raise MissingFileError(
                f"{path}: the spike counts must be there (no such file)",
                hints=["give them with --activity, or assume them: `--rate 0.1 --time-steps 4`"],
            )
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file", hints=["`mdcompress export` writes model.onnx"])

"""`explore`: model.onnx, its activity, a hardware description, a space of designs -> CSV and picture. No torch here."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from mdcompress.pipeline.estimating import ActivityChoice, read_counts, read_graph, require_files
from mdcompress.pipeline.report import JsonValue, Report
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import MODEL_FILE, Destination
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from intsnn.exploration.design_space import DesignSpace
    from intsnn.exploration.exploration import Design, Exploration

CSV_FILE, PICTURE_FILE = "exploration.csv", "exploration.svg"


@dataclass(frozen=True)
class Aim:
    """What is explored and where it goes: the space, accuracies measured elsewhere, a folder for the results."""

    space: DesignSpace
    accuracies: Path | None = None
    output: Destination | None = None


def explore(workspace: Workspace, hardware: str, *, choice: ActivityChoice, aim: Aim) -> Report:
    """Explore designs for the run's model.onnx; the run is only read."""
    workspace.require(Stage.EXPORT)
    return explore_file(workspace.run.file(MODEL_FILE), hardware, choice=choice, aim=aim)


def explore_file(model: Path, hardware: str, *, choice: ActivityChoice, aim: Aim) -> Report:
    """Explore designs for any model.onnx that mdcompress wrote."""
    from intsnn.exploration.files import pareto_table

    if aim.output is not None:
        aim.output.require_free(CSV_FILE, PICTURE_FILE)
    require_files([model, *filter(None, [choice.file_for(model)])])
    found = _explored(model, hardware, choice, aim)
    paths = () if aim.output is None else _write(found, aim.output)
    return Report(pareto_table(found), _document(found), paths)


def _explored(model: Path, hardware: str, choice: ActivityChoice, aim: Aim) -> Exploration:
    from intsnn.exploration.exploration import explore as explore_designs
    from intsnn.exploration.files import read_accuracies
    from intsnn.hardware import HardwareSpec, load_hardware

    spec = load_hardware(hardware)
    if not isinstance(spec, HardwareSpec):
        raise UsageError(
            f"{spec.name} has rules of its own that know no bit widths or arrays of another size",
            hints=["explore a description such as rram_64x64_65nm, or spikesim_fixed for SpikeSim's constants"],
        )
    accuracy = None if aim.accuracies is None else read_accuracies(aim.accuracies)
    graph = read_graph(model)
    return explore_designs(graph, read_counts(graph, model, choice), spec, space=aim.space, accuracy=accuracy)


def _write(found: Exploration, output: Destination) -> tuple[Path, ...]:
    from intsnn.exploration.files import csv_text
    from intsnn.exploration.plot import write_plot

    with output.writing("the table and picture of the designs") as folder:
        write_atomically(folder / CSV_FILE, csv_text(found).encode())
        if importlib.util.find_spec("matplotlib") is not None:
            write_plot(found, folder / PICTURE_FILE)
    return tuple(path for name in (CSV_FILE, PICTURE_FILE) if (path := output.folder / name).is_file())


def _document(found: Exploration) -> JsonValue:
    return {
        "hardware": found.hardware,
        "designs": [_design(design) for design in found.designs],
        "infeasible": [{**asdict(one.point), "reason": one.reason} for one in found.infeasible],
    }


def _design(design: Design) -> JsonValue:
    values: dict[str, JsonValue] = asdict(design)
    return {**values, "exact": design.point.exact, "edap_pj_ns_um2": design.edap_pj_ns_um2}

"""`explore`: model.onnx, its activity, a hardware description, a space of designs -> CSV and picture.

Torch is loaded where a run's validation samples judge the designs, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    from intsnn.exploration.chips import Trial
    from intsnn.exploration.design_space import DesignSpace
    from intsnn.exploration.exploration import Exploration
    from intsnn.exploration.pricing import Design
    from intsnn.graph import IntGraph

CSV_FILE, PICTURE_FILE = "exploration.csv", "exploration.svg"


@dataclass(frozen=True)
class Judging:
    """How designs are judged on chips.

    analog: a description's name or file. points: of accuracy, that an accurate design may lose.
    """

    analog: str = "calibrated"
    chips: int = 3
    samples: int = 200
    points: float = 1.0


@dataclass(frozen=True)
class Aim:
    """What is explored and where it goes.

    accuracies: a file of those measured elsewhere; judging: measure them here instead. pictures: formats of the picture
    besides SVG.
    """

    space: DesignSpace
    accuracies: Path | None = None
    output: Destination | None = None
    judging: Judging | None = None
    pictures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.accuracies is not None and self.judging is not None:
            raise UsageError(
                "accuracies are either measured here or read (got --accuracy and --accuracies)",
                hints=["give one of them"],
            )


def explore(workspace: Workspace, hardware: str, *, choice: ActivityChoice, aim: Aim) -> Report:
    """Explore designs for the run's model.onnx; the run is only read.

    Designs are judged on validation samples, and calibrated on training samples: the test part chooses no design.
    """
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    return _explored_file(model, hardware, choice, aim, lambda graph, judging: _run_trial(workspace, graph, judging))


def explore_file(model: Path, hardware: str, *, choice: ActivityChoice, aim: Aim) -> Report:
    """Explore designs for any model.onnx that mdcompress wrote.

    Designs are judged by their agreement with the exact network, on half of the samples of the golden.npz beside it;
    the other half calibrates.
    """
    return _explored_file(model, hardware, choice, aim, lambda graph, judging: _golden_trial(model, graph, judging))


def _explored_file(
    model: Path, hardware: str, choice: ActivityChoice, aim: Aim, trial: Callable[[IntGraph, Judging], Trial]
) -> Report:
    from intsnn.exploration.files import pareto_table

    if aim.output is not None:
        aim.output.require_free(CSV_FILE, PICTURE_FILE)
    require_files([model, *filter(None, [choice.file_for(model)])])
    found = _explored(model, hardware, choice, aim, trial)
    paths = () if aim.output is None else _write(found, aim.output, aim.pictures)
    return Report(pareto_table(found), _document(found), paths)


def _run_trial(workspace: Workspace, graph: IntGraph, judging: Judging) -> Trial:
    from intsnn.analog import load_analog
    from intsnn.exploration.chips import Trial
    from mdcompress.pipeline.analog import CALIBRATION_SAMPLES, samples_of
    from mdcompress.pipeline.networks import load_splits

    splits, seed = load_splits(workspace), workspace.recipe.seed
    calibration = samples_of(graph, splits.train.first(CALIBRATION_SAMPLES, seed=seed), CALIBRATION_SAMPLES)
    samples = samples_of(graph, splits.validation.first(judging.samples, seed=seed), judging.samples)
    return Trial(load_analog(judging.analog), judging.chips, samples, calibration.x, judging.points / 100)


def _golden_trial(model: Path, graph: IntGraph, judging: Judging) -> Trial:
    from intsnn.analog import load_analog
    from intsnn.analog.accuracy import Samples
    from intsnn.exploration.chips import Trial
    from mdcompress.pipeline.analog import golden_halves

    calibration, x = golden_halves(model, graph)
    samples = Samples(x[:, : judging.samples])
    return Trial(load_analog(judging.analog), judging.chips, samples, calibration, judging.points / 100)


def _explored(
    model: Path, hardware: str, choice: ActivityChoice, aim: Aim, trial: Callable[[IntGraph, Judging], Trial]
) -> Exploration:
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
    return explore_designs(
        graph,
        read_counts(graph, model, choice),
        spec,
        space=aim.space,
        accuracy=accuracy,
        trial=None if aim.judging is None else trial(graph, aim.judging),
    )


def _write(found: Exploration, output: Destination, formats: Sequence[str]) -> tuple[Path, ...]:
    from intsnn.exploration.files import csv_text
    from intsnn.exploration.plot import write_plot
    from intsnn.pictures import picture_paths

    with output.writing("the table and picture of the designs") as folder:
        write_atomically(folder / CSV_FILE, csv_text(found).encode())
        pictures = picture_paths(folder / PICTURE_FILE, formats)
        write_plot(found, *pictures)
    return tuple(output.folder / name for name in (CSV_FILE, *(picture.name for picture in pictures)))


def _document(found: Exploration) -> JsonValue:
    return {
        "hardware": found.hardware,
        "designs": [_design(design) for design in found.designs],
        "infeasible": [{**asdict(one.point), "reason": one.reason} for one in found.infeasible],
        "judgement": None if found.judgement is None else asdict(found.judgement),
        "notes": list(found.notes),
    }


def _design(design: Design) -> JsonValue:
    values: dict[str, JsonValue] = asdict(design)
    derived = {"inference_time_ns": design.inference_time_ns, "edap_pj_ns_um2": design.edap_pj_ns_um2}
    return {**values, "exact": design.point.exact, **derived}

"""`analog`: model.onnx and test data on arrays of cells that are not ideal -> accuracy against noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress.pipeline.analog_picture import draw_sweep
from mdcompress.pipeline.estimating import read_graph, require_files
from mdcompress.pipeline.evaluating import engine_in_words, integers_for
from mdcompress.pipeline.networks import load_splits
from mdcompress.pipeline.report import JsonValue, Report, percent, table
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import GOLDEN_FILE, MODEL_FILE, Destination
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    import numpy.typing as npt

    from intsnn.analog.accuracy import AccuracySweep, Samples, Spread
    from intsnn.analog.spec import AnalogSpec, ColumnGains
    from intsnn.engines import EngineChoice, Session
    from intsnn.graph import IntGraph
    from intsnn.hardware import HardwareSpec
    from mdcompress.data import Batches

CALIBRATION_SAMPLES = 32
JSON_FILE, TABLE_FILE, PICTURE_FILE = "analog.json", "analog.md", "analog.svg"


@dataclass(frozen=True)
class NoiseChoice:
    """The chips to try: names or files of the descriptions, sizes of the noise, seeds 0 .. chips - 1, test samples.

    column_gains: instead of those of the analog description; None: as it has them. engine: what runs the exact network.
    output: where the results go; pictures: formats besides SVG.
    """

    hardware: str
    analog: str
    noise: tuple[float, ...]
    chips: int
    samples: int
    column_gains: ColumnGains | None = None
    engine: EngineChoice = "auto"
    output: Destination | None = None
    pictures: tuple[str, ...] = ()


def analog(workspace: Workspace, choice: NoiseChoice) -> Report:
    """Accuracy of the run's model.onnx on its test split; ranges and gains are calibrated on training samples."""
    hardware, spec = _descriptions(choice)
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    graph, splits = read_graph(model), load_splits(workspace)
    seed, wanted = workspace.recipe.seed, choice.samples
    calibration = None
    if spec.needs_calibration:
        calibration = samples_of(graph, splits.train.first(CALIBRATION_SAMPLES, seed=seed), CALIBRATION_SAMPLES).x
    samples = samples_of(graph, splits.test.first(wanted, seed=seed), wanted)
    exact = _exact_session(graph, choice, samples, workspace.note_once)
    return _swept(model, exact, samples, (hardware, spec), choice=choice, calibration=calibration)


def analog_file(model: Path, choice: NoiseChoice, *, note: Callable[[str], None]) -> Report:
    """Agreement of any model.onnx with the exact network, on the inputs of the golden.npz beside it.

    There are no labels in a golden.npz. Where the description asks for a calibration, the first half of its samples
    serves for it and the second is judged. `note`: is told what a user should hear by the way.
    """
    from intsnn.analog.accuracy import Samples
    from intsnn.execution.golden import golden_input

    hardware, spec = _descriptions(choice)
    require_files([model])
    graph = read_graph(model)
    calibration: npt.NDArray[np.integer] | None = None
    if spec.needs_calibration:
        calibration, x = golden_halves(model, graph)
    else:
        x = golden_input(model.with_name(GOLDEN_FILE), graph)
    samples = Samples(x[:, : choice.samples])
    exact = _exact_session(graph, choice, samples, note)
    return _swept(model, exact, samples, (hardware, spec), choice=choice, calibration=calibration)


def golden_halves(model: Path, graph: IntGraph) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The golden inputs beside a model: the first half to calibrate on, the second to judge on."""
    from intsnn.execution.golden import golden_input

    x = golden_input(model.with_name(GOLDEN_FILE), graph)
    half = x.shape[1] // 2
    if half == 0:
        raise UsageError(
            f"{model}: a calibration needs samples besides those that are judged (got {x.shape[1]})",
            hints=["export with more samples: `--samples 64`"],
        )
    return x[:, :half], x[:, half:]


def _exact_session(graph: IntGraph, choice: NoiseChoice, samples: Samples, note: Callable[[str], None]) -> Session:
    """What gives the exact network's answers."""
    from intsnn.engines import Work, open_engine

    steps, count, *_ = samples.x.shape
    opened = open_engine(graph, choice.engine, work=Work(samples=count, time_steps=steps))
    for sentence in (*opened.notes, engine_in_words(opened.name)):
        note(sentence)
    return opened.session


def _descriptions(choice: NoiseChoice) -> tuple[HardwareSpec, AnalogSpec]:
    from intsnn.analog import load_analog
    from intsnn.hardware import HardwareSpec, load_hardware

    if choice.output is not None:
        choice.output.require_free(JSON_FILE, TABLE_FILE, PICTURE_FILE)
    hardware = load_hardware(choice.hardware)
    if not isinstance(hardware, HardwareSpec):
        raise UsageError(
            f"{choice.hardware}: the rules of SpikeSim describe no arrays that could be run",
            hints=["choose a crossbar description, for example `--hardware rram_64x64_65nm`"],
        )
    spec = load_analog(choice.analog)
    gains = choice.column_gains or spec.column_gains
    return hardware, spec.model_copy(update={"column_gains": gains})


def samples_of(graph: IntGraph, batches: Batches, most: int) -> Samples:
    """At most `most` samples of the batches as integers of the graph's input, with their labels."""
    from intsnn.analog.accuracy import Samples

    parts = [(integers_for(graph.input, x.numpy()), y.numpy()) for x, y in batches]
    x, labels = (
        np.concatenate(arrays, axis=axis) for arrays, axis in zip(zip(*parts, strict=True), (1, 0), strict=True)
    )
    return Samples(x[:, :most], labels[:most])


def _swept(
    model: Path,
    exact: Session,
    samples: Samples,
    descriptions: tuple[HardwareSpec, AnalogSpec],
    *,
    choice: NoiseChoice,
    calibration: npt.NDArray[np.integer] | None,
) -> Report:
    from intsnn.analog.accuracy import sweep_noise

    hardware, spec = descriptions
    found = sweep_noise(
        exact.graph, hardware, spec=spec, samples=samples, noise=choice.noise, seeds=range(choice.chips),
        calibration=calibration, exact=exact,
    )  # fmt: skip
    figures: Mapping[str, JsonValue] = json.loads(found.to_json())
    text, document = _text(model, found), {"file": str(model), **figures}
    if choice.output is None:
        return Report(text, document, (model,))
    with choice.output.writing("the accuracies on imperfect arrays") as folder:
        write_atomically(folder / JSON_FILE, f"{json.dumps(document, indent=2)}\n".encode())
        write_atomically(folder / TABLE_FILE, f"{text}\n".encode())
        pictures = picture_paths(folder / PICTURE_FILE, choice.pictures)
        draw_sweep(found, pictures, title=f"{model}\non {found.hardware}, {found.analog}")
    names = (JSON_FILE, TABLE_FILE, *(picture.name for picture in pictures))
    return Report(text, document, tuple(choice.output.folder / name for name in names))


def _text(model: Path, found: AccuracySweep) -> str:
    exact = "" if found.exact_accuracy is None else f", exact accuracy {percent(found.exact_accuracy)}"
    gains = " with calibrated column gains" if found.column_gains == "calibrated" else ""
    chips = "1 chip" if len(found.seeds) == 1 else f"{len(found.seeds)} chips"
    headline = (
        f"{model} on {found.hardware}, {found.analog}{gains}: {chips}, {found.samples} samples x "
        f"{found.time_steps} steps{exact}"
    )
    figures = ["accuracy", "sd", "lowest", "highest"] if found.exact_accuracy is not None else []
    numbers = ["noise", *figures, "agreement", *(["sd", "lowest", "highest"] if not figures else [])]
    rows = [[f"{point.noise:g}", *_cells(point.accuracy, point.agreement)] for point in found.points]
    return "\n\n".join([headline, table(numbers, rows, numbers=numbers)])


def _cells(accuracy: Spread | None, agreement: Spread) -> list[str]:
    if accuracy is None:
        return [percent(agreement.mean), *_spread(agreement)]
    return [percent(accuracy.mean), *_spread(accuracy), percent(agreement.mean)]


def _spread(spread: Spread) -> list[str]:
    return [percent(figure) for figure in (spread.deviation, min(spread.values), max(spread.values))]

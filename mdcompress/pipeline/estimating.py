"""`estimate-hw`: model.onnx, its activity, a hardware description -> hardware.json, .md, report.html. No torch here.

With something to hold the figures against, both are priced and their ratios shown, and kept where a folder is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress.pipeline.report import JsonValue, Report
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import (
    ACTIVITY_FILE,
    HARDWARE_JSON_FILE,
    HARDWARE_PAGE_FILE,
    HARDWARE_TABLE_FILE,
    MODEL_FILE,
    RUNS_FOLDER,
    Destination,
    settle,
)
from mdcompress.runs.manifest import Stage, require_as_written

if TYPE_CHECKING:
    from intsnn.activity import Activity
    from intsnn.estimation.report import HardwareReport
    from intsnn.graph import IntGraph
    from intsnn.hardware import Hardware
    from intsnn.report.comparison import Comparison


COMPARISON_FILES = ("comparison.json", "comparison.md", "comparison.svg")


@dataclass(frozen=True)
class ActivityChoice:
    """Where spike counts come from: a file, an assumed firing rate with T, or neither: the file beside the model.

    constant_input: whether an assumed activity is of an input that is the same in every step.
    """

    file: Path | None = None
    rate: float | None = None
    time_steps: int | None = None
    constant_input: bool = False

    def __post_init__(self) -> None:
        if self.file is not None and self.rate is not None:
            raise UsageError(
                "activity is either measured or assumed (got --activity and --rate)", hints=["give one of them"]
            )
        if (self.rate is None) != (self.time_steps is None):
            missing, given = ("--time-steps", "--rate") if self.time_steps is None else ("--rate", "--time-steps")
            raise UsageError(
                f"an assumed activity needs a rate and a number of steps (got {given} alone; {missing} is missing)",
                hints=["give both, for example `--rate 0.1 --time-steps 4`"],
            )
        if self.constant_input and self.rate is None:
            raise UsageError(
                "--constant-input belongs to an assumed activity (got no --rate)",
                hints=["a measured activity knows whether its input stays the same"],
            )

    def file_for(self, model: Path) -> Path | None:
        """The file to read; None where a rate is assumed. MissingFileError comes from whoever reads it."""
        if self.rate is not None:
            return None
        return self.file or model.with_name(ACTIVITY_FILE)


@dataclass(frozen=True)
class Priced:
    """What a network is priced on: a description, by name or path, and the converters' price by name; None: its own."""

    hardware: str
    converter: str | None = None

    def load(self) -> Hardware:
        """The description with these converters; the error of one that is not there, before anything else is done."""
        from intsnn.hardware import HardwareSpec, load_hardware, with_converter

        described = load_hardware(self.hardware)
        if self.converter is None:
            return described
        if not isinstance(described, HardwareSpec):
            raise UsageError(
                f"{described.name} has rules of its own that know no converters (got --converter {self.converter})",
                hints=["leave --converter away, or choose a description such as rram_64x64_65nm"],
            )
        return with_converter(described, self.converter)

    def file(self) -> Path | None:
        """The description's file, where it is given as a path and not as a shipped name."""
        return Path(self.hardware) if Path(self.hardware).is_file() else None


def estimate(workspace: Workspace, priced: Priced, *, choice: ActivityChoice) -> Report:
    """Price the run's model.onnx and keep the figures in the run."""
    with workspace.held(), workspace.listener.stage(Stage.ESTIMATE.value, "mapping and prices"):
        if not workspace.has_finished(Stage.ESTIMATE, estimate_settings(priced, choice)):
            return _estimate(workspace, priced, choice)
    document = json.loads(workspace.run.file(HARDWARE_JSON_FILE).read_text("utf-8"))
    return replace(workspace.report(Stage.ESTIMATE), document=document)


def _estimate(workspace: Workspace, priced: Priced, choice: ActivityChoice) -> Report:
    from intsnn.report import summary_table, to_json

    beside = workspace.run.path / "hardware" / priced.load().name
    workspace.refuse_to_overwrite(
        Stage.ESTIMATE,
        f"keep both: `--output {beside}` writes these figures into a folder of their own",
        "or add --force to replace those in the run",
    )
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    extra = estimate_settings(priced, choice)
    inputs = [model, *filter(None, [choice.file_for(model), priced.file()])]
    require_files(inputs)
    started = workspace.start(Stage.ESTIMATE, *inputs, extra=extra)
    figures = _priced(model, priced, choice)
    summary, page = summary_table(figures), _page_of_run(workspace, figures)
    with started.writing(measured=_totals(figures), summary=summary) as folder:
        write_figures(figures, folder, page=page)
    return Report(summary, json.loads(to_json(figures)), workspace.report(Stage.ESTIMATE).paths)


def estimate_file(model: Path, priced: Priced, *, choice: ActivityChoice, output: Destination | None) -> Report:
    """Price any model.onnx that mdcompress wrote; `output`: where the report in its three forms goes."""
    from intsnn.report import to_html

    return _priced_into(model, priced, choice, output, page=lambda figures: to_html(figures, of=str(model)))


def _priced_into(
    model: Path,
    priced: Priced,
    choice: ActivityChoice,
    output: Destination | None,
    *,
    page: Callable[[HardwareReport], str],
) -> Report:
    from intsnn.report import summary_table, to_json

    if output is not None:
        output.require_free(HARDWARE_JSON_FILE, HARDWARE_TABLE_FILE, HARDWARE_PAGE_FILE)
    figures = _priced(model, priced, choice)
    paths: tuple[Path, ...] = ()
    if output is not None:
        with output.writing("the hardware report") as folder:
            names = write_figures(figures, folder, page=page(figures))
        paths = tuple(output.folder / name for name in names)
    return Report(summary_table(figures), json.loads(to_json(figures)), paths)


def estimate_elsewhere(workspace: Workspace, priced: Priced, *, choice: ActivityChoice, output: Destination) -> Report:
    """Price the run's model.onnx into another folder; the run is only read."""
    priced.load()
    workspace.require(Stage.EXPORT)
    model = workspace.run.file(MODEL_FILE)
    return _priced_into(model, priced, choice, output, page=lambda figures: _page_of_run(workspace, figures))


def _page_of_run(workspace: Workspace, figures: HardwareReport) -> str:
    """All that is known of the run, and these figures."""
    from mdcompress.pipeline.pages import read_facts, run_page
    from mdcompress.pipeline.sizes import run_sizes

    return run_page(read_facts(workspace.run), figures, sizes=run_sizes(workspace.run), command=workspace.command)


@dataclass(frozen=True)
class Against:
    """What the figures are held against: a named baseline, a run, or a model.onnx with its activity beside it.

    hardware: where that one is priced, with the converters of its own; None: on the same. technologies: whether node,
    supply and clock must be equal. output: where table, numbers and picture go; pictures: formats besides SVG.
    """

    what: str
    hardware: str | None = None
    technologies: Literal["equal", "any"] = "equal"
    output: Destination | None = None
    pictures: tuple[str, ...] = ()


def compare_run(workspace: Workspace, priced: Priced, *, choice: ActivityChoice, against: Against) -> Report:
    """The run's figures beside another design's; the run is only read."""
    workspace.require(Stage.EXPORT)
    return compare_file(workspace.run.file(MODEL_FILE), priced, choice=choice, against=against)


def compare_file(model: Path, priced: Priced, *, choice: ActivityChoice, against: Against) -> Report:
    """A model's figures beside another design's.

    Beside a network of real values stands one of 8-bit integers too: nobody maps floats on cells.
    """
    from intsnn.report.comparison import Technologies, compare, joint_table

    if against.output is not None:
        against.output.require_free(*COMPARISON_FILES)
    figures = _priced(model, priced, choice)

    def held_against(what: Against) -> Comparison:
        other, assumptions = _other(model, priced, choice, what)
        return compare(
            figures,
            other,
            names=(str(model), what.what),
            assumptions=assumptions,
            technologies=Technologies(what.technologies),
        )

    asked = held_against(against)
    beside = [held_against(replace(against, what="int8"))] if against.what in ("float32", "float16") else []
    document = asdict(replace(asked.document(), beside=tuple(one.document() for one in beside)))
    text = joint_table([*beside, asked])
    paths = () if against.output is None else _kept(against, text, document, [*beside, asked])
    return Report(text, document, paths)


def _kept(
    against: Against, text: str, document: Mapping[str, JsonValue], compared: Sequence[Comparison]
) -> tuple[Path, ...]:
    """Write a comparison in its three forms."""
    from intsnn.report.comparison_picture import draw_comparison

    assert against.output is not None
    numbers, table, picture = COMPARISON_FILES
    with against.output.writing("the comparison") as folder:
        write_atomically(folder / numbers, f"{json.dumps(document, indent=2)}\n".encode())
        write_atomically(folder / table, f"{text}\n".encode())
        pictures = picture_paths(folder / picture, against.pictures)
        draw_comparison(compared, pictures)
    return tuple(against.output.folder / name for name in (numbers, table, *(path.name for path in pictures)))


def _other(
    model: Path, priced: Priced, choice: ActivityChoice, against: Against
) -> tuple[HardwareReport, tuple[str, ...]]:
    """The figures of what is held against, and what they assume."""
    from intsnn.estimation.baselines import estimate_baseline, named_baseline, named_baselines

    there = priced if against.hardware is None else Priced(against.hardware)
    if against.what in named_baselines():
        graph = read_graph(model)
        figures = estimate_baseline(graph, read_counts(graph, model, choice), there.load(), name=against.what)
        return figures, named_baseline(against.what).assumptions
    other = _other_model(against.what, named_baselines())
    mine = replace(choice, file=None)  # a file of counts belongs to one model; the other's lies beside it
    return _priced(other, there, mine), ()


def _other_model(what: str, baselines: Sequence[str]) -> Path:
    """The model.onnx of a path or of a run."""
    path = Path(what)
    if path.suffix == ".onnx":
        return path
    for folder in (path, RUNS_FOLDER / what):
        if (folder / MODEL_FILE).is_file():
            return folder / MODEL_FILE
    raise UsageError(
        f"there is nothing called {what!r} to hold the figures against",
        hints=[f"give a run with a model.onnx, the path of a MODEL.onnx, or one of {', '.join(baselines)}"],
    )


def estimate_settings(priced: Priced, choice: ActivityChoice) -> Mapping[str, str]:
    """What the figures depend on besides files, `key -> JSON value`."""
    return {
        "hardware": json.dumps(priced.hardware),
        "rate": json.dumps(choice.rate),
        "time_steps": json.dumps(choice.time_steps),
        **({"constant_input": "true"} if choice.constant_input else {}),
        **({} if priced.converter is None else {"converter": json.dumps(priced.converter)}),
    }


def write_figures(figures: HardwareReport, folder: Path, *, page: str | None = None) -> tuple[str, ...]:
    """Write hardware.json, hardware.md and report.html; returns their names. No `page`: that of the figures alone."""
    from intsnn.report import to_html, to_json, to_markdown

    texts = {
        HARDWARE_JSON_FILE: to_json(figures),
        HARDWARE_TABLE_FILE: to_markdown(figures),
        HARDWARE_PAGE_FILE: to_html(figures) if page is None else page,
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    return tuple(texts)


def _priced(model: Path, priced: Priced, choice: ActivityChoice) -> HardwareReport:
    from intsnn.estimation.estimation import estimate as price

    hardware = priced.load()
    require_files([model])
    graph = read_graph(model)
    require_as_written(model)
    require_files([*filter(None, [choice.file_for(model)])])  # a damaged model is said before missing counts
    return price(graph, read_counts(graph, model, choice), hardware)


def read_graph(model: Path) -> IntGraph:
    """The graph of a model.onnx that obeys every rule."""
    from intsnn.onnx.file import read_onnx

    return read_onnx(model)


def read_counts(graph: IntGraph, model: Path, choice: ActivityChoice) -> Activity:
    """The activity that was chosen: read, or assumed from a rate."""
    from intsnn.activity import assume, read_activity

    if choice.rate is not None and choice.time_steps is not None:
        return assume(graph, rate=choice.rate, time_steps=choice.time_steps, constant_input=choice.constant_input)
    return read_activity(choice.file or model.with_name(ACTIVITY_FILE))


def _totals(figures: HardwareReport) -> Mapping[str, float]:
    """The totals that the hardware's rules can give, by key."""
    return {total.key: total.figure for total in figures.totals() if isinstance(total.figure, float)}


def require_files(paths: list[Path]) -> None:
    """MissingFileError for the first file that is not there, with what to do about it.

    What an interrupted command left beside them is finished before.
    """
    from intsnn.errors import MissingFileError

    for path in paths:
        settle(path.parent)
        if path.name == ACTIVITY_FILE and not path.is_file():
            raise MissingFileError(
                f"{path}: the spike counts must be there (no such file)",
                hints=["give them with --activity, or assume them: `--rate 0.1 --time-steps 4`"],
            )
        if path.is_dir():
            hint = f"for the run in it say `--run {path}`, or give the path of its {MODEL_FILE}"
            raise MissingFileError(f"{path}: a folder, not a file", hints=[hint])
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file", hints=["`mdcompress export` writes model.onnx"])

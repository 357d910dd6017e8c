"""`mdcompress estimate-hw`: energy, latency and area of a model.onnx on a crossbar description."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_destination, open_workspace
from mdcompress.cli.options import (
    Selection,
    activity_options,
    example,
    force_option,
    hardware_option,
    output_options,
    picture_option,
    run_options,
)
from mdcompress.pipeline.estimating import (
    ActivityChoice,
    Against,
    Priced,
    compare_file,
    compare_run,
    estimate,
    estimate_elsewhere,
    estimate_file,
)
from mdcompress.pipeline.report import Report, written
from mdcompress.runs import Destination, Overwrite


@click.command(
    "estimate-hw",
    epilog=example(
        "mdcompress estimate-hw",
        "mdcompress estimate-hw model.onnx --rate 0.1 --time-steps 4 --output figures",
        "mdcompress estimate-hw --run 4bit --against float32",
    ),
)
@click.argument("model", metavar="[MODEL.onnx]", required=False, type=click.Path(path_type=Path))
@run_options
@hardware_option
@click.option(
    "--converter",
    metavar="NAME",
    help="Price of the converters by name, instead of the description's; not of --against-hardware.",
)
@activity_options
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the figures, instead of the run.")
@click.option(
    "--against",
    metavar="RUN|MODEL.onnx|BASELINE",
    help="Show both figures and ratios: another run or model, or float32, float16, int8. Kept with --output alone.",
)
@click.option("--against-hardware", metavar="NAME|FILE", help="Price that one on another description.")
@click.option("--across-technologies", is_flag=True, help="Compare even if node, supply or clock differ.")
@picture_option
@force_option
@output_options
def command(
    model: Path | None,
    selection: Selection,
    hardware: str,
    converter: str | None,
    choice: ActivityChoice,
    output: Path | None,
    against: str | None,
    against_hardware: str | None,
    across_technologies: bool,  # click's own signature
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Estimate energy, latency and area on crossbars.

    Reads the run's model.onnx and activity, or any MODEL.onnx that mdcompress exported. Needs no torch.
    """
    priced = Priced(hardware, converter)
    held = _held_against(against, against_hardware, "any" if across_technologies else "equal")
    if held is not None:
        kept = replace(held, output=open_destination(output, overwrite), pictures=pictures)
        report = _compare(model, priced, choice, kept, selection, console)
        console.show(report)
        if report.paths:
            console.note(written(report.paths))
        return
    if pictures:
        raise click.UsageError("--picture needs --against: the figures of one design are a table and a page")
    destination = open_destination(output, overwrite)
    if model is not None:
        report = _estimate_model(model, priced, choice, destination, selection)
    elif destination is not None:
        workspace = open_workspace(selection, console=console)
        report = estimate_elsewhere(workspace, priced, choice=choice, output=destination)
    else:
        workspace = open_workspace(selection, console=console, overwrite=overwrite)
        report = estimate(workspace, priced, choice=choice)
    console.show(report)
    if report.paths:
        console.note(written(report.paths))


def _held_against(against: str | None, hardware: str | None, technologies: Literal["equal", "any"]) -> Against | None:
    if against is not None:
        return Against(against, hardware, technologies)
    if hardware is not None or technologies == "any":
        raise click.UsageError("--against-hardware and --across-technologies need --against")
    return None


def _compare(
    model: Path | None,
    priced: Priced,
    choice: ActivityChoice,
    against: Against,
    selection: Selection,
    console: Console,
) -> Report:
    if model is None:
        return compare_run(open_workspace(selection, console=console), priced, choice=choice, against=against)
    _refuse_both(selection)
    return compare_file(model, priced, choice=choice, against=against)


def _refuse_both(selection: Selection) -> None:
    if selection != Selection():
        raise click.UsageError("either MODEL.onnx or a run (--recipe, --run, --set) is priced; give one of them")


def _estimate_model(
    model: Path, priced: Priced, choice: ActivityChoice, output: Destination | None, selection: Selection
) -> Report:
    _refuse_both(selection)
    return estimate_file(model, priced, choice=choice, output=output)

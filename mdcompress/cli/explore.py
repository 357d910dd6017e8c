"""`mdcompress explore`: energy, latency and area of a grid of crossbar designs, and the ones that no other beats."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click

from intsnn.exploration.design_space import DesignPoint, DesignSpace
from mdcompress.cli.console import Console
from mdcompress.cli.designs import chip_options, design_options, loss_option, steps_option, values
from mdcompress.cli.opening import open_destination, open_workspace
from mdcompress.cli.options import (
    Selection,
    activity_options,
    compute_options,
    example,
    force_option,
    hardware_option,
    output_options,
    picture_option,
    run_options,
)
from mdcompress.pipeline.estimating import ActivityChoice
from mdcompress.pipeline.exploring import Aim, Judging, explore, explore_file
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite


@click.command(
    "explore",
    epilog=example(
        "mdcompress explore --crossbar 32,64,128 --cell-bits 1,2,4 --column-mux 4,8,16 --output designs",
        "mdcompress explore --accuracy --crossbar 64,128 --adc-bits lossless,4,5,6 --encoding offset,differential",
        "mdcompress explore model.onnx --rate 0.1 --time-steps 4 --adc-bits lossless,6 --encoding offset,differential",
    ),
)
@click.argument("model", metavar="[MODEL.onnx]", required=False, type=click.Path(path_type=Path))
@run_options
@hardware_option
@activity_options
@design_options
@values("--weight-bits", "weight_bits", float, help="Bits of every weight; else the network's own.")
@values("--membrane-bits", "membrane_bits", int, help="Bits of every membrane; else the network's own.")
@steps_option("Numbers of time steps, at most those of the activity.")
@click.option(
    "--accuracies",
    type=click.Path(path_type=Path),
    help=f"CSV: a column accuracy, from 0 to 1, and any of {', '.join(field.name for field in fields(DesignPoint))}. "
    "Only designs in it are compared.",
)
@click.option("--accuracy", is_flag=True, help="Run the designs for which it matters on simulated chips.")
@chip_options("With --accuracy")
@click.option(
    "--samples", type=click.IntRange(1), default=200, show_default=True, help="With --accuracy: samples at most."
)
@loss_option(1.0, "With --accuracy: points that a compared design may lose against the exact network.")
@compute_options
@click.option("--output", type=click.Path(path_type=Path), help="Folder for exploration.csv and exploration.svg.")
@picture_option
@force_option
@output_options
def command(
    model: Path | None,
    selection: Selection,
    hardware: str,
    choice: ActivityChoice,
    accuracies: Path | None,
    accuracy: bool,
    analog: str,
    chips: int,
    samples: int,
    loss: float,
    compute: Compute,
    output: Path | None,
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
    steps: tuple[int, ...],
    **axes: tuple[object, ...],
) -> None:
    """Explore crossbar designs for a network.

    Prices every combination of the values given, on the prices of one hardware description, and prints the designs that
    no other beats in energy, latency, area and, where given or measured, accuracy. Converters too coarse for exact sums
    compete only with an accuracy: --accuracy measures it on validation samples of the run, or as agreement with the
    exact network on the golden.npz beside MODEL.onnx. Needs no torch but for a run's samples.
    """
    space = DesignSpace(**axes, time_steps=steps)  # type: ignore[arg-type]  # parsed above
    judging = Judging(analog, chips, samples, loss) if accuracy else None
    aim = Aim(space, accuracies, open_destination(output, overwrite), judging, pictures)
    if model is None:
        workspace = open_workspace(selection, console=console, compute=compute)
        report = explore(workspace, hardware, choice=choice, aim=aim)
    elif selection != Selection():
        raise click.UsageError("either MODEL.onnx or a run (--recipe, --run, --set) is explored; give one of them")
    else:
        report = explore_file(model, hardware, choice=choice, aim=aim)
    console.show(report)
    if report.paths:
        console.note(written(report.paths))

"""`mdcompress analog`: accuracy of a model.onnx on crossbars whose cells, wires and converters are not ideal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_destination, open_workspace
from mdcompress.cli.options import (
    AnalogOption,
    Selection,
    compute_options,
    engine_option,
    example,
    force_option,
    hardware_option,
    output_options,
    picture_option,
    run_options,
)
from mdcompress.pipeline.analog import NoiseChoice, analog, analog_file
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite

if TYPE_CHECKING:
    from intsnn.analog.spec import ColumnGains
    from intsnn.engines import EngineChoice


@click.command(
    "analog",
    epilog=example(
        "mdcompress analog --analog rram_wan_1day --noise 0 --noise 1 --noise 2",
        "mdcompress analog --run 4bit --column-gains calibrated",
        "mdcompress analog model.onnx --chips 10",
    ),
)
@click.argument("model", metavar="[MODEL.onnx]", required=False, type=click.Path(path_type=Path))
@run_options
@compute_options
@hardware_option
@click.option(
    "--analog",
    "description",
    cls=AnalogOption,
    metavar="NAME|FILE",
    default="rram_wan_1day",
    show_default=True,
    help="A shipped analog description's name, or the path of one's own.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0),
    multiple=True,
    default=(0.0, 0.5, 1.0, 2.0),
    show_default=True,
    help="A size of all that is random; 1 is the description as it is.",
)
@click.option(
    "--chips", type=click.IntRange(1), default=5, show_default=True, help="Chips at each size, seeds 0, 1, …."
)
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="Test samples at most.")
@click.option(
    "--column-gains",
    type=click.Choice(["none", "calibrated"]),
    help="A digital gain for each column, fitted on training samples; without it as the description has it.",
)
@engine_option("What runs the exact network")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for analog.json, analog.md and analog.svg.")
@picture_option
@force_option
@output_options
def command(
    model: Path | None,
    selection: Selection,
    compute: Compute,
    hardware: str,
    description: str,
    noise: tuple[float, ...],
    chips: int,
    samples: int,
    column_gains: ColumnGains | None,
    engine: EngineChoice,
    output: Path | None,
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Measure accuracy against the noise of analog crossbars.

    Runs the model.onnx of a run on its test split, with every synapse on arrays of imperfect cells and all else
    exact. With a MODEL.onnx the inputs are those of the golden.npz beside it, and agreement with the exact network is
    measured.
    """
    destination = open_destination(output, overwrite)
    choice = NoiseChoice(hardware, description, noise, chips, samples, column_gains, engine, destination, pictures)
    if model is None:
        report = analog(open_workspace(selection, console=console, compute=compute), choice)
    elif selection != Selection():
        raise click.UsageError("either MODEL.onnx or a run (--recipe, --run, --set) is measured; give one of them")
    else:
        report = analog_file(model, choice, note=console.note)
    console.show(report)
    if destination is not None:
        console.note(written(report.paths))

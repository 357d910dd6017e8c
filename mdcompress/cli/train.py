"""`mdcompress train`: the float network that is the teacher later."""

from __future__ import annotations

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_training, show
from mdcompress.cli.options import (
    Selection,
    compute_options,
    example,
    force_option,
    output_options,
    picture_option,
    selection_options,
)
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite


@click.command("train", epilog=example("mdcompress train --recipe 4bit"))
@selection_options
@compute_options
@picture_option
@force_option
@output_options
def command(
    selection: Selection, compute: Compute, pictures: tuple[str, ...], overwrite: Overwrite, console: Console
) -> None:
    """Train the float network, the teacher of the distillation.

    Not needed where there are weights already (--weights, or model.weights in the recipe). An interrupted training is
    continued by the same command.
    """
    from mdcompress.pipeline.teaching import train

    workspace = open_training(selection, console=console, compute=compute, overwrite=overwrite, pictures=pictures)
    report = train(workspace)
    show(report, workspace=workspace, console=console)

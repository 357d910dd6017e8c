"""`mdcompress run`: all stages in a row, from recipe to hardware figures."""

from __future__ import annotations

import click

from mdcompress.cli.accuracy import require_accuracy
from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_training
from mdcompress.cli.options import (
    Action,
    Selection,
    compute_options,
    dry_run_option,
    example,
    force_option,
    hardware_option,
    min_accuracy_option,
    output_options,
    picture_option,
    selection_options,
)
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite


@click.command(
    "run", epilog=example("mdcompress run --recipe 4bit", "mdcompress run --recipe 4bit --set distill.epochs=2")
)
@selection_options
@compute_options
@hardware_option
@min_accuracy_option
@dry_run_option
@picture_option
@force_option
@output_options
def command(
    selection: Selection,
    compute: Compute,
    hardware: str,
    min_accuracy: float | None,
    action: Action,
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Do everything: train, quantize, distill, export, estimate-hw.

    Stages that have finished are not done again; an interrupted run is continued by the same command. With --force,
    stages whose inputs or settings changed are done again, and what follows from them.
    """
    from mdcompress.pipeline.estimating import Priced
    from mdcompress.pipeline.quantizing import preview
    from mdcompress.pipeline.whole import run_all

    workspace = open_training(selection, console=console, compute=compute, overwrite=overwrite, pictures=pictures)
    Priced(hardware).load()
    if action is Action.PREVIEW:
        console.show(preview(workspace))
        return
    whole = run_all(workspace, hardware)
    if workspace.writes:
        console.show(whole.report)
    require_accuracy(whole.accuracy, min_accuracy)

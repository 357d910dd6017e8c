"""`mdcompress distill`: quantized student and float teacher -> trained student."""

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


@click.command("distill", epilog=example("mdcompress distill", "mdcompress distill --set distill.epochs=20 --force"))
@selection_options
@compute_options
@picture_option
@force_option
@output_options
def command(
    selection: Selection, compute: Compute, pictures: tuple[str, ...], overwrite: Overwrite, console: Console
) -> None:
    """Train the quantized student under its float teacher.

    An interrupted training is continued by the same command. Where the recipe has a student for each T
    (distill.students), each is quantized and trained in a run of its own, RUN/T1, RUN/T2, …. Under torchrun, several
    processes share each batch.
    """
    from mdcompress.pipeline.whole import distill_all

    workspace = open_training(selection, console=console, compute=compute, overwrite=overwrite, pictures=pictures)
    report = distill_all(workspace)
    if workspace.has_several_students and workspace.writes:
        console.show(report)  # what each student's run was given is said already
    else:
        show(report, workspace=workspace, console=console)

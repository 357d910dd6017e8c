"""`mdcompress quantize`: float network -> quantized student, or a preview of the plan."""

from __future__ import annotations

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_workspace
from mdcompress.cli.options import (
    Action,
    Selection,
    compute_options,
    dry_run_option,
    example,
    force_option,
    output_options,
    selection_options,
)
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite


@click.command(
    "quantize",
    epilog=example(
        "mdcompress quantize --recipe 4bit",
        "mdcompress quantize --recipe 4bit --model my_nets:build --weights my_nets.pt --dry-run",
    ),
)
@selection_options
@compute_options
@dry_run_option
@force_option
@output_options
def command(selection: Selection, compute: Compute, action: Action, overwrite: Overwrite, console: Console) -> None:
    """Quantize the network and calibrate its scales."""
    from mdcompress.pipeline.quantizing import preview, quantize

    workspace = open_workspace(selection, console=console, compute=compute, overwrite=overwrite)
    if action is Action.PREVIEW:
        console.show(preview(workspace))
        return
    report = quantize(workspace)
    console.show(report)
    console.note(written(report.paths))

"""`mdcompress compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_destination
from mdcompress.cli.options import example, force_option, output_options
from mdcompress.pipeline.report import written
from mdcompress.runs import Overwrite


@click.command(
    "compare",
    epilog=example(
        "mdcompress compare runs/8bit runs/4bit runs/2bit", "mdcompress compare 8bit 4bit --output comparison"
    ),
)
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for a page (HTML), a CSV and a JSON file.")
@click.option("--across-hardware", is_flag=True, help="Compare even if they are priced on other hardware.")
@force_option
@output_options
def command(
    runs: tuple[str, ...],
    output: Path | None,
    across_hardware: bool,  # click's own signature
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Compare runs: accuracy, bits, mismatch, energy, area.

    Each RUN is a folder, or a name under runs/. Runs of other data, or scored on other test samples, are refused. The
    runs are only read. Needs no torch.
    """
    from mdcompress.pipeline.comparing import compare

    destination = open_destination(output, overwrite)
    report = compare(runs, hardwares="any" if across_hardware else "equal", output=destination)
    console.show(report)
    if report.paths:
        console.note(written(report.paths))

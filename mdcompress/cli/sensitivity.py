"""`mdcompress sensitivity`: which layer pays for which bits, and a recipe that fills a budget of bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcompress.cli.bit_widths import membrane_bits as membrane_widths
from mdcompress.cli.bit_widths import weight_bits as weight_widths
from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_destination, open_workspace
from mdcompress.cli.options import (
    Selection,
    compute_options,
    example,
    force_option,
    output_options,
    picture_option,
    selection_options,
)
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite

if TYPE_CHECKING:
    from mdcompress.bits.sensitivity import Measure


@click.command(
    "sensitivity",
    epilog=example(
        "mdcompress sensitivity --recipe 8bit",
        "mdcompress sensitivity --recipe 8bit --budget 3.5 --membrane-budget 4 --output mixed",
    ),
)
@selection_options
@compute_options
@click.option("--bits", callback=weight_widths, default="2,3,4,5,6", show_default=True, help="Bits of weights to try.")
@click.option(
    "--membrane-bits",
    callback=membrane_widths,
    default="2,3,4,6",
    show_default=True,
    help="Bits of membranes to try.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Training samples to calibrate on, and validation samples to compare on; the test split is not read.",
)
@click.option("--budget", type=click.FloatRange(1), help="Choose bits of weights: at most so many on average.")
@click.option("--size", type=click.IntRange(1), help="Choose bits of weights: at most so many in all.")
@click.option("--membrane-budget", type=click.FloatRange(2), help="Choose bits of membranes, so many on average.")
@click.option(
    "--by",
    "measure",
    type=click.Choice(["logits", "membrane"]),
    default="logits",
    show_default=True,
    help="The loss whose sum over layers the choice keeps small.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the tables and the chosen recipe.")
@picture_option
@force_option
@output_options
def command(
    selection: Selection,
    compute: Compute,
    bits: tuple[float, ...],
    membrane_bits: tuple[float, ...],
    samples: int,
    budget: float | None,
    size: int | None,
    membrane_budget: float | None,
    measure: Measure,
    output: Path | None,
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Measure what each layer loses with fewer bits.

    One layer at a time is lowered and calibrated, without training. With a budget the bits of every layer are chosen,
    and --output holds recipe.yaml, which `quantize` takes as it stands.
    """
    from mdcompress.pipeline.sensitivity import Budget, SensitivityChoice, sensitivity

    if budget is not None and size is not None:
        raise click.UsageError("--budget and --size are two forms of the same limit; choose one")
    choice = SensitivityChoice(
        bits={"weight": bits, "membrane": membrane_bits},
        samples=samples,
        budget=Budget(budget, size, membrane_budget, measure),
        output=open_destination(output, overwrite),
        pictures=pictures,
    )
    report = sensitivity(open_workspace(selection, console=console, compute=compute), choice)
    console.show(report)
    if report.paths:
        console.note(written(report.paths))

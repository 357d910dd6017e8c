"""`mdcompress search`: bits of each layer, T and designs, for accuracy against energy, latency and area."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from intsnn.exploration.design_space import DesignSpace
from mdcompress.cli.bit_widths import membrane_bits as membrane_widths
from mdcompress.cli.bit_widths import norm_bits as norm_widths
from mdcompress.cli.bit_widths import weight_bits as weight_widths
from mdcompress.cli.console import Console
from mdcompress.cli.designs import chip_options, design_options, loss_option, steps_option
from mdcompress.cli.opening import open_workspace
from mdcompress.cli.options import (
    Selection,
    compute_options,
    example,
    hardware_option,
    output_options,
    selection_options,
)
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute

if TYPE_CHECKING:
    from mdcompress.pipeline.searching import Starts
    from mdcompress.search.costs import Cost

_USUAL_DESIGNS = DesignSpace(crossbar=(32, 64, 128, 256), column_mux=(4, 8, 16))  # where no axis is given


def _costs(_context: click.Context, parameter: click.Parameter, text: str) -> tuple[Cost, ...]:
    from mdcompress.search.costs import Cost

    known: tuple[Cost, ...] = get_args(Cost)
    words = [word.strip() for word in text.split(",")]
    if not words or not set(words) <= set(known):
        raise click.BadParameter(
            f"must be of {', '.join(known)}, with commas between them (got {text!r})", param=parameter
        )
    return tuple(cost for cost in known if cost in words)


@click.command(
    "search",
    epilog=example(
        "mdcompress search --run 4bit --trials 40",
        "mdcompress search --run 4bit --against energy --cell-bits 1,2 --crossbar 64,128 --mapping kernel_split,im2col",
        "mdcompress search --run 4bit --adc-bits lossless,5,6 --trials 40 --output found",
    ),
)
@selection_options
@compute_options
@hardware_option
@click.option(
    "--against",
    "costs",
    callback=_costs,
    default="energy,latency,area",
    show_default=True,
    help="What is kept low while the accuracy is kept high.",
)
@click.option(
    "--bits", callback=weight_widths, default="2,3,4,6,8", show_default=True, help="Bits of a layer's weights."
)
@click.option(
    "--membrane-bits",
    callback=membrane_widths,
    default="2,3,4,6,8",
    show_default=True,
    help="Bits of a layer's membranes.",
)
@click.option("--norm-bits", callback=norm_widths, default="", help="Bits of a layer's norm; else those of the recipe.")
@steps_option("Numbers of time steps; else 1, 2, 4, ... and that of the data.")
@design_options
@click.option("--trials", type=click.IntRange(1), default=40, show_default=True, help="Students to try, in all.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Validation samples that students are judged on, at most; the test split is not read.",
)
@click.option(
    "--first",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Samples of a first look, after which hopeless students are left.",
)
@loss_option(5.0, "Points that a compared student may lose against the float network.")
@click.option("--epochs", type=click.IntRange(0), default=0, show_default=True, help="Distil each student for so long.")
@chip_options("Of converters too coarse for exact sums")
@click.option(
    "--starts",
    type=click.Choice(["ranked", "uniform"]),
    default="ranked",
    show_default=True,
    help="First students: uniform bits, and mixed ones by what each layer loses.",
)
@click.option("--search-seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the search.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the study; else `search` in the run.")
@output_options
def command(
    selection: Selection,
    compute: Compute,
    hardware: str,
    costs: tuple[Cost, ...],
    bits: tuple[float, ...],
    membrane_bits: tuple[float, ...],
    norm_bits: tuple[float, ...],
    steps: tuple[int, ...],
    trials: int,
    samples: int,
    first: int,
    loss: float,
    epochs: int,
    analog: str,
    chips: int,
    starts: Starts,
    search_seed: int,
    output: Path | None,
    console: Console,
    **axes: tuple[object, ...],
) -> None:
    """Search bits, T and hardware together.

    Each trial is a student with bits of its own for every layer, calibrated and judged on validation samples, on every
    design of the values given. What is found are the students on designs that no other beats, with recipes that `run`
    takes. Several processes may work on one folder; a killed one goes on with the same command.
    """
    from mdcompress.pipeline.searched_students import Standard
    from mdcompress.pipeline.searching import SearchChoice, search

    space = DesignSpace(**axes) if any(axes.values()) else _USUAL_DESIGNS  # type: ignore[arg-type]  # parsed above
    choice = SearchChoice(
        bits={"weight": bits, "membrane": membrane_bits, "batch_norm": norm_bits},
        time_steps=steps,
        hardware=hardware,
        space=space,
        costs=costs,
        standard=Standard(samples, first, loss, epochs, analog, chips),
        trials=trials,
        starts=starts,
        seed=search_seed,
        output=output,
    )
    report = search(open_workspace(selection, console=console, compute=compute), choice)
    console.show(report)
    console.note(written(report.paths))

"""`mdcompress bench`: how long a sample takes in the float network, the student, onnxruntime and native code."""

from __future__ import annotations

from pathlib import Path

import click

from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_destination, open_workspace
from mdcompress.cli.options import (
    Selection,
    compute_options,
    example,
    force_option,
    output_options,
    picture_option,
    run_options,
)
from mdcompress.pipeline.benching import BenchChoice, bench, bench_file
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite


@click.command(
    "bench",
    epilog=example(
        "mdcompress bench",
        "mdcompress bench --run 4bit --batch 1 --batch 16 --threads 1 --threads 2 --output timings",
        "mdcompress bench model.onnx --rounds 15",
    ),
)
@click.argument("model", metavar="[MODEL.onnx]", required=False, type=click.Path(path_type=Path))
@run_options
@compute_options
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 16),
    show_default=True,
    help="Samples that are answered at once; may be repeated.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Threads of every engine; may be repeated.",
)
@click.option(
    "--samples", type=click.IntRange(1), help="Samples that every round answers; else 16, or the largest batch."
)
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Rounds that medians are of.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for bench.json, bench.md and bench.svg.")
@picture_option
@force_option
@output_options
def command(
    model: Path | None,
    selection: Selection,
    compute: Compute,
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    samples: int | None,
    rounds: int,
    output: Path | None,
    pictures: tuple[str, ...],
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Time a network in every engine, side by side.

    The float network, the student, onnxruntime and native code answer the same test samples in turn. An engine that
    is not there is named. With a MODEL.onnx the inputs are those of the golden.npz beside it, and only onnxruntime
    and native code are timed. Exit code 3 if integer answers differ.
    """
    destination = open_destination(output, overwrite)
    choice = BenchChoice(batches, threads, rounds, samples, destination, pictures)
    if model is None:
        report = bench(open_workspace(selection, console=console, compute=compute), choice)
    elif selection != Selection():
        raise click.UsageError("either MODEL.onnx or a run (--recipe, --run, --set) is timed; give one of them")
    else:
        report = bench_file(model, choice)
    console.show(report)
    if destination is not None:
        console.note(written(report.paths))

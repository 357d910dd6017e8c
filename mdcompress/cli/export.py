"""`mdcompress export`: newest student -> model.onnx, golden.npz, activity.json, perhaps other forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from intsnn.errors import UsageError
from mdcompress.cli.byte_sizes import byte_size
from mdcompress.cli.console import Console
from mdcompress.cli.opening import open_workspace
from mdcompress.cli.options import (
    Selection,
    compute_options,
    engine_option,
    example,
    force_option,
    output_options,
    selection_options,
)
from mdcompress.pipeline.c_export import ANY_C, CForm
from mdcompress.pipeline.exporting import ExportFormat, export
from mdcompress.pipeline.report import written
from mdcompress.pipeline.workspace import Compute
from mdcompress.recipe.nir import ReaderReset, ReaderStep
from mdcompress.runs import Overwrite

if TYPE_CHECKING:
    from intsnn.engines import EngineChoice


@click.command(
    "export", epilog=example("mdcompress export", "mdcompress export --run 4bit --force --format c --max-ram 24KiB")
)
@selection_options
@compute_options
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Test samples that parity and activity are measured on.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in ExportFormat]),
    default=ExportFormat.ONNX.value,
    show_default=True,
    help="nir: write model.nir beside model.onnx. c: the folder c/ with C11 for a microcontroller. safetensors: "
    "student.safetensors, the student with its weights packed.",
)
@click.option(
    "--nir-step",
    type=click.Choice(get_args(ReaderStep)),
    help="How the reader of model.nir takes a step: jump for sinabs, euler for the others (the default).",
)
@click.option(
    "--nir-reset",
    type=click.Choice(get_args(ReaderReset)),
    help="What the reader of model.nir does at a spike: soft for sinabs, hard for the others (the default).",
)
@click.option(
    "--name",
    metavar="NAME",
    help="What the C is called; else as the recipe, whatever the run is called (4bit: net_4bit).",
)
@click.option(
    "--max-flash", callback=byte_size, metavar="BYTES", help="Exit with 3 if the C takes more, for example 64KiB."
)
@click.option("--max-ram", callback=byte_size, metavar="BYTES", help="The same of RAM: state and stack.")
@engine_option("What activity is measured with")
@force_option
@output_options
def command(
    selection: Selection,
    compute: Compute,
    samples: int,
    form: str,
    nir_step: ReaderStep | None,
    nir_reset: ReaderReset | None,
    name: str | None,
    max_flash: int | None,
    max_ram: int | None,
    engine: EngineChoice,
    overwrite: Overwrite,
    console: Console,
) -> None:
    """Export the newest student as integer ONNX.

    Parity is measured on every export: student, integer interpreter, onnxruntime and, where there is a C compiler, the
    network as native code are compared on every spike and membrane. Exit code 3 and no file if they differ.
    """
    if (nir_step or nir_reset) and ExportFormat(form) is not ExportFormat.NIR:
        raise UsageError(
            "--nir-step and --nir-reset are for --format nir", hints=["add --format nir, or leave them out"]
        )
    c_form = CForm(name, max_flash, max_ram)
    if c_form != ANY_C and ExportFormat(form) is not ExportFormat.C:
        raise UsageError(
            "--name, --max-flash and --max-ram are for --format c", hints=["add --format c, or leave them out"]
        )
    workspace = open_workspace(selection, console=console, compute=compute, overwrite=overwrite)
    report = export(
        workspace,
        samples=samples,
        form=ExportFormat(form),
        nir_step=nir_step or "euler",
        nir_reset=nir_reset or "hard",
        c_form=c_form,
        engine=engine,
    )
    console.show(report)
    console.note(written(report.paths))

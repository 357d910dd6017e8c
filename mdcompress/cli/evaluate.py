"""`mdcompress eval`: accuracy of a student, a float network or a model.onnx on test data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcompress.cli.accuracy import require_accuracy
from mdcompress.cli.console import Console
from mdcompress.cli.opening import beside, open_workspace
from mdcompress.cli.options import (
    Selection,
    compute_options,
    engine_option,
    example,
    min_accuracy_option,
    output_options,
    selection_options,
)
from mdcompress.pipeline.workspace import Compute

if TYPE_CHECKING:
    from intsnn.engines import EngineChoice


@click.command(
    "eval",
    epilog=example(
        "mdcompress eval",
        "mdcompress eval runs/4bit/teacher.safetensors",
        "mdcompress eval runs/4bit/model.onnx --min-accuracy 0.95",
    ),
)
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@selection_options
@compute_options
@engine_option("What runs a model.onnx")
@min_accuracy_option
@output_options
def command(
    file: Path | None,
    selection: Selection,
    compute: Compute,
    engine: EngineChoice,
    min_accuracy: float | None,
    console: Console,
) -> None:
    """Evaluate a student, float weights or a model.onnx.

    FILE is a student (.safetensors), weights of the recipe's float network (teacher.safetensors, .pt, .ckpt) or an
    exported model (.onnx); without it the run's newest student. The data are those of the recipe or the run; without
    either those of the run that holds FILE, or of the only run.
    """
    from mdcompress.pipeline.evaluating import evaluate

    evaluated = evaluate(open_workspace(beside(file, selection), console=console, compute=compute), file, engine=engine)
    console.show(evaluated.report)
    require_accuracy(evaluated.accuracy, min_accuracy)

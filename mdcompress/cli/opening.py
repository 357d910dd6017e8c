"""The options of a command -> the Workspace that its stage works on."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from intsnn.errors import UsageError
from mdcompress.cli.console import Console
from mdcompress.cli.group import Invocation
from mdcompress.cli.options import Selection
from mdcompress.cli.progress import ConsoleListener, without_bars
from mdcompress.data.names import Download
from mdcompress.errors import RunError
from mdcompress.pipeline.networks import torch_device
from mdcompress.pipeline.report import Report, written
from mdcompress.pipeline.workspace import Compute, Workspace
from mdcompress.processes import started_processes
from mdcompress.recipe import Recipe, find_recipe, load_kept_recipe, load_recipe
from mdcompress.runs import (
    RECIPE_FILE,
    RUNS_FOLDER,
    Destination,
    Overwrite,
    RunDirectory,
    chosen_run,
    held_destination,
    named_run,
    only_run,
    settle,
)
from mdcompress.trust import Consent, NamedCode
from mdcompress.trust.asking import FileConsent

WITHOUT_DATA = Compute("cpu", None, Download.NEVER)  # what a command is given that trains nothing and loads nothing


def open_workspace(
    selection: Selection, *, console: Console, compute: Compute = WITHOUT_DATA, overwrite: Overwrite = Overwrite.NEVER
) -> Workspace:
    """The run and the recipe that the options mean; nothing is written.

    Raises:
        UsageError: torchrun started several processes: only a training can share its work; or torch has no such device
            here, even where the command computes without it.
    """
    if started_processes() > 1:
        raise UsageError(
            f"only train, distill and run work in several processes (torchrun started {started_processes()})",
            hints=["give this command without torchrun"],
        )
    workspace = _opened(selection, console, compute, overwrite)
    if compute.device != WITHOUT_DATA.device:
        torch_device(workspace)  # brings torch: only where another device is asked for
    return workspace


def open_training(
    selection: Selection,
    *,
    console: Console,
    compute: Compute,
    overwrite: Overwrite,
    pictures: tuple[str, ...] = (),
) -> Workspace:
    """`open_workspace` for a command that trains: where torchrun started several processes, they meet here."""
    workspace = replace(_opened(selection, console, compute, overwrite), pictures=pictures)
    if started_processes() == 1:
        return workspace
    from mdcompress.training.launch import join_processes  # brings torch: only where several processes were started

    return replace(workspace, processes=join_processes(compute.device))


def _opened(selection: Selection, console: Console, compute: Compute, overwrite: Overwrite) -> Workspace:
    run, recipe = _run_and_recipe(selection)
    return Workspace(
        run=run,
        recipe=recipe,
        compute=compute,
        overwrite=overwrite,
        command=click.get_current_context().ensure_object(Invocation).command,
        selection=str(selection),
        listener=ConsoleListener(console),
        consent=_consent(selection, run, recipe, compute=compute, console=console),
    )


def open_destination(output: Path | None, overwrite: Overwrite) -> Destination | None:
    """The folder that `--output` means, kept from other commands until this one has ended; None without one."""
    if output is None:
        return None
    context = click.get_current_context()
    return context.with_resource(held_destination(output, overwrite, context.ensure_object(Invocation).command))


def show(report: Report, *, workspace: Workspace, console: Console) -> None:
    """Print a stage's report and what it wrote, once where several processes worked on it."""
    if workspace.writes:
        console.show(report)
        console.note(written(report.paths))


def beside(file: Path | None, selection: Selection) -> Selection:
    """A file in the folder of a run means that run, where no other is named."""
    if file is not None:
        settle(file.parent)
    if file is None or selection.recipe or selection.run or not file.with_name(RECIPE_FILE).is_file():
        return selection
    return replace(selection, run=str(file.parent))


def _consent(selection: Selection, run: RunDirectory, recipe: Recipe, *, compute: Compute, console: Console) -> Consent:
    """What the command line names, its user has chosen; the rest of the recipe is the word of a file."""
    file = run.file(RECIPE_FILE) if selection.recipe is None else find_recipe(selection.recipe)
    return FileConsent(
        file=file,
        named=recipe.named_code,
        typed=frozenset(code for code in recipe.named_code if _is_typed(code, selection)),
        folders=(run.path,),
        trust=compute.trust,
        ask=_ask if _can_answer() else None,
        tell=console.note,
    )


def _is_typed(code: NamedCode, selection: Selection) -> bool:
    """Whether an option names it: `--model`, or `--set` of its key or of a section around it."""
    keys = {change.partition("=")[0].strip() for change in selection.changes}
    parts = code.key.split(".")
    return not keys.isdisjoint(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _ask(question: str) -> bool:
    with without_bars():
        return click.confirm(question, default=False, err=True)


def _can_answer() -> bool:
    """Whether there is a terminal on which to ask; several processes would all ask."""
    return started_processes() == 1 and sys.stdin.isatty() and sys.stderr.isatty()


def _run_and_recipe(selection: Selection) -> tuple[RunDirectory, Recipe]:
    if selection.recipe is not None:
        recipe = load_recipe(selection.recipe, changes=selection.changes)
        run = chosen_run(selection.run) if selection.run else named_run(recipe.name)
        run.settle()
        return run, recipe
    run = chosen_run(selection.run) if selection.run else only_run()
    run.settle()
    kept = run.file(RECIPE_FILE)
    if not kept.is_file():
        meant = RUNS_FOLDER / run.path
        near = [f"did you mean `--run {meant}`?"] if (meant / RECIPE_FILE).is_file() else []
        raise RunError(
            f"{run.path} must hold a run (there is no {RECIPE_FILE} in it)",
            hints=[*near, "start it with a recipe, for example `--recipe 4bit`"],
        )
    return run, load_kept_recipe(kept, changes=selection.changes)

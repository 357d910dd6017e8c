"""Options that several commands share, each group gathered into one frozen value."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mdcompress.console import Console, OutputFormat
from mdcompress.data.names import Download
from mdcompress.runs import Overwrite

Callback = Callable[..., None]


@dataclass(frozen=True)
class Selection:
    """Which run and which recipe a command is about, and what it changes in the recipe."""

    recipe: str | None
    run: str | None
    settings: tuple[str, ...]
    model: str | None
    weights: str | None
    seed: int | None

    @property
    def changes(self) -> tuple[str, ...]:
        """All changes as `key.path=value` items; the named options win over `--set`."""
        named = {"model.builder": self.model, "model.weights": self.weights, "seed": self.seed}
        return (*self.settings, *(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None))


@dataclass(frozen=True)
class Compute:
    """Where to compute, and where the data are."""

    device: str
    data_folder: Path | None
    download: Download


def selection_options(callback: Callback) -> Callback:
    """--recipe, --run, --set, --model, --weights, --seed as `selection`."""
    return _gather(
        callback,
        "selection",
        Selection,
        click.option("--recipe", metavar="NAME|FILE", help="A shipped recipe's name, or the path of one's own."),
        click.option("--run", metavar="NAME|FOLDER", help="The run; without it runs/<recipe name>, or the only one."),
        click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change one field; repeatable."),
        click.option("--model", metavar="MODULE:FACTORY", help="One's own network: a function that returns it."),
        click.option("--weights", metavar="FILE", help="Trained weights of the float network (.safetensors, .pt)."),
        click.option("--seed", type=click.IntRange(0), help="Start of all random numbers."),
    )


def compute_options(callback: Callback) -> Callback:
    """--device, --data-folder, --download as `compute`."""
    return _gather(
        callback,
        "compute",
        Compute,
        click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda, cuda:1."),
        click.option("--data-folder", type=click.Path(path_type=Path), help="Where the data set's files lie."),
        _choice("--download", Download.ALLOWED, Download.NEVER, help="Fetch missing data from the network."),
    )


def output_options(callback: Callback) -> Callback:
    """--json, -q and --debug; the first two as `console`."""
    form = {"type": click.UNPROCESSED, "default": OutputFormat.TEXT}
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    return debug(
        _gather(
            callback,
            "console",
            Console,
            click.option("--json", "form", flag_value=OutputFormat.JSON, help="Print one JSON document.", **form),
            click.option("-q", "--quiet", "form", flag_value=OutputFormat.PATHS, help="Print only paths.", **form),
        )
    )


def force_option(callback: Callback) -> Callback:
    """--force as `overwrite`."""
    return _choice(
        "--force", Overwrite.REPLACE, Overwrite.NEVER, name="overwrite", help="Replace results that are there already."
    )(callback)


def hardware_option(callback: Callback) -> Callback:
    """--hardware."""
    return click.option(
        "--hardware",
        metavar="NAME|FILE",
        default="rram_64x64_65nm",
        show_default=True,
        help="A shipped hardware description's name, or the path of one's own.",
    )(callback)


def min_accuracy_option(callback: Callback) -> Callback:
    """--min-accuracy."""
    return click.option(
        "--min-accuracy",
        type=click.FloatRange(0, 1),
        metavar="FRACTION",
        help="Exit with 3 if the test accuracy is below, for example 0.95.",
    )(callback)


def _choice(flag: str, given: object, absent: object, *, help: str, name: str | None = None) -> Callable[..., Any]:
    """A flag that stands for one of two named values, so that no boolean travels on."""

    def named(_context: click.Context, _parameter: click.Parameter, value: bool) -> object:
        return given if value else absent

    names = [flag] if name is None else [flag, name]
    return click.option(*names, is_flag=True, callback=named, help=help)


def _gather(callback: Callback, name: str, build: Callable[..., object], *options: Callable[..., Any]) -> Callback:
    """`callback` with the options' values built into one argument `name`."""
    fields = tuple(build.__dataclass_fields__)  # type: ignore[attr-defined]

    @functools.wraps(callback)
    def gathered(**values: object) -> None:
        mine = {field: values.pop(field) for field in fields}
        callback(**values, **{name: build(**mine)})

    for option in reversed(options):
        gathered = option(gathered)
    return gathered

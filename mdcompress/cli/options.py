"""Options that several commands share, each group gathered into one frozen value."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from mdcompress.cli.console import Console, OutputFormat
from mdcompress.data.names import Download
from mdcompress.pipeline.estimating import ActivityChoice
from mdcompress.pipeline.workspace import Compute
from mdcompress.runs import Overwrite
from mdcompress.trust.asking import Trust

Callback = Callable[..., None]
Decorator = Callable[[Callback], Callback]


ENGINES = ("auto", "native", "onnxruntime", "interpreter")  # those of intsnn.engines, which --help need not load
QUIET_HELP = "Print only the paths of the result; of `eval` only the accuracy, from 0 to 1."


class Action(Enum):
    """Whether a command does its work or only shows what it would do."""

    PERFORM = "perform"
    PREVIEW = "preview"


class HardwareOption(click.Option):
    """An option whose help names the shipped descriptions, which are looked up only where help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        from intsnn.hardware import shipped_hardware

        return _with_names(super().get_help_record(ctx), shipped_hardware())


class AnalogOption(click.Option):
    """The same for analog descriptions."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        from intsnn.analog.spec import shipped_analog

        return _with_names(super().get_help_record(ctx), shipped_analog())


def _with_names(record: tuple[str, str] | None, names: tuple[str, ...]) -> tuple[str, str] | None:
    return record and (record[0], f"{record[1]}  Shipped: {', '.join(names)}.")


@dataclass(frozen=True)
class Selection:
    """Which run and which recipe a command is about, and what it changes in the recipe."""

    recipe: str | None = None
    run: str | None = None
    settings: tuple[str, ...] = ()
    model: str | None = None
    weights: str | None = None
    seed: int | None = None
    nir: tuple[str, ...] = ()
    threads: int | None = None

    def __str__(self) -> str:
        """The options as typed, quoted for a shell."""
        seed, threads = (None if number is None else str(number) for number in (self.seed, self.threads))
        given = [("--recipe", self.recipe), ("--run", self.run), *(("--set", setting) for setting in self.settings)]
        given += [("--model", self.model), *(("--nir", option) for option in self.nir)]
        given += [("--weights", self.weights), ("--seed", seed), ("--threads", threads)]
        return shlex.join(word for option, value in given if value is not None for word in (option, value))

    @property
    def changes(self) -> tuple[str, ...]:
        """All changes as `key.path=value` items; the named options win over `--set`."""
        named = {"model.builder": self.model, "model.weights": self.weights, "seed": self.seed, "threads": self.threads}
        given = (f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None)
        return (*self.settings, *given, *(f"model.nir.{option}" for option in self.nir))


def run_options(callback: Callback) -> Callback:
    """--recipe, --run and --set as `selection`."""
    return _gather(callback, "selection", Selection, _which_run())


def selection_options(callback: Callback) -> Callback:
    """--recipe, --run, --set, --model, --nir, --weights, --seed and --threads as `selection`."""
    return _gather(
        callback,
        "selection",
        Selection,
        {
            **_which_run(),
            "model": click.option(
                "--model",
                metavar="MODULE:FUNCTION|FILE.nir",
                help="One's own network: what returns it, for example my_nets:build, or a NIR file.",
            ),
            "nir": click.option(
                "--nir",
                multiple=True,
                metavar="KEY=VALUE",
                help="How a NIR file is read, for example exporter=norse; repeat for more keys.",
            ),
            "weights": click.option(
                "--weights", metavar="FILE", help="Trained float weights (.safetensors, .pt, .ckpt, ...)."
            ),
            "seed": click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Start of all random numbers."),
            "threads": click.option(
                "--threads",
                type=click.IntRange(1),
                help="Threads of torch; else 1 for small networks. Part of the settings, as results may depend on it.",
            ),
        },
    )


def compute_options(callback: Callback) -> Callback:
    """--device, --data-folder, --download, --trust as `compute`."""
    return _gather(
        callback,
        "compute",
        Compute,
        {
            "device": click.option(
                "--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda."
            ),
            "data_folder": click.option("--data-folder", type=click.Path(path_type=Path), help="Where the data lie."),
            "download": _choice("--download", Download.ALLOWED, Download.NEVER, help="Fetch missing data."),
            "trust": _choice(
                "--trust", Trust.GIVEN, Trust.ASKED_FOR, help="Run the code that the recipe's file names; remembered."
            ),
        },
    )


def activity_options(callback: Callback) -> Callback:
    """--activity, --rate, --time-steps and --constant-input as `choice`."""
    return _gather(
        callback,
        "choice",
        ActivityChoice,
        {
            "file": click.option(
                "--activity",
                "file",
                type=click.Path(path_type=Path),
                help="Spike counts; without it the file beside the model.",
            ),
            "rate": click.option(
                "--rate", type=click.FloatRange(0, 1), help="Assume that every neuron fires at this rate instead."
            ),
            "time_steps": click.option(
                "--time-steps", type=click.IntRange(1), help="Number of steps that an assumed rate is for."
            ),
            "constant_input": click.option(
                "--constant-input",
                is_flag=True,
                help="With --rate: the input is the same in every step (a still image).",
            ),
        },
    )


def output_options(callback: Callback) -> Callback:
    """--json, --latex, -q and --debug; all but the last as `console`."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    json_form = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
    latex_form = click.option("--latex", "as_latex", is_flag=True, help="Print the tables as LaTeX (booktabs).")
    paths_form = click.option("-q", "--quiet", "as_paths", is_flag=True, help=QUIET_HELP)
    forms = {"as_json": json_form, "as_latex": latex_form, "as_paths": paths_form}
    return debug(_gather(callback, "console", _console, forms))


def force_option(callback: Callback) -> Callback:
    """--force as `overwrite`."""
    return _choice(
        "--force", Overwrite.REPLACE, Overwrite.NEVER, name="overwrite", help="Replace results that are there already."
    )(callback)


def dry_run_option(callback: Callback) -> Callback:
    """--dry-run as `action`."""
    return _choice(
        "--dry-run",
        Action.PREVIEW,
        Action.PERFORM,
        name="action",
        help="Print each node and its policy; write nothing.",
    )(callback)


def hardware_option(callback: Callback) -> Callback:
    """--hardware."""
    return click.option(
        "--hardware",
        cls=HardwareOption,
        metavar="NAME|FILE",
        default="rram_64x64_65nm",
        show_default=True,
        help="A shipped hardware description's name, or the path of one's own.",
    )(callback)


def picture_option(callback: Callback) -> Callback:
    """--picture as `pictures`."""
    return click.option(
        "--picture",
        "pictures",
        type=click.Choice(["png", "pdf"]),
        multiple=True,
        help="Write each picture in this format too, beside the SVG; may be repeated.",
    )(callback)


def engine_option(what: str) -> Decorator:
    """--engine; `what` it does, as its help begins."""
    return click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help=f"{what}; all give the same values. native: C compiled for this machine. auto: the soonest done.",
    )


def min_accuracy_option(callback: Callback) -> Callback:
    """--min-accuracy."""
    return click.option(
        "--min-accuracy",
        type=click.FloatRange(0, 1),
        metavar="FRACTION",
        help="Exit with 3 if the test accuracy is below, for example 0.95.",
    )(callback)


def _choice(flag: str, given: object, absent: object, *, help: str, name: str | None = None) -> Decorator:
    """A flag that stands for one of two named values, so that no boolean travels on."""

    def named(_context: click.Context, _parameter: click.Parameter, value: bool) -> object:  # click's own signature
        return given if value else absent

    names = [flag] if name is None else [flag, name]
    return click.option(*names, is_flag=True, callback=named, help=help)


def _console(*, as_json: bool, as_latex: bool, as_paths: bool) -> Console:
    """The flags as one choice."""
    given = {"--json": as_json, "--latex": as_latex, "--quiet": as_paths}
    forms = {"--json": OutputFormat.JSON, "--latex": OutputFormat.LATEX, "--quiet": OutputFormat.PATHS}
    chosen = [flag for flag, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} are forms of the result; choose one")
    return Console(forms[chosen[0]] if chosen else OutputFormat.TEXT)


def _which_run() -> Mapping[str, Decorator]:
    return {
        "recipe": click.option("--recipe", metavar="NAME|FILE", help="A shipped recipe's name, or the path of one."),
        "run": click.option("--run", metavar="NAME|FOLDER", help="The run; else runs/<recipe name>, or the only one."),
        "settings": click.option(
            "--set",
            "settings",
            metavar="KEY=VALUE",
            multiple=True,
            help="Change a field of the recipe, for example distill.epochs=5; may be repeated.",
        ),
    }


def _gather(callback: Callback, name: str, build: Callable[..., object], options: Mapping[str, Decorator]) -> Callback:
    """`callback` with the values of `options`, by parameter name, built into one argument `name`."""

    @functools.wraps(callback)
    def gathered(**values: object) -> None:
        mine = {option: values.pop(option) for option in options}
        callback(**values, **{name: build(**mine)})

    decorated: Callback = gathered
    for option in reversed(list(options.values())):
        decorated = option(decorated)
    return decorated


def example(*lines: str) -> str:
    """The text below a command's options; click keeps its line breaks."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])

"""`mdcompress check FILE…`: recipes, descriptions, activities and model.onnx files, each against its rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from intsnn.errors import IntsnnError, InvalidFileError, MissingFileError, Problem, reading
from mdcompress.cli.console import Console, problem_documents
from mdcompress.cli.options import example, output_options
from mdcompress.pipeline.report import JsonValue, Report

if TYPE_CHECKING:
    from intsnn.graph import IntGraph
    from intsnn.yaml.tree import YamlTree

KINDS = "a recipe, hardware or analog description (.yaml), an activity (.json), or an exported model (.onnx)"
INVALID = 2


@dataclass(frozen=True)
class Verdict:
    """What was found in one file: what it holds, or the error."""

    file: Path
    content: str
    error: IntsnnError | None = None

    def line(self) -> str:
        """`recipes/4bit.yaml: valid recipe 4bit`."""
        return f"{self.file}: {self.content}"

    def document(self) -> JsonValue:
        """The verdict as a JSON value."""
        problems = problem_documents(self.error) if isinstance(self.error, InvalidFileError) else []
        return {
            "file": str(self.file),
            "valid": self.error is None,
            "content": self.content,
            "error": self.error.message if self.error else None,
            "problems": problems,
        }


@click.command("check", epilog=example("mdcompress check my_recipe.yaml runs/4bit/model.onnx"))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_options
def command(files: tuple[Path, ...], console: Console) -> None:
    """Check recipes, descriptions, activities and models.

    Recipes, hardware and analog descriptions (.yaml), activities (.json), exported models (.onnx). A YAML or JSON file
    says itself what it is, in its key `schema`.

    Prints a line for each file, and every problem with its place. Exit code 2 if a file is invalid.
    """
    verdicts = [verdict(file) for file in files]
    text = "\n".join(found.line() for found in verdicts)
    valid = tuple(found.file for found in verdicts if found.error is None)
    console.show(Report(text, [found.document() for found in verdicts], valid))
    for found in verdicts:
        if found.error is not None:
            click.echo(f"error: {found.error}", err=True)
    if len(valid) < len(verdicts):
        click.get_current_context().exit(INVALID)


def verdict(file: Path) -> Verdict:
    """Check one file by the rules of its kind."""
    from mdcompress.runs import settle

    try:
        settle(file.parent)
        with reading(file, KINDS):
            return Verdict(file, f"valid {_read_as_its_kind(file)}")
    except InvalidFileError as error:
        count = len(error.problems)
        return Verdict(file, f"invalid ({count} problem{'s' if count != 1 else ''})", error)
    except IntsnnError as error:
        return Verdict(file, "invalid", error)


def _read_as_its_kind(file: Path) -> str:
    """What the file holds; an error where it breaks the rules of what it says it is."""
    if not file.is_file():
        raise MissingFileError(f"{file}: no such file", hints=[f"give the path of {KINDS}"])
    match file.suffix:
        case ".yaml" | ".yml" | ".json":
            return _reader_of(file)(file)
        case ".onnx":
            return _read_model(file)
        case _:
            raise InvalidFileError(
                f"{file} is not a file that can be checked",
                [Problem(str(file), 0, 0, "", f"the suffix must be .yaml, .yml, .json or .onnx (got {file.suffix!r})")],
                hints=[f"give the path of {KINDS}"],
            )


def _reader_of(file: Path) -> Callable[[Path], str]:
    """The reader of what the file's `schema:` names; JSON is YAML, and one reader knows the places in both."""
    from intsnn.yaml.tree import parse_tree

    readers = _readers()
    text = file.read_text("utf-8", errors="replace")
    tree = parse_tree(text, str(file))
    schema = tree.at(("schema",)) or _schema_line(text)
    kind = schema.partition("/")[0] if isinstance(schema, str) else None
    for known, reader in readers.items():
        if kind == known.partition("/")[0]:
            return reader
    if kind is None and not (tree.complete and isinstance(tree.value, dict)):
        return _read_activity if file.suffix == ".json" else _read_recipe  # the strict reader says what is wrong
    raise _no_kind(tree, tuple(readers))


def _schema_line(text: str) -> str | None:
    """What the `schema:` line names; a file that is no YAML further down still says so what it was to be."""
    found = re.search(r"(?m)^schema:[ \t]*[\"']?([\w./]+)", text)
    return found.group(1) if found else None


def _readers() -> Mapping[str, Callable[[Path], str]]:
    """Every `schema:` that can be checked, with its reader."""
    from intsnn.activity import ACTIVITY_SCHEMA
    from intsnn.analog.spec import ANALOG_SCHEMA
    from intsnn.hardware import HARDWARE_SCHEMA, SPIKESIM_SCHEMA
    from mdcompress.recipe import RECIPE_SCHEMA

    return {
        RECIPE_SCHEMA: _read_recipe,
        HARDWARE_SCHEMA: _read_hardware,
        SPIKESIM_SCHEMA: _read_hardware,
        ANALOG_SCHEMA: _read_analog,
        ACTIVITY_SCHEMA: _read_activity,
    }


def _no_kind(tree: YamlTree, known: tuple[str, ...]) -> InvalidFileError:
    """The error of a file that does not say what it is, or says something unknown."""
    from intsnn.yaml.tree import problem_at
    from intsnn.yaml.wording import near_value_hint, seen

    found, path = tree.at(("schema",)), ("schema",)
    message = "this key is required" if found is None else f"must be one of {', '.join(known)} {seen(found)}"
    hint = near_value_hint(found, known) or f"start the file with one of {', '.join(known)}"
    file = tree.place(()).file
    return InvalidFileError(
        f"{file} is not a file that can be checked",
        [*tree.problems, problem_at(tree.place(path), path, message, hint=hint)],
    )


def _read_recipe(file: Path) -> str:
    from mdcompress.recipe import load_recipe

    return f"recipe {load_recipe(file).name}"


def _read_hardware(file: Path) -> str:
    from intsnn.estimation.costs import price_of
    from intsnn.hardware import HardwareSpec, load_hardware
    from intsnn.hardware.catalogue import Item

    hardware = load_hardware(file)
    if isinstance(hardware, HardwareSpec) and hardware.crossbar.readout == "converter":
        price_of(Item.ADC_CONVERSION, "energy_pj", hardware, bits=hardware.crossbar.resolution)  # an error outside it
    return f"hardware description {hardware.name}"


def _read_analog(file: Path) -> str:
    from intsnn.analog.spec import load_analog

    return f"analog description {load_analog(file).name}"


def _read_activity(file: Path) -> str:
    from intsnn.activity import read_activity

    activity = read_activity(file)
    return f"activity of {len(activity.neurons)} neuron layers over {activity.time_steps} steps"


def _read_model(file: Path) -> str:
    from intsnn.onnx.file import has_digest, read_onnx
    from mdcompress.runs.manifest import require_as_written

    graph = read_onnx(file)
    require_as_written(file)
    _require_golden_of(graph, file)
    unproved = "" if has_digest(file) else " (without a digest: a changed weight would not show; export again)"
    return f"integer graph of {len(graph)} nodes{unproved}"


def _require_golden_of(graph: IntGraph, file: Path) -> None:
    """A golden.npz beside model.onnx must be of this graph, by its fingerprint."""
    from intsnn.execution.golden import golden_hash
    from intsnn.graph.fingerprint import fingerprint
    from mdcompress.runs import GOLDEN_FILE, MODEL_FILE

    golden = file.with_name(GOLDEN_FILE)
    if file.name != MODEL_FILE or not golden.is_file():
        return
    found, expected = golden_hash(golden), fingerprint(graph)
    if found != expected:
        message = f"must be of the graph that {golden} belongs to, {found[:12]} (got {expected[:12]})"
        raise InvalidFileError(
            f"{file} and {golden} do not belong together",
            [Problem(str(file), 0, 0, "", message)],
            hints=["`mdcompress export` writes both: take both from one export"],
        )

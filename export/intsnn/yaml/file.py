"""A YAML file -> a checked, frozen model, or every problem at once with file:line:column, the value seen and a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar, assert_never

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intsnn.errors import InvalidFileError, MissingFileError, Problem, UsageError, reading
from intsnn.yaml.tree import KeyPath, Place, PlainValue, YamlTree, parse_tree, problem_at
from intsnn.yaml.wording import RuleError, near_value_hint, seen, validation_problems

__all__ = [
    "Count",
    "NotNegative",
    "Physical",
    "PhysicalOrZero",
    "Positive",
    "RuleError",
    "StrictModel",
    "Text",
    "checked",
    "read_yaml",
    "read_yaml_text",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Physical = Annotated[float, Field(ge=1e-30, le=1e30)]  # any unit; products of a few do not leave float64
PhysicalOrZero = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class StrictModel(BaseModel):
    """Base of every model of a file: no unknown keys, no conversion between types, no infinities, frozen.

    Lists are `tuple[X, ...]`, closed sets `Literal`. Rules between fields raise RuleError in a validator. `schema:` is
    the reader's business and no field. `model_config = ConfigDict(title="…")` says what a file of this model is called.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)
CHANGE = "--set"  # the option that changes a file's keys, as errors name it


def read_yaml(path: Path, model: type[ModelT], *, schema: str, changes: Sequence[str] = ()) -> ModelT:
    """Read and check one file.

    Args:
        path: the file.
        model: what it must hold.
        schema: what its `schema:` key must say, for example `mdcompress.recipe/1`.
        changes: `key.path=value` items as `--set` takes them; the value is YAML, an item of a list is its number
            (`quantize.overrides.0.weight.bit_width=3`). Checked like the file.

    Raises:
        MissingFileError: there is no such file.
        InvalidFileError: with every problem of the file and of the changes.
    """
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise MissingFileError(f"{path}: {what}", hints=["give the path of a .yaml file"])
    with reading(path, f"a file of {schema}"):
        return read_yaml_text(_read_text(path, schema), str(path), model, schema=schema, changes=changes)


def read_yaml_text(text: str, name: str, model: type[ModelT], *, schema: str, changes: Sequence[str] = ()) -> ModelT:
    """`read_yaml` for text that is at hand already; `name` stands for the file in messages."""
    if not changes and (found := _plain_json(text, model, schema)) is not None:
        return found
    tree = parse_tree(text, name)
    for change in changes:
        tree = _apply_change(tree, change)
    if not tree.complete:
        raise _invalid(name, model, schema, tree.problems)
    body, problems = _take_schema(tree, schema)
    if problems and problems[0].path == "schema" and _is_other_kind(tree.at(("schema",)), schema):
        raise _invalid(name, model, schema, problems)  # checked against this model, all of it would be wrong
    try:
        checked = model.model_validate_json(json.dumps(body))  # JSON: strict, and a list may become a tuple
    except ValidationError as error:
        problems += validation_problems(error, tree, model)
    problems = (*tree.problems, *problems)
    if problems:
        raise _invalid(name, model, schema, problems)
    return checked


def _plain_json(text: str, model: type[ModelT], schema: str) -> ModelT | None:
    """A file in JSON without any fault, quickly; None for any other, which the reader of YAML says all of."""
    if not text.startswith("{"):
        return None
    try:
        body = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        return model.model_validate_json(json.dumps(body)) if body.pop("schema", None) == schema else None
    except (ValueError, RecursionError):  # a ValidationError is a ValueError
        return None


def _unique(pairs: list[tuple[str, PlainValue]]) -> dict[str, PlainValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("each key must be there once")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def checked(model: ModelT) -> ModelT:
    """A copy with changed fields, held to the rules of its file again: `model_copy` copies what it is given unchecked.

    Returns:
        An equal model.

    Raises:
        UsageError: the first rule that a field, or several together, break.
    """
    try:
        return type(model).model_validate(model.model_dump())
    except ValidationError as error:
        found = error.errors()[0]
    rule, place = found.get("ctx", {}).get("error"), ".".join(map(str, found["loc"]))
    match rule:
        case RuleError():
            raise UsageError(rule.message, hints=[rule.hint] if rule.hint else [])
        case _:
            raise UsageError(f"{place}: {found['msg']}")


def _read_text(path: Path, schema: str) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")  # a byte-order mark is no part of the text
    except OSError as error:
        problem = Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}", "check the file's permissions")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - before.rfind(b"\n")
        message = f"must be UTF-8 text (got byte 0x{content[error.start]:02x})"
        problem = Problem(str(path), before.count(b"\n") + 1, column, "", message, "save the file as UTF-8")
    raise InvalidFileError(f"{path} is not a valid {_kind(schema)}", [problem])


def _invalid(name: str, model: type[BaseModel], schema: str, problems: Sequence[Problem]) -> InvalidFileError:
    title = model.model_config.get("title") or _kind(schema)
    if problems and all(problem.file.startswith(CHANGE) for problem in problems):
        return InvalidFileError(f"what {CHANGE} changes in {name} is not valid", problems)
    return InvalidFileError(f"{name} is not a valid {title}", problems)


def _kind(schema: str) -> str:
    """`mdcompress.recipe/1` -> `recipe`."""
    return schema.partition("/")[0].rpartition(".")[2]


def _take_schema(tree: YamlTree, schema: str) -> tuple[Mapping[str, PlainValue], tuple[Problem, ...]]:
    """The mapping without its `schema` key, and what is wrong with that key."""
    if not isinstance(tree.value, dict):
        message = f"must be a mapping of keys {seen(tree.value)}"
        return {}, (problem_at(tree.place(()), (), message, hint=f"start the file with `schema: {schema}`"),)
    body = {key: value for key, value in tree.value.items() if key != "schema"}
    if "schema" not in tree.value:
        hint = f"start the file with `schema: {schema}`"
        return body, (problem_at(tree.place(()), ("schema",), "this key is required", hint=hint),)
    found = tree.value["schema"]
    if found == schema:
        return body, ()
    hint = near_value_hint(found, [schema]) or f"write `schema: {schema}`, if that is what the file is"
    message = f"must be {schema} {seen(found)}"
    return body, (problem_at(tree.place(("schema",)), ("schema",), message, hint=hint),)


def _is_other_kind(found: PlainValue, schema: str) -> bool:
    return isinstance(found, str) and "/" in found and _kind(found) != _kind(schema)


def _apply_change(tree: YamlTree, change: str) -> YamlTree:
    """The tree with `key.path=value` put in; what was below the path is gone, and places below it are the argument."""
    place = Place(f"{CHANGE} {change}", 0, 0)
    key, equals, text = change.partition("=")
    if not equals or not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", key):
        hint = "write it as in `--set train.grad_clip=0.5`"
        return _add_problem(tree, problem_at(place, (), "must be key.path=value", hint=hint))
    setting = parse_tree(text, place.file)
    if setting.problems:
        return _add_problem(tree, problem_at(place, (), setting.problems[0].message, hint=setting.problems[0].hint))
    try:
        path, value = _with_value(tree.value, (), key.split("."), setting.value)
    except _NoSuchItemError as error:
        return _add_problem(tree, problem_at(place, error.path, error.message, hint=error.hint))
    kept = {known: where for known, where in tree.places.items() if known[: len(path)] != path}
    around = {path[:end]: place for end in range(1, len(path)) if path[:end] not in kept}
    below = {(*path, *inner): place for inner in setting.places}
    return replace(tree, value=value, places={**kept, **around, **below})


def _add_problem(tree: YamlTree, problem: Problem) -> YamlTree:
    return replace(tree, problems=(*tree.problems, problem))


class _NoSuchItemError(Exception):
    def __init__(self, path: KeyPath, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.path, self.message, self.hint = path, message, hint


def _with_value(old: PlainValue, path: KeyPath, rest: Sequence[str], new: PlainValue) -> tuple[KeyPath, PlainValue]:
    """`old` with `new` at `rest` below it (a copy), and the whole path; sections that are absent or null appear."""
    if not rest:
        return path, new
    match old:
        case None | dict():
            section = old or {}
            whole, value = _with_value(section.get(rest[0]), (*path, rest[0]), rest[1:], new)
            return whole, {**section, rest[0]: value}
        case list():
            index = _index(old, path, rest[0])
            whole, value = _with_value(old[index], (*path, index), rest[1:], new)
            return whole, [*old[:index], value, *old[index + 1 :]]
        case bool() | int() | float() | str():
            message = f"has no keys: it is a single value {seen(old)}"
            raise _NoSuchItemError(path, message, hint=f"set `{'.'.join(map(str, path))}` itself")
        case _:
            assert_never(old)


def _index(items: Sequence[PlainValue], path: KeyPath, word: str) -> int:
    if re.fullmatch("[0-9]{1,6}", word) and int(word) < len(items):
        return int(word)
    hint = f"the items are 0 to {len(items) - 1}" if items else "set the whole list: `[…]`"
    raise _NoSuchItemError((*path, word), f"the list has {len(items)} items (got item {word})", hint=hint)

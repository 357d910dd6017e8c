"""What a model found wrong -> Problems in our words: what must hold, the value seen, and a hint that instructs."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Literal, TypeGuard, Union, assert_never, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from intsnn.errors import Problem
from intsnn.yaml.tree import KeyPath, PlainValue, YamlTree, problem_at

LONGEST_QUOTE = 60  # characters of a wrong value that a message repeats


class RuleError(ValueError):
    """A rule between fields is broken. Raise it in a model's validator; it becomes a Problem.

    `field`: the key to point at, relative to the model (`distill.time_steps`); None points at the model itself.
    """

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field


@dataclass(frozen=True)
class _Finding:
    """One complaint about the value at `path`; `alternative`: that of one branch of a union of types.

    rule: whether a rule between fields is broken, so that the branch's types fit.
    """

    path: KeyPath
    message: str
    hint: str | None
    alternative: bool
    rule: bool = False


def validation_problems(error: ValidationError, tree: YamlTree, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Every fault the model found, except where the value is unknown because the text itself was at fault."""
    details = [detail for detail in error.errors(include_url=False) if not _is_echo(detail, tree)]
    findings = _merge_alternatives([_finding(detail, tree, model) for detail in details])
    problems = []
    for finding in findings:
        if not any(finding.path[:end] in tree.unknown for end in range(len(finding.path) + 1)):
            place = tree.place(finding.path)
            problems.append(problem_at(place, finding.path, finding.message, hint=finding.hint))
    return tuple(problems)


def unknown_key_hint(word: str, known: Sequence[str]) -> str:
    """The nearest known key, or all of them."""
    near = get_close_matches(word, known, n=1)
    return f"the key is `{near[0]}`" if near else f"the keys here are: {', '.join(known)}"


def near_value_hint(value: PlainValue, allowed: Iterable[str]) -> str | None:
    """The nearest allowed word, if there is one."""
    near = get_close_matches(value, list(allowed), n=1) if isinstance(value, str) else []
    return f"write `{near[0]}`" if near else None


def seen(value: PlainValue) -> str:
    """`(got …)`, the value as the file spells it: text in quotes, true, null, a mapping, a list."""
    match value:
        case None:
            return "(got nothing)"
        case bool():
            return f"(got {str(value).lower()})"
        case dict():
            return "(got a mapping)"
        case list():
            return "(got a list)"
        case str() if len(value) > LONGEST_QUOTE:
            return f"(got {value[:LONGEST_QUOTE]!r}…)"
        case str():
            return f"(got {value!r})"
        case int() if len(str(value)) > LONGEST_QUOTE:
            return f"(got a number of {len(str(value))} digits)"
        case int() | float():
            return f"(got {value})"
        case _:
            assert_never(value)


def _merge_alternatives(findings: Sequence[_Finding]) -> list[_Finding]:
    """`str | list[str]` complains once per branch: keep the deepest complaint, or join them with "or"."""
    alternatives = [finding for finding in findings if finding.alternative]
    merged = [finding for finding in findings if not finding.alternative]
    for path in dict.fromkeys(finding.path for finding in alternatives):
        if any(len(other.path) > len(path) and other.path[: len(path)] == path for other in alternatives):
            continue
        here = [finding for finding in alternatives if finding.path == path]
        # a broken rule says more than the branches that never fitted, and is no phrase that "or" could join
        here = [finding for finding in here if finding.rule] or here
        wanted = list(dict.fromkeys(finding.message.partition(" (got")[0].removeprefix("must be ") for finding in here))
        got = here[0].message.partition(" (got")
        message = f"must be {' or '.join(wanted)}{got[1]}{got[2]}" if len(wanted) > 1 else here[0].message
        merged.append(_Finding(path, message, here[0].hint, alternative=False))
    return merged


def _is_echo(detail: ErrorDetails, tree: YamlTree) -> bool:
    """Whether a list counts as too short only because faulty items, reported already, were left out of it."""
    value = tree.at(_real_path(detail, tree)[0])
    return detail["type"] == "too_short" and isinstance(value, list) and len(value) >= detail["ctx"]["min_length"]


def _finding(detail: ErrorDetails, tree: YamlTree, model: type[BaseModel]) -> _Finding:
    path, skipped = _real_path(detail, tree)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            hint = _missing_hint(path, model)
            return _Finding(path, "this key is required", hint, skipped)
        case "extra_forbidden":
            return _Finding(path, "unknown key", _unknown_hint(path, model), skipped)
        case "value_error" if isinstance(context.get("error"), RuleError):
            rule: RuleError = context["error"]
            path = path if rule.field is None else (*path, *map(_as_part, rule.field.split(".")))
            return _Finding(path, rule.message, rule.hint, skipped, rule=True)
        case "literal_error" | "enum":
            allowed = _allowed_values(path, model)
            message = f"must be {'one of ' if len(allowed) > 1 else ''}{', '.join(allowed)} {seen(tree.at(path))}"
            return _Finding(path, message, near_value_hint(tree.at(path), allowed), skipped)
        case kind:
            message, hint = _expectation(kind, detail["msg"], context, tree.at(path))
            return _Finding(path, f"{message} {seen(tree.at(path))}", hint, skipped)


def _as_part(word: str) -> str | int:
    """A part of a dotted path: the number of an item, or a key."""
    return int(word) if word.isdecimal() else word


def _real_path(detail: ErrorDetails, tree: YamlTree) -> tuple[KeyPath, bool]:
    """The part of pydantic's location that exists in the file; it adds names of union branches, which do not."""
    absent = detail["loc"][-1:] if detail["type"] == "missing" else ()
    path: KeyPath = ()
    skipped = False
    for part in detail["loc"][: len(detail["loc"]) - len(absent)]:
        if (*path, part) in tree.places:
            path = (*path, part)
        else:
            skipped = True
    return (*path, *absent), skipped


def _expectation(kind: str, fallback: str, context: Mapping[str, object], value: PlainValue) -> tuple[str, str | None]:
    """What must hold, by pydantic's kind of error (and a hint where the kind alone suggests one)."""
    match kind:
        case "string_type":
            return "must be text", _quoting_hint(value)
        case "bool_type":
            return "must be true or false", "YAML 1.2 knows only true and false" if isinstance(value, str) else None
        case "int_type" | "int_from_float":
            return "must be an integer", None
        case "float_type":
            return "must be a number", None
        case "finite_number":
            return "must be a finite number", None
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return "must be a mapping of keys", None
        case "list_type" | "tuple_type" | "set_type":
            return "must be a list", "put it in brackets: [a, b]"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}", None
        case "greater_than":
            return f"must be greater than {context['gt']:g}", None
        case "less_than_equal":
            return f"must be at most {context['le']:g}", None
        case "less_than":
            return f"must be less than {context['lt']:g}", None
        case "too_short" | "string_too_short":
            return f"must have at least {_count(context['min_length'], kind)}", None
        case "too_long" | "string_too_long":
            return f"must have at most {_count(context['max_length'], kind)}", None
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}", None
        case "union_tag_invalid":
            return f"{context['discriminator']} must be one of {context['expected_tags']}", None
        case "union_tag_not_found":
            return f"must have the key {context['discriminator']}", None
        case "value_error":
            return str(context["error"]), None
        case _:
            return fallback[:1].lower() + fallback[1:], None


def _quoting_hint(value: PlainValue) -> str | None:
    match value:
        case bool():
            return f"put it in quotes: '{str(value).lower()}'"
        case int() | float():
            return f"put it in quotes: '{value}'"
        case None | str() | list() | dict():
            return None
        case _:
            assert_never(value)


def _count(number: object, kind: str) -> str:
    unit = "character" if kind.startswith("string") else "item"
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _missing_hint(path: KeyPath, model: type[BaseModel]) -> str | None:
    for owner in _models_at(path[:-1], model):
        for name, info in owner.model_fields.items():
            if path[-1] in (name, info.alias):
                return f"add `{path[-1]}: …`" + (f" ({info.description})" if info.description else "")
    return None


def _unknown_hint(path: KeyPath, model: type[BaseModel]) -> str | None:
    word = str(path[-1])
    owners = list(_models_at(path[:-1], model))
    here = [key for owner in owners for key in _keys(owner)]
    if len(path) == 1:
        here = ["schema", *here]
    homes = [".".join(home) for home in _homes(word, model) if home]
    if 1 <= len(homes) <= 2:
        return f"`{word}` is a key of `{'` and of `'.join(homes)}`"
    return unknown_key_hint(word, here) if here else None


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _homes(word: str, model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The sections in which `word` is a key."""
    for name, info in model.model_fields.items():
        if word == (info.alias or name):
            yield path
        for section in _models_in(info.annotation):
            yield from _homes(word, section, (*path, info.alias or name))


def _allowed_values(path: KeyPath, model: type[BaseModel]) -> list[str]:
    """The values of the Literal (or Enum) at `path`, as the file spells them."""
    allowed: list[str] = []
    for annotation in _annotations_at(path, model):
        if get_origin(annotation) is Literal:
            allowed += [str(value) for value in get_args(annotation)]
        elif isinstance(annotation, type) and issubclass(annotation, Enum):
            allowed += [str(member.value) for member in annotation]
        elif annotation is type(None):
            allowed.append("null")
    return allowed


def _models_at(path: KeyPath, model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    return filter(is_model, _annotations_at(path, model))


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that a field's type mentions, not counting those inside lists."""
    return filter(is_model, _alternatives(annotation))


def is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether an annotation is a model: a section of a file."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _annotations_at(path: KeyPath, model: type[BaseModel]) -> list[object]:
    """The types that the model allows at `path`."""
    annotations: list[object] = [model]
    for part in path:
        annotations = [
            alternative
            for annotation in annotations
            for inner in _step(annotation, part)
            for alternative in _alternatives(inner)
        ]
    return annotations


def _step(annotation: object, part: str | int) -> Iterator[object]:
    """The types one key or index further down."""
    if is_model(annotation):
        for name, info in annotation.model_fields.items():
            if part in (name, info.alias):
                yield info.annotation
    elif get_origin(annotation) is tuple and isinstance(part, int):
        arguments = get_args(annotation)
        yield arguments[0] if Ellipsis in arguments else arguments[min(part, len(arguments) - 1)]
    elif get_origin(annotation) is not Literal and get_args(annotation):
        yield get_args(annotation)[-1]


def _alternatives(annotation: object) -> Iterator[object]:
    """The branches of a union, without Annotated."""
    if get_origin(annotation) in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _alternatives(branch)
    elif get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation

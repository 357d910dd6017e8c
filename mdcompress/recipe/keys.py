"""What is known of a recipe's keys besides their values: which stages read each, and where one has no effect.

Both stand at the key itself, in its type: `seed: Annotated[int, ReadBy(Stage.TRAIN, …)]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from intsnn.yaml.file import StrictModel
from intsnn.yaml.tree import PlainValue
from intsnn.yaml.wording import is_model
from mdcompress.runs.manifest import Stage


class ReadBy:
    """The stages whose result a key decides; keys below it that have no mark of their own are read by the same ones."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = frozenset(stages)


@dataclass(frozen=True)
class ReadWhere:
    """A key that is read only under some values of its neighbours; elsewhere only its default may stand.

    words: the condition, as it follows "where". holds: whether it is met, from the values of the section's keys.
    """

    words: str
    holds: Callable[[Mapping[str, object]], bool]


@dataclass(frozen=True)
class RecipeKey:
    """One key of a model, or of a section below it.

    path: `distill.membrane.weight`; that of an item of a list leaves the item's number out. stages: those that read it;
    None where neither the key nor a section around it says so. default: as JSON; None where the key is required.
    where: the condition under which it is read, if there is one.
    """

    path: str
    stages: frozenset[Stage] | None
    default: str | None
    where: ReadWhere | None = None


@dataclass(frozen=True)
class IdleKey:
    """A key that is given and not read. path: below the section that was asked about. value, default: as in a file."""

    path: tuple[str | int, ...]
    value: PlainValue
    default: PlainValue
    where: ReadWhere

    @property
    def spelled_default(self) -> str:
        """The default as a file spells it: null, true, text without quotes."""
        return self.default if isinstance(self.default, str) else json.dumps(self.default)

    def below(self, *path: str | int) -> IdleKey:
        """The same key, seen from further up."""
        return replace(self, path=(*path, *self.path))


MarkT = TypeVar("MarkT", ReadBy, ReadWhere)


class RecipeSection(StrictModel):
    """Base of every section of a recipe."""

    def idle_keys(self) -> Iterator[IdleKey]:
        """The keys of the section, and of those below it, that have no effect and are not at their defaults."""
        yield from idle_in(self, (dict(self),))
        for name, value in self:
            for number, inner in _items_of(value):
                yield from (idle.below(name, *number) for idle in inner.idle_keys())


def recipe_keys(
    model: type[BaseModel], *, path: str = "", stages: frozenset[Stage] | None = None, given: BaseModel | None = None
) -> Iterator[RecipeKey]:
    """Every key of a model, those of its sections and of items of lists among them, in the order of a file.

    Args:
        model: the recipe, or a section.
        path: of the section.
        stages: those that read the section.
        given: the section's own default, whose values go before those of the model.
    """
    for name, info in model.model_fields.items():
        here = f"{path}.{name}".lstrip(".")
        mark = _mark(info, ReadBy)
        read_by = stages if mark is None else mark.stages
        default = info.default if given is None else getattr(given, name)
        as_json = None if default is PydanticUndefined else _as_json(default)
        yield RecipeKey(here, read_by, as_json, _mark(info, ReadWhere))
        for section in models_in(info.annotation):
            yield from recipe_keys(section, path=here, stages=read_by, given=section_or_none(default))


def keys_not_read_by(model: type[BaseModel], stage: Stage) -> tuple[str, ...]:
    """The keys of a section that say they are read by other stages alone."""
    marks = {name: _mark(info, ReadBy) for name, info in model.model_fields.items()}
    return tuple(name for name, mark in marks.items() if mark is not None and stage not in mark.stages)


def idle_in(section: BaseModel, situations: Sequence[Mapping[str, object]]) -> Iterator[IdleKey]:
    """The keys of a section that are not at their defaults and have no effect in any situation.

    Args:
        section: as it was read.
        situations: the values of its keys, in each place where it counts.
    """
    for name, info in type(section).model_fields.items():
        value, where = getattr(section, name), _mark(info, ReadWhere)
        if where is not None and value != info.default and not any(map(where.holds, situations)):
            yield IdleKey((name,), value, info.default, where)


def _items_of(value: object) -> Iterator[tuple[tuple[int, ...], RecipeSection]]:
    """The section at a key, or those in its list with their numbers."""
    match value:
        case RecipeSection():
            yield (), value
        case tuple():
            for number, item in enumerate(value):
                yield from (((number, *inner), section) for inner, section in _items_of(item))


def _mark(info: FieldInfo, kind: type[MarkT]) -> MarkT | None:
    return next((mark for mark in info.metadata if isinstance(mark, kind)), None)


def _as_json(default: object) -> str:
    return json.dumps(default, default=lambda section: section.model_dump(mode="json"))


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models in the type of a key, those of lists among them."""
    if is_model(annotation):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from models_in(argument)


def section_or_none(default: object) -> BaseModel | None:
    """A default that is a section; None for any other."""
    return default if isinstance(default, BaseModel) else None

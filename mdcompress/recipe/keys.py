"""What is known of a recipe's keys besides their values: which stages read each, and where one has no effect.

Both stand at the key itself, in its type: `seed: Annotated[int, ReadBy(Stage.TRAIN, …)]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from intsnn.yaml.tree import PlainValue
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
    """

    path: str
    stages: frozenset[Stage] | None
    default: str | None


@dataclass(frozen=True)
class IdleKey:
    """A key that is given and not read. path: below the section that was asked about. value, default: as in a file."""

    path: tuple[str | int, ...]
    value: PlainValue
    default: PlainValue
    where: ReadWhere


def recipe_keys(
    model: type[BaseModel], *, path: str = "", stages: frozenset[Stage] | None = None, given: object = None
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
        marks = [mark.stages for mark in info.metadata if isinstance(mark, ReadBy)]
        read_by = marks[-1] if marks else stages
        default = getattr(given, name, info.default)
        yield RecipeKey(here, read_by, None if _has_no_value(info, given) else _as_json(default))
        for section in _sections(info.annotation):
            yield from recipe_keys(section, path=here, stages=read_by, given=default)


def keys_not_read_by(model: type[BaseModel], stage: Stage) -> tuple[str, ...]:
    """The keys of a section that say they are read by other stages alone."""
    marks = {name: [m for m in info.metadata if isinstance(m, ReadBy)] for name, info in model.model_fields.items()}
    return tuple(name for name, found in marks.items() if found and stage not in found[-1].stages)


def idle_keys(section: BaseModel, *, variants: Sequence[Mapping[str, object]] = ()) -> Iterator[IdleKey]:
    """The keys of a section, and of those below it, that have no effect and are not at their defaults.

    Args:
        section: as it was read.
        variants: what others put over the section's values; where one of them reads the key, it has an effect.
    """
    values = dict(section)
    for name, info in type(section).model_fields.items():
        value = values[name]
        for where in (mark for mark in info.metadata if isinstance(mark, ReadWhere)):
            if value != info.default and not any(where.holds({**values, **variant}) for variant in ({}, *variants)):
                yield IdleKey((name,), value, info.default, where)
        for path, inner in _sections_of(value):
            over = [changes for other in _overrides(section) if (changes := other.get(name)) is not None]
            for idle in idle_keys(inner, variants=over):
                yield replace(idle, path=(name, *path, *idle.path))


def _sections_of(value: object) -> Iterator[tuple[tuple[int, ...], BaseModel]]:
    """The section at a key, or those in its list with their numbers."""
    if isinstance(value, BaseModel):
        yield (), value
    elif isinstance(value, tuple):
        yield from (((number,), item) for number, item in enumerate(value) if isinstance(item, BaseModel))


def _overrides(section: BaseModel) -> Iterator[Mapping[str, Mapping[str, object]]]:
    """What the items of a section's `overrides` change: section -> key -> value."""
    for item in getattr(section, "overrides", ()):
        yield {
            name: {key: getattr(policy, key) for key in policy.model_fields_set}
            for name, policy in item.sections.items()
        }


def _has_no_value(info: FieldInfo, given: object) -> bool:
    return info.is_required() and not isinstance(given, BaseModel)


def _as_json(default: object) -> str:
    return json.dumps(default.model_dump(mode="json") if isinstance(default, BaseModel) else default)


def _sections(annotation: object) -> Iterator[type[BaseModel]]:
    """The models in the type of a key, those of lists among them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from _sections(argument)

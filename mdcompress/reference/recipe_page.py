"""The recipe models -> recipes/README.md: every key with its values, its default and its meaning.

`python -m mdcompress.reference.recipe_page > recipes/README.md` writes it; a test holds that it is current.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Union, assert_never, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from intsnn.yaml.wording import is_model
from intsnn.yaml.writing import write_yaml_value
from mdcompress.recipe import Override, Recipe, load_recipe, shipped_recipes
from mdcompress.recipe.keys import models_in, section_or_none
from mdcompress.recipe.values import Wording

_INTRODUCTION = """\
# Recipes

A recipe says how a network is compressed: bits of weights, membrane and batch norm, what the student learns from, and
on which data. One file, one result: the same recipe, network and data give the same integers.

This page is written by `python -m mdcompress.reference.recipe_page` from the program's own definition.

## Shipped recipes

Give the name in place of a path: `mdcompress run --recipe 4bit`.
"""

_GUIDE = """\
## Writing one

```yaml
schema: mdcompress.recipe/1
name: mine
model: {builder: my_package.networks:network}
quantize:
  weight: {bit_width: 4}
  overrides:
    - match: ["@first", "@last"]
      weight: {bit_width: 8}
```

- A key that is left out has its default; an unknown key is an error, and so is a pattern that matches no node, or a
  value at a key that has no effect: `momentum` of an optimizer that has none.
- `--set quantize.weight.bit_width=3` changes one key from the command line; an item of a list is its number:
  `--set quantize.overrides.0.weight.bit_width=6`.
- YAML 1.2, one document: `1e-3` is a number, `yes` is text; no anchors, aliases, merge keys or tags.
- `match` selects nodes by the names that `--dry-run` prints. `*` and `?` stop at a dot and `**` does not, so that
  `layer1.*` is `layer1.conv` but not `layer1.0.conv`. `re:` starts a regular expression, which must match the whole
  name. Roles fit any network: `@first` and `@last` synapse; `@residual`, the synapses and neurons that feed an
  addition; `@readout`, the synapses that reach the output without passing a neuron that fires, and a neuron that does
  not fire and is the output.
- Threshold, leak and reset are not in the recipe: they belong to the network.

## Keys

`schema` (required) is `mdcompress.recipe/1`.
"""


@dataclass(frozen=True)
class _Section:
    """One table: the keys of a model at a path, with the defaults they have at that place."""

    path: str
    model: type[BaseModel]
    default: BaseModel | None


def recipe_reference() -> str:
    """The text of recipes/README.md."""
    shipped = [f"| `{name}` | {load_recipe(name).summary} |" for name in shipped_recipes()]
    parts = ["\n".join([_INTRODUCTION, "| recipe | what it does |", "|---|---|", *shipped]), _GUIDE.rstrip()]
    parts += ["\n".join(_table(section)) for section in _sections(_Section("", Recipe, None))]
    return "\n\n".join(parts) + "\n"


def _sections(section: _Section) -> Iterator[_Section]:
    """A section, then those below it, in the order of the keys."""
    yield section
    for name, info in section.model.model_fields.items():
        path = f"{section.path}.{name}".lstrip(".")
        default = _default(section, name, info)
        for model in models_in(info.annotation):
            if model is Override:
                yield _Section(f"{path}.0", model, None)  # its own sections are those of `quantize`
            else:
                yield from _sections(_Section(path, model, section_or_none(default)))


def _table(section: _Section) -> Iterator[str]:
    docstring = " ".join((section.model.__doc__ or "").split())
    yield f"### `{section.path}`" if section.path else "### Top level"
    yield ""
    yield docstring
    yield ""
    yield "| key | values | default | meaning |"
    yield "|---|---|---|---|"
    for name, info in section.model.model_fields.items():
        values = _values(info.annotation, info.metadata)
        yield f"| `{name}` | {values} | {_default_in_words(section, name, info)} | {info.description} |"


def _default(section: _Section, name: str, info: FieldInfo) -> object:
    return info.default if section.default is None else getattr(section.default, name)


def _default_in_words(section: _Section, name: str, info: FieldInfo) -> str:
    if info.is_required() and section.default is None:
        return "required"
    default = _default(section, name, info)
    match default:
        case BaseModel():
            return "see below"
        case tuple():
            return f"`{write_yaml_value(list(default))}`"
        case _:
            return f"`{write_yaml_value(default)}`"  # type: ignore[arg-type]


def _values(annotation: object, metadata: Sequence[object]) -> str:
    """What may stand at a key, in words."""
    for mark in metadata:
        if isinstance(mark, Wording):
            return mark.words
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _values(inner, [*metadata, *more])
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_values(branch, metadata) for branch in get_args(annotation))
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_values(get_args(annotation)[0], ())}s"
    return _plain_type(annotation) + ("" if annotation is type(None) else _limits(metadata))


def _plain_type(annotation: object) -> str:
    if is_model(annotation):
        return "section"
    names: dict[object, str] = {
        bool: "true or false", int: "integer", float: "number", str: "text", type(None): "null",
    }  # fmt: skip
    return names[annotation]


def _limits(metadata: Sequence[object]) -> str:
    limits = [item for item in metadata if isinstance(item, Ge | Gt | Le | Lt)]
    match limits:
        case [Ge(low), Le(high)]:
            return f" from {low} to {high}"
        case _:
            words = [_limit(limit) for limit in limits]
            return f", {' and '.join(words)}" if words else ""


def _limit(limit: Ge | Gt | Le | Lt) -> str:
    match limit:
        case Ge(bound):
            return f"at least {bound}"
        case Gt(bound):
            return f"greater than {bound}"
        case Le(bound):
            return f"at most {bound}"
        case Lt(bound):
            return f"less than {bound}"
        case _:
            assert_never(limit)


if __name__ == "__main__":
    sys.stdout.write(recipe_reference())

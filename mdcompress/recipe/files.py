"""Recipe files: find one by path or shipped name, read it, and write one that reads back equal."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import field_validator

from intsnn.errors import UsageError
from intsnn.yaml.file import read_yaml
from intsnn.yaml.writing import write_yaml_text
from mdcompress.recipe.sections import Recipe

RECIPE_SCHEMA = "mdcompress.recipe/1"


def load_recipe(path_or_name: str | Path, *, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, or a shipped one by its name.

    Args:
        path_or_name: a path (`my/recipe.yaml`) or the name of a shipped recipe (`4bit`).
        changes: `key.path=value` items, as `--set` takes them.

    Returns:
        The recipe, checked.

    Raises:
        UsageError: no shipped recipe has the name.
        MissingFileError: there is no such file.
        InvalidFileError: with every problem of the file and of the changes.
    """
    return read_yaml(find_recipe(path_or_name), Recipe, schema=RECIPE_SCHEMA, changes=changes)


def load_kept_recipe(path: Path, *, changes: Sequence[str] = ()) -> Recipe:
    """The recipe that a run keeps. Earlier versions let keys stand that have no effect; those may stay, and no others.

    Args:
        path: `recipe.yaml` in the run's folder.
        changes: as in `load_recipe`.

    Raises:
        MissingFileError, InvalidFileError: as in `load_recipe`.
    """
    kept = read_yaml(path, _KeptRecipe, schema=RECIPE_SCHEMA, changes=changes)
    if changes and _idle_paths(kept) - _idle_paths(read_yaml(path, _KeptRecipe, schema=RECIPE_SCHEMA)):
        return load_recipe(path, changes=changes)  # which says what has no effect since the changes
    return Recipe.model_construct(kept.model_fields_set, **dict(kept))


def _idle_paths(recipe: Recipe) -> set[tuple[str | int, ...]]:
    return {idle.path for idle in recipe.idle_keys()}


class _KeptRecipe(Recipe):
    """A recipe as a run keeps it."""

    @field_validator("*")
    @classmethod
    def _no_key_is_idle(cls, value: object) -> object:
        return value


def find_recipe(path_or_name: str | Path) -> Path:
    """The file. A text without folder and suffix is a shipped recipe's name; everything else is a path.

    Raises:
        UsageError: no shipped recipe has the name.
    """
    path = Path(path_or_name)
    if isinstance(path_or_name, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    names = shipped_recipes()
    if path_or_name in names:
        return recipes_folder() / f"{path_or_name}.yaml"
    near = get_close_matches(path_or_name, names, n=1)
    hints = [f"the shipped recipes are: {', '.join(names)}", "for a file of your own give its path, with .yaml"]
    raise UsageError(
        f"no shipped recipe has the name {path_or_name!r}", hints=[f"write `{near[0]}`", *hints] if near else hints
    )


def shipped_recipes() -> tuple[str, ...]:
    """The names of the shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in recipes_folder().glob("*.yaml")))


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults written out; it loads back equal."""
    return write_yaml_text({"schema": RECIPE_SCHEMA, **recipe.model_dump(mode="json")})

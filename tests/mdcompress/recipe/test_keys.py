"""Every key of a recipe says which stages read it; a key that has no effect is an error at its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from intsnn.errors import InvalidFileError
from intsnn.yaml.file import read_yaml_text
from mdcompress.recipe import RECIPE_SCHEMA, Recipe, TrainSpec, load_kept_recipe, load_recipe, recipes_folder
from mdcompress.recipe.keys import RecipeKey, keys_not_read_by, recipe_keys
from mdcompress.runs.manifest import Stage

SHORT = f"schema: {RECIPE_SCHEMA}\nname: short\n"
BENCHMARKS = sorted((Path(__file__).parents[3] / "benchmarks" / "recipes").glob("*.yaml"))
KEYS = {key.path: key for key in recipe_keys(Recipe)}


def read(*changes: str) -> Recipe:
    return read_yaml_text(SHORT, "bad.yaml", Recipe, schema=RECIPE_SCHEMA, changes=changes)


def refused(text: str, *changes: str) -> tuple[str, int, str, str | None]:
    """Key, line, message and hint of the one problem."""
    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text(SHORT + text, "bad.yaml", Recipe, schema=RECIPE_SCHEMA, changes=changes)
    (problem,) = caught.value.problems
    return problem.path, problem.line, problem.message, problem.hint


# ---------------------------------------------------------------------- stages


def test_every_key_says_which_stages_read_it() -> None:
    silent = [path for path, key in KEYS.items() if key.stages is None]
    assert not silent, "give the key or its section ReadBy(…): a stage is stale where a key it reads changed"


def test_only_keys_that_decide_no_result_are_read_by_no_stage() -> None:
    """Add none here but what no stage's files depend on: nothing that was made with another value is made again."""
    assert [path for path, key in KEYS.items() if not key.stages] == [
        "name", "summary", "data.folder", "data.cache", "data.workers", "data.pin_memory", "train.checkpoint_every"
    ]  # fmt: skip


def test_walk_reaches_every_field_of_every_section() -> None:
    schema = Recipe.model_json_schema()

    def fields(part: object) -> Iterator[str]:
        """Names of keys by pydantic's own walk; sections are `$ref`s, alone, in a union or in a list."""
        if isinstance(part, list):
            yield from (name for item in part for name in fields(item))
        elif isinstance(part, dict) and "$ref" in part:
            yield from fields(schema["$defs"][part["$ref"].rpartition("/")[2]])
        elif isinstance(part, dict):
            for name, inner in part.get("properties", {}).items():
                yield name
                yield from fields(inner)
            yield from fields(part.get("anyOf"))
            yield from fields(part.get("items"))

    assert [path.rpartition(".")[2] for path in KEYS] == list(fields(schema))
    assert len(KEYS) > 100


def test_key_without_a_mark_below_a_section_without_one_is_found_silent() -> None:
    class Added(BaseModel):
        new: int = 3

    class Grown(Recipe):
        added: Added = Added()

    grown = {key.path: key for key in recipe_keys(Grown)}
    assert grown.keys() - KEYS.keys() == {"added", "added.new"}
    assert grown["added"] == RecipeKey("added", None, '{"new": 3}')
    assert grown["added.new"] == RecipeKey("added.new", None, "3")


def test_defaults_of_keys_are_those_of_a_recipe_that_gives_none() -> None:
    assert KEYS["teacher.optimizer.lr"].default == "0.002" and KEYS["train.optimizer.lr"].default == "0.0005"
    assert KEYS["quantize.weight.bit_width"].default == "8"
    assert KEYS["distill.rates"].default == "null" and KEYS["distill.rates.weight"].default == "0.1"
    assert KEYS["distill.gradual"].default == "[]"
    assert KEYS["name"].default is None and KEYS["model.builder"].default is None


def test_teacher_is_trained_without_what_is_the_students() -> None:
    assert keys_not_read_by(TrainSpec, Stage.TRAIN) == ("optimizer", "batch_norm", "checkpoint_every")


# ---------------------------------------------------------------------- keys without effect

IDLE = [
    *(
        (f"distill.membrane.pool=layer distill.membrane.distance={distance}".split(), "distill.membrane.pool",
         "must be channel, as it has no effect: it is read only where distance is emd or moments (got 'layer')")
        for distance in ("mse", "cosine", "firing")
    ),
    *(
        (f"distill.membrane.normalize=none distill.membrane.distance={distance}".split(), "distill.membrane.normalize",
         "must be threshold, as it has no effect: it is read only where distance is mse or emd (got 'none')")
        for distance in ("cosine", "firing", "moments")
    ),
    *(
        ([f"{section}.optimizer.name={name}", f"{section}.optimizer.momentum=0.8"], f"{section}.optimizer.momentum",
         "must be 0.9, as it has no effect: it is read only where name is sgd (got 0.8)")
        for section in ("train", "teacher") for name in ("adam", "adamw")
    ),
    (["distill.sparsity={layer_targets: {a: 0.1}}"], "distill.sparsity.layer_targets",
     "must be {}, as it has no effect: it is read only where per is layer (got a mapping)"),
    (["distill.guard=none"], "distill.guard",
     "must be accuracy, as it has no effect: it is read only where best is loss (got 'none')"),
    (["calibrate.percentile=99"], "calibrate.percentile",
     "must be 99.9, as it has no effect: it is read only where input or membrane is percentile (got 99.0)"),
    (["quantize.batch_norm={mode: power_of_two, scale_bit_width: 6}"], "quantize.batch_norm.scale_bit_width",
     "must be 8, as it has no effect: it is read only where mode is quantize or fold (got 6)"),
    *(
        ([f"data.name={name}", f"data.{key}={value}"], f"data.{key}",
         f"must be {default}, as it has no effect: it is read only where name is nmnist, ncaltech101, cifar10_dvs or "
         f"dvs_gesture (got {seen})")
        for key, value, default, seen in (("size", "48", "null", "48"), ("cache", "true", "false", "true"))
        for name in ("cifar10", "digits_events", "'my_data:load'")
    ),
    *(
        (["data.name='my_data:load'", f"data.{key}={value}"], f"data.{key}",
         f"must be {default}, as it has no effect: it is read only where name is that of a data set (got {value})")
        for key, value, default in (("workers", "2", "0"), ("pin_memory", "true", "false"))
    ),
    (["train.batch_norm={freeze_after: 0, remeasure: 4}"], "train.batch_norm.remeasure",
     "must be 8, as it has no effect: it is read only where freeze_after is null or above 0 (got 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "message"), IDLE)
def test_key_that_has_no_effect_is_an_error_with_key_value_and_hint(changes: list[str], key: str, message: str) -> None:
    condition = message.partition("only where ")[2].partition(" (got")[0]
    path, _, found, hint = refused("", *changes)
    assert (path, found, hint) == (key, message, f"delete it, or see to it that {condition}")


def test_key_that_has_no_effect_is_shown_in_its_line() -> None:
    text = "distill:\n  membrane:\n    distance: firing\n    normalize: variance\n"
    assert refused(text)[:2] == ("distill.membrane.normalize", 6)
    text = "quantize:\n  overrides:\n  - match: a\n    weight: {bit_width: 3}\n  - match: b\n"
    text += "    batch_norm:\n      mode: power_of_two\n      scale_bit_width: 5\n"
    assert refused(text)[:2] == ("quantize.overrides.1.batch_norm.scale_bit_width", 10)


@pytest.mark.parametrize(
    "changes",
    [
        ["distill.membrane={distance: emd, pool: layer, normalize: variance}"],
        ["distill.membrane={distance: moments, pool: layer, normalize: threshold}"],
        ["distill.membrane={distance: mse, pool: channel, normalize: none}"],
        ["distill.membrane={distance: cosine, pool: channel, normalize: threshold}"],
        ["train.optimizer={name: sgd, momentum: 0}"],
        ["train.optimizer={name: adam, momentum: 0.9}"],
        ["calibrate={input: percentile, percentile: 99}"],
        ["calibrate={membrane: percentile, percentile: 99}"],
        ["quantize.batch_norm={mode: fold, scale_bit_width: 6}"],
        ["quantize.batch_norm={mode: power_of_two, scale_bit_width: 8}"],
        ["train.batch_norm={freeze_after: 1, remeasure: 4}"],
        ["train.batch_norm={remeasure: 0}"],
        ["data.name=ncaltech101", "data.size=48", "data.cache=true"],
        ["data.workers=2", "data.pin_memory=true"],
    ],
)
def test_key_that_has_an_effect_or_its_default_stands(changes: list[str]) -> None:
    assert read(*changes).name == "short"


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["name=cifar10", "augment.roll=2"], "roll", "is for events, and the network sees images (got 2)"),
        (["name=cifar10", "augment.drop=0.1"], "drop", "is for events, and the network sees images (got 0.1)"),
        (["name=ncaltech101", "augment.crop=4"], "crop", "is for images, and the network sees events (got 4)"),
        (
            ["name=cifar10", "encoding=events", "augment.cutout=8"],
            "cutout",
            "is for images, and the network sees events",
        ),
        *(
            (
                [f"name={name}", "augment.flip=true"],
                "flip",
                f"is not for {name}, whose samples are of another class in a",
            )
            for name in ("digits", "mnist", "digits_events", "nmnist", "dvs_gesture", "shd")
        ),
        (["name='my_data:load'", "augment.flip=true"], "flip", "is for the named data sets (got true)"),
    ],
)
def test_augmentation_that_makes_no_sense_is_an_error(changes: list[str], key: str, message: str) -> None:
    path, _, found, hint = refused("", *(f"data.{change}" for change in changes))
    assert path == f"data.augment.{key}" and found.startswith(message) and hint


@pytest.mark.parametrize(
    "changes",
    [
        ["name=cifar10", "augment={crop: 4, flip: true, cutout: 16}"],
        ["name=mnist", "encoding=rate", "augment={crop: 2}"],
        ["name=cifar10", "encoding=events", "augment={flip: true, roll: 2}"],
        ["name=dvs_gesture", "augment={roll: 5, drop: 0.1}"],
    ],
)
def test_augmentation_that_makes_sense_stands(changes: list[str]) -> None:
    assert read(*(f"data.{change}" for change in changes)).data.augment.given


def test_every_key_with_a_condition_is_tested() -> None:
    conditional = {path for path, key in KEYS.items() if key.where is not None}
    assert conditional - {"quantize.overrides.batch_norm.scale_bit_width"} == {key for _, key, _ in IDLE}


POWER = "quantize.batch_norm.mode=power_of_two"
FINE = "quantize.batch_norm.scale_bit_width=6"


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ([POWER, FINE], "quantize.batch_norm.scale_bit_width"),
        ([POWER, FINE, "quantize.overrides=[{match: a, batch_norm: {mode: fold}}]"], None),
        ([FINE, "quantize.overrides=[{match: a, batch_norm: {mode: power_of_two}}]"], None),
        ([POWER, "quantize.overrides=[{match: a, batch_norm: {scale_bit_width: 5}}]"],
         "quantize.overrides.0.batch_norm.scale_bit_width"),
        ([POWER, "quantize.overrides=[{match: a, batch_norm: {mode: fold, scale_bit_width: 5}}]"], None),
        (["quantize.overrides=[{match: a, batch_norm: {mode: power_of_two, scale_bit_width: 5}}]"],
         "quantize.overrides.0.batch_norm.scale_bit_width"),
        ([POWER, "quantize.overrides=[{match: a, batch_norm: {mode: fold}}, {match: b, "
         "batch_norm: {scale_bit_width: 5}}]"], None),  # b may match the same node as a
    ],
)  # fmt: skip
def test_key_of_a_policy_counts_wherever_another_rule_lets_it(changes: list[str], idle: str | None) -> None:
    if idle is None:
        assert read(*changes).name == "short"
    else:
        assert refused("", *changes)[0] == idle


@pytest.mark.parametrize("path", [*sorted(recipes_folder().glob("*.yaml")), *BENCHMARKS], ids=lambda path: path.stem)
def test_recipes_of_this_project_have_no_key_without_effect(path: Path) -> None:
    assert not list(load_recipe(path).idle_keys())
    assert len(BENCHMARKS) == 17


# ---------------------------------------------------------------------- the recipe that a run keeps


def kept_file(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"{SHORT}distill: {{membrane: {{distance: cosine, pool: layer}}}}\n")
    return path


def test_recipe_of_an_earlier_run_is_read_with_its_key_without_effect(tmp_path: Path) -> None:
    kept = load_kept_recipe(kept_file(tmp_path), changes=["seed=3"])
    assert type(kept) is Recipe and kept.seed == 3
    assert kept.distill.membrane is not None and kept.distill.membrane.pool == "layer"
    with pytest.raises(InvalidFileError, match="has no effect"):
        load_recipe(kept_file(tmp_path))


@pytest.mark.parametrize("change", ["train.optimizer.momentum=0.5", "calibrate.percentile=9"])
def test_change_of_a_kept_recipe_that_has_no_effect_is_an_error(change: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        load_kept_recipe(kept_file(tmp_path), changes=[change])
    assert change.partition("=")[0] in [problem.path for problem in caught.value.problems]


def test_kept_recipe_without_such_a_key_is_the_recipe(tmp_path: Path) -> None:
    path = recipes_folder() / "2bit.yaml"
    assert load_kept_recipe(path) == load_recipe(path)
    assert load_kept_recipe(path, changes=["seed=1"]) == load_recipe(path, changes=["seed=1"])

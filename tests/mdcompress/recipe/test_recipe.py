"""Recipes: the documented example, defaults, faults, finding, dumping, and the generated page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from intsnn.errors import InvalidFileError, MissingFileError, UsageError
from intsnn.weight_bits import WEIGHT_BITS
from intsnn.yaml.file import read_yaml_text
from intsnn.yaml.tree import KeyPath, PlainValue, parse_tree
from intsnn.yaml.writing import write_yaml_text
from mdcompress.data.names import DATA_SETS, EVENT_SETS
from mdcompress.recipe import (
    RECIPE_SCHEMA,
    BatchNormPolicy,
    DataSpec,
    DistillSpec,
    InputPolicy,
    LogitLossSpec,
    MembraneLossSpec,
    MembranePolicy,
    ModelSpec,
    OptimizerSpec,
    Override,
    QuantizeSpec,
    Recipe,
    TaskLossSpec,
    TeacherSpec,
    TrainSpec,
    WeightPolicy,
    dump_recipe,
    find_recipe,
    load_recipe,
    recipes_folder,
    shipped_recipes,
)
from mdcompress.reference.recipe_page import recipe_reference

EXAMPLE = """\
schema: mdcompress.recipe/1
name: 4bit                       # also the run directory: runs/4bit
summary: 4-bit weights, 4-bit membrane, 8-bit batch norm; first and last layer at 8 bits.

model:                           # optional; --model and --weights override
  builder: mdcompress.zoo:digits_snn    # import path of a function that returns the nn.Module
  weights: null                  # checkpoint of the float network; null: train it first (see teacher)

quantize:
  weight:     {bit_width: 4, granularity: per_channel, scale: float, narrow_range: true}   # 1 (binary), 1.58, 2..8
  membrane:   {bit_width: 4, scale: learned, overflow: saturate}
  batch_norm: {mode: quantize, scale_bit_width: 8, shift_bit_width: 16}   # quantize | fold | power_of_two
  input:      {bit_width: 8}
  overrides:                     # later wins, field by field; each must match at least one node
    - match: ["@first", "@last"] # roles: first and last synapse, @residual, @readout; so recipes fit any network
      weight: {bit_width: 8}
    # - match: "layer3.*"        # or a glob on the node names `--dry-run` prints; "re:…" for a regex

teacher: {epochs: 20, optimizer: {name: adamw, lr: 2e-3}}       # used only when weights is null
distill:
  epochs: 10
  task:     {weight: 1.0}                                       # cross-entropy, per step (TET) or on the mean
  logits:   {weight: 1.0, temperature: 4.0}                     # KL(teacher || student)·T²
  membrane: {weight: 0.1, match: "**", distance: mse, normalize: threshold, align: first_steps}
  time_steps: [1, 2, 4]                                         # versatile teacher: one teacher, several student T

data: {name: digits, time_steps: 4, encoding: direct, batch_size: 64, calibration_samples: 512}   # or my.data:loaders
train: {optimizer: {name: adamw, lr: 5e-4, weight_decay: 1e-4}, schedule: cosine, grad_clip: 1.0}
seed: 0
"""
SHORT = f"schema: {RECIPE_SCHEMA}\nname: short\n"


def read(text: str, *changes: str) -> Recipe:
    return read_yaml_text(text, "bad.yaml", Recipe, schema=RECIPE_SCHEMA, changes=changes)


def complaint(text: str, *changes: str) -> str:
    with pytest.raises(InvalidFileError) as caught:
        read(text, *changes)
    return str(caught.value)


def test_documented_example_loads_unchanged() -> None:
    recipe = read(EXAMPLE)
    assert recipe == Recipe(
        name="4bit",
        summary="4-bit weights, 4-bit membrane, 8-bit batch norm; first and last layer at 8 bits.",
        model=ModelSpec(builder="mdcompress.zoo:digits_snn", weights=None),
        quantize=QuantizeSpec(
            weight=WeightPolicy(bit_width=4, granularity="per_channel", scale="float", narrow_range=True),
            membrane=MembranePolicy(bit_width=4, scale="learned", overflow="saturate"),
            batch_norm=BatchNormPolicy(mode="quantize", scale_bit_width=8, shift_bit_width=16),
            input=InputPolicy(bit_width=8),
            overrides=(Override(match=("@first", "@last"), weight=WeightPolicy(bit_width=8)),),
        ),
        teacher=TeacherSpec(epochs=20, optimizer=OptimizerSpec(name="adamw", lr=2e-3)),
        distill=DistillSpec(
            epochs=10,
            task=TaskLossSpec(weight=1.0, on="mean"),
            logits=LogitLossSpec(weight=1.0, temperature=4.0, on="mean"),
            membrane=MembraneLossSpec(
                weight=0.1, match="**", distance="mse", normalize="threshold", align="first_steps"
            ),
            time_steps=(1, 2, 4),
        ),
        data=DataSpec(name="digits", time_steps=4, encoding="direct", batch_size=64, calibration_samples=512),
        train=TrainSpec(
            optimizer=OptimizerSpec(name="adamw", lr=5e-4, weight_decay=1e-4), schedule="cosine", grad_clip=1.0
        ),
        seed=0,
    )
    assert recipe.quantize.overrides[0].patterns == ("@first", "@last")
    assert recipe.distill.membrane is not None
    assert recipe.distill.membrane.patterns == ("**",)


def test_message_of_the_interface_document_is_given_word_for_word() -> None:
    text = f"schema: {RECIPE_SCHEMA}\nname: bad\n\nmodel: null\nquantize:\n  weight:\n    bitwidth: 4\n"
    text += "    granularity: per_chanel\ndistill:\n  logits:   {weight: 1.0, temperature: hot}\n"
    assert complaint(text) == (
        "bad.yaml is not a valid recipe (3 problems)\n"
        "  bad.yaml:7:5    quantize.weight.bitwidth: unknown key\n"
        "      hint: the key is `bit_width`\n"
        "  bad.yaml:8:5    quantize.weight.granularity: must be one of per_tensor, per_channel (got 'per_chanel')\n"
        "      hint: write `per_channel`\n"
        "  bad.yaml:10:27  distill.logits.temperature: must be a number (got 'hot')"
    )


def test_short_recipe_has_sound_defaults() -> None:
    recipe = read(SHORT)
    assert recipe == Recipe(name="short")
    assert recipe.quantize.weight == WeightPolicy(bit_width=8, range="learned", narrow_range=True)
    assert recipe.teacher.optimizer.lr == 2e-3
    assert recipe.distill.task is not None


@pytest.mark.parametrize("section", ["task", "logits", "membrane"])
def test_null_switches_a_loss_off(section: str) -> None:
    recipe = read(SHORT, f"distill.{section}=null")
    assert getattr(recipe.distill, section) is None


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ("quantize.weight.bit_width=9", "quantize.weight.bit_width", "must be one of 1 (binary), 1.58 (ternary), 2,"),
        ("quantize.weight.bit_width=1.5", "quantize.weight.bit_width", "(got 1.5)"),
        ("quantize.weight.bit_width=many", "quantize.weight.bit_width", "must be a number (got 'many')"),
        ("quantize.weight={bit_width: 1, narrow_range: false}", "quantize.weight.narrow_range", "levels are -1, +1"),
        ("quantize.weight={bit_width: 1.58, narrow_range: false}", "quantize.weight.narrow_range", "-1, 0, +1"),
        ("quantize.membrane.bit_width=1", "quantize.membrane.bit_width", "must be at least 2 (got 1)"),
        ("quantize.membrane.bit_width=17", "quantize.membrane.bit_width", "must be at most 16 (got 17)"),
        ("quantize.membrane.guard_bits=13", "quantize.membrane.guard_bits", "must be at most 12"),
        ("quantize.membrane.overflow=wrap", "quantize.membrane.overflow", "must be saturate (got 'wrap')"),
        ("quantize.membrane.rounding=up", "quantize.membrane.rounding", "must be one of half_up, floor"),
        ("quantize.batch_norm.mode=float", "quantize.batch_norm.mode", "must be one of quantize, fold, power_of_two"),
        ("quantize.batch_norm.shift_bit_width=25", "quantize.batch_norm.shift_bit_width", "must be at most 24"),
        ("quantize.input.bit_width=9", "quantize.input.bit_width", "must be at most 8"),
        ("quantize.overrides.0.match=[]", "quantize.overrides.0.match", "must have at least 1 item"),
        ("quantize.overrides.0.match=", "quantize.overrides.0.match", "must be text or a list (got nothing)"),
        ("quantize.overrides.0.match=''", "quantize.overrides.0.match", "must not be empty"),
        ("quantize.overrides.0.match='re:'", "quantize.overrides.0.match", "must not be empty"),
        ("quantize.overrides.0.match='re:('", "quantize.overrides.0.match", "is not a regular expression"),
        ("quantize.overrides.0.match='a[z-b]'", "quantize.overrides.0.match", "is not a glob"),
        ("quantize.overrides.0.match='@frist'", "quantize.overrides.0.match", "unknown role '@frist'"),
        ("quantize.overrides.0.match='@zzz'", "quantize.overrides.0.match", "unknown role '@zzz'"),
        ("quantize.overrides.0.weight=null", "quantize.overrides.0", "changes nothing"),
        ("quantize.overrides.0.weight={}", "quantize.overrides.0.weight", "changes nothing"),
        ("quantize.overrides.0.weight.bits=3", "quantize.overrides.0.weight.bits", "unknown key"),
        ("distill.membrane.match='@first'", "distill.membrane.match", "unknown role"),
        ("distill.time_steps=[]", "distill.time_steps", "must have at least 1 item"),
        ("distill.time_steps=[2, 2]", "distill.time_steps", "must increase, each number once (got [2, 2])"),
        ("distill.time_steps=[0]", "distill.time_steps.0", "must be at least 1 (got 0)"),
        ("distill.time_steps=[1, 8]", "distill.time_steps", "must be at most data.time_steps, 4"),
        ("data.time_steps=3", "distill.time_steps", "must be at most data.time_steps, 3"),
        ("teacher.time_steps=[1, 2]", "teacher.time_steps", "must end with data.time_steps, 4, which the teacher runs"),
        ("teacher.time_steps=[4, 8]", "teacher.time_steps", "must end with data.time_steps, 4, which the teacher runs"),
        ("distill.temperature=2", "distill.temperature", "unknown key"),
        ("distill={task: null, logits: null, membrane: {weight: 0}}", "distill", "must have a loss"),
        ("model.builder=digits_snn", "model.builder", "must be an import path `module:function` (got 'digits_snn')"),
        ("model={}", "model.builder", "this key is required"),
        ("data.name=cifar11", "data.name", "must be the name of a data set or an import path"),
        ("data.name=zzz", "data.name", "must be the name of a data set or an import path"),
        ("data={name: nmnist, encoding: rate}", "data.encoding", "must be direct or events for nmnist"),
        ("name=a/b", "name", "as it names a folder (got 'a/b')"),
        ("name=..", "name", "as it names a folder"),
        ("seed=-1", "seed", "must be at least 0"),
        ("train.optimizer.momentum=1", "train.optimizer.momentum", "must be less than 1"),
        ("train.grad_clip=0", "train.grad_clip", "must be greater than 0"),
        ("train.lr=1", "train.lr", "unknown key"),
    ],
)  # fmt: skip
def test_value_that_cannot_be_is_an_error_at_its_key(change: str, path: str, message: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(EXAMPLE, change)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert message in problem.message


def test_hints_say_what_to_write() -> None:
    assert "write `@first`" in complaint(EXAMPLE, "quantize.overrides.0.match='@frist'")
    assert "the roles are @first, @last, @residual, @readout" in complaint(EXAMPLE, "quantize.overrides.0.match='@zzz'")
    assert "the roles are @stage_ends" in complaint(EXAMPLE, "distill.membrane.match='@first'")
    assert "write `cifar10`" in complaint(EXAMPLE, "data.name=cifar11")
    assert "the data sets are: digits," in complaint(EXAMPLE, "data.name=zzz")
    assert "`temperature` is a key of `distill.logits`" in complaint(EXAMPLE, "distill.temperature=2")
    assert "is a key of `teacher.optimizer` and of `train.optimizer`" in complaint(EXAMPLE, "train.lr=1")


def test_epochs_of_zero_need_no_loss() -> None:
    assert read(SHORT, "distill={epochs: 0, task: null, logits: null, membrane: null}").distill.epochs == 0


EXAMPLE_PATHS = [path for path in parse_tree(EXAMPLE, "x").places if path not in ((), ("schema",))]


@pytest.mark.parametrize("path", EXAMPLE_PATHS, ids=lambda path: ".".join(map(str, path)))
def test_nonsense_at_any_key_of_the_example_is_reported_at_that_key(path: KeyPath) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(EXAMPLE, f"{'.'.join(map(str, path))}={{nonsense: 1}}")
    assert any(problem.path.startswith(".".join(map(str, path))) for problem in caught.value.problems)


@pytest.mark.parametrize("line", [number for number, text in enumerate(EXAMPLE.splitlines()) if ": " in text][1:])
def test_misspelt_key_in_any_line_of_the_example_is_reported_in_that_line(line: int) -> None:
    lines = EXAMPLE.splitlines()
    before, after = lines[line].split(": ", 1)
    if before.lstrip().startswith("#"):
        return
    lines[line] = f"{before}z: {after}"
    with pytest.raises(InvalidFileError) as caught:
        read("\n".join(lines))
    assert any(problem.line == line + 1 and "unknown key" in problem.message for problem in caught.value.problems)


def test_whole_bits_are_integers_and_print_so() -> None:
    assert type(read(SHORT, "quantize.weight.bit_width=4").quantize.weight.bit_width) is int
    assert type(read(SHORT, "quantize.weight.bit_width=4.0").quantize.weight.bit_width) is int
    assert "bit_width: 1.58," in dump_recipe(read(SHORT, "quantize.weight.bit_width=1.58"))


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
POSITIVE = st.floats(1e-9, 1e9)
WEIGHT_POLICIES: dict[str, st.SearchStrategy[object]] = {
    "bit_width": st.sampled_from([bits for bits in WEIGHT_BITS if bits >= 2]),
    "granularity": st.sampled_from(["per_tensor", "per_channel"]),
    "scale": st.sampled_from(["float", "power_of_two"]),
    "range": st.sampled_from(["max", "mse", "learned"]),
    "narrow_range": st.booleans(),
}
MEMBRANE_POLICIES: dict[str, st.SearchStrategy[object]] = {
    "bit_width": st.integers(2, 16),
    "scale": st.sampled_from(["learned", "calibrated"]),
    "guard_bits": st.none() | st.integers(0, 12),
    "rounding": st.sampled_from(["half_up", "floor"]),
}
BATCH_NORM_POLICIES: dict[str, st.SearchStrategy[object]] = {
    "mode": st.sampled_from(["quantize", "fold"]),  # a power of two has no scale_bit_width
    "scale_bit_width": st.integers(2, 16),
    "shift_bit_width": st.integers(4, 24),
}
PATTERNS = st.sampled_from(["**", "conv1", "layer*.conv", "re:conv[12]", "a?c", "[!a]b", "@first", "@residual"])


def some(keys: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """Any non-empty part of the keys."""
    return st.fixed_dictionaries({}, optional=keys).filter(bool)


def sections(**keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=keys)


A_POWER_OF_TWO = st.fixed_dictionaries({"mode": st.just("power_of_two"), "shift_bit_width": st.integers(4, 24)})
A_SCALE = st.fixed_dictionaries(  # with its mode: that of `quantize` may be power_of_two, which reads no scale
    {"mode": BATCH_NORM_POLICIES["mode"]}, optional={k: v for k, v in BATCH_NORM_POLICIES.items() if k != "mode"}
)
OVERRIDES = st.fixed_dictionaries(
    {"match": PATTERNS | st.lists(PATTERNS, min_size=1, max_size=3), "weight": some(WEIGHT_POLICIES)},
    optional={"membrane": some(MEMBRANE_POLICIES), "batch_norm": A_SCALE | A_POWER_OF_TWO},
)
OPTIMIZERS = sections(name=st.sampled_from(["adamw", "adam", "sgd"]), lr=POSITIVE, weight_decay=POSITIVE) | (
    st.fixed_dictionaries({"name": st.just("sgd"), "momentum": st.floats(0, 0.99)})
)
RECIPES = st.fixed_dictionaries(
    {"name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True)},
    optional={
        "summary": WORDS,
        "model": st.none()
        | st.fixed_dictionaries({"builder": st.just("a.b:c")}, optional={"weights": st.none() | WORDS}),
        "quantize": sections(
            weight=some(WEIGHT_POLICIES),
            membrane=some(MEMBRANE_POLICIES),
            batch_norm=some(BATCH_NORM_POLICIES) | A_POWER_OF_TWO,
            input=sections(bit_width=st.integers(1, 8)),
            overrides=st.lists(OVERRIDES, max_size=3),
        ),
        "teacher": sections(epochs=st.integers(1, 99), optimizer=OPTIMIZERS),
        "distill": sections(
            epochs=st.integers(0, 99),
            task=sections(weight=POSITIVE, on=st.sampled_from(["steps", "mean"])),
            logits=st.none() | sections(weight=POSITIVE, temperature=POSITIVE, on=st.sampled_from(["steps", "mean"])),
            membrane=st.none() | sections(weight=POSITIVE, distance=st.sampled_from(["mse", "cosine"])),
            time_steps=st.none() | st.lists(st.integers(1, 4), min_size=1, unique=True).map(sorted),
        ),
        "data": sections(
            name=st.sampled_from(DATA_SETS) | st.just("my_pkg.data:loaders"),
            time_steps=st.integers(4, 99),
            encoding=st.sampled_from(["direct", "events"]),
            folder=st.none() | WORDS,
        ),
        "train": sections(optimizer=OPTIMIZERS, grad_clip=st.none() | POSITIVE),
        "seed": st.integers(0, 2**32 - 1),
    },
)


@given(RECIPES)
def test_dumped_recipe_loads_back_equal(values: dict[str, object]) -> None:
    recipe = Recipe.model_validate_json(json.dumps(values))
    text = dump_recipe(recipe)
    again = read(text)
    assert again == recipe
    assert dump_recipe(again) == text
    given = [policy.model_fields_set for override in recipe.quantize.overrides for policy in override.sections.values()]
    assert given == [
        policy.model_fields_set for override in again.quantize.overrides for policy in override.sections.values()
    ]


@given(RECIPES)
def test_recipe_as_written_by_hand_loads_as_its_values_say(values: dict[str, PlainValue]) -> None:
    text = write_yaml_text({"schema": RECIPE_SCHEMA, **values})
    assert read(text) == Recipe.model_validate_json(json.dumps(values))


@pytest.mark.parametrize("name", EVENT_SETS)
def test_event_sets_take_the_direct_encoding_too(name: str) -> None:
    assert read(SHORT, f"data.name={name}").data.encoding == "direct"


def test_recipe_is_found_by_path_and_by_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SHORT)
    assert load_recipe(path).name == load_recipe(str(path)).name == "short"
    assert find_recipe("4bit") == recipes_folder() / "4bit.yaml"
    assert find_recipe("mine.yml") == Path("mine.yml")
    assert find_recipe(Path("4bit")) == Path("4bit")
    assert load_recipe("4bit", changes=["quantize.weight.bit_width=3"]).quantize.weight.bit_width == 3


def test_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="no shipped recipe has the name '4bits'") as caught:
        load_recipe("4bits")
    assert caught.value.hints[:2] == ("write `4bit`", f"the shipped recipes are: {', '.join(shipped_recipes())}")
    with pytest.raises(UsageError) as caught:
        load_recipe("zzz")
    assert caught.value.hints[0].startswith("the shipped recipes are")
    with pytest.raises(MissingFileError, match=r"zzz\.yaml: no such file"):
        load_recipe("zzz.yaml")


def test_installed_recipes_go_before_those_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "mdcompress"
    (package / "recipe").mkdir(parents=True)
    monkeypatch.setattr("mdcompress.recipe.files.__file__", str(package / "recipe" / "files.py"))
    assert recipes_folder() == tmp_path / "site" / "recipes"
    (package / "_recipes").mkdir()
    assert recipes_folder() == package / "_recipes"


FIRST_AND_LAST_AT_8 = (Override(match=("@first", "@last"), weight=WeightPolicy(bit_width=8)),)


@pytest.mark.parametrize(
    ("name", "weight_bits", "membrane_bits"), [("8bit", 8, 8), ("4bit", 4, 4), ("2bit", 2, 2), ("ternary", 1.58, 4)]
)
def test_shipped_recipe_says_what_its_name_says(name: str, weight_bits: float, membrane_bits: int) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    assert recipe.quantize.weight.bit_width == weight_bits
    assert recipe.quantize.membrane.bit_width == membrane_bits
    assert recipe.quantize.batch_norm == BatchNormPolicy(mode="quantize", scale_bit_width=8, shift_bit_width=16)
    assert name == "8bit" or [
        override.weight.bit_width for override in recipe.quantize.overrides if override.weight
    ] == [8]
    assert recipe.model is not None
    assert (recipe.model.builder, recipe.data.name, recipe.data.time_steps) == (
        "mdcompress.zoo:digits_snn",
        "digits",
        4,
    )


def test_every_shipped_recipe_is_tested() -> None:
    assert shipped_recipes() == (
        "2bit", "4bit", "4bit_ends", "8bit", "cifar100_ms_resnet18", "cifar10_ms_resnet18", "ncaltech101_ms_resnet18",
        "ternary", "tiny_imagenet_ms_resnet18",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "builder"),
    [
        ("cifar10", "ms_resnet18"),
        ("cifar100", "ms_resnet18_100"),
        ("tiny_imagenet", "ms_resnet18_tiny_imagenet"),
        ("ncaltech101", "ms_resnet18_ncaltech101"),
    ],
)
def test_recipe_of_the_papers_setting_names_its_network_data_steps_and_bits(data: str, builder: str) -> None:
    recipe = load_recipe(f"{data}_ms_resnet18")
    assert recipe.quantize == load_recipe("4bit").quantize
    assert recipe.model is not None and recipe.model.builder == f"mdcompress.zoo:{builder}"
    assert (recipe.name, recipe.data.name, recipe.data.time_steps) == (f"{data}_ms_resnet18", data, 4)


def test_page_of_keys_is_current() -> None:
    page = (recipes_folder() / "README.md").read_text(encoding="utf-8")
    assert page == recipe_reference(), "run: python -m mdcompress.reference.recipe_page > recipes/README.md"


def test_page_of_keys_names_every_key_of_the_example() -> None:
    page = recipe_reference()
    for path in EXAMPLE_PATHS:
        if isinstance(path[-1], str):
            assert f"| `{path[-1]}` |" in page
    assert "| `bit_width` | integer from 2 to 16 | `8` |" in page
    assert "| `grad_clip` | number, greater than 0 or null | `1.0` |" in page
    assert "| `momentum` | number, at least 0 and less than 1 | `0.9` |" in page
    assert "| `lr` | number, greater than 0 | `0.002` |" in page  # the teacher's
    assert "| `builder` | import path `module:function`, or path of a `.nir` file | required |" in page


def test_example_on_the_page_of_keys_is_a_valid_recipe() -> None:
    text = recipe_reference().split("```yaml\n")[1].split("```")[0]
    assert read(text).quantize.weight.bit_width == 4


def test_every_key_has_a_sentence_of_description() -> None:
    models: list[type[BaseModel]] = [
        Recipe, ModelSpec, QuantizeSpec, WeightPolicy, MembranePolicy, BatchNormPolicy, InputPolicy, Override,
        TeacherSpec, OptimizerSpec, DistillSpec, TaskLossSpec, LogitLossSpec, MembraneLossSpec, DataSpec, TrainSpec,
    ]  # fmt: skip
    described = [(f"{model.__name__}.{name}", info) for model in models for name, info in model.model_fields.items()]
    assert len(described) > 50
    for name, info in described:
        assert info.description, name
        assert info.description.endswith("."), name


def test_recipes_and_plans_are_read_without_torch() -> None:
    code = (
        "import sys, mdcompress.recipe as r, mdcompress.planning, mdcompress.reference.recipe_page; "
        "r.load_recipe('4bit'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)
